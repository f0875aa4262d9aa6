"""``TextVault``: texts with a value each, searched by their words.

Its parts are in :mod:`kohakuvault.text`.
"""

from __future__ import annotations

from .text.care import TextCare
from .text.hybrid import TextHybrid

__all__ = ["TextVault"]


class TextVault(TextHybrid, TextCare):
    """Texts, each with an id and a value, found by their words, the best first.

    Parameters
    ----------
    bind
        A file path, URL, Engine, Connection, Session or another container; see ``docs/engine.md``.
    table
        The table's name, or a class mapped from :class:`~kohakuvault.orm.tables.TextTable`.
    columns
        The names of the columns of text; ``["content"]`` by default.
    tokenize
        How texts are split into words: ``"unicode61"``, the default; ``"porter"``, which finds English words in other
        forms too; ``"trigram"``, which finds parts of words; or any of FTS5's with its options. See
        :class:`~kohakuvault.orm.TextIndex`.
    weights
        A number for each column: how much a word found there counts. By default all count the same.
    prefix
        Lengths of prefixes that SQLite finds faster, ``(2, 3)``.
    postgresql_config
        A text search configuration to use on PostgreSQL instead of what is most like ``tokenize``.
    metadata
        Columns beside the value, to filter by: SQLAlchemy types by name, ``{"lang": String(), "year": Integer()}``, or
        a list of Columns, of which ``index=True`` is heeded. They are nullable.
    read_only
        Refuse every write. The table must exist; an SQLite file that is given by path is opened read-only.
    create
        Make the table if it is missing; ``False`` where Alembic owns the schema.
    pickle
        Store objects of any class as pickles, and read them. A pickle can run any code when it is read: only
        for databases that nobody else writes to. A mapped class says so itself, by ``__pickle__ = True``.

    Attributes
    ----------
    entity
        The mapped class of the rows.
    c
        The table's columns.
    columns, tokenize, weights
        What the table was made with.

    Notes
    -----
    Writing one row: ``insert``, ``upsert``, ``update``, ``delete``.
    Many, all or none: ``insert_many``, ``delete_many``, ``clear``.
    Searching: ``search``, ``search_with_text``, ``search_with_snippets``, ``count_matches``.
    Together with a VectorKVault: ``hybrid_search``.
    By exactly the text: ``vault[text]``, ``vault[text] = value``, ``del vault[text]``, ``get``, ``text in vault``.
    By id: ``get_by_id``, ``get_many``, ``get_metadata``, ``exists``, ``id in vault``.
    In the order of ids: iteration, which gives ids, ``keys`` and ``items``. ``len``, ``count``, ``info``.
    Together with other writes: ``transaction``. One consistent state: ``snapshot``.
    Looking after it: ``check``, ``rebuild_index``, ``stats``, ``optimize``, ``checkpoint``, ``backup``.
    As rows: ``entity``; :func:`kohakuvault.orm.match` and :func:`kohakuvault.orm.text_search` search it in any
    statement.

    The index is FTS5's on SQLite and GIN's on PostgreSQL. Whatever program writes to the table, the index is in step.

    Thread-safe. Several processes may use one table.

    Examples
    --------
    >>> texts = TextVault(":memory:", columns=["title", "body"], tokenize="porter", weights=[5, 1])
    >>> texts.insert({"title": "Crabs", "body": "They run sideways."}, {"legs": 10})
    1
    >>> texts.insert({"title": "Ants", "body": "Unlike crabs, they carry."}, {"legs": 6})
    2
    >>> [value for id, score, value in texts.search("crab")]
    [{'legs': 10}, {'legs': 6}]
    """

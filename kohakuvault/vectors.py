"""``VectorKVault``: vectors with a value each, searched for the nearest.

Its parts are in :mod:`kohakuvault.vector`.
"""

from __future__ import annotations

from .vector.care import VectorCare
from .vector.indexed import VectorIndexed
from .vector.many import VectorMany
from .vector.order import VectorOrder

__all__ = ["VectorKVault"]


class VectorKVault(VectorIndexed, VectorMany, VectorOrder, VectorCare):
    """Vectors of one length, each with an id and a value, found by their distance to a query.

    Parameters
    ----------
    bind
        A file path, URL, Engine, Connection, Session or another container; see ``docs/engine.md``.
    table
        The table's name, or a class mapped from :class:`~kohakuvault.orm.tables.VectorTable`.
    dimensions
        The length of every vector, 1 to 16,000.
    metric
        ``"cosine"`` (1 - cosine similarity; the default), ``"l2"`` (Euclidean), ``"l1"`` (sum of absolute differences),
        ``"ip"`` (negative inner product) or ``"hamming"`` (number of dimensions in which exactly one of the two is
        greater than zero; the default, and the only one, of bits).
    vector_type
        What an element is stored as: ``"f32"``, ``"f16"``, ``"i8"`` or ``"bit"``; see
        :class:`~kohakuvault.orm.types.Vector`.
    index
        How searches are made faster: ``"auto"``, None or a kind of index by its name. ``"auto"`` takes the index that
        there is.
    index_options
        Options of the index, of its kind: see :class:`~kohakuvault.orm.VectorIndex`.
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
    dimensions, metric, vector_type, index
        As they were given.

    Notes
    -----
    Writing one row: ``insert``, ``upsert``, ``update``, ``delete``, ``vault[vector] = value``.
    Many, all or none: ``insert_many``, ``upsert_many``, ``delete_many``, ``clear``.
    Searching: ``search``, ``search_many``, ``radius``, ``get``, ``vault[vector]``.
    By id: ``get_by_id``, ``get_many``, ``get_metadata``, ``exists``, ``id in vault``.
    In the order of ids: iteration, which gives ids, and ``items``. ``len``, ``count``, ``info``.
    Together with other writes: ``transaction``. One consistent state: ``snapshot``.
    Looking after it: ``check``, ``stats``, ``optimize``, ``checkpoint``, ``backup``.
    As rows: ``entity``; :func:`kohakuvault.orm.nearest` searches it in any statement.

    A vector of another length, or with NaN or infinity, is an error; so is a zero vector where the metric is cosine,
    because it has no direction. A value comes back equal and of the type that went in.

    Thread-safe. Several processes may use one table.

    Examples
    --------
    >>> search = VectorKVault(":memory:", dimensions=3)
    >>> search.insert_many([[1, 0, 0], [0, 1, 0]], ["east", "north"])
    [1, 2]
    >>> search.search([1, 0.1, 0], k=1)  # doctest: +ELLIPSIS
    [(1, 0.0049..., 'east')]
    """

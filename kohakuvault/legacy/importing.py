"""Importing an old file: each table and column in one transaction, as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import inspect, select
from sqlalchemy.engine import URL
from sqlalchemy.engine import Connection as Connected

from ..binding import Bind, bind_to
from ..database_address import as_url, is_memory
from ..errors import InvalidArgument, SchemaMismatch, UnsupportedType
from ..lending import translated_errors
from ..orm.tables import ColumnRecord, TableRecord
from ..schema import check_name
from .found import Found, found_in
from .into import Options, import_column, import_dict, import_texts, import_vectors
from .numbers import RULES
from .report import ImportReport, ItemReport
from .source import Damaged, Source, opened

__all__ = ["import_file"]

_KEYS = ("str", "bytes")

# Tables that a refusal names.
_NAMED = 5

Progress = Callable[[str, int, int], None]


def import_file(
    old: str | os.PathLike[str],
    new: Bind,
    *,
    pickle: bool = False,
    tables: Iterable[str] | None = None,
    prefix: str = "",
    keys: str = "str",
    numbers: str = "guess",
    resume: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a file of KohakuVault 0.8.6 or 1.1.0: its dicts, columns of either format, vectors and texts.

    The old file is only read, in one state, and others may use it meanwhile. Each table and each column is imported in
    a transaction of its own: it is there as a whole, or not at all. What is damaged, or cannot be stored, is skipped
    and reported; an element of a column is replaced by 0, ``""``, ``b""`` or None, so that the others keep their
    places.

    Parameters
    ----------
    old
        The path of the old file.
    new
        The database to import into: a path, which need not exist, a URL, also of PostgreSQL, an Engine, …. Bound to a
        Connection or Session, all of it is part of that transaction.
    pickle
        Load pickles that hold more than plain data, and store what has no encoding of its own as pickles. Loading one
        can run any code: only for files that nobody else has written to.
    tables
        Names of tables and columns; None for all.
    prefix
        Put in front of the names of tables and columns.
    keys
        ``"str"``: keys that are UTF-8, as those of a ``str`` were stored, become ``str``, others ``bytes``.
        ``"bytes"``: all stay ``bytes``.
    numbers
        What eight bytes are that may be an int or a float, which the old releases did not write down: ``"int"``,
        ``"float"``, or ``"guess"``; see ``docs/import.md``.
    resume
        Leave out what is in the new database already, rather than raise: an import that was interrupted left tables
        and columns that are complete, or are not there.
    progress
        Called with a name, and rows so far and of all.

    Returns
    -------
    ImportReport
        Rows that were taken, and those that were not, by the reason.

    Raises
    ------
    CannotOpen, InvalidDatabase
        if the old file is missing, or cannot be read at all.
    SchemaMismatch
        if there is nothing of those releases in it.
    InvalidArgument
        if both files are the same, a name in ``tables`` is unknown, or a table of ``new`` has rows already.
    """
    if keys not in _KEYS:
        raise InvalidArgument(f"keys is 'str' or 'bytes', not {keys!r:.60}")
    if numbers not in RULES:
        raise InvalidArgument(f"numbers is 'guess', 'int' or 'float', not {numbers!r:.60}")
    _refuse_same(old, new)
    options = Options(pickle=bool(pickle), keys_as_text=keys == "str", numbers=numbers)
    report = ImportReport(os.fspath(old))
    with opened(old) as source:
        chosen = _chosen(source, found_in(source), None if tables is None else list(tables))
        # Kept, so that all containers share it.
        binding = bind_to(new)
        filled = _filled(new, chosen, prefix)
        if filled and not resume:
            raise _refusal(filled, prefix)
        for found in chosen:
            if found in filled:
                continue
            item = ItemReport(found.kind, found.name, prefix + found.name)
            report.items.append(item)
            with translated_errors(binding.engine):
                _import(source, new, found, item, options, progress)
    return report


def _import(
    source: Source, new: Bind, found: Found, item: ItemReport, options: Options, progress: Progress | None
) -> None:
    def told(done: int) -> None:
        if progress is not None:
            progress(found.name, done, max(found.total, done))

    if isinstance(found.content, Damaged):
        item.refuse(str(found.content), "all", max(found.total, 1))
        return
    told(0)
    try:
        check_name(item.new_name, "column" if found.kind == "column" else "table")
        with bind_to(new).transaction():
            _IMPORTS[found.kind](source, new, found, item, options, told)
    except Damaged as error:
        # Before anything was written.
        item.refuse(str(error), "all", max(found.total, 1))
    except (InvalidArgument, UnsupportedType, SchemaMismatch) as error:
        item.taken = 0
        item.refuse(f"cannot be made: {error}", "all", max(found.total, 1))


_IMPORTS: dict[str, Callable[..., None]] = {
    "kv": import_dict,
    "column": import_column,
    "vectors": import_vectors,
    "text": import_texts,
}


def _chosen(source: Source, found: Sequence[Found], names: list[str] | None) -> list[Found]:
    path = os.fspath(source.path)
    if not found:
        if TableRecord.__tablename__ in source.sql:
            raise SchemaMismatch(f"{path!r} is of this release: open it as it is")
        raise SchemaMismatch(f"there is no table of KohakuVault 0.8 to 1.1 in {path!r}")
    if names is None:
        return list(found)
    known = {each.name for each in found}
    for name in names:
        if name not in known:
            raise InvalidArgument(f"there is no {name!r} in {path!r}; there are {', '.join(map(repr, sorted(known)))}")
    return [each for each in found if each.name in names]


# -- the new database ----------------------------------------------------------------------------


def _refuse_same(old: str | os.PathLike[str], new: Bind) -> None:
    url = as_url(new) if isinstance(new, (str, os.PathLike, URL)) else bind_to(new).engine.url
    if url.get_backend_name() != "sqlite":
        return
    if is_memory(url):
        if isinstance(new, (str, os.PathLike, URL)):
            raise InvalidArgument("a database in memory would be gone with the import: pass an engine on it instead")
        return
    path = (url.database or "").removeprefix("file:").partition("?")[0]
    if os.path.exists(path) and os.path.exists(old) and os.path.samefile(path, old):
        raise InvalidArgument(
            f"{path!r} is the old file itself, which stays as it is: import into a new file, and put that in its place"
        )


def _filled(new: Bind, chosen: Sequence[Found], prefix: str) -> list[Found]:
    """Return what is in the new database already, by its name: an import adds to nothing."""
    binding = bind_to(new)
    with translated_errors(binding.engine), binding.inspecting() as connection:
        return [each for each in chosen if _has_rows(connection, each.kind, prefix + each.name)]


def _refusal(filled: Sequence[Found], prefix: str) -> InvalidArgument:
    names = ", ".join(repr(prefix + each.name) for each in filled[:_NAMED])
    return InvalidArgument(
        f"the new database has {names}{', …' if len(filled) > _NAMED else ''} already, perhaps by an earlier import: "
        "--resume (resume=True) imports the others, --prefix (prefix=) gives other names"
    )


def _has_rows(connection: Connected, kind: str, name: str) -> bool:
    if kind != "column":
        # A table that is no container's is not ours to add to either.
        if not inspect(connection).has_table(name):
            return False
        quoted = connection.dialect.identifier_preparer.quote_identifier(name)
        return connection.exec_driver_sql(f"SELECT 1 FROM {quoted} LIMIT 1").first() is not None  # noqa: S608
    if not inspect(connection).has_table(ColumnRecord.__tablename__):
        return False
    return connection.execute(select(ColumnRecord.id).where(ColumnRecord.name == name)).first() is not None

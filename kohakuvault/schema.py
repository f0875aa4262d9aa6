"""Opening the tables of a container: made on first use, checked every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import LargeBinary, Table, delete, func, insert, inspect, select, text
from sqlalchemy.dialects.postgresql import BYTEA, DOMAIN
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.types import BLOB, NullType

from .binding import Binding
from .errors import CorruptValue, InvalidArgument, SchemaMismatch, UnsupportedType
from .known import is_known, remember
from .lending import translated_errors
from .orm.tables import TableRecord, table_of
from .orm.types import Key, Packed
from .orm.types.declared import DeclaredType

__all__ = [
    "check_name",
    "entity_of",
    "lock_schema",
    "open_tables",
    "record_name",
    "record_problem",
    "refuse_old_columns",
    "renew_record",
]

Entity = TypeVar("Entity")

# Versions of the table formats that this release writes; see docs/format.md.
VERSIONS = {"kv": 1, "dict": 1, "chunks": 1, "columns": 3, "vectors": 2, "text": 1}

# From which version on `kohakuvault upgrade` brings tables up to date.
UPGRADED = {"columns": 2}

# What files of KohakuVault 0.8 to 1.1 that hold columns have.
_OLD_COLUMNS = ("kvault_col_columns", "col_meta")

# Bytes of the name of a column, which databases have an index on.
_LONGEST_NAME = 1000

_RECORDS = table_of(TableRecord)

_SCHEMA_LOCK = text("SELECT pg_advisory_xact_lock(7595446917411070316)")


def check_name(name: Any, what: str) -> str:
    """Return ``name`` if it can name a ``what``; otherwise raise."""
    if not isinstance(name, str):
        raise UnsupportedType(f"the name of a {what} is a str, not {type(name).__name__}")
    if not name or "\0" in name:
        raise InvalidArgument(f"{name!r} cannot name a {what}: the name is empty or contains a NUL")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{name!r} cannot name a {what}: it has a lone surrogate") from error
    if what == "column" and len(name.encode()) > _LONGEST_NAME:
        raise InvalidArgument(
            f"a name of {len(name.encode())} bytes given; that of a column has at most {_LONGEST_NAME}"
        )
    if what == "table" and (name.lower().startswith(("sqlite_", "vault_")) or len(name.encode()) > 63):
        raise InvalidArgument(
            f"{name!r} cannot name a table: names of at most 63 bytes that do not begin with sqlite_ or vault_ are free"
        )
    return name


def record_name(table: Table) -> str:
    """Return the name by which ``vault_table`` knows a table: with its schema, if it says one."""
    return table.fullname


def entity_of(table: Any, mixin: type[Entity], make: Callable[[str], type[Entity]]) -> type[Entity]:
    """Return the mapped class that a container was given as ``table``: itself, or one made for the name."""
    if isinstance(table, str):
        return make(check_name(table, "table"))
    if isinstance(table, type) and issubclass(table, mixin) and hasattr(table, "__table__"):
        return table
    raise UnsupportedType(f"table is a name or a class mapped from {mixin.__name__}, not {table!r:.60}")


def open_tables(
    binding: Binding,
    tables: Sequence[Table],
    kind: str,
    options: dict[str, Any],
    *,
    create: bool,
    made_with: dict[str, Any] | None = None,
    make_rest: Callable[[Connection], None] | None = None,
) -> None:
    """Check that ``tables`` hold a container of ``kind`` with these ``options``; make them where they are missing.

    The first table gives the container its name. ``made_with`` is what the record of new tables says, if that is more;
    ``make_rest`` makes what else belongs to them.

    Raises
    ------
    SchemaMismatch
        when a table is another kind's or a stranger's, was made with other options or by a newer release,
        or is missing and ``create`` is false.
    """
    name = record_name(tables[0])
    fact = (kind, name, repr(sorted(options.items())))
    if is_known(binding.engine, fact):
        return
    with translated_errors(binding.engine), binding.inspecting() as connection:
        complete = _check(connection, tables, kind, options)
        settled = binding.is_settled(connection)
        if complete and not settled:
            binding.forget_on_rollback(connection)
    if not complete:
        if not create:
            raise SchemaMismatch(
                f"table {name!r} does not exist, or has no record in vault_table, and create=False: run the "
                "migration that makes it, or open the container with create=True"
            )
        with translated_errors(binding.engine), binding.transaction() as connection:
            binding.forget_on_rollback(connection)
            lock_schema(connection)
            if not _check(connection, tables, kind, options):
                _create(connection, tables, kind, options if made_with is None else made_with)
                if make_rest is not None:
                    make_rest(connection)
    elif settled:
        remember(binding.engine, fact)


def lock_schema(connection: Connection) -> None:
    """Let no other transaction of ours make tables until the end of this one: two would both CREATE."""
    # On SQLite the transaction has the write lock.
    if connection.dialect.name != "sqlite":
        connection.execute(_SCHEMA_LOCK)


def _check(connection: Connection, tables: Sequence[Table], kind: str, options: dict[str, Any]) -> bool:
    """Return whether the tables and their record exist; raise if they are not what they should be."""
    name = record_name(tables[0])
    inspector = inspect(connection)
    record = _readable_record(connection, name) if inspector.has_table(_RECORDS.name) else None
    if record is not None:
        _check_record(name, record, kind, options)
    exist = [inspector.has_table(table.name, schema=table.schema) for table in tables]
    if record is None and exist[0] and inspector.has_table(_RECORDS.name):
        _check_case(connection, name)
    for table, exists in zip(tables, exist, strict=True):
        # What the record does not say, the columns have to.
        if exists and (record is None or not options.keys() <= record.options.keys()):
            _check_columns(inspector, table, kind)
    return record is not None and all(exist)


def _record(connection: Connection, name: str) -> Any:
    return connection.execute(select(_RECORDS).where(_RECORDS.c.name == name)).one_or_none()


def _readable_record(connection: Connection, name: str) -> Any:
    try:
        return _record(connection, name)
    except CorruptValue as error:
        raise SchemaMismatch(
            f"the options of table {name!r} in vault_table are damaged: {error}. Delete that row; it is made anew when "
            "the container is opened"
        ) from error


def _check_case(connection: Connection, name: str) -> None:
    """Raise if the table is there, and known by a name of other case: SQLite takes the two for one."""
    of_other_case = select(_RECORDS.c.name).where(func.lower(_RECORDS.c.name) == name.lower(), _RECORDS.c.name != name)
    other = connection.scalar(of_other_case)
    if other is not None:
        raise SchemaMismatch(
            f"table {name!r} is {other!r} here: this database does not tell names apart by case. Open it as {other!r}, "
            "or choose another name by table="
        )


def _is_damaged(record: Any) -> bool:
    return type(record.version) is not int or record.version < 1 or type(record.options) is not dict


def _check_record(name: str, record: Any, kind: str, options: dict[str, Any]) -> None:
    if _is_damaged(record):
        raise SchemaMismatch(
            f"the record of table {name!r} in vault_table is damaged: version {record.version!r}, options "
            f"{record.options!r}. Delete that row; it is made anew when the container is opened"
        )
    if record.kind != kind:
        raise SchemaMismatch(
            f"table {name!r} holds {record.kind!r}, not {kind!r}: open it with the container of that kind, or "
            "choose another name by table="
        )
    if record.version > VERSIONS[kind]:
        raise SchemaMismatch(
            f"table {name!r} has format version {record.version} and this release knows up to {VERSIONS[kind]}: "
            "install a newer kohakuvault"
        )
    if record.version >= UPGRADED.get(kind, VERSIONS[kind]) and record.version < VERSIONS[kind]:
        raise SchemaMismatch(
            f"table {name!r} has format version {record.version} and this release writes {VERSIONS[kind]}: run "
            "`kohakuvault upgrade` with the database's path or URL, which keeps what is in it"
        )
    if record.version < VERSIONS[kind]:
        raise SchemaMismatch(
            f"table {name!r} has format version {record.version}, which only development versions wrote, and this "
            f"release reads {VERSIONS[kind]}: read it with the version that wrote it, and write it to a new database"
        )
    for option, value in options.items():
        made_with = record.options.get(option, value)
        if made_with != value:
            raise SchemaMismatch(
                f"table {name!r} was made with {option}={made_with!r}, not {value!r}: open it with "
                f"{option}={made_with!r}, or choose another name by table="
            )


def _check_columns(inspector: Inspector, table: Table, kind: str) -> None:
    found = inspector.get_columns(table.name, schema=table.schema)
    names = {column["name"] for column in found}
    missing = [column.name for column in table.columns if column.name not in names]
    if missing:
        raise SchemaMismatch(
            f"table {table.name!r} exists and is not a {kind!r} table of KohakuVault: it has the columns "
            f"{', '.join(sorted(names))} and lacks {', '.join(missing)}. Its rows were not touched. Choose another "
            "name by table=; if it is a file of KohakuVault 0.8 to 1.1, import it into a new file: "
            "kohakuvault import OLD NEW"
        )
    wrong = _wrong_columns(inspector, found, table)
    if wrong:
        raise SchemaMismatch(
            f"table {table.name!r} exists and was not made by KohakuVault, and {wrong}. Its rows were not touched. "
            "Choose another name by table="
        )


def _wrong_columns(inspector: Inspector, found: Sequence[Any], table: Table) -> str | None:
    """Return why a stranger's table, which has the right columns, does not do."""
    if table.name in inspector.get_view_names(schema=table.schema):
        return "is a view"
    columns = {column["name"]: column for column in found}
    uniques: list[list[str | None]] = [
        index["column_names"] for index in inspector.get_indexes(table.name, schema=table.schema) if index["unique"]
    ]
    constraints = inspector.get_unique_constraints(table.name, schema=table.schema)
    uniques += [list(constraint["column_names"]) for constraint in constraints]
    for column in table.columns:
        kind = columns[column.name]["type"]
        if isinstance(column.type, (Key, Packed)) and not _holds_bytes(kind):
            return f"its column {column.name} is {kind}, which changes what is stored in it, rather than BLOB or BYTEA"
        if not column.nullable and columns[column.name]["nullable"] and not column.primary_key:
            return f"its column {column.name} may be NULL"
        if column.unique and [column.name] not in uniques:
            return f"nothing keeps two rows from having the same {column.name}"
    return None


def _holds_bytes(kind: Any) -> bool:
    """Return whether a column of a reflected type keeps bytes as they are."""
    if isinstance(kind, DOMAIN):
        kind = kind.data_type
    return isinstance(kind, (DeclaredType, LargeBinary, BLOB, BYTEA, NullType))


def _create(connection: Connection, tables: Sequence[Table], kind: str, options: dict[str, Any]) -> None:
    if kind == "columns":
        refuse_old_columns(connection)
    # checkfirst: another process may have made some of them, and the user's own models others.
    _RECORDS.metadata.create_all(connection, tables=[_RECORDS], checkfirst=True)
    tables[0].metadata.create_all(connection, tables=list(tables), checkfirst=True)
    name = record_name(tables[0])
    present = connection.scalar(select(_RECORDS.c.name).where(_RECORDS.c.name == name))
    if present is None:
        _insert_record(connection, name, kind, options)


def refuse_old_columns(connection: Connection) -> None:
    """Raise for a file whose columns would not be seen, as if there were none."""
    inspector = inspect(connection)
    for name in _OLD_COLUMNS:
        if inspector.has_table(name) and {"col_id", "dtype", "elem_size"} <= {
            column["name"] for column in inspector.get_columns(name)
        }:
            raise SchemaMismatch(
                f"this is a file of KohakuVault 0.8 to 1.1: its columns, in table {name!r}, are of another format. "
                "Import it into a new file: kohakuvault import OLD NEW"
            )


def _insert_record(connection: Connection, name: str, kind: str, options: dict[str, Any]) -> None:
    connection.execute(insert(_RECORDS).values(name=name, kind=kind, version=VERSIONS[kind], options=options))


def record_problem(connection: Connection, name: str, kind: str, options: dict[str, Any]) -> tuple[str, bool] | None:
    """Return what is wrong with the record of a table that is open, and whether :func:`renew_record` repairs it."""
    if not inspect(connection).has_table(_RECORDS.name):
        return f"there is no vault_table, and so no record of table {name!r}", True
    try:
        record = _record(connection, name)
        if record is None:
            return f"table {name!r} has no record in vault_table", True
        _check_record(name, record, kind, options)
    except CorruptValue as error:
        return f"the options of table {name!r} in vault_table are damaged: {error}", True
    except SchemaMismatch as error:
        # Of another kind, or newer: not for this release to change.
        return str(error), _is_damaged(record)
    return None


def renew_record(connection: Connection, name: str, kind: str, options: dict[str, Any]) -> None:
    """Write the record of a table anew."""
    _RECORDS.metadata.create_all(connection, tables=[_RECORDS], checkfirst=True)
    connection.execute(delete(_RECORDS).where(_RECORDS.c.name == name))
    _insert_record(connection, name, kind, options)

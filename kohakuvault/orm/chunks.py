"""The table beside a KV table that has the chunks of its large values, and the triggers that delete them.

A vault gets both when it stores its first large value. The triggers are plain SQL, so that whoever removes or
replaces an entry, by whatever program, removes its chunks.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Integer, LargeBinary, MetaData, String, Table, event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.compiler import DDLCompiler, SQLCompiler

__all__ = ["CHUNKED_LENGTH", "CHUNKED_TAG", "TriggerCount", "chunk_table", "create_triggers"]

CHUNKED_TAG = 0x0D
# Of the whole packed value.
CHUNKED_LENGTH = 17

_Id = BigInteger().with_variant(Integer(), "sqlite")

_EVENTS = ("delete", "update")
# So that the triggers' names, seven bytes longer, fit PostgreSQL's 63 too.
_LONGEST = 56
_SUFFIX = "_chunk"


@lru_cache(maxsize=256)
def chunk_table(entries: Table) -> Table:
    """Return the table with the chunks of the values in ``entries``: ``id``, ``data``.

    It is named as ``entries`` with ``_chunk`` behind it; where that is too long, a digest stands for the rest.
    """
    table = Table(
        _name(entries.name),
        # Not the application's: its create_all() makes the table of a dict, and the dict this one if it needs it.
        MetaData(),
        Column("id", _Id, primary_key=True, autoincrement=False),
        Column("data", LargeBinary(), nullable=False),
        schema=entries.schema,
    )
    external: Any = _StoreExternal(table)
    event.listen(table, "after_create", external.execute_if(dialect="postgresql"))
    for trigger in create_triggers(entries, table):
        event.listen(table, "after_create", trigger)
    return table


def _name(entries: str) -> str:
    if len(entries.encode()) + len(_SUFFIX) <= _LONGEST:
        return entries + _SUFFIX
    digest = hashlib.sha256(entries.encode()).hexdigest()[:8]
    stem = entries.encode()[: _LONGEST - len(_SUFFIX) - 1 - len(digest)].decode(errors="ignore")
    return f"{stem}_{digest}{_SUFFIX}"


def create_triggers(entries: Table, chunks: Table) -> list[ExecutableDDLElement]:
    """Return what makes the triggers on ``entries``, in this order; where they exist it makes them anew."""
    function: Any = _CreateFunction()
    made = [_CreateTrigger(entries, chunks, on) for on in _EVENTS]
    dropped = [_DropTrigger(entries, chunks, on) for on in _EVENTS]
    return [function.execute_if(dialect="postgresql"), *dropped, *made]


class TriggerCount(ColumnElement[int]):
    """How many of the two triggers on ``entries`` exist."""

    inherit_cache = False
    type = Integer()
    complete = len(_EVENTS)

    def __init__(self, entries: Table, chunks: Table) -> None:
        self.entries = entries
        self.names = [_trigger_name(chunks, on) for on in _EVENTS]


class _OnTrigger(ExecutableDDLElement):
    inherit_cache = False

    def __init__(self, entries: Table, chunks: Table, on: str) -> None:
        self.entries = entries
        self.chunks = chunks
        self.on = on
        self.name = _trigger_name(chunks, on)


class _CreateTrigger(_OnTrigger):
    """Delete an entry's chunks after it is deleted, or after its value is replaced."""


class _DropTrigger(_OnTrigger):
    pass


class _StoreExternal(ExecutableDDLElement):
    """Out of line and uncompressed on PostgreSQL: large files are mostly of formats that are compressed already."""

    inherit_cache = False

    def __init__(self, chunks: Table) -> None:
        self.chunks = chunks


class _CreateFunction(ExecutableDDLElement):
    """What the triggers of all KV tables call on PostgreSQL."""

    inherit_cache = False


def _trigger_name(chunks: Table, on: str) -> str:
    return f"{chunks.name}_{on}"


# -- SQLite ----------------------------------------------------------------------------------------


# SQLite has no function that makes a number of bytes: the stream's eight hexadecimal digits, one by one.
_STREAM = " + ".join(
    f"(instr('123456789ABCDEF', substr(digits, {2 * byte + 1 + low}, 1)) << {8 * byte + 4 * (1 - low)})"
    for byte in range(4)
    for low in (0, 1)
)
_OLD_STREAM = f"SELECT {_STREAM} AS stream FROM (SELECT hex(substr(OLD.value, 2, 4)) AS digits)"  # noqa: S608 (constant)


@compiles(_CreateTrigger, "sqlite")
def _create_on_sqlite(element: _CreateTrigger, compiler: DDLCompiler, **kw: Any) -> str:
    quote = compiler.preparer.quote
    entries, chunks = quote(element.entries.name), quote(element.chunks.name)
    trigger = compiler.preparer.format_table(element.chunks, name=quote(element.name))
    is_chunked = f"length(OLD.value) = {CHUNKED_LENGTH} AND substr(OLD.value, 1, 1) = X'{CHUNKED_TAG:02X}'"
    when = {
        "delete": f"AFTER DELETE ON {entries} WHEN {is_chunked}",
        "update": f"AFTER UPDATE OF value ON {entries} WHEN {is_chunked} AND OLD.value IS NOT NEW.value",
    }[element.on]
    these = (
        f"SELECT id FROM ({_OLD_STREAM}) JOIN {chunks} "  # noqa: S608 (quoted names)
        "ON id BETWEEN stream << 32 AND (stream << 32) + 4294967295"
    )
    return f"CREATE TRIGGER {trigger} {when} BEGIN DELETE FROM {chunks} WHERE id IN ({these}); END"  # noqa: S608 (quoted names)


@compiles(_DropTrigger, "sqlite")
def _drop_on_sqlite(element: _DropTrigger, compiler: DDLCompiler, **kw: Any) -> str:
    quote = compiler.preparer.quote
    return f"DROP TRIGGER IF EXISTS {compiler.preparer.format_table(element.chunks, name=quote(element.name))}"


@compiles(TriggerCount, "sqlite")
def _count_on_sqlite(element: TriggerCount, compiler: SQLCompiler, **kw: Any) -> str:
    quote = compiler.preparer.quote
    schema = f"{quote(element.entries.schema)}." if element.entries.schema else ""
    table = _literal(compiler, element.entries.name)
    names = ", ".join(_literal(compiler, name) for name in element.names)
    found = f"SELECT count(*) FROM {schema}sqlite_master"  # noqa: S608 (literals)
    return f"({found} WHERE type = 'trigger' AND lower(tbl_name) = lower({table}) AND name IN ({names}))"


# -- PostgreSQL ------------------------------------------------------------------------------------

# Dynamic SQL, because the trigger may fire under another search_path than it was made under.
_FUNCTION = """
CREATE FUNCTION vault_delete_chunks() RETURNS trigger LANGUAGE plpgsql AS $function$
DECLARE
    stream bigint := get_byte(OLD.value, 1) + (get_byte(OLD.value, 2)::bigint << 8)
        + (get_byte(OLD.value, 3)::bigint << 16) + (get_byte(OLD.value, 4)::bigint << 24);
BEGIN
    EXECUTE 'DELETE FROM ' || quote_ident(TG_TABLE_SCHEMA) || '.' || quote_ident(TG_ARGV[0])
        || ' WHERE id BETWEEN $1 AND $1 + 4294967295' USING stream << 32;
    RETURN NULL;
END
$function$
"""


@compiles(_StoreExternal, "postgresql")
def _store_external(element: _StoreExternal, compiler: DDLCompiler, **kw: Any) -> str:
    return f"ALTER TABLE {compiler.preparer.format_table(element.chunks)} ALTER COLUMN data SET STORAGE EXTERNAL"


@compiles(_CreateFunction, "postgresql")
def _function_on_postgresql(element: _CreateFunction, compiler: DDLCompiler, **kw: Any) -> str:
    # Not OR REPLACE, which only the role that made it may do.
    absent = "to_regprocedure('vault_delete_chunks()') IS NULL"
    return f"DO $do$ BEGIN IF {absent} THEN {_FUNCTION}; END IF; END $do$"


@compiles(_CreateTrigger, "postgresql")
def _create_on_postgresql(element: _CreateTrigger, compiler: DDLCompiler, **kw: Any) -> str:
    entries = compiler.preparer.format_table(element.entries)
    chunks = _literal(compiler.sql_compiler, element.chunks.name)
    is_chunked = (
        f"length(OLD.value) = {CHUNKED_LENGTH} AND substr(OLD.value, 1, 1) = decode('{CHUNKED_TAG:02x}', 'hex')"
    )
    when = {
        "delete": f"AFTER DELETE ON {entries} FOR EACH ROW WHEN ({is_chunked})",
        "update": f"AFTER UPDATE OF value ON {entries} FOR EACH ROW "
        f"WHEN ({is_chunked} AND OLD.value IS DISTINCT FROM NEW.value)",
    }[element.on]
    trigger = compiler.preparer.quote(element.name)
    return f"CREATE TRIGGER {trigger} {when} EXECUTE FUNCTION vault_delete_chunks({chunks})"


@compiles(_DropTrigger, "postgresql")
def _drop_on_postgresql(element: _DropTrigger, compiler: DDLCompiler, **kw: Any) -> str:
    entries = compiler.preparer.format_table(element.entries)
    return f"DROP TRIGGER IF EXISTS {compiler.preparer.quote(element.name)} ON {entries}"


@compiles(TriggerCount, "postgresql")
def _count_on_postgresql(element: TriggerCount, compiler: SQLCompiler, **kw: Any) -> str:
    parts = [part for part in (element.entries.schema, element.entries.name) if part]
    table = " || '.' || ".join(f"quote_ident({_literal(compiler, part)})" for part in parts)
    names = ", ".join(_literal(compiler, name) for name in element.names)
    found = "SELECT count(*) FROM pg_trigger"
    return f"({found} WHERE tgrelid = to_regclass({table}) AND tgname IN ({names}))"


def _literal(compiler: SQLCompiler, text: str) -> str:
    return compiler.render_literal_value(text, String())

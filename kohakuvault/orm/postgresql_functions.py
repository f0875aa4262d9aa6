"""The functions that PostgreSQL has for packed values: ``kv_text`` and its like, as SQLite's of the extension.

Each is made once per database, in the schema that tables are made in, and stands alone: it calls nothing but what is
built in, so that it means the same whatever search path an index is rebuilt under. The path is ``jsonb``, so that a
literal is parsed once per statement, not once per row.
"""

from __future__ import annotations

from .packed_json import BUILD, DECLARE_BUILD
from .packed_plpgsql import (
    BITS_TO_REAL,
    DECLARE,
    FIND,
    INTEGER,
    JSON_TEXT,
    LITTLE_ENDIAN,
    REAL,
    SIZES,
    TEXT_RAW,
    TEXT_VALID,
)

__all__ = ["FUNCTIONS"]

# Raised with each change of what a function does. A database that has a lower one gets the function anew.
_VERSION = 1

# Of a transaction: creating the same function twice at once fails in one of the two.
_LOCK = "pg_advisory_xact_lock(7595446917411070317)"


def _create(name: str, arguments: str, returns: str, body: str) -> str:
    """Return the statement that makes a function, unless it is there."""
    types = ", ".join(argument.split()[1] for argument in arguments.split(", "))
    signature = f"{name}({types})"
    known = f"obj_description(to_regprocedure('{signature}'), 'pg_proc')"
    return f"""
DO $kv_do$
BEGIN
    FOR attempt IN 1 .. 2 LOOP
        IF substring({known} FROM 'KohakuVault, version ([0-9]+)')::int >= {_VERSION} THEN
            RETURN;
        ELSIF attempt = 1 THEN
            -- Another transaction may be making it: look again when that is through.
            PERFORM {_LOCK};
        END IF;
    END LOOP;
    CREATE OR REPLACE FUNCTION {name}({arguments}) RETURNS {returns}
        IMMUTABLE PARALLEL SAFE STRICT {body};
    COMMENT ON FUNCTION {signature} IS 'KohakuVault, version {_VERSION}';
END
$kv_do$
"""


def _plpgsql(declare: str, body: str) -> str:
    return f"COST 1000 LANGUAGE plpgsql AS $kv$\nDECLARE{DECLARE}{declare}\nBEGIN\n{SIZES}{body}\nEND\n$kv$"


def _reader(name: str, returns: str, plain: str, in_json: str, in_binary: str) -> str:
    """Return the function that gives what is at a path, if it is of a type."""
    body = f"""
IF tag IN (7, 8) THEN
    {FIND}
    {in_binary}
ELSIF tag = 9 THEN
    {JSON_TEXT}
    {in_json}
ELSIF path = '[]' THEN
    {plain}
END IF;
RETURN NULL;
"""
    return _create(name, "value bytea, path jsonb", returns, _plpgsql("", body))


_TEXT = _reader(
    "kv_text",
    "text",
    f"IF tag = 1 THEN raw := substring(v FROM 2 FOR size - 1); {TEXT_VALID} RETURN t; END IF;",
    """
    IF json_typeof(j) = 'string' THEN
        t := j #>> '{}';
        IF position(chr(64976) || chr(64977) || chr(64976) IN t) = 0 THEN RETURN t; END IF;
    END IF;
    """,
    f"{TEXT_RAW} IF raw IS NOT NULL THEN {TEXT_VALID} RETURN t; END IF;",
)

# An int of JSON, into n.
_JSON_INTEGER = """
    t := j #>> '{}';
    n := NULL;
    IF json_typeof(j) = 'number' AND t ~ '^-?[0-9]{1,19}$'
        AND t::numeric BETWEEN -9223372036854775808 AND 9223372036854775807
    THEN
        n := t::bigint;
    END IF;
"""

# One of tag 05, into n. Of those that have nine bytes one fits 64 bits.
_PLAIN_INTEGER = f"""
    n := NULL;
    IF tag = 5 AND size BETWEEN 2 AND 9 THEN
        {LITTLE_ENDIAN}
        n := bits;
    ELSIF tag = 5 AND size = 10 AND substring(v FROM 2 FOR 9) = '\\x0000000000000080ff'::bytea THEN
        n := -9223372036854775808;
    END IF;
"""

_INTEGER = _reader(
    "kv_integer",
    "bigint",
    f"{_PLAIN_INTEGER} RETURN n;",
    f"{_JSON_INTEGER} RETURN n;",
    f"{INTEGER} RETURN n;",
)

_REAL = _reader(
    "kv_real",
    "double precision",
    f"""
    {_PLAIN_INTEGER}
    x := n;
    IF tag = 6 AND size = 9 THEN {LITTLE_ENDIAN} {BITS_TO_REAL} END IF;
    RETURN x;
    """,
    # What is too large for a float, or has thousands of digits, is no number that could have been written.
    f"""
    {_JSON_INTEGER}
    IF n IS NOT NULL THEN RETURN n; END IF;
    IF json_typeof(j) = 'number' AND t ~ '[.eE]' AND length(t) < 1000 AND t !~ '[eE][+-]?0*[1-9][0-9]{{3}}' THEN
        IF abs(t::numeric) < 2.4703282292062328e-324 THEN RETURN 0; END IF;
        IF abs(t::numeric) < 1.7976931348623158e308 THEN RETURN t::double precision; END IF;
    END IF;
    """,
    f"{INTEGER} IF n IS NOT NULL THEN RETURN n; END IF; {REAL} RETURN x;",
)

_BOOLEAN = _reader(
    "kv_boolean",
    "boolean",
    "RETURN CASE WHEN size = 1 THEN CASE tag WHEN 3 THEN false WHEN 4 THEN true END END;",
    "IF json_typeof(j) = 'boolean' THEN RETURN j #>> '{}' = 'true'; END IF;",
    """
    b := get_byte(v, p);
    IF tag = 7 AND b IN (194, 195) THEN RETURN b = 195; END IF;
    IF tag = 8 AND b IN (244, 245) THEN RETURN b = 245; END IF;
    """,
)

_JSONB = _create(
    "kv_jsonb",
    "value bytea, path jsonb",
    "jsonb",
    _plpgsql(DECLARE_BUILD, BUILD),
)

# Bound to kv_jsonb when it is made; inlined, so that what is looked for is read once and a GIN index can be used.
_CONTAINS = [
    _create(
        "kv_contains",
        "value bytea, part bytea",
        "boolean",
        "LANGUAGE sql RETURN kv_jsonb(value, '[]') @> kv_jsonb(part, '[]')",
    ),
    _create(
        "kv_contains",
        "value bytea, part bytea, path jsonb",
        "boolean",
        "LANGUAGE sql RETURN kv_jsonb(value, path) @> kv_jsonb(part, '[]')",
    ),
]

#: What to run, in this order, before a table with packed values is made. Running it again changes nothing.
FUNCTIONS: list[str] = [_TEXT, _INTEGER, _REAL, _BOOLEAN, _JSONB, *_CONTAINS]

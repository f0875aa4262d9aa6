"""Which columns of a database refer to lists of rows, told by the triggers that delete those."""

from __future__ import annotations

import re

from sqlalchemy import text
from sqlalchemy.engine import Connection

__all__ = ["found_lists"]

_BODY = re.compile(
    r"AFTER DELETE ON .* WHEN OLD\.(?:\"((?:[^\"]|\"\")+)\"|(\w+)) IS NOT NULL BEGIN\s+DELETE FROM vault_payload\b"
)
_QUERY = text("""
SELECT n.nspname, n.nspname = current_schema(), c.relname, t.tgargs
FROM pg_trigger AS t
JOIN pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE p.proname = 'vault_delete_list'
""")


def found_lists(connection: Connection) -> set[tuple[str | None, str, str]]:
    """Return schema, table and column of each."""
    if connection.dialect.name == "sqlite":
        found: set[tuple[str | None, str, str]] = set()
        rows = connection.exec_driver_sql("SELECT tbl_name, sql FROM sqlite_master WHERE type = 'trigger'")
        for table, sql in rows:
            match = _BODY.search(sql or "")
            if match is not None:
                found.add((None, table, (match[1] or match[2]).replace('""', '"')))
        return found
    return {
        (None if is_default else schema, table, bytes(arguments).split(b"\0")[1].decode())
        for schema, is_default, table, arguments in connection.execute(_QUERY)
    }

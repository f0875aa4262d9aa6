"""What belongs to the tables of a ColumnVault beside their columns: a trigger, and how PostgreSQL stores bytes.

The trigger forgets the summary of a block whose bytes change. It is plain SQL, so that no writer, by whatever
program, leaves a summary that is of other elements.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import DDL, Table, event
from sqlalchemy.engine import Connection

__all__ = ["TRIGGER", "complete_tables", "renew_trigger", "statements_of"]

TRIGGER = "vault_payload_update"

# Uncompressed out-of-line storage lets PostgreSQL read a range of a block without the rest of it.
_EXTERNAL = "ALTER TABLE %(fullname)s ALTER COLUMN {column} SET STORAGE EXTERNAL"

_ON_SQLITE = """
CREATE TRIGGER IF NOT EXISTS vault_payload_update AFTER UPDATE OF data ON vault_payload BEGIN
    UPDATE vault_block SET summary = NULL WHERE id = NEW.id AND summary IS NOT NULL;
END
"""

# Dynamic SQL, because the trigger may fire under another search_path than it was made under.
_FUNCTION = """
DO $do$ BEGIN
    IF to_regprocedure('vault_forget_summary()') IS NULL THEN
        CREATE FUNCTION vault_forget_summary() RETURNS trigger LANGUAGE plpgsql AS $function$
        BEGIN
            EXECUTE 'UPDATE ' || quote_ident(TG_TABLE_SCHEMA)
                || '.vault_block SET summary = NULL WHERE id = $1 AND summary IS NOT NULL' USING NEW.id;
            RETURN NULL;
        END
        $function$;
    END IF;
END $do$
"""

_ON_POSTGRESQL = """
CREATE TRIGGER vault_payload_update AFTER UPDATE OF data ON %(fullname)s
    FOR EACH ROW EXECUTE FUNCTION vault_forget_summary()
"""


# Needed by nothing but renewal: one that is switched off is there too.
_DROP = {
    "sqlite": "DROP TRIGGER IF EXISTS vault_payload_update",
    "postgresql": "DROP TRIGGER IF EXISTS vault_payload_update ON %(fullname)s",
}
_CREATE = {"sqlite": [_ON_SQLITE], "postgresql": [_FUNCTION, _ON_POSTGRESQL]}


def complete_tables(columns: Table, payloads: Table) -> None:
    """Have what belongs to the two tables made with them."""
    _after_create(columns, _EXTERNAL.format(column="tail"), "postgresql")
    _after_create(payloads, _EXTERNAL.format(column="data"), "postgresql")
    for dialect, statements in _CREATE.items():
        for sql in statements:
            _after_create(payloads, sql, dialect)


def statements_of(dialect: str) -> list[str]:
    """Return what belongs to the tables of a ColumnVault that exist, in the search path's schema."""
    external = []
    if dialect == "postgresql":
        named = {"vault_column": "tail", "vault_payload": "data"}
        external = [_EXTERNAL.format(column=column) % {"fullname": table} for table, column in named.items()]
    return [*external, *(sql % {"fullname": "vault_payload"} for sql in _CREATE[dialect])]


def renew_trigger(connection: Connection, payloads: Table) -> None:
    """Make the trigger anew."""
    dialect = connection.dialect.name
    for sql in (_DROP[dialect], *_CREATE[dialect]):
        ddl: Any = DDL(sql)  # type: ignore[no-untyped-call]
        connection.execute(ddl.against(payloads))


def _after_create(table: Table, sql: str, dialect: str) -> None:
    ddl: Any = DDL(sql)  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", ddl.execute_if(dialect=dialect))

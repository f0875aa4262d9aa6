"""The bodies of the triggers that delete the lists of rows.

A list is deleted only if it has no name: a column of a ColumnVault, which a wrong number might refer to, never is.
"""

from __future__ import annotations

__all__ = ["CREATE_FUNCTION", "CREATE_TRIGGERS", "DELETE_LIST"]

_THIS = "SELECT id FROM vault_column WHERE id = {list} AND name IS NULL"

# Of SQLite. The ids of a list's blocks are its own times 2**32, and serial numbers.
DELETE_LIST = f"""
    DELETE FROM vault_payload WHERE id BETWEEN {{list}} << 32 AND ({{list}} << 32) + 4294967295 AND EXISTS ({_THIS});
    DELETE FROM vault_block WHERE column_id IN ({_THIS});
    DELETE FROM vault_column WHERE id = {{list}} AND name IS NULL;
"""  # noqa: S608 (a constant)

# Of PostgreSQL: the arguments are the schema of vault_column, and the column that refers to the list.
CREATE_FUNCTION = """
DO $do$ BEGIN
    IF to_regprocedure('vault_delete_list()') IS NULL THEN
        CREATE FUNCTION vault_delete_list() RETURNS trigger LANGUAGE plpgsql AS $function$
        DECLARE
            vault text := quote_ident(TG_ARGV[0]);
            list bigint;
            lists text;
            deleted bigint;
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                lists := '(SELECT ' || quote_ident(TG_ARGV[1]) || ' FROM ' || TG_RELID::regclass || ')';
                EXECUTE 'DELETE FROM ' || vault || '.vault_payload p USING ' || vault || '.vault_column c'
                    || ' WHERE c.name IS NULL AND c.id IN ' || lists
                    || ' AND p.id BETWEEN c.id << 32 AND (c.id << 32) + 4294967295';
                EXECUTE 'DELETE FROM ' || vault || '.vault_column WHERE name IS NULL AND id IN ' || lists;
                RETURN NULL;
            END IF;
            EXECUTE 'SELECT ($1).' || quote_ident(TG_ARGV[1]) INTO list USING OLD;
            EXECUTE 'DELETE FROM ' || vault || '.vault_column WHERE id = $1 AND name IS NULL' USING list;
            GET DIAGNOSTICS deleted = ROW_COUNT;
            IF deleted > 0 THEN
                EXECUTE 'DELETE FROM ' || vault || '.vault_payload WHERE id BETWEEN $1 AND $1 + 4294967295'
                    USING list << 32;
            END IF;
            RETURN NULL;
        END
        $function$;
    END IF;
END $do$
"""

CREATE_TRIGGERS = """
DO $do$ BEGIN
    EXECUTE {trigger} || ' EXECUTE FUNCTION vault_delete_list(' || quote_literal(coalesce((
        SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE pg_class.oid = to_regclass('vault_column')
    ), current_schema())) || ', ' || quote_literal({column}) || ')';
END $do$
"""

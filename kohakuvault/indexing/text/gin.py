"""A text index on PostgreSQL: one of GIN, of the expressions that queries have."""

from __future__ import annotations

from sqlalchemy import ColumnElement
from sqlalchemy.engine import Dialect

from ...orm.text_index import TextIndex
from ...orm.trigrams import is_of_trigrams, trigram_vector
from ...orm.tsvector import PORTER, ts_config, ts_vector

__all__ = ["create_statements", "drop_statements"]

# FTS5's stemmer, without a list of words to leave out. Two that make it at once shall both go on.
_MAKE_PORTER = f"""
DO $$ BEGIN
IF NOT EXISTS (SELECT FROM pg_ts_config WHERE cfgname = '{PORTER}' AND pg_ts_config_is_visible(oid)) THEN
CREATE TEXT SEARCH DICTIONARY {PORTER} (TEMPLATE = pg_catalog.snowball, LANGUAGE = porter);
CREATE TEXT SEARCH CONFIGURATION {PORTER} (COPY = pg_catalog.simple);
ALTER TEXT SEARCH CONFIGURATION {PORTER} ALTER MAPPING FOR asciiword, word, numword WITH {PORTER};
END IF;
EXCEPTION WHEN unique_violation OR duplicate_object THEN NULL;
END $$
""".strip()


def create_statements(index: TextIndex, dialect: Dialect) -> list[str]:
    """Return what makes an index.

    It is of all columns together and, if there are several, of each as well: words may be searched for in any of
    them, each in another, or in one.
    """
    columns = index.columns
    vector = trigram_vector if is_of_trigrams(index) else ts_vector
    vectors = [vector(index, columns)]
    if len(columns) > 1:
        vectors += [vector(index, [column]) for column in columns]
    quote = dialect.identifier_preparer
    expressions = ", ".join(f"({_literal(vector, dialect)})" for vector in vectors)
    made = (
        f"CREATE INDEX {quote.quote_identifier(index.name)} ON {quote.format_table(index.table)} "
        f"USING gin ({expressions})"
    )
    stems = not is_of_trigrams(index) and ts_config(index) == PORTER
    return [_MAKE_PORTER, made] if stems else [made]


def drop_statements(index: TextIndex, dialect: Dialect) -> list[str]:
    """Return what drops an index."""
    quote = dialect.identifier_preparer
    # In the schema of its table.
    schema = "" if index.table.schema is None else f"{quote.quote_schema(index.table.schema)}."
    return [f"DROP INDEX IF EXISTS {schema}{quote.quote_identifier(index.name)}"]


def _literal(expression: ColumnElement[object], dialect: Dialect) -> str:
    return str(expression.compile(dialect=dialect, compile_kwargs={"literal_binds": True, "include_table": False}))

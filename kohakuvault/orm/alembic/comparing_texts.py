"""What autogenerate compares beside what Alembic does: the text indexes of tables."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import ModifyTableOps
from sqlalchemy import Table

from ..text_index import TextIndex, text_indexes_of
from ..tsvector import PORTER, ts_config
from .comparing import compares, own_relations
from .found_texts import FoundText
from .text_index_ops import CreateTextIndexOp, DropTextIndexOp

__all__: list[str] = []

# By the configuration that they are on PostgreSQL.
_TOKENIZERS = {PORTER: "porter", "simple": "unicode61"}


@compares("table", "kohakuvault.text")
def _text_indexes(
    context: AutogenContext,
    modify_ops: ModifyTableOps,
    schema: str | None,
    name: str,
    conn_table: Table | None,
    metadata_table: Table | None,
) -> None:
    """Have indexes made that are missing, and dropped that are too many; those that changed both."""
    own = own_relations(context.migration_context)
    there = {index.name: index for index in own.texts if (index.schema, index.table) == (schema, str(name))}
    plain = set() if metadata_table is None else {index.name for index in metadata_table.indexes}
    declared = {} if metadata_table is None else {index.name: index for index in text_indexes_of(metadata_table)}
    kept: set[Any] = set(plain)
    for index_name, found in sorted(there.items()):
        wanted = declared.get(index_name)
        if wanted is not None and _is_same(found, wanted):
            kept.add(index_name)
        elif index_name not in plain:
            modify_ops.ops.append(_drop(found))
    for index_name, wanted in sorted(declared.items()):
        if index_name not in kept:
            modify_ops.ops.append(CreateTextIndexOp.from_index(wanted))


def _is_same(found: FoundText, wanted: TextIndex) -> bool:
    """Whether an index is as it is declared, as far as this database tells."""
    columns = tuple(column.name for column in wanted.columns)
    if found.config is not None:
        return set(found.columns) == set(columns) and found.config == ts_config(wanted).rpartition(".")[2]
    return (
        found.columns == columns
        and found.key == wanted.key.name
        and found.tokenize == wanted.tokenize
        and found.weights == wanted.weights
        and found.prefix == wanted.options.get("prefix")
    )


def _drop(found: FoundText) -> DropTextIndexOp:
    options: dict[str, Any] = {}
    if found.prefix is not None:
        options["prefix"] = found.prefix
    if found.config not in (None, *_TOKENIZERS):
        options["postgresql_config"] = found.config
    return DropTextIndexOp(
        found.name,
        str(found.table),
        found.columns,
        tokenize=_TOKENIZERS.get(found.config or "", found.tokenize),
        weights=found.weights,
        key=found.key,
        schema=found.schema,
        **options,
    )

"""What is read from an old file, into the containers of the new database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Table, func, insert, select

from ..binding import Bind, Binding, bind_to
from ..column.elements import elements_of
from ..columns import Column, ColumnVault
from ..errors import CorruptValue, InvalidArgument, UnsupportedType
from ..kvault import KVault
from ..lending import translated_errors
from ..orm.tables import table_of, text_class, text_index_of
from ..packing import pack
from ..rows.ids import ids_of
from ..schema import open_tables
from ..text.recorded import text_record
from ..vectors import VectorKVault
from .batches import Batches
from .dicts import dict_rows
from .dtypes import Decoding
from .found import Found
from .report import ItemReport
from .source import Budget, Damaged, Source
from .values import NotTaken, ValueReader

__all__ = ["Options", "import_column", "import_dict", "import_texts", "import_vectors"]

Told = Callable[[int], None]


@dataclass(frozen=True)
class Options:
    """How an import reads what can be read in several ways."""

    pickle: bool
    keys_as_text: bool
    numbers: str


def import_dict(source: Source, new: Bind, found: Found, item: ItemReport, options: Options, told: Told) -> None:
    """Import a dict."""
    kv = KVault(new, item.new_name, pickle=options.pickle)
    batches = Batches(kv.put_many, item, told)
    values = ValueReader(options.numbers, options.pickle)
    try:
        for stored, data in dict_rows(source, found.name):
            key = _key(stored, options.keys_as_text)
            try:
                if not isinstance(stored, bytes):
                    raise NotTaken("its key is a number")
                value = values.read(data, lambda text: item.note(text, key))  # noqa: B023 (called at once)
            except NotTaken as error:
                item.refuse(str(error), key)
                batches.skip()
                continue
            batches.add(key, (key, value), len(stored) + len(data))
    except Damaged as error:
        _cut_short(batches, found, item, error)
    batches.flush()
    _compare(item, len(kv), "its key is another row's too")


def _key(stored: Any, as_text: bool) -> Any:
    """Return the new key: text that is UTF-8 and bytes that are not cannot be the same."""
    if not as_text or not isinstance(stored, bytes):
        return stored
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def import_vectors(source: Source, new: Bind, found: Found, item: ItemReport, options: Options, told: Told) -> None:
    """Import a table of vectors, under the same ids."""
    old = found.content
    vault = VectorKVault(new, item.new_name, old.dimensions, old.metric, pickle=options.pickle)

    def write(rows: Sequence[tuple[int, Any, Any]]) -> None:
        ids, vectors, values = zip(*rows, strict=True)
        vault.upsert_many(ids, np.stack(vectors), values)

    batches = Batches(write, item, told)
    reader = ValueReader(options.numbers, options.pickle)
    budget = Budget(source.path)
    try:
        for ids, vectors, references in old.chunks():
            good = np.isfinite(vectors).all(axis=1)
            if old.metric == "cosine":
                good &= vectors.any(axis=1)
            for id, vector, reference, is_good in zip(
                ids.tolist(), vectors, references.tolist(), good.tolist(), strict=True
            ):
                try:
                    if not is_good:
                        raise NotTaken("a vector with NaN or infinity, or by cosine of zeros, which no search finds")
                    data = old.value(reference)
                    if data is None:
                        raise NotTaken("its value is missing")
                    budget.take(_size(data))
                    value = reader.read(data, lambda text: item.note(text, id))  # noqa: B023 (called at once)
                except NotTaken as error:
                    item.refuse(str(error), id)
                    batches.skip()
                    continue
                batches.add(id, (id, vector, value), vector.nbytes + len(data))
    except Damaged as error:
        _cut_short(batches, found, item, error)
    batches.flush()
    _count_ids(vault.binding, table_of(vault.entity))
    _compare(item, len(vault), "its id is another row's too")


def import_texts(source: Source, new: Bind, found: Found, item: ItemReport, options: Options, told: Told) -> None:
    """Import a table of texts, under the same ids."""
    old = found.content
    entity = text_class(item.new_name, old.columns, pickle=options.pickle)
    table = table_of(entity)
    binding = bind_to(new)
    open_tables(binding, [table], "text", text_record(text_index_of(entity)), create=True)
    reader = ValueReader(options.numbers, options.pickle)
    budget = Budget(source.path)
    takes_nul = binding.dialect.name == "sqlite"
    with binding.transaction() as connection:

        def write(rows: Sequence[dict[str, Any]]) -> None:
            with translated_errors(binding.engine), connection.begin_nested():
                connection.execute(insert(table), rows)

        batches = Batches(write, item, told)
        try:
            for id, data, *stored in old.rows():
                try:
                    texts = [_text(text, takes_nul) for text in stored]
                    if data is None:
                        raise NotTaken("its value is missing")
                    budget.take(_size(data))
                    value = reader.read(data, lambda text: item.note(text, id))  # noqa: B023 (called at once)
                    size = sum(map(len, stored)) + len(pack(value, options.pickle))
                except NotTaken as error:
                    item.refuse(str(error), id)
                    batches.skip()
                    continue
                except (InvalidArgument, UnsupportedType) as error:
                    item.refuse(f"cannot be stored: {error!s:.200}", id)
                    batches.skip()
                    continue
                batches.add(id, {"id": id, **dict(zip(old.columns, texts, strict=True)), "value": value}, size)
        except Damaged as error:
            _cut_short(batches, found, item, error)
        batches.flush()
        count = connection.scalar(select(func.count()).select_from(table)) or 0
    _count_ids(binding, table)
    _compare(item, count, "its id is another row's too")


def _size(data: Any) -> int:
    return len(data) if isinstance(data, bytes) else 0


def _text(stored: Any, takes_nul: bool) -> str:
    if not isinstance(stored, bytes):
        raise NotTaken("its text is none")
    try:
        text = stored.decode()
    except UnicodeDecodeError as error:
        raise NotTaken("its text is not UTF-8") from error
    if "\0" in text and not takes_nul:
        raise NotTaken("its text has a NUL, which PostgreSQL cannot store")
    return text


def _count_ids(binding: Binding, table: Table) -> None:
    """Let the ids that the database gives follow those that were imported."""
    with binding.writing() as cursor:
        ids_of(table, binding.dialect).skip(cursor)


def _cut_short(batches: Batches, found: Found, item: ItemReport, error: Damaged) -> None:
    """Keep what was read before the file could not be read any further."""
    batches.flush()
    item.refuse(str(error), f"after {batches.done}", max(found.total - batches.done, 1))


def _compare(item: ItemReport, count: int, reason: str) -> None:
    """Compare what is in the new table with what was put there."""
    if count < item.taken:
        item.refuse(reason, "?", item.taken - count)
        item.taken = count
    elif count > item.taken:
        raise CorruptValue(f"{item.new_name!r} has {count} rows, and {item.taken} were imported: something else wrote")


# -- columns ---------------------------------------------------------------------------------------


def import_column(source: Source, new: Bind, found: Found, item: ItemReport, options: Options, told: Told) -> None:
    """Import a column."""
    decoding: Decoding = found.content.decoding()
    column = ColumnVault(new).create_column(item.new_name, decoding.dtype)
    done = replaced = 0
    try:
        for run in found.content.runs():
            start = done

            def refuse(reason: str, index: int) -> None:
                nonlocal replaced
                replaced += 1
                item.refuse(reason, start + index)  # noqa: B023 (called at once)

            values = decoding.elements(run, refuse) if isinstance(run, bytes) else decoding.items(run, refuse)
            _extend(column, values, decoding.zero, refuse)
            done += len(values)
            told(done)
    except Damaged as error:
        item.refuse(str(error), f"from {done} on", max(found.content.length - done, 1))
    if len(column) != done:
        raise CorruptValue(f"column {item.new_name!r} has {len(column)} elements, and {done} were imported")
    if done > found.content.length:
        item.note(f"the file says that there are {found.content.length} elements: all that there are are taken", done)
    item.taken = done - replaced


def _extend(column: Column, values: Any, zero: Any, refuse: Callable[[str, int], None]) -> None:
    try:
        column.extend(values)
    except (InvalidArgument, UnsupportedType):
        pack = elements_of(column.dtype).pack_one
        storable = list(values)
        for index, value in enumerate(storable):
            try:
                pack(value)
            except (InvalidArgument, UnsupportedType) as error:
                refuse(f"cannot be stored: {error!s:.200}", index)
                storable[index] = zero
        column.extend(storable)

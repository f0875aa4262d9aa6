"""Rows of a column that something else has changed: named, or not needed; never a crash, a hang, or written over."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy

from column_model import NUMBERS, all_equal, elements
from kohakuvault import Column, ColumnVault, CorruptValue, create_engine
from kohakuvault.column.elements import elements_of
from kohakuvault.orm.tables import Block, ColumnRecord, Payload

# dtype, whether blocks are compressed, whether they have a checksum.
KINDS = {
    "i64": ("i64", None, False),
    "bool": ("bool", None, False),
    "str": ("str:utf8", None, False),
    "vec": ("vec:f32:2", None, False),
    "i64 zstd": ("i64", "zstd", False),
    "i64 checksum": ("i64", None, True),
    "str zstd+checksum": ("str:utf8", "zstd", True),
}

# Of the column's row.
ROW = [f"length = {value}" for value in ("length + 1", 20, 0, -5, 10**12, 2**63 - 1, "'x'", 1.5, "x'00'")]
ROW += [f"sealed = {value}" for value in ("sealed - 1", "sealed + 1", 0, "length", -1, 10**12, "'x'", 1.5, "x'00'")]
ROW += [f"last_block = {value}" for value in (0, 1, -1, 2**32, 2**40, "'x'", 1.5)]
ROW += [f"block_bytes = {value}" for value in (10, 0, -5, 2**20, 2**40, "'x'", 1.5)]
ROW += [f"compression = {value}" for value in ("NULL", 3, 99, -1, "'x'", 1.5)]
ROW += [f"checksum = {value}" for value in (0, 1, 2, "'x'")]
ROW += [f"dtype = {value}" for value in ("'i65'", "''", "x'ff'", 5, "'vec:'")]
ROW += [
    f"tail = {value}"
    for value in ("x''", "x'00'", "substr(tail, 2)", "tail || x'00'", "'text'", "CAST(tail AS TEXT)", 5, 1.5)
]
# Of the second block's row; of the last one's; of rows that should not be there.
BLOCK = [f"start = {value}" for value in ("start + 1", "start - 1", 0, -1, 10**12, "'x'", 1.5)]
BLOCK += [f"count = {value}" for value in ("count - 1", "count + 1", 0, -1, 2**31, 2**62, "'x'", 1.5)]
BLOCK += ["id = id + 100", "summary = x''", "summary = 'text'", "summary = 5", "column_id = 3"]
PAYLOAD = [
    f"data = {value}"
    for value in ("x''", "x'00'", "substr(data, 2)", "data || x'00'", "'text'", "CAST(data AS TEXT)", 5, 1.5)
]
PAYLOAD += ["id = id + 100"]
OTHERS = [
    "DELETE FROM vault_block WHERE id = {second}",
    "DELETE FROM vault_payload WHERE id = {second}",
    "DELETE FROM vault_block WHERE id = {last}",
    "DELETE FROM vault_payload WHERE id = {last}",
    "DELETE FROM vault_block WHERE column_id = 1",
    "DELETE FROM vault_payload WHERE id < 8589934592",
    "INSERT INTO vault_block SELECT id + 100, 1, start, count, summary FROM vault_block WHERE id = {second}",
    "INSERT INTO vault_block SELECT id + 100, 1, start + 1, 1, summary FROM vault_block WHERE id = {second}",
    "INSERT INTO vault_block SELECT {last} + 1, 1, sealed, 1, NULL FROM vault_column WHERE id = 1",
    "INSERT INTO vault_payload SELECT {last} + 1, data FROM vault_payload WHERE id = {second}",
]
DAMAGES = [f"UPDATE vault_column SET {change} WHERE id = 1" for change in ROW]
DAMAGES += [f"UPDATE vault_block SET {change} WHERE id = {{second}}" for change in BLOCK]
DAMAGES += [f"UPDATE vault_payload SET {change} WHERE id = {{second}}" for change in PAYLOAD]
DAMAGES += OTHERS


class _RolledBackError(Exception):
    pass


class Damaged:
    """A column that is to be damaged, beside one that is not."""

    def __init__(self, path: Path, kind: str) -> None:
        dtype, compression, checksum = KINDS[kind]
        self.path = path
        self.dtype = dtype
        self.vault = ColumnVault(create_engine(path))
        options = {"block_bytes": 64, "compression": compression, "checksum": checksum}
        self.column = self.vault.create_column("c", dtype, **options)
        self.healthy = self.vault.create_column("healthy", "i64", block_bytes=64)
        # A whole number of blocks and some elements.
        size = elements_of(dtype).item_size
        self.model = elements(dtype, 4 * (64 // (size or 16)) + 3)
        self.new = elements(dtype, 20, "new")
        self.column.extend(self.model)
        self.healthy.extend(range(20))
        assert len(self.column[:5]) == 5
        self.raw = sqlite3.connect(path, isolation_level=None)
        ids = [
            number for (number,) in self.raw.execute("SELECT id FROM vault_block WHERE column_id = 1 ORDER BY start")
        ]
        self.ids = {"second": ids[1], "last": ids[-1]}

    def damage(self, sql: str) -> None:
        self.raw.execute("PRAGMA foreign_keys = OFF")
        self.raw.execute(sql.format(**self.ids))

    def content(self, execute: Callable[[str], Any]) -> list[Any]:
        """All that is stored, with its types."""
        content = []
        for entity in (ColumnRecord, Block, Payload):
            columns = ", ".join(f"typeof({column.name}), hex({column.name})" for column in entity.__table__.columns)
            content += execute(f"SELECT {columns} FROM {entity.__tablename__} ORDER BY id").fetchall()
        return content

    def handles(self) -> Iterator[Column]:
        """The handle that knew the column before, and one that is new, if its row allows that."""
        yield self.column
        with suppress(CorruptValue):
            yield ColumnVault(create_engine(self.path))["c"]

    def reads(self, column: Column) -> list[tuple[Callable[[], Any], Any]]:
        """What can be read, and what is right."""
        model = self.model
        many = [len(model) - 1, 0, 9]
        reads: list[tuple[Callable[[], Any], Any]] = [
            (lambda: column[:], model),
            (lambda: list(column), model),
            (lambda: list(reversed(column)), model[::-1]),
            (lambda: list(column.to_numpy().tolist()), [getattr(value, "tolist", lambda: value)() for value in model]),
            (lambda: column[::-3], model[::-3]),
            (lambda: column[2:-2], model[2:-2]),
            (lambda: column[-5:], model[-5:]),
            (lambda: column[many], [model[index] for index in many]),
            (lambda: [value for batch in column.iter_batches(5, as_array=False) for value in batch], model),
            (lambda: [column == model], [True]),
            (lambda: [column.count(model[1])], [sum(np.array_equal(value, model[1]) for value in model)]),
        ]
        reads += [(lambda i=i: [column[i]], [model[i]]) for i in range(-len(model), len(model), 3)]
        reads += [(lambda i=i: column[i : i + 3], model[i : i + 3]) for i in range(0, len(model), 4)]
        if self.dtype in NUMBERS:
            reads += [(lambda: [column.sum()], [sum(model)]), (lambda: [column.max(3)], [max(model[3:])])]
            reads += [
                (lambda: column.where(model[9], model[9]).tolist(), [i for i, v in enumerate(model) if v == model[9]])
            ]
        return reads

    def writes(self, column: Column, model: list[Any]) -> list[tuple[Callable[[], Any], Callable[[], Any]]]:
        """What can be changed, of the column and of a list."""
        new = self.new
        model_set = model.__setitem__
        return [
            (lambda: column.append(new[0]), lambda: model.append(new[0])),
            (lambda: column.extend(new[:3]), lambda: model.extend(new[:3])),
            (lambda: column.extend(new * 9), lambda: model.extend(new * 9)),
            (lambda: column.__setitem__(9, new[0]), lambda: model_set(9, new[0])),
            (lambda: column.__setitem__(0, new[0]), lambda: model_set(0, new[0])),
            (lambda: column.__setitem__(-1, new[0]), lambda: model_set(-1, new[0])),
            (lambda: column.__setitem__(len(model) - 2, new[0]), lambda: model_set(-2, new[0])),
            (lambda: column.__setitem__([3, 12], new[:2]), lambda: (model_set(3, new[0]), model_set(12, new[1]))),
            (lambda: column.__setitem__(slice(4, 12), new), lambda: model_set(slice(4, 12), new)),
            (lambda: column.insert(10, new[0]), lambda: model.insert(10, new[0])),
            (lambda: column.insert(0, new[0]), lambda: model.insert(0, new[0])),
            (lambda: column.__delitem__(slice(4, 20)), lambda: model.__delitem__(slice(4, 20))),
            (lambda: column.__delitem__(0), lambda: model.__delitem__(0)),
            (column.pop, model.pop),
            (column.reverse, model.reverse),
            (column.clear, model.clear),
        ]


def shifted(damage: str) -> bool:
    """Whether single elements, and short slices, are read where they are not: their block's place is taken as it is."""
    return "SET start" in damage or "SELECT" in damage


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_named_or_not_needed(tmp_path, kind, damage):
    case = Damaged(tmp_path / "a.db", kind)
    case.damage(damage)
    before = case.content(case.raw.execute)
    for column in case.handles():
        with suppress(CorruptValue):
            assert len(column) == len(case.model) or case.dtype == "str:utf8"
        for read, right in case.reads(column):
            try:
                found = read()
            except CorruptValue:
                continue
            else:
                assert all_equal(found, right) or (shifted(damage) and len(found) <= 3), (found, right)
    assert case.content(case.raw.execute) == before

    for number in range(16):
        with suppress(_RolledBackError), case.vault.transaction() as connection:

            def execute(sql, connection=connection):
                return connection.exec_driver_sql(sql)

            model = list(case.model)
            write, on_list = case.writes(case.column, model)[number]
            try:
                write()
            except CorruptValue:
                assert case.content(execute) == case.content(case.raw.execute)
            else:
                on_list()
                try:
                    now = case.column[:]
                except CorruptValue:
                    pass  # The damage is elsewhere, and stays.
                else:
                    assert all_equal(now, model) or shifted(damage), number
            raise _RolledBackError
    assert case.content(case.raw.execute) == before
    repr(case.column)
    case.vault.list_columns()
    assert case.healthy[:] == list(range(20))
    assert case.healthy.sum() == 190
    assert case.vault.delete_column("c")
    assert case.vault.list_columns() == [("healthy", "i64", 20)]
    assert {row[0] // 2**32 for row in case.raw.execute("SELECT id FROM vault_payload")} <= {2}
    case.healthy.append(20)
    assert case.healthy.sum() == 210
    case.raw.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_byte_of_a_block_and_of_the_tail(tmp_path, kind):
    """With a checksum each is named; without, it is some value or named."""
    case = Damaged(tmp_path / "a.db", kind)
    checksum = KINDS[kind][2]
    for table, name, row in (("vault_payload", "data", case.ids["second"]), ("vault_column", "tail", 1)):
        ((stored,),) = case.raw.execute(f"SELECT {name} FROM {table} WHERE id = {row}").fetchall()
        damaged = [stored[:end] for end in range(len(stored))]
        damaged += [stored + b"\0", stored + stored]
        for place in range(len(stored)):
            other = bytearray(stored)
            other[place] ^= 1 << place % 8
            damaged.append(bytes(other))
        for number, data in enumerate(damaged):
            case.raw.execute(f"UPDATE {table} SET {name} = ? WHERE id = {row}", (data,))
            place = 64 // (elements_of(case.dtype).item_size or 16) + 1 if table == "vault_payload" else -1
            for read in (lambda: case.column[:], lambda: [case.column[place]]):
                try:
                    found = read()
                except CorruptValue:
                    continue
                assert not checksum or len(found) == 1, number
                assert len(found) in (1, len(case.model))
        case.raw.execute(f"UPDATE {table} SET {name} = ? WHERE id = {row}", (stored,))
    assert all_equal(case.column[:], case.model)
    assert case.healthy[:] == list(range(20))
    case.raw.close()


@pytest.mark.parametrize("kind", ["i64", "str zstd+checksum"])
@pytest.mark.parametrize(
    "damage",
    [
        sqlalchemy.update(ColumnRecord).values(length=ColumnRecord.length + 1),
        sqlalchemy.update(ColumnRecord).values(sealed=ColumnRecord.sealed - 1),
        sqlalchemy.update(ColumnRecord).values(tail=b"\1\2\3"),
        sqlalchemy.update(Block).values(start=Block.start + 1),
        sqlalchemy.update(Block).values(count=Block.count + 1),
        sqlalchemy.delete(Payload),
        sqlalchemy.update(Payload).values(data=b"\1\2\3"),
    ],
    ids=range(7),
)
def test_damage_on_postgresql(new_url, kind, damage):
    dtype, compression, checksum = KINDS[kind]
    engine = create_engine(new_url("postgresql"))
    vault = ColumnVault(engine)
    column = vault.create_column("c", dtype, block_bytes=64, compression=compression, checksum=checksum)
    model = elements(dtype, 35)
    column.extend(model)
    with engine.begin() as connection:
        connection.execute(damage)
    reads = [lambda: column[:], lambda: list(column), column.to_numpy, lambda: column[::-1]]
    for operation in (*reads, column.reverse):
        with pytest.raises(CorruptValue):
            operation()
    for index in range(-35, 35):
        with suppress(CorruptValue):
            assert column[index] == model[index] or "start" in str(damage)
    assert vault.delete_column("c")
    engine.dispose()


@pytest.mark.parametrize(
    ("dtype", "block"),
    [
        ("bool", b"\x02\x02"),
        ("str:utf8", b"\xff" * 12),
        ("str:utf8", b"\x01\0\0\0\x02\0\0\0\xff\xff"),
        ("str:utf16le", b"\x02\0\0\0\x04\0\0\0\0\xd8\0\xd8"),
        ("str:ascii", b"\x01\0\0\0\x02\0\0\0\x80\x80"),
        ("str:4:ascii", b"\x80\0\0\0\x80\0\0\0"),
        ("bytes", b"\xff\xff\xff\xff\0\0\0\0ab"),
        ("bytes", b"\x02\0\0\0\x01\0\0\0a"),
        ("msgpack", b"\x01\0\0\0\x02\0\0\0\xc1\xc1"),
        ("cbor", b"\x01\0\0\0\x02\0\0\0\xff\xff"),
        ("json", b"\x01\0\0\0\x02\0\0\0{{"),
        ("vec:f32", b"\x02\0\0\0\x04\0\0\0\x01\xff\x01\xff"),
        ("vec:f32", b"\x06\0\0\0\x0c\0\0\0" + b"\x04\x01\0\0\0\0" * 2),
    ],
    ids=lambda value: value if isinstance(value, str) else value.hex(),
)
def test_a_block_of_foreign_bytes(engine, dtype, block):
    vault = ColumnVault(engine)
    column, healthy = vault.create_column("c", dtype, block_bytes=64), vault.create_column("healthy", "i64")
    value = min(elements(dtype, 20), key=lambda value: len(elements_of(dtype).codec.pack_one(value)))
    column.extend([value, value])
    healthy.extend([1, 2])
    with engine.begin() as connection:
        connection.execute(sqlalchemy.update(ColumnRecord).where(ColumnRecord.name == "c").values(sealed=2, tail=b""))
        connection.execute(sqlalchemy.insert(Payload).values(id=column._id * 2**32 + 50, data=block))
        place = {"id": column._id * 2**32 + 50, "column_id": column._id, "start": 0, "count": 2}
        connection.execute(sqlalchemy.insert(Block).values(place))
    for read in (lambda: column[:], lambda: column[1], lambda: list(column), column.to_numpy, lambda: column.take([1])):
        with pytest.raises(CorruptValue):
            read()
    assert healthy[:] == [1, 2]


def test_a_compressed_block_that_would_be_huge_is_refused_before_it_is_unpacked(engine):
    vault = ColumnVault(engine)
    for dtype in ("i64", "bytes"):
        column = vault.create_column(dtype, dtype, block_bytes=64, compression="zstd")
        column.extend(elements(dtype, 40))
        bomb = column._form.store(bytes(1 << 26))
        assert len(bomb) < 10_000
        with engine.begin() as connection:
            connection.execute(sqlalchemy.update(Payload).values(data=bomb))
        with pytest.raises(CorruptValue, match="67108864 bytes"):
            column[:]

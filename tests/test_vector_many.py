"""Many rows of a VectorKVault at once, all or none, on every database and kind of bind."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy.orm import DeclarativeBase

from kohakuvault import InvalidArgument, UnsupportedType, VectorKVault
from kohakuvault.orm.tables import VectorTable


@pytest.fixture
def vault(bind):
    return VectorKVault(bind, "v", dimensions=3, metric="l2")


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", ">f4", "i1", "u8", "i4"])
def test_arrays_of_any_numbers_are_inserted(engine, dtype):
    vault = VectorKVault(engine, "v", dimensions=3, metric="l2")
    array = np.arange(18).reshape(6, 3).astype(dtype)
    for given in (array, array[::-1], np.asfortranarray(array), array[::2], array[:0]):
        vault.clear()
        ids = vault.insert_many(given)
        assert all(type(id) is int for id in ids)
        assert [vector.tolist() for vector, _ in vault.get_many(ids)] == given.tolist()
    sparse = np.zeros((3, 6))
    sparse[:, ::2] = 7
    ids = vault.insert_many(sparse[:, ::2])
    assert vault.get_many(ids)[2][0].tolist() == [7, 7, 7]


def test_sequences_and_generators_are_inserted(vault):
    ids = vault.insert_many([[1, 2, 3], (4.0, 5, 6), np.array([7, 8, 9]), np.array([1, 1, 1], "<f4").tobytes()], "abcd")
    ids += vault.insert_many((row for row in np.eye(3)), (number for number in range(3)))
    assert vault.insert_many([]) == vault.insert_many(np.zeros((0, 3)), []) == vault.insert_many(iter(())) == []
    vectors = [vector.tolist() for vector, _ in vault.get_many(ids)]
    assert vectors == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert [value for _, value in vault.get_many(ids)] == ["a", "b", "c", "d", 0, 1, 2]


def test_ids_are_those_of_their_rows_whatever_was_there_before(vault):
    known: dict[int, int] = {}

    def add(count: int) -> None:
        values = range(len(known), len(known) + count)
        ids = vault.insert_many(np.random.default_rng(count).standard_normal((count, 3)), values)
        assert ids == sorted(ids)
        known.update(zip(ids, values, strict=True))

    add(3)
    vault.delete(max(known))
    del known[max(known)]
    add(2000)
    known[vault.insert([1, 2, 3], -1)] = -1
    known[vault.upsert(max(known) + 5, [1, 2, 3], -2)] = -2
    add(20)
    assert vault.delete_many(list(known)[:1000]) == 1000
    for id in list(known)[:1000]:
        del known[id]
    add(1)
    assert {id: value for id, (_, value) in vault.items()} == known


def test_values_of_any_size_keep_their_vectors(vault):
    # Larger than a buffer of rows, in front, between and at the end.
    values = [b"x" * size for size in (300_000, 1, 2, 600_000, 3, 300_000)]
    vectors = np.arange(18).reshape(6, 3)
    ids = vault.insert_many(vectors, values)
    found = vault.get_many(ids)
    assert [value for _, value in found] == values
    assert np.array_equal([vector for vector, _ in found], vectors)


def test_a_bad_vector_anywhere_writes_nothing(vault):
    vault.insert([1, 2, 3], "kept")
    good = np.ones((5, 3))
    for bad in (np.nan, np.inf, 1e39):
        array = good.copy()
        array[3, 1] = bad
        with pytest.raises(InvalidArgument, match="vector 3"):
            vault.insert_many(array)
        with pytest.raises(InvalidArgument, match="vector 3"):
            vault.insert_many(list(array))
        with pytest.raises(InvalidArgument, match="vector 3"):
            vault.upsert_many(range(5), array)
    for wrong, error in [
        (good[0], InvalidArgument),
        (np.ones((2, 4)), InvalidArgument),
        (np.ones((1, 2, 3)), InvalidArgument),
        (good.astype(complex), UnsupportedType),
        (good.astype(bool), UnsupportedType),
        (good.astype("U4"), UnsupportedType),
        ([[1, 2]], InvalidArgument),
        ([1, 2, 3], UnsupportedType),
        (b"\0" * 12, UnsupportedType),
        ("abc", UnsupportedType),
        (None, UnsupportedType),
        (5, UnsupportedType),
        ({1: [1, 2, 3]}, UnsupportedType),
    ]:
        with pytest.raises(error):
            vault.insert_many(wrong)
    with pytest.raises(InvalidArgument, match="3 vectors need as many values, not 2"):
        vault.insert_many(good[:3], [1, 2])
    with pytest.raises(UnsupportedType, match="values is a sequence"):
        vault.insert_many(good[:3], 5)
    with pytest.raises(InvalidArgument, match="2 ids need as many vectors, not 3"):
        vault.upsert_many([1, 2], good[:3])
    assert [value for _, (_, value) in vault.items()] == ["kept"]


def test_an_iterator_that_fails_writes_nothing(vault):
    def failing(good):
        yield from good
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        vault.insert_many(failing([[1, 2, 3]]))
    with pytest.raises(ZeroDivisionError):
        vault.insert_many([[1, 2, 3]] * 2, failing(["a"]))
    assert len(vault) == 0


def test_upsert_many_inserts_and_replaces(vault):
    vault.insert_many(np.eye(3), "abc")
    first = next(iter(vault))
    assert vault.upsert_many([first + 1, 100, -5], np.full((3, 3), 2.0), ["B", "new", "negative"]) == [
        first + 1,
        100,
        -5,
    ]
    assert vault.upsert_many([], []) == []
    assert {id: value for id, (_, value) in vault.items()} == {
        -5: "negative",
        first: "a",
        first + 1: "B",
        first + 2: "c",
        100: "new",
    }
    assert vault.upsert_many(np.array([first, first]), [[1, 1, 1], [9, 9, 9]], ["lost", "last"]) == [first, first]
    vector, value = vault.get_by_id(first)
    assert (vector.tolist(), value) == ([9, 9, 9], "last")


def test_get_many_keeps_the_order_and_says_what_is_missing(vault):
    ids = vault.insert_many(np.arange(3000).reshape(1000, 3), range(1000))
    wanted = [ids[5], 10**9, ids[999], ids[5], ids[0]]
    found = vault.get_many(wanted, default="none")
    assert [entry if entry == "none" else entry[1] for entry in found] == [5, "none", 999, 5, 0]
    assert [value for _, value in vault.get_many(ids[::-1])] == list(range(999, -1, -1))
    assert vault.get_many([]) == []
    assert vault.get_many(range(10**9, 10**9 + 2)) == [None, None]


def test_delete_many_counts_what_was_there(vault):
    ids = vault.insert_many(np.ones((2000, 3)), range(2000))
    assert vault.delete_many([]) == 0
    assert vault.delete_many([ids[0], ids[0], 10**9]) == 1
    assert vault.delete_many(iter(ids[:1500])) == 1499
    assert list(vault) == ids[1500:]
    for wrong in (5, "12", None):
        with pytest.raises(UnsupportedType):
            vault.delete_many(wrong)
    vault.clear()
    assert vault.delete_many(ids) == 0


class Base(DeclarativeBase):
    pass


class Kept(VectorTable, Base):
    __tablename__ = "kept_ids"
    __table_args__ = ({"sqlite_autoincrement": True},)
    __dimensions__ = 3


def test_ids_that_are_never_given_twice_stay_so(engine):
    vault = VectorKVault(engine, Kept)
    ids = vault.insert_many(np.ones((5, 3)))
    vault.delete_many(ids)
    more = vault.insert_many(np.ones((5, 3)))
    assert min(more) > max(ids)
    vault.clear()
    assert vault.insert([1, 2, 3]) > max(more)


def test_beyond_the_largest_id_sqlite_finds_free_ones(tmp_path):
    vault = VectorKVault(tmp_path / "a.db", "v", dimensions=3)
    vault.upsert(2**63 - 1, [1, 2, 3], "last")
    ids = vault.insert_many(np.ones((3, 3)), "abc")
    ids.append(vault.insert([1, 2, 3], "d"))
    assert len({*ids, 2**63 - 1}) == 5
    assert [value for _, value in vault.get_many(ids)] == ["a", "b", "c", "d"]


def test_rows_go_in_without_the_native_extension_too(tmp_path):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    vault = VectorKVault(engine, "v", dimensions=3)
    with engine.connect() as connection:
        # A connection of the application's own, before anything was attached to it.
        joined = VectorKVault(connection, "v", dimensions=3)
        ids = joined.insert_many(np.eye(3), "abc")
        assert joined.delete_many(ids[:1]) == 1
        connection.commit()
    assert [value for _, (_, value) in vault.items()] == ["b", "c"]
    engine.dispose()

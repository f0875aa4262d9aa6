"""One row of a VectorKVault, on every database and kind of bind: insert, upsert, update, delete, and reading by id."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from kohakuvault import InvalidArgument, NotFound, UnsupportedType, VectorKVault


@pytest.fixture
def vault(bind):
    return VectorKVault(bind, "v", dimensions=3, metric="l2")


def rows_of(vault: VectorKVault) -> dict[int, tuple[list[float], object]]:
    return {id: (vector.tolist(), value) for id, (vector, value) in vault.items()}


def test_upsert_inserts_or_replaces_and_the_next_ids_follow(vault):
    assert vault.upsert(7, [1, 2, 3], "first") == 7
    assert rows_of(vault) == {7: ([1, 2, 3], "first")}
    assert vault.upsert(7, [4, 5, 6]) == 7
    assert rows_of(vault) == {7: ([4, 5, 6], None)}
    assert vault.upsert(2, np.array([0, 0, 1]), {"n": 1}) == 2
    inserted = [vault.insert([1, 1, 1], number) for number in range(12)]
    inserted += vault.insert_many(np.ones((12, 3)), range(12))
    assert len(set(inserted)) == 24
    assert len(vault) == 26
    assert vault.get_by_id(7)[0].tolist() == [4, 5, 6]
    assert list(vault) == sorted([2, 7, *inserted])


def test_ids_that_are_given_may_be_any_of_64_bits(vault):
    for id in (-(2**63), -1, 0, 2**40):
        assert vault.upsert(id, [1, 2, 3], id) == id
        assert id in vault
        assert vault.get_by_id(id)[1] == id
    assert list(vault) == [-(2**63), -1, 0, 2**40]
    ids = [vault.insert([1, 2, 3]), *vault.insert_many(np.ones((2, 3)))]
    assert set(vault) == {-(2**63), -1, 0, 2**40, *ids}
    assert len(vault) == 7
    assert vault.delete_many([-(2**63), 2**40]) == 2


def test_update_replaces_what_it_is_given(vault):
    id = vault.insert([1, 2, 3], "value")
    vault.update(id)
    vault.update(id, vector=[4, 5, 6])
    assert rows_of(vault) == {id: ([4, 5, 6], "value")}
    vault.update(id, value=None)
    assert rows_of(vault) == {id: ([4, 5, 6], None)}
    vault.update(id, [7, 8, 9], "both")
    assert rows_of(vault) == {id: ([7, 8, 9], "both")}
    for arguments in ({}, {"value": 1}, {"vector": [1, 1, 1]}):
        with pytest.raises(NotFound, match=f"no id {id + 1}"):
            vault.update(id + 1, **arguments)


def test_values_come_back_equal_and_of_their_type(vault):
    values = [None, 0, True, 1.0, "text", b"bytes", (1, [2]), {"a": {1}}, datetime.date(2024, 1, 2), 2**70]
    ids = [vault.insert([1, 2, 3], value) for value in values]
    found = [vault.get_by_id(id)[1] for id in ids]
    assert found == values
    assert list(map(type, found)) == list(map(type, values))
    array = np.arange(6).reshape(2, 3)
    assert np.array_equal(vault.get_by_id(vault.insert([1, 2, 3], array))[1], array)


def test_what_is_read_is_a_copy(vault):
    id = vault.insert([1, 2, 3])
    vector, _ = vault.get_by_id(id)
    assert vector.flags.writeable
    vector[:] = 0
    assert vault.get_by_id(id)[0].tolist() == [1, 2, 3]


BAD_IDS = ["1", 1.0, None, True, 2**63, -(2**63) - 1, 10**5000, [1], b"1"]


@pytest.mark.parametrize("id", BAD_IDS, ids=range(len(BAD_IDS)))
def test_what_is_no_id_is_named_and_changes_nothing(engine, id):
    vault = VectorKVault(engine, "v", dimensions=3)
    vault.insert([1, 2, 3], "kept")
    operations = [
        lambda: vault.upsert(id, [4, 5, 6]),
        lambda: vault.upsert_many([2, id], [[4, 5, 6], [7, 8, 9]]),
        lambda: vault.update(id, value=1),
        lambda: vault.delete(id),
        lambda: vault.delete_many([1, id]),
        lambda: vault.get_by_id(id),
        lambda: vault.get_many([1, id]),
        lambda: vault.get_metadata(id),
        lambda: vault.exists(id),
        lambda: id in vault,
    ]
    for operation in operations:
        with pytest.raises(UnsupportedType, match="an id is an int of 64 bits"):
            operation()
    assert rows_of(vault) == {1: ([1, 2, 3], "kept")}


def test_numpy_ids_are_ids(vault):
    id = vault.upsert(np.int32(5), [1, 2, 3], "five")
    assert id == 5
    assert type(id) is int
    assert vault.get_by_id(np.uint8(5))[1] == "five"
    assert vault.get_many(np.array([5, 6]))[1] is None
    assert vault.delete_many(np.array([5, 5])) == 1


def test_a_value_that_cannot_be_stored_changes_nothing(vault):
    vault.upsert(1, [1, 2, 3], "kept")
    for operation in (
        lambda: vault.insert([1, 2, 3], object()),
        lambda: vault.upsert(1, [4, 5, 6], object()),
        lambda: vault.update(1, [4, 5, 6], object()),
        lambda: vault.insert_many([[1, 2, 3]] * 3, [1, 2, object()]),
        lambda: vault.upsert_many([1, 2], [[4, 5, 6]] * 2, [1, object()]),
    ):
        with pytest.raises(UnsupportedType):
            operation()
        assert rows_of(vault) == {1: ([1, 2, 3], "kept")}


def test_without_auto_pack_values_are_bytes(vault):
    assert vault.auto_pack_enabled()
    first = vault.insert([1, 2, 3], {"n": 1})
    vault.disable_auto_pack()
    assert not vault.auto_pack_enabled()
    second = vault.insert([1, 2, 3], bytearray(b"raw"))
    vault.insert_many([[1, 2, 3]], [memoryview(b"view")])
    for operation in (
        lambda: vault.insert([1, 2, 3], "text"),
        lambda: vault.insert_many([[1, 2, 3]] * 2, [b"bytes", "text"]),
        lambda: vault.upsert(first, [1, 2, 3], 1),
        lambda: vault.update(first, value=None),
    ):
        with pytest.raises(UnsupportedType, match="auto-pack"):
            operation()
    assert [value for _, value in rows_of(vault).values()] == [{"n": 1}, b"raw", b"view"]
    vault.enable_auto_pack()
    vault.update(second, value="text")
    assert vault.get_by_id(second)[1] == "text"
    with pytest.raises(InvalidArgument, match="pickle=True"):
        vault.enable_auto_pack(use_pickle=True)

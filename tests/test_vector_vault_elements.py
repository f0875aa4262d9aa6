"""A VectorKVault of every type of elements: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy.orm import DeclarativeBase

from kohakuvault import InvalidArgument, SchemaMismatch, UnsupportedType, VectorKVault
from kohakuvault.orm.tables import VectorTable

DIMENSIONS = 11
DTYPES = {"f32": np.float32, "f16": np.float16, "i8": np.int8, "bit": np.bool_}


def vectors_of(vector_type: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    if vector_type == "bit":
        return rng.random((count, DIMENSIONS)) < 0.5
    if vector_type == "i8":
        return rng.integers(-128, 128, (count, DIMENSIONS)).astype(np.int8)
    return rng.standard_normal((count, DIMENSIONS)).astype(DTYPES[vector_type])


@pytest.fixture(params=DTYPES)
def vector_type(request):
    return request.param


def test_vectors_come_back_as_they_went_in(bind, vector_type):
    vault = VectorKVault(bind, "v", DIMENSIONS, vector_type=vector_type)
    assert vault.metric == ("hamming" if vector_type == "bit" else "cosine")
    vectors = vectors_of(vector_type, 40)
    # Not all from one call: of an array, of lists, as packed bytes.
    ids = vault.insert_many(vectors[:20], range(20))
    ids += vault.insert_many(vectors[20:30].tolist(), range(20, 30))
    packed = [np.packbits(row).tobytes() if vector_type == "bit" else row.tobytes() for row in vectors[30:35]]
    ids += vault.insert_many(packed, range(30, 35))
    ids += [vault.insert(row, number) for number, row in enumerate(vectors[35:], 35)]
    for id, vector in zip(ids, vectors, strict=True):
        found = vault.get_by_id(id)[0]
        assert found.dtype == DTYPES[vector_type]
        assert np.array_equal(found, vector)
    vault.update(ids[0], vector=vectors[1])
    assert np.array_equal(vault.get_by_id(ids[0])[0], vectors[1])
    assert vault.check() == []


def test_searches_agree_with_float64(engine, vector_type):
    vault = VectorKVault(engine, "v", DIMENSIONS, "hamming" if vector_type == "bit" else "l2", vector_type)
    vectors = vectors_of(vector_type, 100)
    vault.insert_many(vectors, range(100))
    numbers = vectors.astype(np.float64)
    for query in vectors[:5]:
        of = query.astype(np.float64)
        distances = np.abs(numbers - of).sum(1) if vector_type == "bit" else np.linalg.norm(numbers - of, axis=1)
        nearest = np.sort(distances)
        found = vault.search(query, 10)
        assert np.allclose([distance for _, distance, _ in found], nearest[:10], rtol=1e-6)
        assert np.allclose(distances[[value for _, _, value in found]], nearest[:10], rtol=1e-6)
        assert vault.search_many(query[None], 10) == [found]
        r = float(nearest[30] + nearest[29]) / 2
        assert len(vault.radius(query, r)) == int((distances <= r).sum())


def test_arrays_of_packed_bits_are_taken(engine):
    vault = VectorKVault(engine, "v", DIMENSIONS, vector_type="bit")
    bits = vectors_of("bit", 5)
    ids = vault.insert_many(np.packbits(bits, axis=1))
    ids += vault.insert_many(bits.astype(np.int64)) + vault.insert_many(bits.astype(np.float32))
    assert np.array_equal([vector for vector, _ in vault.get_many(ids)], np.concatenate([bits] * 3))
    behind = np.packbits(bits, axis=1)
    behind[2, -1] |= 1
    with pytest.raises(InvalidArgument, match="vector 2 has bits behind its 11 dimensions"):
        vault.insert_many(behind)


@pytest.mark.parametrize(
    ("vector_type", "number", "error"),
    [
        ("f16", 1e6, InvalidArgument),
        ("f16", np.nan, InvalidArgument),
        ("i8", 128, InvalidArgument),
        ("i8", -129, InvalidArgument),
        ("i8", 0.5, InvalidArgument),
        ("i8", np.nan, InvalidArgument),
        ("i8", 256 + 5, InvalidArgument),
        ("bit", 2, InvalidArgument),
        ("bit", -1, InvalidArgument),
        ("bit", 0.5, InvalidArgument),
    ],
)
def test_numbers_that_elements_cannot_hold_are_refused(engine, vector_type, number, error):
    vault = VectorKVault(engine, "v", DIMENSIONS, vector_type=vector_type)
    array = np.ones((4, DIMENSIONS))
    array[2, 5] = number
    for operation in (
        lambda: vault.insert_many(array),
        lambda: vault.insert_many(array.tolist()),
        lambda: vault.upsert_many(range(4), array),
        lambda: vault.insert(array[2]),
        lambda: vault.search(array[2]),
        lambda: vault.search_many(array),
        lambda: vault.radius(array[2], 1),
    ):
        with pytest.raises((error, UnsupportedType)):
            operation()
    assert len(vault) == 0


def test_bits_are_compared_by_hamming_only(engine):
    for metric in ("cosine", "l2", "l1", "ip"):
        with pytest.raises(InvalidArgument, match="hamming"):
            VectorKVault(engine, "v", DIMENSIONS, metric, "bit")
    vault = VectorKVault(engine, "v", DIMENSIONS, vector_type="bit")
    with pytest.raises(InvalidArgument, match="hamming"):
        vault.search([1] * DIMENSIONS, metric="l2")
    vault.insert([0] * DIMENSIONS)
    assert vault.search([0] * DIMENSIONS)[0][1] == 0


def test_it_opens_only_with_the_type_it_was_made_with(engine):
    VectorKVault(engine, "v", DIMENSIONS, "l2", "f16")
    with pytest.raises(SchemaMismatch, match="vector_type='f16', not 'f32'"):
        VectorKVault(engine, "v", DIMENSIONS, "l2")
    assert "vector_type='f16'" in repr(VectorKVault(engine, "v", DIMENSIONS, "l2", "f16"))
    for wrong in ("f64", "F32", None, 32, "float16"):
        with pytest.raises(InvalidArgument, match="f32, f16, i8, bit"):
            VectorKVault(engine, "w", DIMENSIONS, vector_type=wrong)


class Base(DeclarativeBase):
    pass


class Codes(VectorTable, Base):
    __tablename__ = "codes"
    __dimensions__ = DIMENSIONS
    __vector_type__ = "bit"


def test_a_class_says_its_type(engine):
    vault = VectorKVault(engine, Codes)
    assert (vault.dimensions, vault.vector_type, vault.metric) == (DIMENSIONS, "bit", "hamming")
    vault.insert(vectors_of("bit", 1)[0])
    with pytest.raises(InvalidArgument, match="vector_type='i8' is given, and Codes has 'bit'"):
        VectorKVault(engine, Codes, vector_type="i8")

"""Columns of metadata: what they are declared by, what they take, and what they give back."""

from __future__ import annotations

import datetime
import enum
import uuid
from decimal import Decimal

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    Numeric,
    String,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from kohakuvault import InvalidArgument, SchemaMismatch, UnsupportedType, VectorKVault
from kohakuvault.errors import DriverError
from kohakuvault.orm import nearest
from kohakuvault.orm.tables import VectorTable

DECLARED = {"lang": String(), "year": Integer()}


@pytest.fixture
def vault(bind):
    return VectorKVault(bind, "v", dimensions=2, metric="l2", metadata=DECLARED)


def metadata_of(vault: VectorKVault) -> list[dict[str, object]]:
    return [vault.get_metadata(id) for id in vault]


def test_metadata_is_given_with_rows_and_read_by_id(vault):
    first = vault.insert([1, 2], "a", {"lang": "en", "year": 1999})
    second = vault.insert([1, 2], "b", metadata={"year": None})
    third = vault.insert([1, 2])
    assert vault.get_metadata(first) == {"lang": "en", "year": 1999}
    assert vault.get_metadata(second) == vault.get_metadata(third) == {"lang": None, "year": None}
    assert type(vault.get_metadata(first)["year"]) is int
    with pytest.raises(KeyError, match="no id"):
        vault.get_metadata(third + 1)


def test_update_replaces_the_columns_it_is_given_and_upsert_all(vault):
    id = vault.insert([1, 2], "a", {"lang": "en", "year": 1999})
    vault.update(id, metadata={"lang": "de"})
    assert vault.get_metadata(id) == {"lang": "de", "year": 1999}
    vault.update(id, value="b", metadata={"year": None})
    assert vault.get_metadata(id) == {"lang": "de", "year": None}
    vault.update(id, vector=[3, 4], metadata={})
    assert vault.get_by_id(id)[1] == "b"
    vault.upsert(id, [5, 6], "c", {"year": 1})
    assert vault.get_metadata(id) == {"lang": None, "year": 1}
    vault.upsert_many([id, 50], [[1, 1], [2, 2]], ["d", "e"], [{"lang": "fr"}, {"year": 2}])
    assert metadata_of(vault) == [{"lang": "fr", "year": None}, {"lang": None, "year": 2}]
    with pytest.raises(KeyError, match="no id"):
        vault.update(1000, metadata={"lang": "de"})


def test_metadata_of_many_are_columns_or_dicts(vault):
    vectors = np.ones((3, 2))
    vault.insert_many(vectors, metadata={"lang": ["en", None, "de"], "year": np.array([1, 2, 3])})
    vault.insert_many(vectors, "abc", [{"lang": "en"}, None, {"year": 3, "lang": "de"}])
    vault.insert_many(vectors, metadata={"year": (np.int16(year) for year in range(3))})
    vault.insert_many(vectors, metadata={})
    vault.insert_many([], metadata={"lang": []})
    found = metadata_of(vault)
    assert found[:3] == [{"lang": "en", "year": 1}, {"lang": None, "year": 2}, {"lang": "de", "year": 3}]
    assert found[3:6] == [{"lang": "en", "year": None}, {"lang": None, "year": None}, {"lang": "de", "year": 3}]
    assert [row["year"] for row in found[6:]] == [0, 1, 2, None, None, None]
    assert {type(row["year"]) for row in found} == {int, type(None)}


BAD_METADATA = [
    ({"nope": 1}, InvalidArgument),
    ({"LANG": "en"}, InvalidArgument),
    ({"id": 5}, InvalidArgument),
    ({"value": 5}, InvalidArgument),
    ({1: 5}, InvalidArgument),
    ({"lang": 1}, UnsupportedType),
    ({"lang": b"en"}, UnsupportedType),
    ({"lang": "\ud800"}, InvalidArgument),
    ({"year": "1999"}, UnsupportedType),
    ({"year": 1999.0}, UnsupportedType),
    ({"year": True}, UnsupportedType),
    ({"year": 2**63}, InvalidArgument),
    ({"year": [1]}, UnsupportedType),
    ("lang", UnsupportedType),
    (5, UnsupportedType),
    ([("lang", "en")] * 2, UnsupportedType),
]


@pytest.mark.parametrize(("metadata", "error"), BAD_METADATA, ids=range(len(BAD_METADATA)))
def test_bad_metadata_is_a_named_error_and_changes_nothing(engine, metadata, error):
    vault = VectorKVault(engine, "v", dimensions=2, metadata=DECLARED)
    vault.insert([1, 2], "kept", {"lang": "en", "year": 1})
    columns = {name: [value, value] for name, value in metadata.items()} if isinstance(metadata, dict) else metadata
    for operation in (
        lambda: vault.insert([1, 2], "bad", metadata),
        lambda: vault.insert_many([[1, 2]] * 2, metadata=columns),
        lambda: vault.insert_many([[1, 2]] * 2, metadata=[{"lang": "good"}, metadata]),
        lambda: vault.upsert(1, [1, 2], "bad", metadata),
        lambda: vault.upsert_many([1, 2], [[1, 2]] * 2, metadata=columns),
        lambda: vault.update(1, value="bad", metadata=metadata),
    ):
        with pytest.raises(error):
            operation()
        assert [value for _, (_, value) in vault.items()] == ["kept"]
        assert metadata_of(vault) == [{"lang": "en", "year": 1}]


def test_metadata_of_another_length_is_named(engine):
    vault = VectorKVault(engine, "v", dimensions=2, metadata=DECLARED)
    with pytest.raises(InvalidArgument, match="2 vectors need as many values of 'lang', not 3"):
        vault.insert_many([[1, 2]] * 2, metadata={"lang": ["a", "b", "c"]})
    with pytest.raises(InvalidArgument, match="2 vectors need as many dicts of metadata, not 1"):
        vault.insert_many([[1, 2]] * 2, metadata=[{"lang": "a"}])
    with pytest.raises(InvalidArgument, match="none was declared"):
        VectorKVault(engine, "plain", dimensions=2).insert([1, 2], 1, {"lang": "en"})
    assert len(vault) == 0


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


ID = uuid.UUID(int=2**100 + 5)
TYPES = {
    "big": (BigInteger(), [0, -(2**63), 2**63 - 1, np.int8(-5)]),
    "flag": (Boolean(), [True, False, np.bool_(True)]),
    "number": (Float(), [0.5, -1e300, 3, np.float32(0.25), float("inf")]),
    "text": (String(30), ["", "naïve ☃", "a'b\"c%d:e"]),
    "raw": (LargeBinary(), [b"", b"\0\xff", bytearray(b"x")]),
    "day": (Date(), [datetime.date(2024, 2, 29)]),
    "moment": (DateTime(), [datetime.datetime(2024, 2, 29, 1, 2, 3, 4)]),
    "price": (Numeric(10, 2), [Decimal("1.25"), 7]),
    "key": (Uuid(), [ID]),
    "tags": (JSON(), [{"a": [1, None]}, ["b"]]),
    "colour": (Enum(Colour), [Colour.BLUE]),
}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.filterwarnings("ignore:Dialect sqlite.*does .not. support Decimal")
def test_columns_of_any_type_give_back_what_they_took(engine, name):
    type_, values = TYPES[name]
    vault = VectorKVault(engine, "v", dimensions=2, metadata={name: type_})
    ids = [vault.insert([1, 2], metadata={name: value}) for value in values]
    ids += vault.insert_many(np.ones((len(values), 2)), metadata={name: values})
    found = [vault.get_metadata(id)[name] for id in ids]
    assert found == values * 2
    assert {type(value) for value in found} == {type_.python_type if name != "tags" else type(v) for v in found}
    if name not in ("tags", "raw"):
        assert {id for id, _, _ in vault.search([1, 2], where={name: values[0]})} >= {ids[0]}


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Float(), float("nan")),
        (Float(), "1"),
        (Float(), True),
        (Float(), 10**400),
        (Boolean(), 1),
        (Date(), datetime.datetime(2024, 1, 1)),
        (DateTime(), datetime.date(2024, 1, 1)),
        (DateTime(), datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)),
        (LargeBinary(), "text"),
        (Enum(Colour), "GREEN"),
        (Enum("a", "b", name="letters"), "c"),
        (Uuid(), "text"),
        (Numeric(), 0.1),
        (JSON(), {1, 2}),
    ],
    ids=str,
)
def test_what_a_column_would_change_is_refused(engine, type_, value):
    vault = VectorKVault(engine, "v", dimensions=2, metadata={"x": type_})
    for operation in (
        lambda: vault.insert([1, 2], metadata={"x": value}),
        lambda: vault.insert_many([[1, 2]] * 2, metadata={"x": [None, value]}),
    ):
        with pytest.raises((InvalidArgument, UnsupportedType), match="metadata 'x'"):
            operation()
    assert len(vault) == 0


def test_names_may_be_any_that_a_column_can_have(engine):
    names = [
        "a:b",
        "a%b",
        "a(b)",
        'a"b',
        "a b",
        "a.b",
        "ü",
        "select",
        "new_0",
        "new_of",
        "__x"[1:],
        "x" * 63,
        "query",
        "k",
        "where_1",
    ]
    vault = VectorKVault(engine, "v", dimensions=2, metadata=dict.fromkeys(names, Integer()))
    id = vault.insert([1, 2], "one", dict(zip(names, range(15), strict=True)))
    vault.insert_many([[1, 2]] * 2, "ab", {name: [number, -1] for number, name in enumerate(names)})
    assert vault.get_metadata(id) == dict(zip(names, range(15), strict=True))
    vault.update(id, metadata={"a:b": 50, "a%b": 60})
    for number, name in enumerate(names[2:], 2):
        assert [value for _, _, value in vault.search([1, 2], where={name: number})] == ["one", "a"]
    assert vault.search([1, 2], where=vault.c["a%b"] == 60)[0][2] == "one"
    vault.upsert(id, [1, 2], "two", {"a(b)": 7})
    assert vault.radius([1, 2], 1, where={"a(b)": 7})[0][2] == "two"


@pytest.mark.parametrize(
    "name", ["id", "vector", "VALUE", "rowid", "metadata", "registry", "__dimensions__", "", "a\0b", "x" * 64, "\ud800"]
)
def test_names_that_are_taken_or_none_are_refused(engine, name):
    for declaration in ({name: Integer()}, [Column(name, Integer)]):
        with pytest.raises(InvalidArgument, match=r"cannot name a metadata column|at most 63"):
            VectorKVault(engine, "v", dimensions=2, metadata=declaration)
    assert not sqlalchemy.inspect(engine).has_table("v")


def test_what_is_no_declaration_is_refused(engine):
    for declaration in (
        ["lang"],
        "lang",
        5,
        {"lang": str},
        {"lang": "String"},
        {5: String()},
        [("lang", String())],
        [Integer()],
    ):
        with pytest.raises(UnsupportedType):
            VectorKVault(engine, "v", dimensions=2, metadata=declaration)
    with pytest.raises(InvalidArgument, match="another of that name"):
        VectorKVault(engine, "v", dimensions=2, metadata={"lang": String(), "Lang": String()})
    for column, what in (
        (Column("x", Integer, primary_key=True), "primary_key"),
        (Column("x", Integer, nullable=False), "nullable"),
        (Column("x", Integer, unique=True), "unique"),
        (Column("x", Integer, default=5), "default"),
        (Column("x", Integer, server_default="5"), "default"),
        (Column("x", Integer, ForeignKey("y.id")), "foreign key"),
    ):
        with pytest.raises(InvalidArgument, match=what):
            VectorKVault(engine, "v", dimensions=2, metadata=[column])
    assert not sqlalchemy.inspect(engine).has_table("v")


def test_columns_may_have_indexes(engine):
    columns = [Column("lang", String, index=True), Column("year", Integer)]
    vault = VectorKVault(engine, "v", dimensions=2, metadata=columns)
    assert [index["column_names"] for index in sqlalchemy.inspect(engine).get_indexes("v")] == [["lang"]]
    vault.insert([1, 2], "x", {"lang": "en"})
    again = VectorKVault(engine, "v", dimensions=2, metadata={"lang": String, "year": Integer})
    assert again.search([1, 2], where={"lang": "en"})[0][2] == "x"


def test_it_opens_only_with_the_columns_it_was_made_with(engine):
    VectorKVault(engine, "v", dimensions=2, metadata=DECLARED).insert([1, 2], "kept", {"lang": "en"})
    for other in (None, {"lang": String()}, {"lang": String(), "year": String()}, {**DECLARED, "more": Float()}):
        with pytest.raises(SchemaMismatch, match="was made with metadata="):
            VectorKVault(engine, "v", dimensions=2, metadata=other)
    vault = VectorKVault(engine, "v", dimensions=2, metadata={"year": Integer, "lang": String})
    assert vault.get_metadata(1) == {"year": None, "lang": "en"}
    VectorKVault(engine, "plain", dimensions=2)
    with pytest.raises(SchemaMismatch, match=r"metadata=\{\}"):
        VectorKVault(engine, "plain", dimensions=2, metadata=DECLARED)


def test_the_class_is_the_same_for_the_same_columns(engine):
    first = VectorKVault(engine, "v", dimensions=2, metadata=DECLARED)
    second = VectorKVault(engine, "v", dimensions=2, metadata={"lang": String, "year": Integer()})
    assert first.entity is second.entity
    third = VectorKVault(engine, "w", dimensions=2, metadata={"lang": String(5), "year": Integer()})
    fourth = VectorKVault(engine, "w", dimensions=2, metadata={"lang": String(5), "year": Integer()})
    assert third.entity is fourth.entity
    assert third.entity.__table__.c.lang.type.length == 5


# -- a class of the user's own -----------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Article(VectorTable, Base):
    __tablename__ = "article"
    __dimensions__ = 2
    lang: Mapped[str | None]
    votes: Mapped[int] = mapped_column(default=0)
    made: Mapped[str] = mapped_column(default=lambda: "by default")
    touched: Mapped[int | None] = mapped_column(onupdate=7)
    state: Mapped[str] = mapped_column(server_default="new")


def test_every_column_of_a_class_is_metadata(engine):
    vault = VectorKVault(engine, Article, metric="l2")
    assert vault.dimensions == 2
    id = vault.insert([1, 2], "a", {"lang": "en"})
    defaults = {"votes": 0, "made": "by default", "touched": None, "state": "new"}
    assert vault.get_metadata(id) == {"lang": "en", **defaults}
    other, third = vault.insert_many([[3, 4], [5, 6]], "bc", [{"lang": "de", "votes": 5}, {"votes": 6}])
    assert vault.get_metadata(other) == {"lang": "de", **defaults, "votes": 5}
    vault.insert_many([[3, 4]] * 3)
    vault.update(id, metadata={"votes": 9})
    assert vault.get_metadata(id) == {"lang": "en", **defaults, "votes": 9, "touched": 7}
    vault.upsert(id, [1, 1], "A", {"state": "old"})
    assert vault.get_metadata(id) == {"lang": None, **defaults, "state": "old"}
    assert [value for _, _, value in vault.search([0, 0], where=Article.votes > 4)] == ["b", "c"]
    with Session(engine) as session:
        hit = nearest(Article.vector, [5, 6], k=1, where=Article.lang.is_(None), metric="l2")
        article = session.scalar(sqlalchemy.select(Article).join(hit, hit.c.id == Article.id))
        assert (article.id, article.value, article.votes) == (third, "c", 6)
        article.lang = "fr"
        session.commit()
    assert vault.get(([5, 6]), where={"lang": "fr"}) == "c"


def test_a_class_says_itself_what_it_has(engine):
    with pytest.raises(InvalidArgument, match="metadata is given"):
        VectorKVault(engine, Article, metadata=DECLARED)
    with pytest.raises(InvalidArgument, match="dimensions=3 is given, and Article has 2"):
        VectorKVault(engine, Article, dimensions=3)
    with pytest.raises(InvalidArgument, match="__pickle__"):
        VectorKVault(engine, Article, pickle=True)


class Strict(VectorTable, Base):
    __tablename__ = "strict"
    __dimensions__ = 2
    owner: Mapped[str]


def test_a_column_that_must_be_given_is(engine):
    vault = VectorKVault(engine, Strict)
    with pytest.raises(DriverError, match=r"owner|NOT NULL"):
        vault.insert([1, 2])
    with pytest.raises(InvalidArgument, match="'owner' is not given"):
        vault.insert_many([[1, 2]] * 2, metadata=[{"owner": "me"}, {}])
    assert len(vault) == 0
    id = vault.insert([1, 2], metadata={"owner": "me"})
    assert vault.get_metadata(id) == {"owner": "me"}

"""Queries into packed values: the same answer on both databases, in every encoding, by whatever functions."""

from __future__ import annotations

import contextlib
import math
import random
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    event,
    func,
    insert,
    inspect,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

import kohakuvault
from conftest import DATABASES
from kohakuvault import InvalidArgument, _native
from kohakuvault.orm import Packed
from kohakuvault.orm.postgresql_functions import FUNCTIONS
from kohakuvault.packing import Cbor, Json, MsgPack, pack, unpack

ENCODINGS = ("msgpack", "cbor", "json")


class Base(DeclarativeBase):
    pass


class Doc(Base):
    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True)
    meta: Mapped[Any] = mapped_column(Packed())
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("doc.id"))
    __table_args__ = (Index("doc_lang", meta["lang"].as_string()),)


Index("doc_year", Doc.meta["when"]["year"].as_integer())
Index("doc_draft", Doc.meta["draft"].as_boolean())

DOCS = [
    {"lang": "en", "when": {"year": 1999, "month": 1.5}, "tags": ["a", "b"], "draft": True, 7: "seven"},
    {"lang": "de", "when": {"year": 2024, "month": 2}, "tags": ("b", "c"), "draft": False, "7": "sieben"},
    {"lang": None, "when": {"year": 2024.0}, "tags": {"a"}, "draft": 1},
    "en",
    ["en", {"lang": "en"}],
]


def make_functions(engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            for function in FUNCTIONS:
                connection.execute(text(function))


def engine_on_one_schema(new_url) -> Engine:
    """An engine that does not see what the other tests share."""
    url = new_url("postgresql")
    return kohakuvault.create_engine(url.update_query_dict({"options": url.query["options"].removesuffix(",public")}))


@pytest.fixture(params=DATABASES, scope="module")
def shared(request: pytest.FixtureRequest, shared_engines: Any) -> Engine:
    engine: Engine = shared_engines(request.param)
    make_functions(engine)
    return engine


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(
            [Doc(id=number, meta=value, parent_id=number - 1 or None) for number, value in enumerate(DOCS, 1)]
        )
        session.commit()
        yield session


def ids(session: Session, condition: Any) -> list[int]:
    return list(session.scalars(select(Doc.id).where(condition).order_by(Doc.id)))


# -- what is found ------------------------------------------------------------------------------------


def at(value: Any, path: list[Any]) -> Any:
    """The value at a path, as the documentation says it; NotImplemented for none."""
    for step in path:
        if isinstance(value, dict):
            found = [each for key, each in value.items() if type(key) is type(step) and key == step]
        elif isinstance(value, (list, tuple)) and type(step) is int and -len(value) <= step < len(value):
            found = [value[step]]
        else:
            return NotImplemented
        if not found:
            return NotImplemented
        value = found[0]
    return value


def readings(value: Any) -> tuple[Any, ...]:
    """What the four accessors return for a value."""
    is_int = type(value) is int and -(1 << 63) <= value < 1 << 63
    return (
        value if type(value) is str and "\0" not in value else None,
        value if is_int else None,
        float(value) if is_int or (type(value) is float and not math.isnan(value)) else None,
        value if type(value) is bool else None,
    )


def asked(connection: Any, packed: Any, path: list[Any]) -> tuple[Any, ...]:
    place = packed
    for step in path:
        place = place[step]
    accessors = (place.as_string(), place.as_integer(), place.as_float(), place.as_boolean())
    return tuple(connection.execute(select(*accessors)).one())


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["", "k" * 31, "k" * 32, "é" * 200]
)
INTS = st.integers(-300, 300) | st.integers(-(1 << 66), 1 << 66)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.none() | st.booleans() | INTS | FLOATS | TEXTS
STEPS = st.integers(-3, 3) | st.integers(-70000, 70000) | TEXTS


def nested(leaves: Any, keys: Any, *more: Any) -> Any:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=20), st.dictionaries(keys, inner, max_size=20), *(each(inner) for each in more)
        ),
        max_leaves=40,
    )


VALUES = {
    "json": nested(PLAIN, TEXTS),
    "cbor": nested(PLAIN | st.binary(max_size=30) | st.floats(), TEXTS | st.integers(-70000, 70000) | st.none()),
    "msgpack": nested(
        PLAIN | st.binary(max_size=300) | st.floats() | st.dates() | st.decimals() | st.frozensets(INTS),
        TEXTS | st.integers(-70000, 70000) | st.tuples(INTS),
        lambda inner: st.lists(inner, max_size=5).map(tuple),
    ),
}


def place_in(value: Any, draw: Any) -> list[Any]:
    """A path that leads somewhere, mostly."""
    path: list[Any] = []
    while draw(st.integers(0, 5)):
        inside = at(value, path)
        if isinstance(inside, dict) and (
            keys := [key for key in inside if type(key) in {int, str} and "\0" not in str(key)]
        ):
            path.append(draw(st.sampled_from(keys)))
        elif isinstance(inside, (list, tuple)) and inside:
            path.append(draw(st.integers(-len(inside), len(inside) - 1)))
        else:
            break
    return path


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=100)
@given(data=st.data())
def test_what_is_found_is_what_python_finds(shared, encoding, data):
    value = data.draw(VALUES[encoding])
    path = place_in(value, data.draw)
    if data.draw(st.booleans()):
        path.append(data.draw(STEPS.filter(lambda step: "\0" not in str(step))))
    with shared.connect() as connection:
        found = asked(connection, literal(value, Packed(encoding)), path)
    expected = readings(at(value, path))
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize("encoding", [None, *ENCODINGS])
def test_values_without_a_container_are_at_the_root(shared, encoding):
    edges = [(1 << bits) + sign for bits in (7, 8, 15, 16, 31, 32, 63, 64) for sign in (-1, 0, 1)]
    floats = [0.0, -0.0, 5e-324, 1e-310, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, -1.5]
    with shared.connect() as connection:
        for value in ["x", "", "é😀\\", "a\0b", None, True, False, *edges, *(-edge for edge in edges), *floats]:
            assert asked(connection, literal(value, Packed(encoding)), []) == readings(value), value
            assert asked(connection, literal(value, Packed(encoding)), [0]) == readings(None)


FOREIGN = {
    "cbor of uncounted items": "08 bf 61 61 9f 0a 14 bf 61 62 7f 61 78 ff ff ff 07 f5 82 01 02 f6 61 7a f9 3e00 ff",
    "cbor with the tag of CBOR": "08 d9d9f7 a4 61 61 83 0a 14 d9d9f7 a1 61 62 61 78 07 f5 82 01 02 f6"
    " 61 7a fa 3fc00000",
    "cbor in long forms": "08 bb 0000000000000004 78 01 61 9a 00000003 18 0a 19 0014 a1 61 62 78 01 78 1a 00000007 f5"
    " 82 01 02 f6 7a 00000001 7a fb 3ff8000000000000",
    "cbor with a key in chunks": "08 a4 7f 60 61 61 ff 83 0a 14 a1 61 62 61 78 07 f5 82 01 02 f6 61 7a f9 3e00",
    "msgpack in long forms": "07 df 00000004 d9 01 61 dc 0003 cc 0a d2 00000014 de 0001 da 0001 62 db 00000001 78"
    " d0 07 c3 93 c7 00 01 01 02 c0 a1 7a ca 3fc00000",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_other_writers_write_is_found(shared, name):
    packed = bytes.fromhex(FOREIGN[name])
    value = {"a": [10, 20, {"b": "x"}], 7: True, (1, 2): None, "z": 1.5}
    assert unpack(packed) == value
    column = func.coalesce(literal(packed), None, type_=Packed())
    with shared.connect() as connection:
        for path in (["a", 1], ["a", -3], ["a", -4], ["a", 3], ["a", 2, "b"], [7], ["7"], ["z"], ["z", 0], ["b"], [1]):
            assert asked(connection, column, path) == readings(at(value, path)), path
        for part, expected in ({"z": 1.5}, True), ({"a": [{"b": "x"}, 10]}, True), ({7: 1}, False), ([], False):
            assert connection.scalar(select(column.contains(part))) is expected, part


@pytest.mark.parametrize(
    ("json", "path", "expected"),
    [
        (r'{"a" : "\u0000", "b": "x"}', ["b"], "x"),
        (r'{"a" : "\u0000", "b": "x"}', ["a"], None),
        (r'["\\u0000"]', [0], "\\u0000"),
        (r'["\\\u0000\u0000"]', [0], None),
        (r'["\ud83d\ude00\u00e9"]', [0], "😀é"),
        (r'["\ud83d", "\ude00", "x"]', [0], None),
        (r'["\ud83d", "\ude00", "x"]', [1], None),
        (r'["\ud83d", "\ude00", "x"]', [2], "x"),
        ("[" * 100 + '"x"' + "]" * 100, [0] * 100, "x"),
        ("[" + "[]," * 200 + '"x"]', [-1], "x"),
        (" [ 1 , 2.0E0\n,\ttrue , null,-0 ] ", [4], 0),
        (" [ 1 , 2.0E0\n,\ttrue , null,-0 ] ", [1], 2.0),
        ("[1e400, 1]", [0], None),
        ("[" + "9" * 40 + "]", [0], None),
    ],
)
def test_json_of_other_writers_is_found(shared, json, path, expected):
    column = func.coalesce(literal(b"\x09" + json.encode()), None, type_=Packed())
    with shared.connect() as connection:
        assert asked(connection, column, path) == readings(expected)


# -- damage -------------------------------------------------------------------------------------------


def test_damaged_rows_are_null_or_a_part_and_never_an_error(shared):
    rng = random.Random(1)
    value = {"a": [1, {"b": "x", 7: 2.5}, (1, 2), {3}], "long": "y" * 300, "t": True, "é": None}
    wholes = [pack(value), pack({**value, "a": [1, {"b": "x", 7: 2.5}]}, encoding="cbor")]
    wholes.append(pack({**value, "a": [1, {"b": "x"}]}, encoding="json"))
    special = bytes.fromhex("ff9fbf5f7fdfdcdec7c97b9b005c225b")
    rows = [b"", *(bytes([tag]) for tag in range(16)), *(bytes([tag]) + b"[" * 50_000 for tag in (7, 8, 9))]
    rows += [bytes([tag]) + byte * 5000 for tag in (7, 8) for byte in (b"\x91", b"\x9f", b"\x81", b"\xc1", b"\xbf")]
    for whole in wholes:
        rows += [whole[:length] for length in range(0, len(whole), 5)]
        for _ in range(100):
            damaged = bytearray(whole)
            damaged[rng.randrange(len(whole))] = rng.choice([*special, rng.randrange(256)])
            rows.append(bytes(damaged))
    table = Table(f"damaged_{rng.random()}", MetaData(), Column("id", Integer, primary_key=True), Column("v", Packed()))
    table.create(shared)
    with shared.begin() as connection:
        raw = table.c.v.name
        connection.execute(
            text(f'INSERT INTO "{table.name}" (id, {raw}) VALUES (:id, :v)'),
            [{"id": number, "v": row} for number, row in enumerate(rows)],
        )
        place = table.c.v["a"][1]
        columns = [
            place["b"].as_string(),
            place[7].as_float(),
            table.c.v["a"][-2].as_integer(),
            table.c.v["t"].as_boolean(),
        ]
        columns += [table.c.v.contains({"t": True}), place.contains({"b": "x"}), table.c.v.contains(table.c.v)]
        found = connection.execute(select(*columns)).all()
    assert len(found) == len(rows)
    assert {row[0] for row in found} >= {"x", None}


def test_other_types_in_the_column_are_null():
    engine = kohakuvault.create_engine(":memory:")
    with engine.connect() as connection:
        for stored in ("NULL", "'[1]'", "1", "2.5"):
            for name in ("text", "integer", "real", "boolean"):
                assert connection.scalar(text(f"SELECT kv_{name}({stored}, '[]')")) is None
            assert connection.scalar(text(f"SELECT kv_contains({stored}, x'02')")) is None
            assert connection.scalar(text(f"SELECT kv_contains(x'02', {stored})")) is None
    engine.dispose()


# -- containment --------------------------------------------------------------------------------------


def contains(value: Any, part: Any, top: bool = True) -> bool:
    """The definition."""
    lists = (list, tuple, set, frozenset)
    if isinstance(part, dict):
        return isinstance(value, dict) and all(
            any(same(key, other) and contains(inside, wanted, False) for other, inside in value.items())
            for key, wanted in part.items()
        )
    if isinstance(part, lists):
        return isinstance(value, lists) and all(any(contains(each, wanted, False) for each in value) for wanted in part)
    if isinstance(value, lists):
        return top and any(contains(each, part, False) for each in value)
    return not isinstance(value, dict) and same(value, part)


def same(a: Any, b: Any) -> bool:
    numbers = {int, float}
    if type(a) in numbers and type(b) in numbers:
        return a == b or (a != a and b != b)
    return type(a) is type(b) and a == b


FEW = st.sampled_from([0, 1, 1.0, 2.5, True, False, None, "", "a", "b", -1])
SMALL = {
    "json": nested(FEW, st.sampled_from("ab")),
    "cbor": nested(FEW | st.sampled_from([b"a", math.nan, math.inf]), st.sampled_from(["a", "b", 1, b"a", None])),
    "msgpack": nested(
        FEW | st.sampled_from([b"a", math.nan, "\0", frozenset({1, 2})]),
        st.sampled_from(["a", "b", 1, (1,), (2,), True]),
        lambda inner: st.lists(inner, max_size=3).map(tuple),
    ),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=100)
@given(data=st.data())
def test_containment_is_that_of_the_definition(shared, encoding, data):
    value, part = data.draw(SMALL[encoding]), data.draw(SMALL[encoding])
    path = place_in(value, data.draw)
    if data.draw(st.booleans()):
        part = at(value, path)
    place = literal(value, Packed(encoding))
    for step in path:
        place = place[step]
    with shared.connect() as connection:
        found = connection.scalar(select(place.contains(part)))
    assert found is contains(at(value, path), part)


def test_containment_goes_across_encodings(shared):
    column = literal({"a": [1.0, -2.5, "ü\n", None, {"b": 1 << 40}], "big": 1 << 63}, Packed())
    with shared.connect() as connection:
        for wrap in (MsgPack, Cbor, Json):
            for part in ({"a": [1]}, {"a": ["ü\n", -2.5]}, {"a": [{"b": 1 << 40}, None]}, {"big": 1 << 63}):
                assert connection.scalar(select(column.contains(wrap(part)))) is True
            assert connection.scalar(select(column.contains(wrap({"a": [True]})))) is False


def test_containment_of_what_is_nowhere_is_null(session):
    assert session.scalars(select(Doc.meta["when"].contains({})).order_by(Doc.id)).all() == [
        True,
        True,
        True,
        None,
        None,
    ]


def test_what_is_looked_for_is_checked_when_it_is_given():
    deep: Any = 1
    for _ in range(101):
        deep = [deep]
    with pytest.raises(InvalidArgument, match="at most 100 deep"):
        Doc.meta.contains(deep)
    with pytest.raises(TypeError, match="JSON"):
        literal({}, Packed("json")).contains({1, 2})
    with pytest.raises(InvalidArgument, match="cannot be what is looked for"):
        Doc.meta.contains(Doc.meta["a"])
    with pytest.raises(InvalidArgument, match="as_string"):
        Doc.meta["a"].contains("x", autoescape=True)


# -- in statements ------------------------------------------------------------------------------------


def test_conditions_on_what_is_there(session):
    lang, year = Doc.meta["lang"], Doc.meta["when"]["year"]
    assert ids(session, lang.as_string() == "en") == [1]
    assert ids(session, lang.as_string().is_(None)) == [3, 4, 5]
    assert ids(session, year.as_integer() > 1990) == [1, 2]
    assert ids(session, year.as_float() > 1999) == [2, 3]
    assert ids(session, Doc.meta["draft"].as_boolean()) == [1]
    assert ids(session, ~Doc.meta["draft"].as_boolean()) == [2]
    assert ids(session, Doc.meta["draft"].as_integer() == 1) == [3]
    assert ids(session, lang.as_string().like("%e%")) == [1, 2]
    assert ids(session, Doc.meta[7].as_string() == "seven") == [1]
    assert ids(session, Doc.meta["7"].as_string() == "sieben") == [2]
    assert ids(session, Doc.meta["tags"][-1].as_string() == "c") == [2]
    assert ids(session, Doc.meta[1]["lang"].as_string() == "en") == [5]
    assert ids(session, Doc.meta.as_string() == "en") == [4]
    assert ids(session, Doc.meta["tags"].contains("b")) == [1, 2]
    assert ids(session, Doc.meta["tags"].contains(["a"])) == [1, 3]
    assert ids(session, Doc.meta.contains({"when": {"year": 2024}})) == [2, 3]
    assert ids(session, Doc.meta.contains("en")) == [4, 5]
    assert ids(session, Doc.meta["lang"].contains(None)) == [3]


def test_a_value_gives_the_path_its_type(session):
    assert ids(session, Doc.meta["lang"] == "en") == [1]
    assert ids(session, Doc.meta["lang"] == "en") == ids(session, "en" == Doc.meta["lang"])  # noqa: SIM300
    assert ids(session, Doc.meta["lang"].in_(["en", "de"])) == [1, 2]
    assert ids(session, Doc.meta["lang"] != "en") == [2]
    assert ids(session, Doc.meta["draft"] == True) == [1]  # noqa: E712
    assert ids(session, Doc.meta["draft"] == 1) == [3]
    assert ids(session, Doc.meta["when"]["year"] >= 2024) == [2]
    assert ids(session, Doc.meta["when"]["year"] >= 2024.0) == [2, 3]
    assert ids(session, Doc.meta["when"]["month"].between(1, 1.75)) == [1]
    assert ids(session, Doc.meta["when"]["year"] == Doc.id + 1998) == [1]
    assert ids(session, Doc.meta["when"]["year"] < 2000) == [1]


def test_select_order_group_join_and_alias(session):
    lang, year = Doc.meta["lang"].as_string(), Doc.meta["when"]["year"].as_float()
    assert session.execute(select(lang, Doc.meta["draft"].as_boolean()).where(Doc.id < 4).order_by(Doc.id)).all() == [
        ("en", True),
        ("de", False),
        (None, None),
    ]
    assert list(session.scalars(select(Doc.id).where(year.is_not(None)).order_by(year.desc(), Doc.id))) == [2, 3, 1]
    counted = select(year.label("y"), func.count()).group_by("y").having(year > 0).order_by("y")
    assert session.execute(counted).all() == [(1999.0, 1), (2024.0, 2)]
    child = aliased(Doc)
    joined = select(Doc.id, child.meta["lang"].as_string()).join(child, child.parent_id == Doc.id)
    assert session.execute(joined.where(child.meta["lang"] == "de")).all() == [(1, "de")]
    same_month = select(Doc.id).join(
        child, Doc.meta["when"]["year"].as_float() == child.meta["when"]["year"].as_float()
    )
    assert sorted(session.scalars(same_month.where(Doc.id != child.id))) == [2, 3]
    inner = select(Doc.meta["lang"].as_string().label("lang")).subquery()
    assert session.scalar(select(func.count()).select_from(inner).where(inner.c.lang == "en")) == 1
    table = Doc.__table__
    assert session.scalars(select(table.c.id).where(table.c.meta["lang"] == "de")).all() == [2]
    assert session.scalars(select(table.alias("x").c.meta["lang"].as_string()).limit(1)).all() is not None


def test_updates_and_deletes_by_a_path(session):
    session.execute(sqlalchemy.update(Doc).where(Doc.meta["lang"] == "de").values(meta={"lang": "fr"}))
    session.execute(sqlalchemy.update(Doc).values(parent_id=None))
    session.execute(sqlalchemy.delete(Doc).where(Doc.meta["lang"] == "en"))
    assert session.scalars(select(Doc.meta["lang"].as_string()).order_by(Doc.id)).all() == ["fr", None, None, None]


@pytest.mark.parametrize(
    "key", ["it's", "100%", "%(x)s", ":name", '"quoted"', "back\\slash", "é😀", "", "?", "$.a[0]", "{}"]
)
def test_any_text_is_a_key(engine, key):
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("v", Packed()))
    Index("t_key", table.c.v[key].as_string())
    table.create(engine)
    query = select(table.c.id).where(table.c.v[key] == "x", table.c.v.contains({key: "x"}))
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "v": {"other": "x"}}, {"id": 2, "v": {key: "x"}}])
        assert connection.scalars(query).all() == [2]
        assert plan(connection, query, "t_key")
        literal_sql = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
        # As a driver runs it without parameters.
        assert connection.connection.cursor().execute(literal_sql).fetchall() == [(2,)]


def plan(connection: Any, query: Any, index: str) -> bool:
    """Whether the statement uses the index."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    prefix = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    explained: list[str] = []

    @event.listens_for(connection.engine, "before_cursor_execute", retval=True)
    def explain(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> Any:
        return f"{prefix} {statement}", parameters

    try:
        # Without a type's result processor: the rows are those of the plan.
        explained = [str(row) for row in connection.execute(query).cursor.fetchall()]
    finally:
        event.remove(connection.engine, "before_cursor_execute", explain)
    return any(index in row for row in explained)


def test_an_expression_index_is_used(session):
    connection = session.connection()
    for query, index in (
        (select(Doc.id).where(Doc.meta["lang"] == "en"), "doc_lang"),
        (select(Doc.id).where(Doc.meta["lang"].in_(["en", "de"])), "doc_lang"),
        (select(Doc.id).where(Doc.meta["when"]["year"] > 2000), "doc_year"),
        (select(Doc.id).order_by(Doc.meta["when"]["year"].as_integer()).limit(1), "doc_year"),
        (select(Doc.id).where(Doc.meta["draft"].as_boolean()), "doc_draft"),
    ):
        assert plan(connection, query, index), index
    assert not plan(connection, select(Doc.id).where(Doc.meta["other"] == "en"), "doc_lang")


def test_a_gin_index_is_used_for_containment(new_url):
    engine = kohakuvault.create_engine(new_url("postgresql"))
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("v", Packed()))
    Index("t_gin", func.kv_jsonb(table.c.v, literal_column("'[]'")), postgresql_using="gin")
    table.create(engine)
    query = select(table.c.id).where(table.c.v.contains({"tags": ["x"]}))
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": 1, "v": {"tags": ["x", "y"]}}, {"id": 2, "v": {"tags": []}}])
        assert plan(connection, query, "t_gin")
        assert connection.scalars(query).all() == [1]
    engine.dispose()


def test_an_index_follows_what_is_written(session):
    session.get(Doc, 1).meta = {"lang": "sv"}
    session.commit()
    connection = session.connection()
    assert ids(session, Doc.meta["lang"] == "en") == []
    assert ids(session, Doc.meta["lang"] == "sv") == [1]
    assert plan(connection, select(Doc.id).where(Doc.meta["lang"] == "sv"), "doc_lang")


def test_triggers_may_use_the_functions(new_url):
    engine = kohakuvault.create_engine(new_url("sqlite"))
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA trusted_schema = OFF")
        connection.exec_driver_sql("CREATE TABLE t (v BLOB CHECK (kv_text(v, '[\"a\"]') IS NOT NULL))")
        connection.exec_driver_sql("CREATE TABLE log (a)")
        connection.exec_driver_sql(
            "CREATE TRIGGER t_a AFTER INSERT ON t BEGIN INSERT INTO log VALUES (kv_text(NEW.v, '[\"a\"]')); END"
        )
        connection.exec_driver_sql("INSERT INTO t VALUES (?)", (pack({"a": "x"}),))
        assert connection.exec_driver_sql("SELECT a FROM log").scalar_one() == "x"
    engine.dispose()


# -- the statement cache ------------------------------------------------------------------------------


def test_equal_paths_share_a_compiled_statement_and_others_never(session):
    def statement(key: Any, value: Any, part: Any) -> Any:
        return select(Doc.id).where(Doc.meta[key] == value, Doc.meta[key].contains(part))

    compiled: list[Any] = []

    @event.listens_for(session.get_bind(), "before_cursor_execute")
    def count(conn: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> None:
        compiled.append(context.cache_hit.name)

    for key, value in ("lang", "en"), ("lang", "de"), ("other", "en"), (1, "en"), ("1", "en"), ("lang", 1):
        session.execute(statement(key, value, value)).all()
    assert compiled == ["CACHE_MISS", "CACHE_HIT", *["CACHE_MISS"] * 4]
    keys = [
        statement(*each)._generate_cache_key() for each in (("a", "x", 1), ("a", "y", 2), ("b", "x", 1), (0, "x", 1))
    ]
    assert keys[0] == keys[1]
    assert len({key.key for key in keys}) == 3
    assert Doc.meta["a"].as_integer().compare(Doc.meta["a"].as_integer())
    assert not Doc.meta["a"].as_integer().compare(Doc.meta["a"].as_float())


# -- misuse -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1.5, None, b"a", True, ("a",), slice(0, 2), 1 << 63, "a\0", "\ud800"])
def test_what_is_no_step_is_refused(step):
    for place in (Doc.meta, Doc.meta["a"], Doc.__table__.c.meta):
        with pytest.raises(InvalidArgument, match=r"path|key"):
            place[step]


def test_a_path_has_as_many_steps_as_values_have_levels():
    place: Any = Doc.meta
    for _ in range(512):
        place = place[0]
    with pytest.raises(InvalidArgument, match="at most 512 steps"):
        place[0]


def test_a_path_without_a_type_is_refused_where_it_needs_one():
    path = Doc.meta["a"]
    for use in (
        lambda: select(path),
        lambda: select(Doc).order_by(path),
        lambda: select(Doc).where(path),
        path.desc,
        lambda: path == Doc.meta["b"],
        lambda: path == b"x",
        lambda: path.in_([]),
        lambda: path.in_(["x", 1]),
        lambda: path == Doc.meta,
        lambda: path == [1],
        lambda: -path,
    ):
        with pytest.raises(InvalidArgument, match=r"as_string\(\), as_integer\(\), as_float\(\) or as_boolean\(\)"):
            use()
    for use in (lambda: path == None, lambda: path.is_(None), lambda: path.in_([None])):  # noqa: E711
        with pytest.raises(InvalidArgument, match=r"as_string\(\)\.is_\(None\)"):
            use()
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(Doc.meta["x"])
    for compare in (lambda number: Doc.meta["x"] == number, lambda number: Doc.meta["x"].in_([1, number])):
        with pytest.raises(InvalidArgument, match="more than 64 bits"):
            compare(2**63)
    with pytest.raises(TypeError, match="cannot be iterated over"):
        list(path)
    assert repr(path[0]["b"]) == "<path doc.meta['a'][0]['b']>"


def test_an_engine_without_the_functions_says_what_is_missing(new_url):
    engine = sqlalchemy.create_engine(new_url("sqlite"))
    with engine.connect() as connection, pytest.raises(OperationalError, match="no such function: kv_text"):
        connection.execute(select(literal({}, Packed())["a"].as_string()))
    engine.dispose()


@pytest.mark.parametrize("path", ["'x'", "'{}'", "'[1.5]'", "1", "x'00'"])
def test_a_path_that_is_none_is_an_error_in_sql(path):
    engine = kohakuvault.create_engine(":memory:")
    with engine.connect() as connection, pytest.raises(OperationalError, match=r"kv_text.*expected a"):
        connection.execute(text(f"SELECT kv_text(x'02', {path})"))
    engine.dispose()


# -- the functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rung", ["auto", "create_function"])
def test_every_rung_has_the_functions(rung):
    engine = kohakuvault.create_engine(":memory:", driver="sqlite3", extension=rung)
    value = {"a": ["x", 1, 1.5, True], "b": b"x"}
    with engine.connect() as connection:
        column = literal(value, Packed())
        for path in (["a", 0], ["a", 1], ["a", 2], ["a", 3], ["b"], ["c"], []):
            assert asked(connection, column, path) == readings(at(value, path))
        assert connection.scalar(select(column.contains({"b": b"x"}))) is True
        assert connection.scalar(select(column["a"].contains([1.5, 2]))) is False
        assert connection.scalar(select(column["c"].contains(1))) is None
    engine.dispose()


def test_the_functions_of_python_are_those_of_sql():
    packed = pack({"a": ["x", 1]})
    assert _native.packed_text(packed, '["a", 0]') == "x"
    assert _native.packed_integer(packed, '["a", -1]') == 1
    assert _native.packed_real(packed, '["a", 1]') == 1.0
    assert _native.packed_boolean(packed, '["a", 1]') is None
    assert _native.packed_contains(packed, pack("x"), '["a"]') is True
    assert _native.packed_text(None, "[]") is _native.packed_text(packed, None) is None
    with pytest.raises(InvalidArgument, match="expected a path"):
        _native.packed_text(packed, "a")


def test_paths_that_differ_from_row_to_row_are_each_followed():
    engine = kohakuvault.create_engine(":memory:")
    with engine.connect() as connection:
        rows = "(SELECT '[\"a\"]' AS p UNION ALL SELECT '[\"b\"]' UNION ALL SELECT '[\"a\"]')"
        found = connection.execute(text(f"SELECT kv_integer(:v, p) FROM {rows}"), {"v": pack({"a": 1, "b": 2})})
        assert list(found.scalars()) == [1, 2, 1]
    engine.dispose()


def test_making_the_functions_again_changes_nothing(new_url):
    engine = engine_on_one_schema(new_url)
    states = []
    for _ in range(2):
        make_functions(engine)
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT oid, xmin FROM pg_proc WHERE pronamespace = current_schema()::regnamespace ORDER BY oid"
            )
            states.append([tuple(map(str, row)) for row in rows])
    assert states[0] == states[1]
    assert len(states[0]) == len(FUNCTIONS)
    with engine.begin() as connection:
        kinds = connection.exec_driver_sql(
            "SELECT DISTINCT provolatile, proparallel, proisstrict FROM pg_proc"
            " WHERE pronamespace = current_schema()::regnamespace"
        )
        assert [tuple(map(str, row)) for row in kinds] == [("i", "s", "True")]
        # Of an older version.
        connection.exec_driver_sql("COMMENT ON FUNCTION kv_text(bytea, jsonb) IS 'KohakuVault, version 0'")
    make_functions(engine)
    with engine.connect() as connection:
        comment = "SELECT obj_description('kv_text(bytea, jsonb)'::regprocedure)"
        assert connection.exec_driver_sql(comment).scalar_one() == "KohakuVault, version 1"
    engine.dispose()


def test_functions_may_be_made_at_the_same_time(new_url):
    engine = engine_on_one_schema(new_url)
    errors: list[BaseException] = []

    def make() -> None:
        with contextlib.ExitStack() as stack:
            try:
                make_functions(engine)
            except DBAPIError as error:
                stack.callback(errors.append, error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    engine.dispose()


def test_the_functions_work_on_any_search_path_and_in_parallel(new_url):
    engine = engine_on_one_schema(new_url)
    make_functions(engine)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        schema = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
        connection.execute(insert(Doc), [{"id": n, "meta": {"lang": "en", "draft": True}} for n in range(100)])
        connection.execute(insert(Doc), [{"id": 200 + n, "meta": Json({"lang": "de"})} for n in range(100)])
        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog")
        connection.exec_driver_sql(f"REINDEX TABLE {schema}.doc")
        connection.exec_driver_sql("SET LOCAL debug_parallel_query = on")
        part = pack({"lang": "de"}).hex()
        for condition in ("kv_text(meta, '[\"lang\"]') = 'de'", f"kv_contains(meta, '\\x{part}')"):
            sql = f"SELECT count(*) FROM {schema}.doc WHERE {schema}.{condition}"
            assert connection.exec_driver_sql(sql).scalar_one() == 100
    engine.dispose()


def test_every_way_of_running_sql_takes_the_functions():
    for function in FUNCTIONS:
        assert "%" not in function
        assert text(function).compile().params == {}


def test_a_table_with_expression_indexes_is_made_and_reflected(engine):
    Base.metadata.create_all(engine)
    # SQLAlchemy leaves indexes of expressions out on SQLite, and says so in a warning.
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        names = {index["name"] for index in inspect(engine).get_indexes("doc")}
    assert names == (set() if engine.dialect.name == "sqlite" else {"doc_lang", "doc_year", "doc_draft"})
    Base.metadata.drop_all(engine)
    assert inspect(engine).get_table_names() == []

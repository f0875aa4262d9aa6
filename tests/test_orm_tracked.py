"""`Packed().tracked()`: a change in place, at any depth, is saved; nothing else is."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column, registry

from kohakuvault import InvalidArgument, MsgPack, Pickle
from kohakuvault.orm import Packed, TrackedDict, TrackedList, TrackedSet


class Base(DeclarativeBase):
    pass


Meta = Annotated[dict[str, Any], mapped_column(Packed("msgpack").tracked())]


class Described:
    """A mixin."""

    described: Mapped[Any] = mapped_column(Packed().tracked(), nullable=True)


class Doc(Described, Base):
    __tablename__ = "doc"

    id: Mapped[int] = mapped_column(primary_key=True)
    meta: Mapped[Any] = mapped_column(Packed().tracked(), nullable=True)
    other: Mapped[Any] = mapped_column(Packed().tracked(), nullable=True)
    late: Mapped[Any] = mapped_column(Packed().tracked(), deferred=True, default=lambda: {"made": ["by default"]})
    plain: Mapped[Any] = mapped_column(Packed(), nullable=True)
    kind: Mapped[str] = mapped_column(default="doc")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "doc"}  # noqa: RUF012


class Report(Doc):
    """Joined to its parent."""

    __tablename__ = "report"

    id: Mapped[int] = mapped_column(sa.ForeignKey("doc.id"), primary_key=True)
    findings: Mapped[Meta]
    __mapper_args__ = {"polymorphic_identity": "report"}  # noqa: RUF012


class Abstract(Base):
    __abstract__ = True

    id: Mapped[int] = mapped_column(primary_key=True)
    meta: Mapped[Meta]


class Concrete(Abstract):
    __tablename__ = "concrete"


class Imperative:
    pass


imperative = sa.Table(
    "imperative",
    Base.metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("packed", Packed("cbor").tracked(), key="stored"),
)
registry().map_imperatively(Imperative, imperative, properties={"meta": imperative.c.stored})


class Record(MappedAsDataclass, Base):
    __tablename__ = "record"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    meta: Mapped[Any] = mapped_column(Packed().tracked(), default_factory=dict)


@pytest.fixture
def session(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def saved(session, value, attribute="meta"):
    """Return a doc, as it was read from the database, whose attribute is the value."""
    doc = Doc(id=1, **{attribute: value})
    session.add(doc)
    session.commit()
    assert getattr(doc, attribute) == value
    assert doc not in session.dirty
    return doc


def stored(session, attribute="meta", entity=Doc):
    """Return what an untracked column reads, in the transaction as it is now."""
    session.flush()
    return session.scalar(sa.select(sa.type_coerce(getattr(entity, attribute), Packed())))


DICT = {"n": 1, "a": {"b": [1, {"c": {1}}]}, "t": ([1], {"x": {}}), "z": None}
LIST = [3, [1, 2], {"a": [0]}, {5}, 1]
SET = {1, 2, (3, 4)}


def do(code: str) -> Any:
    def run(value: Any) -> None:
        exec(code, {"v": value})

    return run


STEPS = [
    *[
        (DICT, code)
        for code in (
            "v['n'] += 1",
            "v['new'] = {'x': 1}",
            "del v['n']",
            "v.pop('a')",
            "v.popitem()",
            "v.clear()",
            "v.update(n=2)",
            "v.update({'n': 3}, q=[1])",
            "v.update([('n', 4)])",
            "v |= {'n': 5}",
            "v |= [('n', 6)]",
            "v.setdefault('list', []).append(1)",
            "v['a']['b'].append(1)",
            "v['a']['b'][1]['c'].add(2)",
            "v['t'][0].append(2)",
            "v['t'][1]['x']['y'] = 1",
            "v['a']['b'] += [5, [6]]; v['a']['b'][-1].append(7)",
        )
    ],
    *[
        (LIST, code)
        for code in (
            "v.append([1]); v[-1].append(2)",
            "v.extend([[1]]); v[-1].append(2)",
            "v.extend(v)",
            "v += ([1],)",
            "v *= 2; v[1].append(9)",
            "v *= 0",
            "v.insert(0, {'x': 1}); v[0]['x'] = 2",
            "v[0] = {'x': 1}; v[0]['x'] = 2",
            "v[1:3] = [[1], [2], [3]]; v[2].append(1)",
            "v[::2] = [[1], [2], [3]]; v[4].append(1)",
            "del v[1:3]",
            "del v[0]",
            "v.pop()",
            "v.pop(1)",
            "v.remove([1, 2])",
            "v.clear()",
            "v.reverse()",
            "v.sort(key=repr)",
            "v.sort(key=repr, reverse=True)",
            "v[1].sort(reverse=True)",
            "v[2]['a'].extend([1, 2])",
            "v[3].discard(5)",
        )
    ],
    *[
        (SET, code)
        for code in (
            "v.add(5)",
            "v.remove(1)",
            "v.discard((3, 4))",
            "v.clear()",
            "v.update([5], {6})",
            "v.intersection_update({1})",
            "v.difference_update({1}, [2])",
            "v.symmetric_difference_update({1, 9})",
            "v |= {9}",
            "v &= {1}",
            "v -= {1}",
            "v ^= {1, 9}",
        )
    ],
]


@pytest.mark.parametrize(("value", "code"), STEPS, ids=[f"{type(value).__name__}: {code}" for value, code in STEPS])
def test_every_change_in_place_is_saved_as_the_plain_container_would_have_it(shared_engines, value, code):
    engine = shared_engines("sqlite")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.execute(sa.delete(Doc))
        doc = saved(session, value)
        expected = copy.deepcopy(value)
        do(code)(expected)
        do(code)(doc.meta)
        assert doc.meta == expected
        assert doc in session.dirty
        assert Packed().pack(stored(session)) == Packed().pack(expected)
        session.commit()
        assert doc.meta == expected
        assert doc not in session.dirty


def test_an_element_that_a_set_gives_away_is_gone(session):
    doc = saved(session, {1, 2})
    element = doc.meta.pop()
    assert stored(session) == doc.meta == {1, 2} - {element}


def test_changes_are_saved_on_every_database(session):
    doc = saved(session, DICT)
    doc.meta["a"]["b"][1]["c"].add(2)
    doc.meta["t"][0].append([])
    doc.meta["t"][0][-1].append({"deep": 1})
    session.commit()
    doc.meta["t"][0][-1][0]["deep"] += 1
    session.commit()
    session.expunge_all()
    expected = {**DICT, "a": {"b": [1, {"c": {1, 2}}]}, "t": ([1, [{"deep": 2}]], {"x": {}})}
    assert stored(session) == expected
    assert session.get(Doc, 1).meta == expected


def test_what_is_stored_is_plain_and_reads_so_in_an_untracked_column(session):
    doc = saved(session, DICT)
    doc.meta["more"] = [1, {2}]

    def types(value):
        kinds = {type(value)}
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return kinds.union(*map(types, inner)) if isinstance(value, (dict, list, tuple, set)) else kinds

    assert types(stored(session)) == {dict, list, set, tuple, int, str, type(None)}
    assert {TrackedDict, TrackedList, TrackedSet} < types(doc.meta)
    assert Packed().tracked().pack(doc.meta) == Packed().pack({**DICT, "more": [1, {2}]})


@pytest.mark.parametrize("value", [None, 1, "text", b"bytes", 1.5, (1, 2), frozenset({1})])
def test_values_without_anything_to_track_are_as_in_any_packed_column(session, value):
    doc = saved(session, value)
    assert type(doc.meta) is type(value)
    doc.meta = {"now": [value]}
    session.commit()
    doc.meta["now"].append(value)
    assert stored(session) == {"now": [value, value]}


def test_wrappers_keep_their_encoding_and_what_is_tracked_may_be_in_them(session):
    doc = saved(session, {"a": [1]})
    doc.meta = MsgPack(doc.meta)
    session.commit()
    assert doc.meta == {"a": [1]}
    assert Packed("pickle", pickle=True).tracked().pack(Pickle(TrackedDict(a=[1]))) == Packed(
        "pickle", pickle=True
    ).pack({"a": [1]})


def test_a_plain_value_that_is_assigned_is_copied(session):
    doc = saved(session, {})
    given = {"list": []}
    doc.meta = given
    given["list"].append("not seen")
    doc.meta["list"].append(1)
    assert type(doc.meta) is TrackedDict
    assert type(doc.meta["list"]) is TrackedList
    assert stored(session) == {"list": [1]}


def test_an_object_that_is_new_or_pending_is_tracked_too(session):
    doc = Doc(id=1, meta={"a": []})
    doc.meta["a"].append(1)
    session.add(doc)
    doc.meta["a"].append(2)
    assert stored(session) == {"a": [1, 2]}
    doc.meta["a"].append(3)
    assert stored(session) == {"a": [1, 2, 3]}


def test_defaults_and_deferred_attributes_are_tracked(session):
    doc = saved(session, {})
    doc.late["made"].append("more")
    assert doc in session.dirty
    assert stored(session, "late") == {"made": ["by default", "more"]}
    session.expunge_all()
    doc = session.get(Doc, 1)
    assert "late" not in sa.inspect(doc).dict
    doc.late["made"].append("again")
    assert stored(session, "late") == {"made": ["by default", "more", "again"]}


def test_refresh_expire_and_rollback_give_what_the_database_has(session):
    doc = saved(session, {"a": [1]})
    doc.meta["a"].append(2)
    session.refresh(doc)
    assert doc.meta == {"a": [1]}
    doc.meta["a"].append(3)
    session.flush()
    session.rollback()
    assert doc.meta == {"a": [1]}
    doc.meta["a"].append(4)
    session.expire(doc)
    assert doc.meta == {"a": [1]}
    doc.meta["a"].append(5)
    session.commit()
    assert doc.meta == {"a": [1, 5]}


def test_what_was_read_before_an_expiry_changes_nothing(session):
    doc = saved(session, {"a": [1]})
    old = doc.meta
    session.expire(doc)
    old["a"].append("not seen")
    assert doc.meta == {"a": [1]}
    old["a"].append("not seen")
    assert doc not in session.dirty
    del doc.meta
    old["b"] = 1


def test_what_is_moved_belongs_to_where_it_is(session):
    session.add_all([Doc(id=1, meta={"part": {"x": [1]}, "twice": []}), Doc(id=2, meta={})])
    session.commit()
    one, two = session.get(Doc, 1), session.get(Doc, 2)
    part = one.meta.pop("part")
    two.meta["part"] = part
    session.flush()
    part["x"].append(2)
    assert set(session.dirty) == {two}
    session.commit()
    assert (one.meta, two.meta) == ({"twice": []}, {"part": {"x": [1, 2]}})
    # In the same object, in another attribute.
    one.other = {"kept": one.meta["twice"]}
    one.meta = None
    session.flush()
    one.other["kept"].append(1)
    assert one in session.dirty
    session.flush()
    moved = one.other["kept"]
    one.other = None
    session.flush()
    moved.append(2)
    assert one not in session.dirty


def test_what_is_in_a_container_twice_belongs_to_it_until_both_are_gone(session):
    doc = saved(session, [[]])
    inner = doc.meta[0]
    doc.meta.append(inner)
    session.flush()
    del doc.meta[0]
    session.flush()
    inner.append(1)
    assert doc in session.dirty
    session.flush()
    doc.meta.clear()
    session.flush()
    inner.append(2)
    assert doc not in session.dirty


def test_one_value_may_belong_to_two_objects_and_to_two_attributes(session):
    one, two = Doc(id=1, meta={"a": []}), Doc(id=2)
    two.meta = two.other = one.meta
    session.add_all([one, two])
    session.flush()
    one.meta["a"].append(1)
    assert set(session.dirty) == {one, two}
    session.commit()
    assert one.meta == two.meta == two.other == {"a": [1]}
    two.meta["a"].append(2)
    session.commit()
    assert (one.meta, two.meta, two.other) == ({"a": [1]}, {"a": [1, 2]}, {"a": [1]})


def test_a_part_keeps_neither_its_object_nor_its_container_alive(engine):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Doc(id=1, meta={"a": [[]]}))
        session.commit()
        part = session.get(Doc, 1).meta["a"][0]
        session.expunge_all()
        session.rollback()
        gc.collect()
        assert not part._holders
        part.append(1)


def test_a_container_in_itself_is_an_error_when_it_is_stored_and_not_before(session):
    doc = saved(session, [1])
    doc.meta.append(doc.meta)
    doc.meta[1].append(2)
    with pytest.raises((sa.exc.StatementError, RecursionError)):
        session.flush()
    session.rollback()


def test_pickled_objects_are_tracked_again(session):
    doc = saved(session, {"a": ({"b": [1]},)})
    assert doc.meta
    session.expunge(doc)
    copied = pickle.loads(pickle.dumps(doc))
    assert type(copied.meta["a"][0]["b"]) is TrackedList
    session.add(copied)
    copied.meta["a"][0]["b"].append(2)
    assert copied in session.dirty
    assert stored(session) == {"a": ({"b": [1, 2]},)}


def test_copies_of_a_value_are_of_the_same_type_and_belong_to_nothing(session):
    doc = saved(session, {"a": [1], "s": {1}})
    for copied in (copy.deepcopy(doc.meta), pickle.loads(pickle.dumps(doc.meta))):
        assert copied == doc.meta
        assert type(copied) is TrackedDict
        assert type(copied["s"]) is TrackedSet
        copied["a"].append(2)
        assert doc not in session.dirty
    assert type(doc.meta.copy()) is dict
    assert type(doc.meta["a"][:]) is list
    assert type(doc.meta["a"] + [1]) is list
    assert type(copy.copy(doc.meta)) is TrackedDict
    doc.meta.copy()["a"].append("the same list")
    assert doc in session.dirty


def test_merged_objects_are_tracked(session):
    saved(session, {"a": [1]})
    session.expunge_all()
    merged = session.merge(Doc(id=1, meta={"a": [2]}))
    session.commit()
    merged.meta["a"].append(3)
    session.commit()
    assert merged.meta == {"a": [2, 3]}


def test_an_equal_value_is_no_change_and_an_equal_value_of_another_type_is(session):
    doc = saved(session, {"a": [1]})
    doc.meta = {"a": [1]}
    assert not session.is_modified(doc)
    doc.meta = {"a": [True]}
    assert session.is_modified(doc)


def test_what_changes_unnoticed_can_be_told(session):
    doc = saved(session, {"data": [bytearray(b"a")]})
    doc.meta["data"][0][:] = b"b"
    assert doc not in session.dirty
    doc.meta["data"].changed()
    session.commit()
    assert doc.meta == {"data": [bytearray(b"b")]}


def test_a_failed_change_changes_nothing(session):
    doc = saved(session, {"a": [1, "x"], "s": {1}})

    def failing():
        yield [1]
        raise OSError

    for change, error in (
        (lambda: doc.meta.__setitem__([], []), TypeError),
        (lambda: doc.meta.pop("none"), KeyError),
        (lambda: doc.meta.update(5), TypeError),
        (lambda: doc.meta.update(1, 2), TypeError),
        (lambda: doc.meta["a"].extend(failing()), OSError),
        (lambda: doc.meta["a"].remove(5), ValueError),
        (lambda: doc.meta["a"].__setitem__(9, []), IndexError),
        (lambda: doc.meta["a"].__setitem__(slice(0, 2, 2), [1, 2]), ValueError),
        (lambda: doc.meta["s"].remove(5), KeyError),
    ):
        with pytest.raises(error):
            change()
        assert doc.meta == {"a": [1, "x"], "s": {1}}
        assert doc not in session.dirty
    assert doc.meta.pop("none", 5) == 5
    assert doc not in session.dirty
    with pytest.raises(TypeError):
        doc.meta["a"].sort()
    with pytest.raises(TypeError):
        doc.meta["s"] |= [2]


@pytest.mark.parametrize("entity", [Report, Concrete, Imperative, Record, Described])
def test_a_tracked_type_works_however_it_came_into_the_mapping(session, entity):
    attribute = {Report: "findings", Described: "described"}.get(entity, "meta")
    entity = Doc if entity is Described else entity
    made = entity(**{attribute: {"a": {"b": []}}}) if entity is not Imperative else entity()
    if entity is Imperative:
        made.meta = {"a": {"b": []}}
    session.add(made)
    session.commit()
    getattr(made, attribute)["a"]["b"].append(1)
    session.commit()
    getattr(made, attribute)["a"]["b"].append(2)
    assert stored(session, attribute, entity) == {"a": {"b": [1, 2]}}
    if entity is Report:
        made.meta = [[]]
        session.commit()
        made.meta[0].append(1)
        session.commit()
        assert made.meta == [[1]]


@pytest.mark.parametrize(
    "change", [copy.copy, copy.deepcopy, lambda kind: pickle.loads(pickle.dumps(kind)), lambda kind: kind.copy()]
)
def test_a_copy_of_the_type_is_tracked(shared_engines, change):
    engine = shared_engines("sqlite")
    kind = change(Packed("msgpack").tracked())
    assert repr(kind) == "Packed('msgpack').tracked()"
    metadata = sa.MetaData()
    table = sa.Table("copied", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("meta", kind))
    table = table.to_metadata(sa.MetaData())

    class Copied:
        pass

    registry().map_imperatively(Copied, table)
    table.drop(engine, checkfirst=True)
    table.create(engine)
    with Session(engine) as session:
        made = Copied()
        made.meta = {"a": []}
        session.add(made)
        session.commit()
        made.meta["a"].append(1)
        session.commit()
        assert made.meta == {"a": [1]}


def test_a_container_that_contains_itself_is_refused(session):
    endless: dict[str, Any] = {}
    endless["self"] = [endless]
    with pytest.raises(InvalidArgument, match="contains itself"):
        session.add(Doc(meta=endless))
    doc = Doc(meta={"a": 1})
    session.add(doc)
    session.commit()
    doc.meta["self"] = doc.meta
    with pytest.raises(sa.exc.StatementError, match="contains itself"):
        session.commit()
    session.rollback()
    assert doc.meta == {"a": 1}


def test_values_nested_as_deep_as_can_be_packed_are_tracked(session):
    value: Any = []
    for _ in range(500):
        value = [value]
    doc = Doc(id=1, meta=value)
    session.add(doc)
    session.commit()
    inner = doc.meta
    while inner:
        inner = inner[0]
    inner.append(1)
    assert doc in session.dirty
    session.commit()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=12,
)


@given(value=VALUES, data=st.data())
def test_any_part_of_any_value_can_be_changed(value, data):
    """No database: the attribute alone, with everything that is in it."""
    doc = Doc(meta=value)
    state = sa.inspect(doc)
    assert doc.meta == value
    found = []

    def look(part):
        if isinstance(part, (dict, list, set)):
            found.append(part)
        if not isinstance(part, str):
            for inner in part.values() if isinstance(part, dict) else part if isinstance(part, (list, tuple)) else ():
                look(inner)

    look(doc.meta)
    if not found:
        return
    state._commit_all(state.dict)
    assert not state.modified
    part = data.draw(st.sampled_from(found))
    part.update({5}) if isinstance(part, set) else part.clear()
    assert state.modified
    assert Packed().tracked().pack(doc.meta)

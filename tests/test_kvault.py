"""The contract of KVault, on every database and every kind of bind."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kohakuvault import InvalidArgument, KohakuVaultError, KVault, NotFound, UnsupportedType

VALUES = [
    b"",
    b"\x89K forged header",
    "",
    "naïve ☃ \0 text",
    True,
    False,
    0,
    1,
    -1,
    10**12,
    2**63 - 1,
    2**63,
    -(10**30),
    0.0,
    -0.0,
    5e-324,
    1.5,
    float("inf"),
    float("nan"),
    None,
    {},
    {"name": "Alice", "n": [1, 2.5, None, True, b"x"], "nested": {"a": {"b": ()}}},
    {"b": 1, "a": 2},
    {1: "int key", b"b": "bytes key", (1, 2): "tuple key"},
    [],
    [[], [[]]],
    (),
    (1, (2, [3, (4,)])),
    {"big": 2**70, "t": (1, 2), "array": np.arange(3), "scalar": np.float32(1.5)},
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(12).reshape(3, 4)[::2, ::-1],
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([1, 2], dtype=">i4"),
    np.array([[True, False]]),
    np.array(7, dtype=np.uint8),
    np.zeros((0, 3), dtype=np.float16),
    np.array([1 + 2j]),
    np.array([0, 2**64 - 1], dtype=np.uint64),
    np.array(["2020-01-01", "NaT"], dtype="datetime64[ns]"),
    np.array(["a", "ß"]),
    np.float32(1.1),
    np.int8(-5),
    np.bool_(True),
    np.datetime64("2020-01-01"),
]


def same(a: object, b: object) -> bool:
    """Equal and of the same type, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, np.generic):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(k1, k2) and same(v1, v2) for (k1, v1), (k2, v2) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_values_come_back_equal_and_of_the_same_type(value):
    kv = KVault(":memory:")
    kv["key"] = value
    assert same(kv["key"], value)


def test_values_of_every_kind_on_every_database(kv):
    kv.update(enumerate(VALUES))
    for number, value in enumerate(VALUES):
        assert same(kv[number], value)
    assert len(kv) == len(VALUES)


def test_an_array_that_is_read_can_be_changed_and_is_a_copy(kv):
    array = np.arange(3)
    kv["a"] = array
    array[0] = 99
    read = kv["a"]
    assert read[0] == 0
    read[1] = 77
    assert kv["a"][1] == 1


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | hnp.arrays(
        st.sampled_from([np.dtype(d) for d in ("f4", "f8", ">i2", "u8", "?", "f2", "c8", "M8[s]")]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])) | st.integers() | st.binary() | st.booleans(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def memory() -> KVault:
    return KVault(":memory:")


@settings(max_examples=300, deadline=None)
@given(value=plain)
def test_any_value_comes_back(memory, value):
    memory["k"] = value
    assert same(memory["k"], value)


class Text(str):
    pass


@pytest.mark.parametrize(
    "value",
    [
        object(),
        OrderedDict(a=1),
        Text("x"),
        [Text("x")],
        {"a": {Text("x")}},
        {Text("x"): 1},
        lambda: 0,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_type_that_would_not_come_back_is_refused(kv, value):
    kv["before"] = 1
    with pytest.raises(UnsupportedType, match="cannot store"):
        kv["key"] = value
    assert dict(kv.items()) == {"before": 1}


def cyclic() -> list[object]:
    x: list[object] = []
    x.append(x)
    return x


def deep(levels: int) -> list[object]:
    x: list[object] = []
    for _ in range(levels):
        x = [x]
    return x


@pytest.mark.parametrize("value", [cyclic(), deep(1000), "\ud800", {"a": "\udfff"}, np.zeros(1, "O")], ids=range(5))
def test_a_value_that_cannot_be_packed_is_a_named_error(kv, value):
    with pytest.raises((InvalidArgument, UnsupportedType)):
        kv["key"] = value
    assert "key" not in kv


@pytest.mark.parametrize(
    "key", ["", "a", "\0", "a\0b", "ß", b"", b"a", b"\xff", 0, -1, 2**63 - 1, -(2**63), "x" * 2600]
)
def test_keys_of_every_kind(kv, key):
    kv[key] = 1
    assert list(kv) == [key]
    assert type(next(iter(kv))) is type(key)
    assert key in kv
    del kv[key]
    assert key not in kv


def test_a_very_long_key_works_or_is_refused_by_name(kv):
    key = "x" * 10**6
    if kv.engine.dialect.name == "sqlite":
        kv[key] = 1
        assert list(kv) == [key]
    else:
        with pytest.raises(InvalidArgument, match="at most 2600"):
            kv[key] = 1


def test_keys_of_different_types_are_different(kv):
    kv["1"], kv[b"1"], kv[1] = "text", b"bytes", 1
    assert [kv["1"], kv[b"1"], kv[1]] == ["text", b"bytes", 1]
    assert list(kv) == ["1", b"1", 1]


@pytest.mark.parametrize("key", [None, 1.0, True, (1,), bytearray(b"a"), 2**63, "\ud800"], ids=repr)
def test_other_keys_are_refused(kv, key):
    for operation in (
        kv.__getitem__,
        kv.__contains__,
        kv.get,
        kv.__delitem__,
        lambda k: kv.__setitem__(k, 1),
    ):
        with pytest.raises((UnsupportedType, InvalidArgument), match="key"):
            operation(key)


def test_the_mapping_contract(kv):
    assert not kv
    assert len(kv) == 0
    kv["b"], kv["a"], kv["c"] = 1, 2, 3
    kv["b"] = 10  # keeps its place, as in a dict
    assert list(kv) == list(kv.keys()) == ["b", "a", "c"]
    assert list(kv.values()) == [10, 2, 3]
    assert list(kv.items()) == [("b", 10), ("a", 2), ("c", 3)]
    assert kv
    assert kv == {"b": 10, "a": 2, "c": 3}
    assert kv.keys() & {"a", "z"} == {"a"}
    assert ("a", 2) in kv.items()
    assert 3 in kv.values()
    assert kv.get("z") is None
    assert kv.get("z", 5) == 5
    assert kv.pop("z", 5) == 5
    assert kv.pop("a") == 2
    assert kv.setdefault("n", 5) == 5
    assert kv.setdefault("n", 6) == 5
    assert kv.popitem() == ("n", 5)
    kv.update({"x": 1}, y=2)
    kv.update([("z", 3)])
    assert dict(kv) == {"b": 10, "c": 3, "x": 1, "y": 2, "z": 3}
    kv.clear()
    assert dict(kv) == {}
    with pytest.raises(NotFound, match="empty"):
        kv.popitem()


@pytest.mark.parametrize("operation", [lambda kv: kv["no"], lambda kv: kv.pop("no"), lambda kv: kv.__delitem__("no")])
def test_a_missing_key_is_a_key_error_that_names_it(kv, operation):
    with pytest.raises(KeyError, match="no key 'no'"):
        operation(kv)
    with pytest.raises(KohakuVaultError):
        operation(kv)


def test_iteration_has_no_limit(kv):
    kv.update((number, number) for number in range(12_345))
    assert list(kv) == list(range(12_345))
    assert sum(kv.values()) == sum(range(12_345))
    kv.clear()
    assert len(kv) == 0


def test_update_takes_all_or_nothing(kv):
    kv["a"] = 1
    with pytest.raises(UnsupportedType):
        kv.update([("a", 2), ("b", 3), ("c", object())])
    assert dict(kv) == {"a": 1}

    with pytest.raises(UnsupportedType, match="bool"):
        kv.update([(1, "int"), (True, "bool")])
    with pytest.raises(UnsupportedType, match="list"):
        kv.update([("x", 1), ([], 2)])
    assert dict(kv) == {"a": 1}

    def failing():
        yield "b", 1
        raise RuntimeError

    with pytest.raises(RuntimeError):
        kv.update(failing())
    assert dict(kv) == {"a": 1}


def test_tables_are_apart(bind):
    first, second = KVault(bind, "first"), KVault(bind, "second")
    first["a"], second["a"] = 1, 2
    assert (first["a"], second["a"]) == (1, 2)
    assert KVault(second, "first")["a"] == 1


def test_copies_unions_and_reversal(kv):
    kv.update(b=1, a=2)
    kv |= {"c": 3}
    kv |= [("a", 4)]
    assert kv.copy() == {"b": 1, "a": 4, "c": 3}
    assert type(kv.copy()) is dict
    assert kv | {"d": 5} == {"b": 1, "a": 4, "c": 3, "d": 5}
    assert list(({"z": 0, "b": 9} | kv).items()) == [("z", 0), ("b", 1), ("a", 4), ("c", 3)]
    assert list(reversed(kv)) == list(reversed(kv.keys())) == ["c", "a", "b"]
    assert list(reversed(kv.values())) == [3, 4, 1]
    assert list(reversed(kv.items())) == [("c", 3), ("a", 4), ("b", 1)]
    assert kv.popitem(last=False) == ("b", 1)
    assert kv.popitem() == ("c", 3)
    with pytest.raises(TypeError):
        kv | [("a", 1)]


def test_put_delete_exists_are_methods_too(kv):
    kv.put("a", 1)
    assert kv.exists("a")
    assert kv.delete("a") is True
    assert kv.delete("a") is False
    assert not kv.exists("a")


def test_many_at_once(kv):
    kv.put_many((f"key:{number}", number) for number in range(1500))
    keys = [f"key:{number}" for number in range(-5, 1500, 3)]
    assert kv.get_many(keys) == [None, None] + [int(key[4:]) for key in keys[2:]]
    assert kv.get_many(["key:1", b"key:1", 1, "key:1"], default="none") == [1, "none", "none", 1]
    assert kv.get_many([]) == []
    assert kv.delete_many(keys) == len(keys) - 2
    assert kv.delete_many([]) == 0
    assert len(kv) == 1500 - (len(keys) - 2)
    with pytest.raises(UnsupportedType):
        kv.delete_many(["key:0", 1.5])
    with pytest.raises(UnsupportedType):
        kv.put_many([("x", 1), ("y", object())])
    assert "x" not in kv


ORDERED = [
    -(2**63),
    -1,
    0,
    7,
    "",
    "a",
    "ab",
    "a\ud7ff",
    "a\ue000",
    "b",
    "\U0010ffff",
    b"",
    b"a",
    b"a\xff",
    b"a\xff\xff",
    b"b",
]


def test_ranges_and_prefixes_follow_the_order_of_keys(kv):
    for key in ORDERED[::-1]:
        kv[key] = repr(key)
    assert [key for key, _ in kv.range()] == ORDERED
    assert [key for key, _ in kv.range(reverse=True)] == ORDERED[::-1]
    for low in (None, *ORDERED):
        for high in (None, *ORDERED):
            start = 0 if low is None else ORDERED.index(low)
            stop = len(ORDERED) if high is None else ORDERED.index(high)
            assert list(kv.range(low, high)) == [(key, repr(key)) for key in ORDERED[start:stop]]
            assert [key for key, _ in kv.range(low, high, reverse=True)] == ORDERED[start:stop][::-1]
    for prefix in ("", "a", "a\ud7ff", "\U0010ffff", "x", b"", b"a", b"a\xff", b"\xff"):
        expected = [key for key in ORDERED if type(key) is type(prefix) and key.startswith(prefix)]
        assert [key for key, _ in kv.prefix(prefix)] == expected
        assert [key for key, _ in kv.prefix(prefix, reverse=True)] == expected[::-1]
    assert kv.first() == (ORDERED[0], repr(ORDERED[0]))
    assert kv.last() == (ORDERED[-1], repr(ORDERED[-1]))
    assert kv.delete_range("a", b"a") == 7
    assert [key for key, _ in kv.range()] == ORDERED[:5] + ORDERED[12:]
    assert kv.delete_range(high=0) == 2
    assert kv.delete_range() == len(kv) + 7
    for empty in (kv.first, kv.last):
        with pytest.raises(NotFound, match="empty"):
            empty()
    with pytest.raises(UnsupportedType, match="prefix"):
        kv.prefix(1)


def test_ranges_have_no_limit(kv):
    kv.put_many((number, None) for number in range(3500))
    assert [key for key, _ in kv.range()] == list(range(3500))
    assert [key for key, _ in kv.range(5, 3400, reverse=True)] == list(range(3399, 4, -1))


def test_atomic_operations(kv):
    assert kv.add("a", 1) is True
    assert kv.add("a", 2) is False
    assert kv["a"] == 1
    assert kv.incr("a") == 2
    assert kv.incr("new", 5, default=10) == 15
    assert kv.decr("new", 0.5) == 14.5
    assert kv.incr("big", 2**70) == 2**70
    assert kv.replace("a", 2, "two") is True
    assert kv.replace("a", 2, "three") is False
    assert kv.replace("a", "two", None) is True
    assert kv.replace("a", False, 1) is False
    assert kv.replace("missing", None, 1) is False
    assert kv.copy() == {"a": None, "new": 14.5, "big": 2**70}
    for key, delta in [("a", 1), ("new", "1"), ("new", True)]:
        with pytest.raises(UnsupportedType, match="incr"):
            kv.incr(key, delta)
    assert kv["new"] == 14.5


COUNTING = """
    import sys
    from kohakuvault import KVault
    kv = KVault(sys.argv[1])
    print(kv.add("winner", sys.argv[2]), flush=True)
    for i in range(200):
        kv.incr("count")
        while not kv.replace("swapped", old := kv["swapped"], old + 1):
            pass
"""


def test_atomic_operations_between_processes_lose_nothing(url):
    kv = KVault(url)
    kv["swapped"] = 0
    command = [sys.executable, "-c", textwrap.dedent(COUNTING), url.render_as_string(hide_password=False)]
    processes = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "ab"]
    won = [process.communicate(timeout=100)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(won) == ["False", "True"]
    assert kv["winner"] == "ab"[won.index("True")]
    assert (kv["count"], kv["swapped"]) == (400, 400)

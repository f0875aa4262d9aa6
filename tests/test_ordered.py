"""Ordered maps: the contract of every container of the kind, for every kind of keys."""

from __future__ import annotations

import copy
import functools
import gc
import os
import pickle
import random
import threading
import weakref
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kohakuvault import CSBTree, InvalidArgument, NotFound, SkipList

STRESS = bool(os.environ.get("KOHAKUVAULT_STRESS"))
CONTAINERS = [CSBTree, SkipList]


@functools.total_ordering
class Word:
    """Compared by Python, by nothing but ``<``."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __lt__(self, other):
        return self.text < other.text

    def __eq__(self, other):
        return isinstance(other, Word) and self.text == other.text

    def __hash__(self):
        return hash(self.text)

    def __repr__(self):
        return f"Word({self.text!r})"


def backwards(number: int) -> int:
    return -number


def by_length(left: str, right: str) -> int:
    return (len(left), left) > (len(right), right) or -((len(left), left) < (len(right), right))


# Keys of each kind by their number, and what the container is made with.
KINDS = {
    "int": (lambda n: n - 40, {}),
    "float": (lambda n: n / 4 - 5, {}),
    "str": (lambda n: f"{n:05} é", {}),
    "bytes": (lambda n: f"{n:05}".encode(), {}),
    "tuple": (lambda n: (n // 7, str(n)), {}),
    "big int": (lambda n: n * 10**18 - 10**19, {}),
    "mixed numbers": (lambda n: n if n % 3 else n + 0.0 if n % 2 else bool(n) if n < 2 else n, {}),
    "object": (lambda n: Word(f"{n:05}"), {}),
    "key=": (lambda n: n, {"key": backwards}),
    "comparator=": (lambda n: "x" * (n % 5) + str(n), {"comparator": by_length}),
}


@pytest.fixture(params=CONTAINERS, ids=lambda container: container.__name__)
def container(request):
    return request.param


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def in_order(keys, made_with):
    if "comparator" in made_with:
        return sorted(keys, key=functools.cmp_to_key(made_with["comparator"]))
    return sorted(keys, key=made_with.get("key"))


def shuffled(key, count: int) -> list:
    keys = [key(number) for number in range(count)]
    random.Random(count).shuffle(keys)
    return keys


def test_it_is_a_sorted_dict(container, kind):
    key, made_with = kind
    keys = shuffled(key, 700)
    tree = container(**made_with)
    for number, each in enumerate(keys):
        assert tree.insert(each, number) is None
        assert tree[each] == number
    model = dict(zip(keys, range(len(keys)), strict=True))
    ordered = in_order(keys, made_with)
    assert tree.check() == []
    assert len(tree) == 700
    assert tree.keys() == ordered
    assert [type(each) for each in tree.keys()] == [type(each) for each in ordered]  # noqa: SIM118 (a method of ours)
    assert tree.items() == list(tree) == [(each, model[each]) for each in ordered]
    assert list(reversed(tree)) == tree.items()[::-1]
    assert tree.values() == [model[each] for each in ordered]
    assert tree.first() == (ordered[0], model[ordered[0]])
    assert tree.last() == (ordered[-1], model[ordered[-1]])
    for each in keys[::2]:
        assert each in tree
        assert tree.remove(each) == model.pop(each)
        assert each not in tree
    assert tree.check() == []
    assert tree.keys() == [each for each in ordered if each in model]
    for each in list(model):
        del tree[each]
    assert tree.check() == []
    assert tree.is_empty()
    assert (tree.items(), tree.first(), tree.last()) == ([], None, None)


def test_ranges_and_neighbours(container, kind):
    key, made_with = kind
    keys = in_order(shuffled(key, 400), made_with)
    there = keys[::2]
    tree = container(((each, str(each)) for each in there), **made_with)
    rng = random.Random(5)
    place = {id(each): number for number, each in enumerate(keys)}
    for _ in range(120):
        low, high = rng.choice(keys), rng.choice(keys)
        left, right = rng.random() < 0.5, rng.random() < 0.5
        a, b = place[id(low)], place[id(high)]
        expected = [
            (each, str(each))
            for number, each in enumerate(keys)
            if number % 2 == 0 and (a <= number if left else a < number) and (number <= b if right else number < b)
        ]
        assert tree.range(low, high, inclusive=(left, right)) == expected
        assert tree.range(low, high, inclusive=(left, right), reverse=True) == expected[::-1]
    middle = keys[101]
    assert tree.range(None, middle) == [(each, str(each)) for each in there[:51]]
    assert tree.range(middle) == tree.range(lo=middle) == [(each, str(each)) for each in there[51:]]
    assert tree.range() == tree.items()
    assert tree.floor(keys[100])[0] == tree.ceiling(keys[100])[0] == keys[100]
    assert (tree.lower(keys[100])[0], tree.higher(keys[100])[0]) == (keys[98], keys[102])
    assert (tree.floor(middle)[0], tree.ceiling(middle)[0]) == (keys[100], keys[102])
    assert (tree.lower(middle)[0], tree.higher(middle)[0]) == (keys[100], keys[102])
    assert tree.lower(keys[0]) is tree.higher(keys[399]) is tree.ceiling(keys[399]) is None
    for wrong in (True, "[]", (True,), (1, 0)):
        with pytest.raises(TypeError, match="inclusive is a pair of bools"):
            tree.range(keys[0], inclusive=wrong)


def test_a_key_that_is_there_keeps_its_place(container):
    tree = container()
    first, equal = Word("a"), Word("a")
    assert tree.insert(first, 1) is None
    assert tree.insert(equal, 2) == 1
    assert tree.keys()[0] is first
    tree[equal] = 3
    assert tree.items() == [(first, 3)]
    assert tree.setdefault(equal, 4) == 3
    assert tree.setdefault(Word("b"), 5) == 5
    assert tree.setdefault(Word("c")) is None
    assert len(tree) == 3


def test_get_and_pop(container):
    tree = container([(1, "a"), (2, None)])
    assert (tree.get(1), tree.get(2), tree.get(3), tree.get(3, "x")) == ("a", None, None, "x")
    assert (tree.get_default(2, 5), tree.get_default(9, 5)) == (None, 5)
    assert tree.pop(1) == "a"
    assert tree.pop(1, "gone") == "gone"
    for missing in (lambda: tree[1], lambda: tree.pop(1), lambda: tree.__delitem__(1)):
        with pytest.raises(NotFound, match="no key 1"):
            missing()
    with pytest.raises(TypeError):
        tree.pop(1, 2, 3)
    assert tree.remove(1) is None
    tree.insert_many([(5, 5), (0, 0)])
    assert tree.popitem() == (5, 5)
    assert tree.popitem(last=False) == (0, 0)
    assert tree.popitem() == (2, None)
    with pytest.raises(KeyError):
        tree.popitem()
    assert tree.check() == []


def test_many(container, kind):
    key, made_with = kind
    keys = shuffled(key, 500)
    tree = container(**made_with)
    assert tree.insert_many((each, 1) for each in keys[:300]) == 300
    assert tree.insert_many([(each, 2) for each in keys[200:]] + [(keys[0], 3)]) == 200
    assert tree[keys[0]] == 3
    assert tree[keys[250]] == 2
    assert len(tree) == 500
    assert tree.check() == []
    assert tree.insert_many([]) == 0


def test_update_and_what_it_is_made_of(container):
    assert container({"b": 2, "a": 1}).items() == container([("a", 1), ["b", 2]]).items() == [("a", 1), ("b", 2)]
    tree = container(container({"a": 1}))
    tree.update({"c": 3}, b=2)
    tree.update([("d", 4)])
    tree.update()
    assert tree.items() == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    tree.clear()
    assert tree.items() == []
    for wrong in (5.5, [1], ["abc"], [(1, 2, 3)], None):
        with pytest.raises(TypeError):
            tree.insert_many(wrong)
    assert tree.is_empty()


def test_sorted_or_not_nothing_is_added_by_what_fails(container):
    tree = container([(1, 1)])

    def failing():
        yield 2, 2
        raise ZeroDivisionError

    for wrong, error in (
        ([(2, 2), (float("nan"), 1)], InvalidArgument),
        ([(2, 2), 5], TypeError),
        (failing(), ZeroDivisionError),
    ):
        with pytest.raises(error):
            tree.insert_many(wrong)
    assert tree.items() == [(1, 1)]


def test_numbers_are_found_as_python_compares_them(container):
    tree = container([(1, "int"), (5, "int")])
    assert tree[1.0] == tree[True] == "int"
    assert 2.5 not in tree
    assert 10**30 not in tree
    assert tree.floor(4.5) == (1, "int")
    assert tree.ceiling(10**30) is None
    tree[True] = "set"
    assert tree.items() == [(1, "set"), (5, "int")]
    assert type(tree.keys()[0]) is int
    tree[2.5] = tree[10**30] = tree[False] = "new"
    assert tree.keys() == [False, 1, 2.5, 5, 10**30]
    assert [type(each) for each in tree.keys()] == [bool, int, float, int, int]  # noqa: SIM118
    assert tree.check() == []


def test_keys_that_cannot_be_compared_change_nothing(container):
    for there, wrong in ((1, "a"), ("a", 1), (b"a", "a"), (1.5, [1]), ((1,), 1), (Word("a"), 1)):
        tree = container([(there, 0)])
        for use in (
            lambda tree=tree, wrong=wrong: tree.insert(wrong, 1),
            lambda tree=tree, wrong=wrong: wrong in tree,
            lambda tree=tree, wrong=wrong: tree.get(wrong),
            lambda tree=tree, wrong=wrong: tree.range(wrong),
            lambda tree=tree, wrong=wrong: tree.remove(wrong),
        ):
            with pytest.raises((TypeError, AttributeError)):
                use()
        assert tree.items() == [(there, 0)]
        assert tree.check() == []
    for nan in (lambda: container([(float("nan"), 1)]), lambda: container([(1.0, 1)]).get(float("nan"))):
        with pytest.raises(InvalidArgument, match="NaN"):
            nan()


def test_text_that_is_no_unicode_and_zeros(container):
    tree = container([("b", 1), ("\ud800", 2), ("a", 3)])
    assert tree.keys() == ["a", "b", "\ud800"]
    tree = container([(0.0, 1)])
    tree[-0.0] = 2
    assert tree.items() == [(0.0, 2)]
    texts = ["\U0001f600", "\uffff", "z", "é", ""]
    assert container((text, 1) for text in texts).keys() == sorted(texts)


def test_orders_of_ones_own(container):
    tree = container([(1, "a"), (3, "c"), (2, "b")], key=lambda number: -number)
    assert tree.items() == [(3, "c"), (2, "b"), (1, "a")]
    assert tree.range(3, 1) == [(3, "c"), (2, "b")]
    words = container(key=str.casefold)
    words["B"] = 1
    words["a"] = 2
    words["b"] = 3
    assert words.items() == [("a", 2), ("B", 3)]
    assert container(["ab", "ba"], comparator=lambda a, b: (a < b) - (a > b)).keys() == ["b", "a"]
    with pytest.raises(InvalidArgument, match="both given"):
        container(key=str, comparator=by_length)
    for wrong in ({"key": 5}, {"comparator": "x"}):
        with pytest.raises(TypeError):
            container(**wrong)

    def failing(number):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        container([(1, 1)], key=failing)


def test_equality(container):
    tree = container([(2, "b"), (1, "a")])
    assert tree == container([(1, "a"), (2, "b")])
    assert tree == {1: "a", 2: "b"}
    assert tree.__eq__({2: "b", 1: "a"}) is True
    assert tree == container({1: "a", 2: "b"}, key=backwards)
    assert tree != {1: "a"}
    assert tree != {1: "a", 2: "c"}
    assert tree != {1: "a", "x": "b"}
    assert tree != container({1: "a", 3: "b"})
    assert tree != [(1, "a"), (2, "b")]
    with pytest.raises(TypeError):
        hash(tree)


def test_copies(container, kind):
    key, made_with = kind
    tree = container([(key(number), [number]) for number in range(200)], **made_with)
    for copied in (tree.copy(), copy.copy(tree)):
        assert copied == tree
        assert copied.check() == []
        copied[key(300)] = 1
        assert key(300) not in tree
        assert copied[key(5)] is tree[key(5)]
    for copied in (copy.deepcopy(tree), pickle.loads(pickle.dumps(tree))):
        assert copied.items() == tree.items()
        assert copied[key(5)] is not tree[key(5)]
        copied[key(301)] = 1
        assert copied.check() == []


def test_repr(container):
    tree = container([(2, "b"), (1, "a")])
    name = container.__name__
    assert repr(tree) == f"{name}([(1, 'a'), (2, 'b')])"
    assert eval(repr(tree)) == tree
    assert repr(container()) == f"{name}()"
    assert repr(container([(1, 1)], key=backwards)) == f"{name}([(1, 1)], key={backwards!r})"
    tree[3] = tree
    assert repr(tree) == f"{name}([(1, 'a'), (2, 'b'), (3, {name}(...))])"
    assert container[int, str].__origin__ is container


# -- what keys and values do -----------------------------------------------------------------------------


class Meddling:
    """A key that does something when it is compared."""

    act = None

    def __init__(self, number: int) -> None:
        self.number = number

    def __lt__(self, other):
        act, Meddling.act = Meddling.act, None
        if act is not None:
            act()
        return self.number < other.number


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    Meddling.act = None


@pytest.mark.parametrize("use", ["insert", "remove", "get", "range", "floor", "insert_many"])
@pytest.mark.parametrize("meddle", ["clear", "insert", "remove", "drop"])
def test_a_comparison_may_change_the_container(container, use, meddle):
    keys = [Meddling(number) for number in range(0, 600, 2)]
    tree = container((key, key.number) for key in keys)
    changes = {
        "clear": tree.clear,
        "insert": lambda: tree.insert(Meddling(1), "new"),
        "remove": lambda: tree.remove(keys[0]),
        "drop": lambda: [tree.remove(key) for key in keys[100:]],
    }
    uses = {
        "insert": lambda: tree.insert(Meddling(301), "x"),
        "remove": lambda: tree.remove(keys[150]),
        "get": lambda: tree.get(keys[150]),
        "range": lambda: tree.range(keys[10], keys[20]),
        "floor": lambda: tree.floor(Meddling(301)),
        "insert_many": lambda: tree.insert_many([(Meddling(301), 1), (Meddling(5), 2)]),
    }
    Meddling.act = changes[meddle]
    uses[use]()
    assert Meddling.act is None
    assert tree.check() == []
    assert len(tree) == len(tree.items())


def test_a_comparison_may_fail(container):
    tree = container((Meddling(number), number) for number in range(300))

    def fail():
        raise ZeroDivisionError

    for use in (lambda: tree.insert(Meddling(5), 1), lambda: tree.get(Meddling(5)), lambda: tree.remove(Meddling(5))):
        Meddling.act = fail
        with pytest.raises(ZeroDivisionError):
            use()
    assert tree.check() == []
    assert len(tree) == 300


def test_a_container_that_always_changes_is_an_error(container):
    tree = container([(Meddling(1), 1)])

    class Restless(Meddling):
        def __lt__(self, other):
            tree.insert(Meddling(2), 1)
            tree.remove(Meddling(2))
            return False

        __gt__ = __lt__

    with pytest.raises(RuntimeError, match="changed"):
        tree.insert(Restless(5), 1)


def test_a_value_that_goes_may_use_the_container(container):
    tree = container()
    seen = []

    class Value:
        def __del__(self):
            seen.append(len(tree))
            tree.insert(len(seen) + 1000, None)

    for number in range(5):
        tree[number] = Value()
    tree[0] = None
    del tree[1]
    tree.pop(2)
    tree.insert_many([(3, None)])
    assert len(seen) == 4
    tree.clear()
    assert len(seen) == 5
    assert tree.check() == []


def test_a_key_that_goes_may_use_the_container(container):
    """Also one that is left only inside, where it leads to others."""
    seen = []

    @functools.total_ordering
    class Key:
        def __init__(self, number):
            self.number = number

        def __lt__(self, other):
            return self.number < other.number

        def __del__(self):
            seen.append(len(tree))

    for made_with in ({}, {"key": lambda key: Key(key.number)}):
        tree = container(**made_with)
        tree.update((Key(number), None) for number in range(2000))
        seen.clear()
        while not tree.is_empty():
            tree.popitem(last=len(tree) % 3 == 0)
        tree[Key(1)] = 1
        tree.clear()
        assert len(seen) >= 2000
        assert tree.check() == []


def test_cycles_are_collected(container):
    class Value:
        pass

    tree = container()
    value = Value()
    value.tree = tree
    tree[1] = value
    iterator = iter(tree)
    value.iterator = iterator
    tree.insert(2, container([(1, tree)], key=lambda key, tree=tree: key))
    gone = weakref.ref(value), weakref.ref(tree)
    del tree, value, iterator
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_it_is_not_changed_while_it_is_iterated_over():
    tree = CSBTree((number, 0) for number in range(500))
    for key, _ in tree:
        tree[key] = 1
    assert set(tree.values()) == {1}
    for change in (lambda: tree.insert(1000, 1), lambda: tree.remove(0), tree.clear):
        iterator = iter(tree)
        next(iterator)
        change()
        with pytest.raises(RuntimeError, match="changed during iteration"):
            next(iterator)


def test_the_forms_of_1_1_0():
    for tree in (CSBTree(63), CSBTree(order=63), CSBTree(2)):
        tree.update([(number, 0) for number in range(1000)])
        assert tree.check() == []
    for wrong in (0, -1):
        with pytest.raises((InvalidArgument, OverflowError)):
            CSBTree(order=wrong)


def test_threads_that_share_one(container):
    tree = container()
    errors = []

    def work(start: int) -> None:
        try:
            for number in range(start, 4000, 8):
                tree[number] = number
                assert tree[number] == number
                tree.range(number - 50, number)
                if number % 3 == 0:
                    del tree[number]
        except Exception as error:  # noqa: BLE001 (shown below)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert tree.keys() == [number for number in range(4000) if number % 3]
    assert tree.check() == []


# -- against a dict and sorted() -------------------------------------------------------------------------

NUMBERS = st.integers(0, 60)


class LikeASortedDict(RuleBasedStateMachine):
    container = CSBTree
    key = staticmethod(lambda number: number)
    made_with: ClassVar[dict] = {}

    @initialize(order=st.sampled_from([8, 9, 64]))
    def make(self, order):
        more = {"order": order} if self.container is CSBTree else {}
        self.tree = self.container(**self.made_with, **more)
        self.model = {}

    @rule(number=NUMBERS, value=st.integers())
    def insert(self, number, value):
        key = self.key(number)
        assert self.tree.insert(key, value) == self.model.get(key)
        if self.container is CSBTree or key not in self.model:
            self.model[key] = value

    @rule(number=NUMBERS, value=st.integers())
    def set(self, number, value):
        self.tree[self.key(number)] = value
        self.model[self.key(number)] = value

    @rule(numbers=st.lists(NUMBERS, max_size=40), value=st.integers())
    def insert_many(self, numbers, value):
        keys = [self.key(number) for number in numbers]
        assert self.tree.insert_many((key, value) for key in keys) == len(set(keys) - set(self.model))
        self.model.update(dict.fromkeys(keys, value))

    @rule(number=NUMBERS)
    def remove(self, number):
        key = self.key(number)
        assert self.tree.remove(key) == self.model.pop(key, None)

    @rule(last=st.booleans())
    def popitem(self, last):
        if not self.model:
            return
        key = in_order(self.model, self.made_with)[-1 if last else 0]
        assert self.tree.popitem(last) == (key, self.model.pop(key))

    @rule(low=NUMBERS, high=NUMBERS, inclusive=st.tuples(st.booleans(), st.booleans()))
    def range(self, low, high, inclusive):
        ordered = in_order({self.key(number): None for number in range(61)}, self.made_with)
        a, b = ordered.index(self.key(low)), ordered.index(self.key(high))
        chosen = ordered[a + (not inclusive[0]) : b + inclusive[1]] if a <= b else []
        expected = [(key, self.model[key]) for key in chosen if key in self.model]
        assert self.tree.range(self.key(low), self.key(high), inclusive=inclusive) == expected

    @precondition(lambda self: len(self.model) > 50)
    @rule()
    def clear(self):
        self.tree.clear()
        self.model.clear()

    @rule()
    def copy(self):
        self.tree = self.tree.copy()

    @invariant()
    def is_the_model(self):
        if hasattr(self, "tree"):
            assert self.tree.check() == []
            assert self.tree.items() == [(key, self.model[key]) for key in in_order(self.model, self.made_with)]
            assert len(self.tree) == len(self.model)


@pytest.mark.timeout(3600 if STRESS else 120)
@pytest.mark.parametrize("name", ["int", "str", "tuple", "mixed numbers", "key="])
def test_against_a_dict(container, name):
    key, made_with = KINDS[name]
    machine = type(
        "Machine", (LikeASortedDict,), {"key": staticmethod(key), "made_with": made_with, "container": container}
    )
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=2000 if STRESS else 20,
            stateful_step_count=50 if STRESS else 25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(3600 if STRESS else 120)
def test_random_actors(container):
    """As sortedcontainers tests itself: whatever comes, and check() after each."""
    rng = random.Random(0)
    tree, model = container(), {}
    actors = [
        lambda: (tree.__setitem__(key, 1), model.__setitem__(key, 1)),
        lambda: (tree.remove(key), model.pop(key, None)),
        lambda: (tree.update({key: 2, key + 1: 2}), model.update({key: 2, key + 1: 2})),
        lambda: (tree.setdefault(key, 3), model.setdefault(key, 3)),
        lambda: (tree.popitem(), model.pop(max(model))) if model else None,
        lambda: (tree.insert_many([(key + n, n) for n in range(20)]), model.update((key + n, n) for n in range(20))),
    ]
    for _ in range(10_000 if STRESS else 500):
        key = rng.randrange(5000)
        rng.choice(actors)()
        assert tree.check() == []
        assert tree.items() == sorted(model.items())

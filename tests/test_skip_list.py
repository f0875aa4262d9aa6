"""What SkipList has beside what all ordered maps have: its ``insert``, snapshots, and threads."""

from __future__ import annotations

import gc
import random
import threading
import weakref

import pytest

from kohakuvault import CSBTree, SkipList
from kohakuvault.ordered import OrderedMap


def test_insert_leaves_what_is_there():
    jobs = SkipList()
    assert jobs.insert(1, "a") is None
    assert jobs.insert(1, "b") == "a"
    assert jobs[1] == "a"
    jobs[1] = "c"
    assert jobs.insert(1, "d") == "c"


def test_both_are_ordered_maps():
    assert issubclass(SkipList, OrderedMap)
    assert isinstance(CSBTree(), OrderedMap)
    with pytest.raises(TypeError):
        OrderedMap()
    assert SkipList({1: 2}) == CSBTree({1: 2})
    assert CSBTree(SkipList({2: 2, 1: 1})).items() == [(1, 1), (2, 2)]


def test_a_loop_may_change_the_list():
    numbers = SkipList((number, number) for number in range(1000))
    for number, _ in numbers:
        del numbers[number]
        numbers[number + 5000] = number
    assert numbers.keys() == list(range(5000, 6000))
    assert numbers.check() == []


@pytest.mark.parametrize("key", [int, str, float, lambda n: (n, "x")], ids=["int", "str", "float", "tuple"])
@pytest.mark.parametrize(
    "change",
    [
        lambda numbers, key: numbers.clear(),
        lambda numbers, key: [numbers.remove(key(number)) for number in range(0, 1000, 3)],
        lambda numbers, key: numbers.update((key(number), "new") for number in range(2000)),
        lambda numbers, key: numbers.insert(key(500), "new") and numbers.popitem(),
        lambda numbers, key: (numbers.clear(), numbers.update({b"another type": 1})),
    ],
    ids=["clear", "remove", "update", "popitem", "another type"],
)
def test_an_iterator_gives_what_there_was(key, change):
    numbers = SkipList((key(number), number) for number in range(1000))
    there = numbers.items()
    forward, backward, begun = iter(numbers), reversed(numbers), iter(numbers)
    first = [next(begun) for _ in range(100)]
    change(numbers, key)
    assert list(forward) == there
    assert list(backward) == there[::-1]
    assert first + list(begun) == there
    assert list(forward) == []
    assert numbers.check() == []
    assert list(numbers) == numbers.items()


def test_keys_of_another_type_leave_iterators_alone():
    numbers = SkipList((number, number) for number in range(300))
    iterator = iter(numbers)
    numbers[2.5] = "float"
    assert list(iterator) == [(number, number) for number in range(300)]
    assert numbers.range(2, 4) == [(2, 2), (2.5, "float"), (3, 3)]


class Value:
    pass


def test_what_an_iterator_keeps_goes_with_it():
    value = Value()
    gone = weakref.ref(value)
    numbers = SkipList((number, value) for number in range(10))
    del value
    iterator = iter(numbers)
    numbers.clear()
    gc.collect()
    assert gone() is not None
    assert next(iterator) == (0, gone())
    del iterator
    assert gone() is None


def test_cycles_through_iterators_are_collected():
    for change in (lambda numbers: None, lambda numbers: numbers.clear(), lambda numbers: numbers.insert(99, 1)):
        numbers = SkipList()
        values = [Value() for _ in range(10)]
        numbers.update(enumerate(values))
        iterator = iter(numbers)
        next(iterator)
        for value in values:
            value.iterator, value.numbers = iterator, numbers
        change(numbers)
        gone = [weakref.ref(each) for each in (numbers, *values)]
        del numbers, values, value, iterator
        gc.collect()
        assert [each() for each in gone] == [None] * 11


def test_the_collector_leaves_alone_what_is_in_use():
    numbers = SkipList()
    for number in range(500):
        value = Value()
        value.numbers = numbers
        numbers[number] = value
    iterator = iter(numbers)
    first = next(iterator)
    for number in range(0, 500, 2):
        numbers[number] = None
    gc.collect()
    assert first[1].numbers is numbers
    assert [value.numbers is numbers for _, value in iterator] == [True] * 499
    assert numbers.check() == []


def test_eight_threads_on_one_list():
    """Writers have keys of their own; every state that a reader sees is one that there was."""
    numbers = SkipList((number * 100, 0) for number in range(200))
    done = threading.Event()
    errors = []

    def write(mine: int) -> None:
        rng = random.Random(mine)
        model = {}
        for round_ in range(1500):
            number = rng.randrange(200) * 100 + mine
            if rng.random() < 0.6:
                numbers[number] = round_
                model[number] = round_
            else:
                assert numbers.remove(number) == model.pop(number, None)
            assert numbers.get(number) == model.get(number)
        assert {number: value for number, value in numbers if number % 100 == mine} == model

    def read(_: int) -> None:
        while not done.is_set():
            seen = [number for number, _ in numbers]
            assert seen == sorted(set(seen))
            # Those are never removed.
            assert [number for number in seen if number % 100 == 0] == list(range(0, 20_000, 100))
            assert numbers.range(500, 900)[0] == (500, 0)
            assert numbers.floor(600) == (600, 0)
            assert [number for number, _ in reversed(numbers)][-1] == 0

    def guarded(work, mine: int) -> None:
        try:
            work(mine)
        except BaseException as error:  # noqa: BLE001 (shown below)
            errors.append(error)

    readers = [threading.Thread(target=guarded, args=(read, mine)) for mine in range(3)]
    writers = [threading.Thread(target=guarded, args=(write, mine)) for mine in range(1, 6)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert errors == []
    assert numbers.check() == []


def test_all_of_many_or_none_is_seen():
    """``insert_many`` of keys of one type is one change for every thread."""
    numbers = SkipList()
    stop = threading.Event()
    seen = set()

    def watch() -> None:
        while not stop.is_set():
            seen.add(len(numbers) % 1000)
            seen.add(len(list(numbers)) % 1000)

    threads = [threading.Thread(target=watch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(0, 50_000, 1000):
        numbers.insert_many((number, number) for number in range(start, start + 1000))
    stop.set()
    for thread in threads:
        thread.join()
    assert seen == {0}

"""The contract of KVault.memoize: which calls are one, what is kept, and that one caller computes."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import math
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

import kohakuvault
from kohakuvault import InvalidArgument, Json, KVault, ReadOnlyDatabase, UnsupportedType
from kohakuvault.packing import pack

memory = KVault(":memory:")


@pytest.fixture
def kv(engine) -> KVault:
    return KVault(engine)


class Counter:
    """Notes the calls, from any thread."""

    def __init__(self):
        self.calls = []

    def __call__(self, call):
        self.calls.append(call)
        return len(self.calls)


@pytest.fixture
def computed() -> Counter:
    return Counter()


# -- which calls are one ---------------------------------------------------------------------------


def test_a_result_is_computed_once_and_read_from_then_on(bind, computed):
    kv = KVault(bind)

    @kv.memoize(ttl=60, name="square")
    def square(x):
        computed(x)
        return {"square": x * x}

    assert [square(3), square(3), square(4)] == [{"square": 9}, {"square": 9}, {"square": 16}]
    assert computed.calls == [3, 4]
    assert kv[square.cache_key(3)] == {"square": 9}
    assert kv.expires_at(square.cache_key(3)) is not None


def test_it_decorates_with_and_without_arguments(kv, computed):
    @kv.memoize
    def bare(x):
        """Double."""
        return 2 * x

    @kv.memoize()
    def called(x):
        return 3 * x

    assert [bare(1), called(1), bare(1), called(1)] == [2, 3, 2, 3]
    assert bare.__name__ == "bare"
    assert bare.__doc__ == "Double."
    assert str(inspect.signature(bare)) == "(x)"
    assert kv.expires_at(bare.cache_key(1)) is None
    assert bare.__wrapped__(5) == 10
    assert bare.cache_key(5) not in kv


def test_arguments_are_the_same_however_they_are_passed():
    @memory.memoize
    def f(a, b=2, *rest, c=3, **more):
        return None

    key = f.cache_key(1)
    assert key == f.cache_key(a=1) == f.cache_key(1, 2) == f.cache_key(1, b=2, c=3)
    assert f.cache_key(1, x=1, y=2) == f.cache_key(1, y=2, x=1) != key
    assert f.cache_key(1, 2, 3) != f.cache_key(1, 2, c=3)
    assert f.cache_key({1, 2}) == f.cache_key({2, 1})


def test_arguments_that_only_compare_equal_are_different_calls():
    @memory.memoize
    def f(a):
        return None

    calls = [1, 1.0, True, "1", b"1", 0.0, -0.0, (1,), [1], {"a": 1, "b": 2}, {"b": 2, "a": 1}, {1}, frozenset({1})]
    assert len({f.cache_key(call) for call in calls}) == len(calls)


ARGUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(ARGUMENTS, ARGUMENTS, ARGUMENTS, ARGUMENTS)
@settings(max_examples=300, deadline=None)
def test_two_calls_have_one_key_exactly_if_their_arguments_are_stored_the_same(a, b, c, d):
    @memory.memoize
    def f(first, second=None):
        return None

    assert (f.cache_key(a, b) == f.cache_key(c, second=d)) == ((pack(a), pack(b)) == (pack(c), pack(d)))


def test_functions_do_not_share_results(kv):
    @kv.memoize(name="one")
    def one(x):
        return "one"

    @kv.memoize(name="one.two")
    def two(x):
        return "two"

    assert [one(1), two(1), one(1), two(1)] == ["one", "two", "one", "two"]
    assert one(2) == "one"
    assert one.invalidate_all() == 2
    assert two.cache_key(1) in kv


def test_a_name_may_be_shared_on_purpose_and_changed_to_begin_anew(kv):
    first = kv.memoize(name="f v1")(lambda x: "first")
    again = kv.memoize(name="f v1")(lambda x: "again")
    changed = kv.memoize(name="f v2")(lambda x: "changed")
    assert [first(x=1), again(x=1), changed(x=1)] == ["first", "first", "changed"]


def test_what_has_no_name_of_its_own_needs_one():
    def around(n):
        def inner(x):
            return x + n

        return inner

    class Callable:
        def __call__(self, x):
            return x

    for function in (lambda x: x, around(1), functools.partial(around, 2), Callable(), Callable().__call__):
        with pytest.raises(InvalidArgument, match="name="):
            memory.memoize(function)
        memory.memoize(name="mine")(function)
    for name in ("", "a:b", "x" * 2_501, "\ud800"):
        with pytest.raises(InvalidArgument, match="name="):
            memory.memoize(name=name)(around)
    with pytest.raises(UnsupportedType, match="name=1"):
        memory.memoize(name=1)(around)


def test_a_function_without_a_signature_needs_a_key(kv):
    with pytest.raises(InvalidArgument, match="key="):
        kv.memoize(max)
    assert kv.memoize(key=lambda *numbers: numbers)(max)(3, 7) == 7


def test_the_longest_name_is_a_key_on_every_database(kv):
    f = kv.memoize(name="x" * 2_500)(lambda x: x)
    assert [f(1), f(1)] == [1, 1]
    assert len(f.cache_key(1)) <= 2_600


def test_methods_have_a_key_of_their_choice(kv, computed):
    class User:
        def __init__(self, number):
            self.number = number

        @kv.memoize(key=lambda self, field: (self.number, field), name="User.load")
        def load(self, field):
            return f"{field} {computed(field)}"

        @staticmethod
        @kv.memoize
        def static(x):
            return x

    assert [User(1).load("a"), User(1).load(field="a"), User(2).load("a")] == ["a 1", "a 1", "a 2"]
    assert User.load.invalidate(User(1), "a")
    assert User(1).load("a") == "a 3"
    assert [User.static(1), User(1).static(1)] == [1, 1]
    with pytest.raises(UnsupportedType, match="staticmethod"):
        kv.memoize(staticmethod(len))


def test_an_argument_that_cannot_be_part_of_a_key_is_named():
    @memory.memoize
    def f(path, connection):
        return None

    cyclic = []
    cyclic.append(cyclic)
    for value in (object(), cyclic, "\ud800", Json(1)):
        with pytest.raises(UnsupportedType, match=r"f: the argument 'connection' of type .*key=") as caught:
            f("a", connection=value)
        assert caught.value.__cause__ is not None
    with pytest.raises(UnsupportedType, match="what key= returned"):
        memory.memoize(key=lambda x: x, name="keyed")(print)(object())
    with pytest.raises(TypeError, match=r"f\(\) missing a required argument: 'connection'"):
        f(1)


# -- what is kept ----------------------------------------------------------------------------------


def test_none_is_kept_and_exceptions_are_not(kv, computed):
    @kv.memoize(name="f")
    def f(x):
        computed(x)
        if x is None:
            return None
        raise ValueError(x)

    assert [f(None), f(None)] == [None, None]
    for _ in range(2):
        with pytest.raises(ValueError, match="7"):
            f(7)
    assert computed.calls == [None, 7, 7]
    assert len(kv) == 1


def test_a_result_that_cannot_be_stored_is_an_error_that_names_the_function(kv, computed):
    @kv.memoize(name="make")
    def make(x):
        computed(x)
        return object()

    with pytest.raises(UnsupportedType, match="make returned a value of type object"):
        make(1)
    with pytest.raises(UnsupportedType, match="of type generator"):
        kv.memoize(name="generate")(lambda: (x for x in [1]))()
    assert len(kv) == 0


def test_a_result_is_the_same_when_it_was_computed_and_when_it_is_read(kv):
    @kv.memoize
    def config(x):
        return Json({"a": [1]})

    first, second, third = config(1), config(1), config(1)
    assert first == second == third == {"a": [1]}
    assert second["a"] is not third["a"]


def test_a_result_expires(kv, computed):
    @kv.memoize(ttl=timedelta(milliseconds=50), name="f")
    def f(x):
        return computed(x)

    assert f(1) == 1
    while f(1) == 1:
        time.sleep(0.01)
    assert len(computed.calls) >= 2


def test_invalidate_tells_what_it_removed(kv, computed):
    f = kv.memoize(name="f")(lambda x: computed(x))
    other = kv.memoize(name="f2")(lambda x: x)
    other(1)
    assert [f(x=1), f(x=2), f(x=1)] == [1, 2, 1]
    assert [f.invalidate(1), f.invalidate(1), f.invalidate(9)] == [True, False, False]
    assert f(x=1) == 3
    assert [f.invalidate_all(), f.invalidate_all()] == [2, 0]
    assert other.invalidate(x=1)


def test_wrong_options_are_refused():
    for ttl in (0, -1, math.nan, math.inf):
        with pytest.raises(InvalidArgument, match="ttl="):
            memory.memoize(ttl=ttl)
        with pytest.raises(InvalidArgument, match="lease="):
            memory.memoize(lease=ttl)
    for lease in (None, "60", True):
        with pytest.raises(InvalidArgument, match="lease="):
            memory.memoize(lease=lease)
    with pytest.raises(UnsupportedType, match="ttl"):
        memory.memoize(ttl="60")
    with pytest.raises(UnsupportedType, match="decorates a function"):
        memory.memoize(name="number")(5)


def test_a_read_only_vault_gives_what_is_there_and_computes_nothing(engine, computed):
    write, read = KVault(engine), KVault(engine, read_only=True)
    filled, asked = (vault.memoize(name="f")(lambda x: computed(x)) for vault in (write, read))
    filled(1)
    assert asked(1) == 1
    with pytest.raises(ReadOnlyDatabase):
        asked(2)
    assert computed.calls == [1]


@memory.memoize
def at_module_level(x):
    return x


def test_a_decorated_function_is_pickled_by_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or inspect.getmodule(at_module_level))
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level


# -- one computes: threads -------------------------------------------------------------------------


def run_threads(count, function):
    """Run ``function(number)`` in threads that begin together; return what each returned or raised."""
    barrier = threading.Barrier(count)

    def one(number):
        barrier.wait()
        return function(number)

    with ThreadPoolExecutor(count) as pool:
        calls = [pool.submit(one, number) for number in range(count)]
        return [call.exception() or call.result() for call in calls]


def test_of_many_threads_one_computes(kv, computed):
    @kv.memoize(ttl=60, name="slow")
    def slow(x):
        computed(x)
        time.sleep(0.1)
        return [x]

    results = run_threads(8, lambda number: slow(number % 2))
    assert results == [[0], [1]] * 4
    assert sorted(computed.calls) == [0, 1]
    # Nobody shares a result that can be changed.
    assert len({id(result) for result in results}) == 8
    assert slow.invalidate_all() == 2
    assert len(kv) == 0


def test_computations_of_different_keys_run_at_once(kv):
    together = threading.Barrier(4)

    @kv.memoize(name="meet")
    def meet(x):
        together.wait(timeout=30)
        return x

    assert run_threads(4, meet) == [0, 1, 2, 3]


def test_of_two_vaults_on_one_database_one_computes(engine, computed):
    functions = []
    for _ in range(4):

        @KVault(engine).memoize(name="slow")
        def slow(x):
            time.sleep(0.1)
            return computed(x)

        functions.append(slow)
    assert run_threads(4, lambda number: functions[number](1)) == [1] * 4


def test_in_one_process_the_others_wait_longer_than_the_lease(kv, computed):
    @kv.memoize(name="slow", lease=0.01)
    def slow(x):
        time.sleep(0.3)
        return computed(x)

    @kv.memoize(name="async slow", lease=0.01)
    async def slow_async(x):
        await asyncio.sleep(0.3)
        return computed(x)

    async def main():
        return await asyncio.gather(*(slow_async(1) for _ in range(4)))

    assert run_threads(4, lambda number: slow(1)) == [1] * 4
    assert asyncio.run(main()) == [2] * 4


def test_who_outlived_the_lease_does_not_end_that_of_another(engine):
    """The two stand for two processes: they know of each other by the table only."""
    kv = KVault(engine)
    began, finish = threading.Event(), threading.Event()

    @KVault(engine).memoize(name="f", lease=0.05)
    def late(x):
        assert began.wait(timeout=30)
        return "late"

    @KVault(engine).memoize(name="f", lease=60)
    def second(x):
        began.set()
        assert finish.wait(timeout=30)
        return "second"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(late, 1)
        while len(kv) == 0:
            time.sleep(0.001)
        other = pool.submit(second, 1)
        assert first.result(timeout=30) == "late"
        assert [key[:14] for key in kv] == [b"memoize-lease:", b"memoize:f:" + second.cache_key(1)[10:14]]
        finish.set()
        assert other.result(timeout=30) == "second"
    assert list(kv.items()) == [(second.cache_key(1), "second")]


def test_who_waited_for_a_call_that_raised_computes_itself(kv, computed):
    @kv.memoize(name="fail")
    def fail(x):
        running.append(x)
        assert len(running) == 1
        time.sleep(0.02)
        running.pop()
        raise ValueError(computed(x))

    running = []
    errors = run_threads(5, lambda number: fail(1))
    assert sorted(error.args[0] for error in errors) == [1, 2, 3, 4, 5]
    assert len(kv) == 0


def test_recursion_ends(kv):
    @kv.memoize
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert run_threads(4, lambda number: fibonacci(30 + number)) == [832040, 1346269, 2178309, 3524578]


def test_a_call_that_makes_the_same_call_computes_it(kv, computed):
    @kv.memoize(name="again")
    def again(x):
        return "inner" if computed(x) > 1 else ["outer", again(x)]

    assert again(1) == ["outer", "inner"]
    assert again(1) == ["outer", "inner"]
    assert len(computed.calls) == 2


def test_threads_that_wait_for_each_other_go_on_after_the_lease(kv):
    both_compute = threading.Barrier(2)
    left_calls, right_calls = Counter(), Counter()

    @kv.memoize(name="left", lease=0.2)
    def left():
        if left_calls(()) > 1:
            return "left"
        both_compute.wait(timeout=30)
        return ["left", right()]

    @kv.memoize(name="right", lease=0.2)
    def right():
        if right_calls(()) > 1:
            return "right"
        both_compute.wait(timeout=30)
        return ["right", left()]

    results = run_threads(2, lambda number: (left, right)[number]())
    assert [result[0] for result in results] == ["left", "right"]


# -- one computes: tasks ---------------------------------------------------------------------------


def test_of_many_tasks_one_computes_and_the_loop_runs_on(kv, computed):
    @kv.memoize(ttl=60, name="slow")
    async def slow(x):
        computed(x)
        await asyncio.sleep(0.1)
        return [x]

    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        results = await asyncio.gather(*(slow(number % 2) for number in range(50)))
        ticking.cancel()
        return results, ticks

    results, ticks = asyncio.run(main())
    assert results == [[0], [1]] * 25
    assert sorted(computed.calls) == [0, 1]
    assert ticks > 20
    assert inspect.iscoroutinefunction(slow)
    assert len(kv) == 2


def test_of_several_loops_one_computes(kv, computed):
    @kv.memoize(name="slow")
    async def slow(x):
        await asyncio.sleep(0.1)
        return computed(x)

    async def main():
        return await asyncio.gather(*(slow(1) for _ in range(5)))

    assert run_threads(3, lambda number: asyncio.run(main())) == [[1] * 5] * 3


def test_tasks_that_waited_for_one_that_raised_compute_themselves(kv, computed):
    @kv.memoize(name="fail")
    async def fail(x):
        await asyncio.sleep(0.01)
        raise ValueError(computed(x))

    async def main():
        return await asyncio.gather(*(fail(1) for _ in range(5)), return_exceptions=True)

    assert sorted(error.args[0] for error in asyncio.run(main())) == [1, 2, 3, 4, 5]
    assert len(kv) == 0


def test_a_cancelled_task_leaves_the_computation_to_the_next(kv, computed):
    @kv.memoize(name="slow")
    async def slow(x):
        number = computed(x)
        await asyncio.sleep(0.2 if number > 1 else 60)
        return number

    async def main():
        first = asyncio.create_task(slow(1))
        while not computed.calls:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(slow(1)) for _ in range(3)]
        await asyncio.sleep(0.05)
        others[0].cancel()
        first.cancel()
        return await asyncio.gather(first, *others, return_exceptions=True)

    results = asyncio.run(main())
    assert [type(result) for result in results[:2]] == [asyncio.CancelledError] * 2
    assert results[2:] == [2, 2]
    assert len(kv) == 1


@pytest.mark.parametrize("after", [0, 0.0005, 0.001, 0.002, 0.005, 0.01])
def test_a_task_that_is_cancelled_at_any_moment_leaves_no_lease(kv, after):
    @kv.memoize(name="slow")
    async def slow(x):
        await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(slow(1))
        await asyncio.sleep(after)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert len(kv) == 0


def test_recursion_of_tasks_ends(kv, computed):
    @kv.memoize
    async def fibonacci(n):
        return n if n < 2 else sum(await asyncio.gather(fibonacci(n - 1), fibonacci(n - 2)))

    @kv.memoize(name="again")
    async def again(x):
        return "inner" if computed(x) > 1 else ["outer", *await asyncio.gather(again(x))]

    assert asyncio.run(asyncio.wait_for(again(1), 60)) == ["outer", "inner"]
    assert asyncio.run(asyncio.wait_for(fibonacci(12), 60)) == 144


def test_an_async_function_sees_the_context_of_its_caller(kv):
    user = contextvars.ContextVar("user")

    @kv.memoize(name="who")
    async def who():
        return user.get()

    user.set("Alice")
    assert asyncio.run(who()) == "Alice"


# -- transactions ----------------------------------------------------------------------------------


def test_a_result_is_part_of_the_transaction_that_it_was_computed_in(kv, computed):
    f = kv.memoize(name="f")(lambda x: computed(x))
    with pytest.raises(RuntimeError), kv.transaction():
        assert [f(1), f(1)] == [1, 1]
        raise RuntimeError
    assert f(1) == 2
    with kv.transaction():
        assert [f(1), f(2)] == [2, 3]
    assert [f(1), f(2)] == [2, 3]
    with kv.snapshot():
        assert f(1) == 2
        with pytest.raises(ReadOnlyDatabase):
            f(3)


def test_a_transaction_waits_for_no_other_thread(kv, computed):
    """One that is computing needs the write lock that the transaction has, to store its result."""
    computing, stored = threading.Event(), threading.Event()

    @kv.memoize(name="f")
    def f(x):
        computing.set()
        if computed(x) == 1:
            assert stored.wait(timeout=30)
        return x

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(f, 1)
        assert computing.wait(timeout=30)
        with kv.transaction():
            assert f(1) == 1
        stored.set()
        assert first.result(timeout=30) == 1
    assert len(computed.calls) == 2
    assert len(kv) == 1


def test_async_functions_are_refused_where_other_threads_are_not_part_of_the_transaction(kv, engine):
    async def f(x):
        return x

    with Session(engine) as session, pytest.raises(InvalidArgument, match="async"):
        KVault(session).memoize(f)
    with engine.connect() as connection, pytest.raises(InvalidArgument, match="async"):
        KVault(connection).memoize(ttl=60)(f)
    memoized = kv.memoize(f)

    async def main():
        with kv.transaction():
            await memoized(1)

    with pytest.raises(InvalidArgument, match="await outside of transaction"):
        asyncio.run(main())
    assert asyncio.run(memoized(1)) == 1


# -- one computes: processes -----------------------------------------------------------------------

PROGRAM = """
import asyncio, os, sys, time
from kohakuvault import KVault

url, log, seconds, lease, kind = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
kv = KVault(url)

def note(x):
    with open(log, "a") as file:
        print(x, file=file)

if kind == "async":
    @kv.memoize(ttl=600, lease=lease)
    async def slow(x):
        note(x)
        await asyncio.sleep(seconds)
        return {"answer": x * x}
else:
    @kv.memoize(ttl=600, lease=lease)
    def slow(x):
        note(x)
        time.sleep(seconds)
        return {"answer": x * x}

print("ready", flush=True)
sys.stdin.readline()
print(asyncio.run(slow(12)) if kind == "async" else slow(12), slow.cache_key(12).split(b":")[1], flush=True)
"""


class Program:
    """Processes that make the same call."""

    def __init__(self, url, folder):
        self.url = url.render_as_string(hide_password=False)
        self.log = folder / "log"
        self.log.touch()
        self.script = folder / "program.py"
        self.script.write_text(textwrap.dedent(PROGRAM))
        self.started = []

    def start(self, *, count=1, seconds, lease=60, kind="sync"):
        command = [sys.executable, str(self.script), self.url, str(self.log), str(seconds), str(lease), kind]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, **pipes) for _ in range(count)]
        self.started += processes
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        return processes

    def computations(self):
        return len(self.log.read_text().splitlines())

    def stop(self):
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture
def program(url, tmp_path):
    # The table is there before the processes race for other things.
    engine = kohakuvault.create_engine(url)
    KVault(engine)
    engine.dispose()
    program = Program(url, tmp_path)
    yield program
    program.stop()


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_of_several_processes_one_computes(program, kind):
    processes = program.start(count=4, seconds=0.5, kind=kind)
    for process in processes:
        go(process)
    answers = [process.communicate(timeout=60)[0] for process in processes]
    # The name is that of the script as a module, not __main__.
    assert answers == ["{'answer': 144} b'program.slow'\n"] * 4
    assert program.computations() == 1


def test_a_process_that_died_while_computing_is_replaced(program):
    (doomed,) = program.start(seconds=600, lease=1)
    (heir,) = program.start(seconds=0)
    go(doomed)
    while not program.computations():
        time.sleep(0.01)
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    go(heir)
    assert heir.communicate(timeout=60)[0].startswith("{'answer': 144}")
    assert program.computations() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_threads_that_it_does_not_have(kv):
    computing, release = threading.Event(), threading.Event()

    @kv.memoize(name="slow", lease=0.2)
    def slow(x):
        computing.set()
        assert release.wait(timeout=60)
        return x

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(slow, 1)
        assert computing.wait(timeout=60)
        child = os.fork()
        if not child:
            # In case it does wait.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            status = 1
            try:
                release.set()
                status = 0 if slow(1) == 1 else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        release.set()
        assert first.result(timeout=60) == 1


# -- types -----------------------------------------------------------------------------------------

TYPED = """
from typing_extensions import assert_type
from kohakuvault import KVault

kv = KVault(":memory:")

@kv.memoize
def bare(a: int, b: str = "") -> float:
    return 1.0

@kv.memoize(ttl=60)
async def coroutine(a: int) -> str:
    return ""

class User:
    @kv.memoize(key=lambda self, x: x)
    def method(self, x: int) -> bytes:
        return b""

async def main() -> None:
    assert_type(await coroutine(1), str)

assert_type(bare(1, b="x"), float)
assert_type(bare.__wrapped__(1), float)
assert_type(User().method(1), bytes)
assert_type(User.method.invalidate(User(), 1), bool)
bare("x")  # type: ignore[arg-type]
bare.cache_key("x")  # type: ignore[arg-type]
User().method("x")  # type: ignore[arg-type]
"""


def test_a_decorated_function_keeps_its_signature_for_type_checkers(tmp_path):
    (tmp_path / "typed.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "typed.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout

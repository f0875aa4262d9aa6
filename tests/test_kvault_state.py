"""A KVault does what a dict does, whatever is opened, cached, rolled back or written by others in between.

``make stress`` runs many more and longer sequences.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

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
from sqlalchemy.orm import Session

import kohakuvault
from conftest import clock_told
from kohakuvault import KVault, create_engine
from kohakuvault.errors import UnsupportedType

STRESS = bool(os.environ.get("KOHAKUVAULT_STRESS"))

keys = st.sampled_from(["a", b"a", 1, "b", 2, "ß", ""])
values = st.sampled_from([0, 1, True, None, "text", b"bytes", (1, 2), {"n": [1]}, 2.5, b"x" * 300])


class LikeADict(RuleBasedStateMachine):
    """A vault, and the dict that it should equal."""

    def new_bind(self) -> object:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        # The real time, which the read cache looks at, to begin with.
        self.clock = self.stack.enter_context(clock_told(time.time()))
        self.bind = self.new_bind()
        self.engine = create_engine(self.bind)
        self.stack.callback(self.engine.dispose)
        self.model: dict[object, object] = {}
        self.deadlines: dict[object, float] = {}
        # Set again after they had expired: where they stand depends on whether they had been removed.
        self.loose: set[object] = set()
        # What the model was when each open transaction or savepoint began, and how to leave it.
        self.saved: list[tuple[dict[object, object], dict[object, float], ExitStack]] = []
        self.iterators: list[tuple[object, list[object]]] = []
        self.session: Session | None = None
        self.options: dict[str, object] = {}
        self.caching = False

    @initialize(read_cache=st.sampled_from([None, 1 << 20]))
    def open(self, read_cache: int | None) -> None:
        self.options = {} if read_cache is None else {"read_cache": read_cache}
        self.kv = KVault(self.engine, **self.options)
        if read_cache is not None and self.engine.dialect.name == "sqlite":
            assert self.kv.read_cache.reason is None

    def teardown(self) -> None:
        self.iterators.clear()
        while self.saved:
            self.saved.pop()[2].close()
        if hasattr(self, "kv"):
            self.kv.close()
        if self.session is not None:
            self.session.close()
        self.stack.close()

    # -- the model ---------------------------------------------------------------------------------

    def expire(self) -> None:
        for key in [key for key, deadline in self.deadlines.items() if deadline <= self.clock.now]:
            del self.deadlines[key]
            self.model.pop(key, None)
            self.loose.add(key)

    def put_in_model(self, key, value, ttl=None) -> None:
        self.model[key] = value
        self.deadlines.pop(key, None)
        if ttl is not None:
            self.deadlines[key] = self.clock.now + ttl

    def drop_from_model(self, key) -> None:
        del self.model[key]
        self.deadlines.pop(key, None)

    # -- one entry ---------------------------------------------------------------------------------

    @rule(key=keys, value=values)
    def set(self, key, value) -> None:
        self.kv[key] = value
        self.put_in_model(key, value)

    @rule(key=keys, value=values, ttl=st.sampled_from([None, 1, 10.5, 100]))
    def put(self, key, value, ttl) -> None:
        self.kv.put(key, value, ttl=ttl)
        self.put_in_model(key, value, ttl)

    @rule(key=keys)
    def delete(self, key) -> None:
        if key in self.model:
            self.drop_from_model(key)
            del self.kv[key]
        else:
            with pytest.raises(KeyError):
                del self.kv[key]

    @rule(key=keys)
    def pop(self, key) -> None:
        assert self.kv.pop(key, "none") == self.model.get(key, "none")
        if key in self.model:
            self.drop_from_model(key)

    @precondition(lambda self: not self.loose)
    @rule(last=st.booleans())
    def popitem(self, last) -> None:
        if not self.model:
            with pytest.raises(KeyError):
                self.kv.popitem(last)
            return
        key = list(self.model)[-1 if last else 0]
        assert self.kv.popitem(last) == (key, self.model[key])
        self.drop_from_model(key)

    @rule(key=keys, value=values)
    def setdefault(self, key, value) -> None:
        expected = self.model.get(key, value)
        if key not in self.model:
            self.put_in_model(key, value)
        assert self.kv.setdefault(key, value) == expected

    @rule(key=keys, value=values, ttl=st.sampled_from([None, 5]))
    def add(self, key, value, ttl) -> None:
        assert self.kv.add(key, value, ttl=ttl) is (key not in self.model)
        if key not in self.model:
            self.put_in_model(key, value, ttl)

    @rule(key=keys, old=values, new=values)
    def replace(self, key, old, new) -> None:
        is_same = key in self.model and self.model[key] == old and type(self.model[key]) is type(old)
        assert self.kv.replace(key, old, new) is is_same
        if is_same:
            self.model[key] = new

    @rule(key=keys, delta=st.integers(-5, 5))
    def incr(self, key, delta) -> None:
        if type(self.model.get(key, 0)) in (int, float):
            expected = self.model.get(key, 0) + delta
            assert self.kv.incr(key, delta) == expected
            if key in self.model:
                self.model[key] = expected
            else:
                self.put_in_model(key, expected)
        else:
            with pytest.raises(UnsupportedType):
                self.kv.incr(key, delta)

    @rule(key=keys, ttl=st.sampled_from([None, 3, 30]))
    def touch(self, key, ttl) -> None:
        assert self.kv.touch(key, ttl=ttl) is (key in self.model)
        if key in self.model:
            self.put_in_model(key, self.model[key], ttl)

    @rule(key=keys)
    def reads(self, key) -> None:
        assert (key in self.kv) is (key in self.model)
        assert self.kv.get(key, "none") == self.model.get(key, "none")
        assert self.kv.get(key, "none") == self.model.get(key, "none")
        if key in self.model:
            assert type(self.kv[key]) is type(self.model[key])
            assert self.kv.expires_at(key) == self.deadlines.get(key)

    # -- many entries ------------------------------------------------------------------------------

    @rule(pairs=st.lists(st.tuples(keys, values), max_size=5))
    def update(self, pairs) -> None:
        self.kv.update(pairs)
        for key, value in pairs:
            self.put_in_model(key, value)

    @rule(pairs=st.lists(st.tuples(keys, values), max_size=3))
    def refused_update(self, pairs) -> None:
        with pytest.raises(UnsupportedType):
            self.kv.update([*pairs, ("a", object())])

    @rule(some=st.lists(keys, max_size=5))
    def get_many(self, some) -> None:
        assert self.kv.get_many(some, "none") == [self.model.get(key, "none") for key in some]

    @rule(some=st.lists(keys, max_size=3))
    def delete_many(self, some) -> None:
        found = {key for key in some if key in self.model}
        assert self.kv.delete_many(some) == len(found)
        for key in found:
            self.drop_from_model(key)

    @rule()
    def clear(self) -> None:
        self.kv.clear()
        self.model.clear()
        self.deadlines.clear()
        if not self.saved and self.session is None:
            self.loose.clear()

    # -- time, caches, handles ---------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 2, 20]))
    def wait(self, seconds) -> None:
        self.clock.now += seconds
        self.expire()
        if self.kv.read_cache is not None:
            # Its clock is the real one.
            self.kv.read_cache.clear()

    @rule()
    def remove_expired(self) -> None:
        self.kv.remove_expired()

    @rule(threshold=st.sampled_from([1, 600, 100_000]))
    def enable_cache(self, threshold) -> None:
        if self.saved and self.session is None:
            return
        self.kv.enable_cache(flush_threshold=threshold)
        self.caching = True

    @rule()
    def flush_cache(self) -> None:
        self.kv.flush_cache()
        assert not self.kv._writes.waiting

    @rule()
    def disable_cache(self) -> None:
        self.kv.disable_cache()
        self.caching = False

    @precondition(lambda self: not self.saved and self.session is None)
    @rule()
    def reopen(self) -> None:
        self.iterators.clear()
        self.kv.close()
        self.caching = False
        self.kv = KVault(self.engine, **self.options)

    @precondition(lambda self: not self.saved and self.session is None)
    @rule(key=keys, value=values)
    def somebody_else_writes(self, key, value) -> None:
        self.kv.flush_cache()
        other = create_engine(self.bind)
        KVault(other)[key] = value
        other.dispose()
        self.put_in_model(key, value)

    # -- transactions ------------------------------------------------------------------------------

    def save(self) -> ExitStack:
        stack = ExitStack()
        self.saved.append((dict(self.model), dict(self.deadlines), stack))
        return stack

    def restore(self) -> None:
        model, deadlines, _ = self.saved[-1]
        self.model, self.deadlines = dict(model), dict(deadlines)
        self.expire()

    @precondition(lambda self: len(self.saved) < 3)
    @rule()
    def begin(self) -> None:
        if self.session is None:
            # What waited is written by the transaction's beginning.
            self.iterators.clear()
        self.save().enter_context(self.kv.transaction())

    @precondition(lambda self: self.saved)
    @rule()
    def commit(self) -> None:
        self.iterators.clear()
        self.saved.pop()[2].close()

    @precondition(lambda self: self.saved)
    @rule()
    def roll_back(self) -> None:
        self.iterators.clear()
        self.restore()
        stack = self.saved.pop()[2]
        error = ZeroDivisionError()
        assert not stack.__exit__(type(error), error, None)

    @precondition(lambda self: not self.saved and self.session is None)
    @rule()
    def use_a_session(self) -> None:
        self.iterators.clear()
        self.kv.close()
        self.caching = False
        self.session = Session(self.engine)
        self.kv = KVault(self.session)
        self.session.commit()
        self.committed = (dict(self.model), dict(self.deadlines))

    @precondition(lambda self: not self.saved and self.session is not None)
    @rule(how=st.sampled_from(["commit", "rollback"]), stay=st.booleans())
    def end_the_sessions_transaction(self, how, stay) -> None:
        self.iterators.clear()
        getattr(self.session, how)()
        if how == "rollback":
            model, deadlines = self.committed
            self.model, self.deadlines = dict(model), dict(deadlines)
            self.expire()
        self.committed = (dict(self.model), dict(self.deadlines))
        if not stay:
            self.kv.close()
            self.session.rollback() if how == "rollback" else self.session.commit()
            self.session.close()
            self.session = None
            self.caching = False
            self.kv = KVault(self.engine, **self.options)

    # -- what is read over a while -----------------------------------------------------------------

    @precondition(lambda self: not self.saved and self.session is None and len(self.iterators) < 2)
    @rule(reverse=st.booleans())
    def begin_iterating(self, reverse) -> None:
        entries = self.kv.items()
        iterator = iter(reversed(entries) if reverse else entries)
        expected = dict(self.model)
        if expected:
            key, value = next(iterator)
            assert expected.pop(key) == value
            self.iterators.append((iterator, expected))

    @precondition(lambda self: self.iterators)
    @rule()
    def go_on_iterating(self) -> None:
        iterator, expected = self.iterators.pop()
        assert dict(iterator) == expected

    @invariant()
    def is_like_the_model(self) -> None:
        if not hasattr(self, "kv"):
            return
        if not self.kv._writes.waiting or int(self.clock.now) % 2:
            found = self.kv.copy()
            assert found == self.model
            assert [key for key in found if key not in self.loose] == [k for k in self.model if k not in self.loose]
            assert [type(value) for value in found.values()] == [type(self.model[key]) for key in found]
            assert len(self.kv) == len(self.model)
            assert bool(self.kv) is bool(self.model)


class OnSQLite(LikeADict):
    def new_bind(self) -> object:
        folder = tempfile.mkdtemp()
        self.stack.callback(shutil.rmtree, folder)
        return Path(folder) / "test.db"


def run(machine: type[LikeADict], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.timeout(3600 if STRESS else 300)
def test_on_sqlite():
    run(OnSQLite, *((1000, 100) if STRESS else (100, 30)))


@pytest.mark.timeout(3600 if STRESS else 300)
def test_on_postgresql(new_url):
    numbers = itertools.count()

    class OnPostgreSQL(LikeADict):
        def new_bind(self) -> object:
            next(numbers)
            return new_url("postgresql")

    run(OnPostgreSQL, *((200, 100) if STRESS else (12, 30)))
    assert next(numbers) > 9
    assert kohakuvault.__version__

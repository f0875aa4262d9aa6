"""A column does what a list does, whatever is rolled back, opened twice, or written by others in between.

After each step what is stored is checked too. ``make stress`` runs many more and longer sequences.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

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

from column_model import all_equal, elements, equal, has
from kohakuvault import Column, ColumnVault, create_engine

STRESS = bool(os.environ.get("KOHAKUVAULT_STRESS"))

DTYPES = ["i64", "i8", "f32", "bool", "str:utf8", "bytes", "bytes:5", "vec:f32:3", "vec:i64", "msgpack"]
FORMS = [{}, {}, {"compression": "zstd:1"}, {"checksum": True}, {"compression": "zstd:1", "checksum": True}]

# Which of two handles; places and ends of slices; which of the dtype's elements.
which = st.integers(0, 1)
places = st.integers(-70, 70)
ends = st.none() | places
values = st.integers(0, 14)
runs = st.lists(values, max_size=6) | st.lists(values, min_size=20, max_size=60)


class LikeAList(RuleBasedStateMachine):
    """A column, and the list that it should equal."""

    def new_bind(self) -> object:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.bind = self.new_bind()
        self.engine = create_engine(self.bind)
        self.stack.callback(self.engine.dispose)
        self.model: list[Any] = []
        # What the model was when each open transaction or savepoint began, and how to leave it.
        self.saved: list[tuple[list[Any], ExitStack]] = []
        self.session: Session | None = None

    @initialize(
        dtype=st.sampled_from(DTYPES),
        form=st.sampled_from(FORMS),
        block_bytes=st.sampled_from([64, 100, 200]),
        read_cache=st.sampled_from([None, 1 << 20]),
    )
    def make(self, dtype: str, form: dict[str, Any], block_bytes: int, read_cache: int | None) -> None:
        self.read_cache = read_cache
        self.pool = elements(dtype, 15)
        if dtype in ("bytes", "str:utf8"):
            # Larger than a block.
            self.pool[0] = b"x" * 300 if dtype == "bytes" else "x" * 300
        ColumnVault(self.engine).create_column("c", dtype, block_bytes=block_bytes, **form)
        self.open(self.engine)

    def open(self, bind: object) -> None:
        # Of two vaults, so that neither handle knows what the other does.
        self.handles = [ColumnVault(bind, read_cache=self.read_cache)["c"] for _ in range(2)]

    def teardown(self) -> None:
        while self.saved:
            self.saved.pop()[1].close()
        for handle in getattr(self, "handles", ()):
            handle.disable_cache()
        if self.session is not None:
            self.session.close()
        self.stack.close()

    def some(self, chosen: list[int]) -> list[Any]:
        return [self.pool[value] for value in chosen]

    def column(self, handle: int) -> Column:
        return self.handles[handle]

    # -- adding ------------------------------------------------------------------------------------

    @rule(handle=which, value=values)
    def append(self, handle, value) -> None:
        self.column(handle).append(self.pool[value])
        self.model.append(self.pool[value])

    @rule(handle=which, new=runs)
    def extend(self, handle, new) -> None:
        self.column(handle).extend(self.some(new))
        self.model.extend(self.some(new))

    @precondition(lambda self: len(self.model) < 200)
    @rule(handle=which, of=which)
    def extend_by_itself(self, handle, of) -> None:
        self.column(handle).extend(self.column(of))
        self.model.extend(self.model)

    @rule(handle=which, index=places, value=values)
    def insert(self, handle, index, value) -> None:
        self.column(handle).insert(index, self.pool[value])
        self.model.insert(index, self.pool[value])

    @rule(handle=which, new=runs)
    def an_iterator_fails(self, handle, new) -> None:
        def failing():
            yield from self.some(new)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            self.column(handle)[:] = failing()

    # -- changing ----------------------------------------------------------------------------------

    @rule(handle=which, index=places, value=values)
    def assign(self, handle, index, value) -> None:
        if -len(self.model) <= index < len(self.model):
            self.column(handle)[index] = self.model[index] = self.pool[value]
        else:
            with pytest.raises(IndexError):
                self.column(handle)[index] = self.pool[value]

    @rule(handle=which, start=ends, stop=ends, new=runs)
    def assign_slice(self, handle, start, stop, new) -> None:
        self.column(handle)[start:stop] = self.some(new)
        self.model[start:stop] = self.some(new)

    @rule(handle=which, start=ends, stop=ends, step=st.sampled_from([2, 5, -1, -3]), new=st.lists(values, min_size=99))
    def assign_with_step(self, handle, start, stop, step, new) -> None:
        part = self.some(new * 4)[: len(self.model[start:stop:step])]
        if len(part) == len(self.model[start:stop:step]):
            self.column(handle)[start:stop:step] = part
            self.model[start:stop:step] = part

    @rule(handle=which, start=ends, stop=ends)
    def assign_itself(self, handle, start, stop) -> None:
        if len(self.model) < 100:
            self.column(handle)[start:stop] = self.column(1 - handle)
            self.model[start:stop] = list(self.model)

    @rule(handle=which, indices=st.lists(places, max_size=8), new=st.lists(values, min_size=8, max_size=8))
    def assign_many(self, handle, indices, new) -> None:
        length = len(self.model)
        indices = [index for index in indices if -length <= index < length]
        part = self.some(new)[: len(indices)]
        self.column(handle)[indices] = part
        for index, value in zip(indices, part, strict=True):
            self.model[index] = value

    @rule(handle=which)
    def reverse(self, handle) -> None:
        self.column(handle).reverse()
        self.model.reverse()

    @rule(handle=which, backwards=st.booleans())
    def sort(self, handle, backwards) -> None:
        self.column(handle).sort(key=repr, reverse=backwards)
        self.model.sort(key=repr, reverse=backwards)

    # -- removing ----------------------------------------------------------------------------------

    @rule(handle=which, start=ends, stop=ends, step=st.sampled_from([None, 1, 2, -1, -4]))
    def delete(self, handle, start, stop, step) -> None:
        del self.column(handle)[start:stop:step]
        del self.model[start:stop:step]

    @rule(handle=which, indices=st.lists(places, max_size=8))
    def delete_many(self, handle, indices) -> None:
        length = len(self.model)
        indices = [index for index in indices if -length <= index < length]
        del self.column(handle)[indices]
        gone = {index % length for index in indices}
        self.model = [value for index, value in enumerate(self.model) if index not in gone]

    @rule(handle=which, index=places)
    def pop(self, handle, index) -> None:
        if -len(self.model) <= index < len(self.model):
            assert equal(self.column(handle).pop(index), self.model.pop(index))
        else:
            with pytest.raises(IndexError):
                self.column(handle).pop(index)

    @rule(handle=which)
    def clear(self, handle) -> None:
        self.column(handle).clear()
        self.model.clear()

    # -- reading -----------------------------------------------------------------------------------

    @rule(handle=which, start=ends, stop=ends, step=st.sampled_from([None, 1, 2, -1, -7]))
    def read(self, handle, start, stop, step) -> None:
        column = self.column(handle)
        assert all_equal(column[start:stop:step], self.model[start:stop:step])
        for index in (start or 0, stop or -1):
            if -len(self.model) <= index < len(self.model):
                assert equal(column[index], self.model[index])
            else:
                with pytest.raises(IndexError):
                    column[index]
        assert all_equal(list(column), self.model)

    # -- others, transactions ----------------------------------------------------------------------

    @precondition(lambda self: not self.saved or self.session is not None)
    @rule(handle=which, threshold=st.sampled_from([1, 200, 100_000]))
    def let_elements_wait(self, handle, threshold) -> None:
        self.column(handle).enable_cache(flush_threshold=threshold)

    @rule(handle=which, what=st.sampled_from(["flush_cache", "disable_cache"]))
    def let_none_wait(self, handle, what) -> None:
        getattr(self.column(handle), what)()

    @precondition(lambda self: not self.saved and self.session is None)
    @rule(new=runs, index=places)
    def somebody_else_writes(self, new, index) -> None:
        self.column(0).flush_cache()
        other = create_engine(self.bind)
        column = ColumnVault(other)["c"]
        column.extend(self.some(new))
        column[index:index] = self.some(new)
        other.dispose()
        self.model.extend(self.some(new))
        self.model[index:index] = self.some(new)

    @precondition(lambda self: len(self.saved) < 3)
    @rule(handle=which)
    def begin(self, handle) -> None:
        stack = ExitStack()
        self.saved.append((list(self.model), stack))
        stack.enter_context(self.column(handle)._vault.transaction())

    @precondition(lambda self: self.saved)
    @rule()
    def commit(self) -> None:
        self.saved.pop()[1].close()

    @precondition(lambda self: self.saved)
    @rule()
    def roll_back(self) -> None:
        self.model, stack = self.saved.pop()
        error = ZeroDivisionError()
        assert not stack.__exit__(type(error), error, None)

    @precondition(lambda self: self.saved)
    @rule(dtype=st.sampled_from(DTYPES))
    def make_another(self, dtype) -> None:
        # Rolled back, perhaps: handles that outlive that are to find their column again.
        other = self.handles[0]._vault.ensure(f"other {dtype}", dtype)
        other.extend(elements(dtype, 3))

    @precondition(lambda self: not self.saved and self.session is None)
    @rule()
    def use_a_session(self) -> None:
        for handle in self.handles:
            handle.disable_cache()
        self.session = Session(self.engine)
        self.open(self.session)
        self.session.commit()
        self.committed = list(self.model)

    @precondition(lambda self: not self.saved and self.session is not None)
    @rule(how=st.sampled_from(["commit", "rollback"]), stay=st.booleans())
    def end_the_sessions_transaction(self, how, stay) -> None:
        getattr(self.session, how)()
        if how == "rollback":
            self.model = list(self.committed)
        self.committed = list(self.model)
        if not stay:
            for handle in self.handles:
                handle.disable_cache()
            self.session.close()
            self.session = None
            self.open(self.engine)

    @invariant()
    def is_like_the_model(self) -> None:
        for handle in getattr(self, "handles", ()):
            assert len(handle) == len(self.model)
            assert has(handle, self.model)


class OnSQLite(LikeAList):
    def new_bind(self) -> object:
        folder = tempfile.mkdtemp()
        self.stack.callback(shutil.rmtree, folder)
        return Path(folder) / "test.db"


def run(machine: type[LikeAList], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.timeout(3600 if STRESS else 300)
def test_on_sqlite():
    run(OnSQLite, *((1500, 80) if STRESS else (45, 30)))


@pytest.mark.timeout(3600 if STRESS else 300)
def test_on_postgresql(new_url):
    class OnPostgreSQL(LikeAList):
        def new_bind(self) -> object:
            return new_url("postgresql")

    run(OnPostgreSQL, *((150, 80) if STRESS else (8, 25)))

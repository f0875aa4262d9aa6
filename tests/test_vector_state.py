"""A VectorKVault does what a dict of arrays and numpy do, whatever is rolled back, opened again or written by others.

After each step the table is checked too. ``make stress`` runs many more and longer sequences.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import numpy as np
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
from sqlalchemy import String
from sqlalchemy.orm import Session

from kohakuvault import NotFound, UnsupportedType, VectorKVault, create_engine
from vector_model import DTYPES, Row, check_found, distance

STRESS = bool(os.environ.get("KOHAKUVAULT_STRESS"))

DIMENSIONS = 5

# What a vault is opened with, beside the metric and type of elements. Each is run on every database.
OPTIONS: list[dict[str, Any]] = [{"index": None}, {"index": "auto"}, {"index": "exact"}, {"index": "rabitq"}]

# Kinds of index that need not find all of the nearest.
APPROXIMATE = ("rabitq",)

FORMS = [
    ("cosine", "f32"),
    ("l2", "f32"),
    ("l1", "f32"),
    ("ip", "f32"),
    ("hamming", "f32"),
    ("cosine", "f16"),
    ("l2", "i8"),
    ("hamming", "bit"),
]

# Those that one-bit codes can be compared by.
ONE_BIT = ("cosine", "l2", "ip")

# Which of the pool's vectors; which of the rows that there are, or an id that need not be one.
vectors = st.integers(0, 29)
places = st.integers(0, 40)
ids = st.integers(-3, 60)
values = st.sampled_from([None, 0, True, "text", b"bytes", (1, 2), {"n": [1]}, b"x" * 3000])
langs = st.sampled_from(["en", "de", None])
rows = st.lists(st.tuples(vectors, values, langs), max_size=12)


def pool(vector_type: str) -> np.ndarray:
    """Vectors that every type of elements can hold; none of them is zero."""
    rng = np.random.default_rng(11)
    if vector_type == "bit":
        found = rng.random((30, DIMENSIONS)) < 0.5
        found[:, 0] |= ~found.any(axis=1)
        return found
    return (rng.integers(-9, 10, (30, DIMENSIONS)) + np.eye(30, DIMENSIONS) * 20).astype(DTYPES[vector_type])


class LikeADictOfArrays(RuleBasedStateMachine):
    """A vault, and the dict of rows by id that it should equal."""

    options: ClassVar[dict[str, Any]] = {}

    def new_bind(self) -> object:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        # So that an index has blocks of few rows.
        for name, value in (("kinds.FOLD", 4), ("kinds._FIRST_FOLD", 8), ("kinds.FIRST_FOLD", {"auto": 8})):
            self.stack.enter_context(mock.patch(f"kohakuvault.indexing.{name}", value))
        self.bind = self.new_bind()
        self.engine = create_engine(self.bind)
        self.stack.callback(self.engine.dispose)
        self.model: dict[int, Row] = {}
        # What the model was when each open transaction or savepoint began, and how to leave it.
        self.saved: list[tuple[dict[int, Row], ExitStack]] = []
        self.session: Session | None = None

    @initialize(data=st.data())
    def make(self, data: st.DataObject) -> None:
        kind = self.options.get("index")
        forms = [form for form in FORMS if kind != "rabitq" or form[0] in ONE_BIT]
        self.metric, self.vector_type = data.draw(st.sampled_from(forms))
        self.is_exact = kind not in APPROXIMATE
        self.pool = pool(self.vector_type)
        self.vault = self.open(self.engine)

    def open(self, bind: object) -> VectorKVault:
        return VectorKVault(
            bind, "v", DIMENSIONS, self.metric, self.vector_type, metadata={"lang": String()}, **self.options
        )

    def teardown(self) -> None:
        while self.saved:
            self.saved.pop()[1].close()
        if self.session is not None:
            self.session.close()
        self.stack.close()

    def check(self, found: Any, among: dict[int, Row], query: np.ndarray, k: int) -> None:
        check_found(found, among, query, self.metric, k, is_exact=self.is_exact)

    def some_id(self, place: int) -> int:
        """One of the ids that there are, mostly."""
        known = sorted(self.model)
        return known[place] if place < len(known) else 10**6 + place

    # -- one row -----------------------------------------------------------------------------------

    @rule(vector=vectors, value=values, lang=langs)
    def insert(self, vector, value, lang) -> None:
        id = self.vault.insert(self.pool[vector], value, {"lang": lang})
        assert id not in self.model
        self.model[id] = (self.pool[vector], value, lang)

    @rule(id=ids, vector=vectors, value=values, lang=langs)
    def upsert(self, id, vector, value, lang) -> None:
        assert self.vault.upsert(id, self.pool[vector].tolist(), value, {"lang": lang}) == id
        self.model[id] = (self.pool[vector], value, lang)

    @rule(place=places, vector=vectors, value=values, lang=langs, what=st.sets(st.sampled_from("vml")))
    def update(self, place, vector, value, lang, what) -> None:
        id = self.some_id(place)
        given: dict[str, Any] = {}
        if "v" in what:
            given["vector"] = self.pool[vector]
        if "m" in what:
            given["value"] = value
        if "l" in what:
            given["metadata"] = {"lang": lang}
        if id not in self.model:
            with pytest.raises(NotFound):
                self.vault.update(id, **given)
            return
        self.vault.update(id, **given)
        old = self.model[id]
        new = (self.pool[vector], value, lang)
        self.model[id] = tuple(new[n] if name in what else old[n] for n, name in enumerate("vml"))

    @rule(place=places)
    def delete(self, place) -> None:
        id = self.some_id(place)
        if self.model.pop(id, None) is None:
            with pytest.raises(NotFound):
                self.vault.delete(id)
        else:
            self.vault.delete(id)

    # -- many --------------------------------------------------------------------------------------

    @rule(new=rows, as_array=st.booleans())
    def insert_many(self, new, as_array) -> None:
        given = self.pool[[vector for vector, _, _ in new]]
        ids = self.vault.insert_many(
            given if as_array else list(given),
            [value for _, value, _ in new],
            {"lang": [lang for _, _, lang in new]} if as_array else [{"lang": lang} for _, _, lang in new],
        )
        assert len(set(ids) - set(self.model)) == len(new)
        self.model.update(zip(ids, ((self.pool[vector], *rest) for vector, *rest in new), strict=True))

    @rule(count=st.integers(1, 200), vector=vectors)
    def insert_many_without_metadata(self, count, vector) -> None:
        if len(self.model) < 300:
            ids = self.vault.insert_many(np.repeat(self.pool[vector][None], count, axis=0), range(count))
            self.model.update({id: (self.pool[vector], number, None) for number, id in enumerate(ids)})

    @rule(chosen=st.lists(ids, max_size=6), vector=vectors, value=values)
    def upsert_many(self, chosen, vector, value) -> None:
        assert self.vault.upsert_many(chosen, [self.pool[vector]] * len(chosen), [value] * len(chosen)) == chosen
        self.model.update(dict.fromkeys(chosen, (self.pool[vector], value, None)))

    @rule(new=rows)
    def refused_insert(self, new) -> None:
        given = self.pool[[0, *(vector for vector, _, _ in new)]]
        with pytest.raises(UnsupportedType):
            self.vault.insert_many(given, [*(value for _, value, _ in new), object()])

    @rule(chosen=st.lists(places, max_size=10))
    def delete_many(self, chosen) -> None:
        chosen = [self.some_id(place) for place in chosen]
        assert self.vault.delete_many(chosen) == len(set(chosen) & set(self.model))
        for id in chosen:
            self.model.pop(id, None)

    @rule()
    def delete_half(self) -> None:
        chosen = sorted(self.model)[::2]
        assert self.vault.delete_many(chosen) == len(chosen)
        for id in chosen:
            del self.model[id]

    @rule()
    def clear(self) -> None:
        self.vault.clear()
        self.model.clear()

    @precondition(lambda self: self.options.get("index") is not None)
    @rule()
    def rebuild_index(self) -> None:
        self.vault.rebuild_index()

    # -- searching ---------------------------------------------------------------------------------

    @rule(vector=vectors, k=st.sampled_from([0, 1, 3, 10, 500]))
    def search(self, vector, k) -> None:
        query = self.pool[vector]
        self.check(self.vault.search(query, k), self.model, query, k)

    @rule(vector=vectors, k=st.sampled_from([1, 5, 500]), lang=langs)
    def search_some(self, vector, k, lang) -> None:
        query = self.pool[vector]
        chosen = {id: row for id, row in self.model.items() if row[2] == lang}
        self.check(self.vault.search(query, k, where={"lang": lang}), chosen, query, k)

    @rule(vector=vectors, metric=st.sampled_from(["l2", "cosine", "hamming", "l1", "ip"]))
    def search_by_another_metric(self, vector, metric) -> None:
        if self.vector_type != "bit":
            query = self.pool[vector]
            check_found(self.vault.search(query, 4, metric), self.model, query, metric, 4)

    @rule(chosen=st.lists(vectors, max_size=4), k=st.sampled_from([1, 5]))
    def search_many(self, chosen, k) -> None:
        found = self.vault.search_many(self.pool[chosen], k)
        assert len(found) == len(chosen)
        for hits, vector in zip(found, chosen, strict=True):
            self.check(hits, self.model, self.pool[vector], k)

    @rule(vector=vectors, share=st.floats(0, 1))
    def radius(self, vector, share) -> None:
        query = self.pool[vector]
        distances = sorted(distance(self.metric, row[0], query) for row in self.model.values())
        # Between two distances, so that rounding decides nothing.
        gaps = [n for n in range(1, len(distances)) if distances[n] - distances[n - 1] > 1e-3]
        if gaps:
            place = gaps[int(share * (len(gaps) - 1))]
            found = self.vault.radius(query, (distances[place - 1] + distances[place]) / 2)
            check_found(found, self.model, query, self.metric, place)

    # -- handles and transactions ------------------------------------------------------------------

    @precondition(lambda self: not self.saved and self.session is None)
    @rule()
    def reopen(self) -> None:
        self.vault.close()
        self.vault = self.open(self.engine)

    @precondition(lambda self: not self.saved and self.session is None)
    @rule(vector=vectors, value=values)
    def somebody_else_writes(self, vector, value) -> None:
        other = create_engine(self.bind)
        ids = self.open(other).insert_many(self.pool[[vector]], [value])
        other.dispose()
        self.model[ids[0]] = (self.pool[vector], value, None)

    @precondition(lambda self: len(self.saved) < 3)
    @rule()
    def begin(self) -> None:
        stack = ExitStack()
        stack.enter_context(self.vault.transaction())
        self.saved.append((dict(self.model), stack))

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

    @precondition(lambda self: not self.saved and self.session is None)
    @rule()
    def use_a_session(self) -> None:
        self.session = Session(self.engine)
        self.vault = self.open(self.session)
        self.session.commit()
        self.committed = dict(self.model)

    @precondition(lambda self: not self.saved and self.session is not None)
    @rule(how=st.sampled_from(["commit", "rollback"]), stay=st.booleans())
    def end_the_sessions_transaction(self, how, stay) -> None:
        getattr(self.session, how)()
        if how == "rollback":
            self.model = dict(self.committed)
        self.committed = dict(self.model)
        if not stay:
            self.session.close()
            self.session = None
            self.vault = self.open(self.engine)

    @invariant()
    def is_like_the_model(self) -> None:
        if not hasattr(self, "vault"):
            return
        assert list(self.vault) == sorted(self.model)
        assert len(self.vault) == len(self.model)
        for id, (vector, value) in self.vault.items():
            assert np.array_equal(vector, self.model[id][0])
            assert value == self.model[id][1]
            assert type(value) is type(self.model[id][1])
        for id in sorted(self.model)[:3]:
            assert self.vault.get_metadata(id) == {"lang": self.model[id][2]}
        if self.session is None and not self.saved:
            assert self.vault.check() == []


class OnSQLite(LikeADictOfArrays):
    def new_bind(self) -> object:
        folder = tempfile.mkdtemp()
        self.stack.callback(shutil.rmtree, folder)
        return Path(folder) / "test.db"


def run(machine: type[LikeADictOfArrays], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.timeout(3600 if STRESS else 300)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_on_sqlite(options):
    machine = type("OnSQLite", (OnSQLite,), {"options": options})
    run(machine, *((1000, 100) if STRESS else (25, 30)))


@pytest.mark.timeout(3600 if STRESS else 300)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_on_postgresql(new_url, options):
    machine = type(
        "OnPostgreSQL",
        (LikeADictOfArrays,),
        {"options": options, "new_bind": lambda self: new_url("postgresql")},
    )
    run(machine, *((200, 100) if STRESS else (5, 30)))

"""TextVault against a dict, by random steps."""

from __future__ import annotations

import os

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

from kohakuvault import NotFound, TextVault

STRESS = bool(os.environ.get("KOHAKUVAULT_STRESS"))
WORDS = ["rust", "Crab", "of", "c++", "é", "!"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
VALUES = st.one_of(st.none(), st.integers(), st.text(max_size=5))


class LikeADictOfTexts(RuleBasedStateMachine):
    """Rows by id; `saved` is what a rollback brings back."""

    bind: object

    @initialize()
    def open(self) -> None:
        self.texts = TextVault(self.bind)
        self.texts.clear()
        self.rows: dict[int, tuple[str, object]] = {}
        self.transaction = None

    @rule(text=TEXTS, value=VALUES)
    def insert(self, text, value):
        id = self.texts.insert(text, value)
        assert id not in self.rows
        self.rows[id] = (text, value)

    @rule(items=st.lists(st.tuples(TEXTS, VALUES), max_size=6))
    def insert_many(self, items):
        ids = self.texts.insert_many(items)
        assert ids == sorted(ids)
        self.rows.update(zip(ids, items, strict=True))

    @rule(text=TEXTS, value=VALUES)
    def set(self, text, value):
        self.texts[text] = value
        same = [id for id, row in self.rows.items() if row[0] == text]
        if not same:
            same = [id for id in self.texts if id not in self.rows]
            assert len(same) == 1
        self.rows.update(dict.fromkeys(same, (text, value)))

    @rule(text=TEXTS)
    def remove(self, text):
        same = [id for id, row in self.rows.items() if row[0] == text]
        if not same:
            with pytest.raises(NotFound):
                del self.texts[text]
            return
        del self.texts[text]
        for id in same:
            del self.rows[id]

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), text=TEXTS)
    def update(self, data, text):
        id = data.draw(st.sampled_from(sorted(self.rows)))
        self.texts.update(id, text)
        self.rows[id] = (text, self.rows[id][1])

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def delete(self, data):
        id = data.draw(st.sampled_from(sorted(self.rows)))
        self.texts.delete(id)
        del self.rows[id]

    @precondition(lambda self: self.transaction is None)
    @rule()
    def begin(self):
        self.saved = dict(self.rows)
        self.transaction = self.texts.transaction()
        self.transaction.__enter__()

    @precondition(lambda self: self.transaction is not None)
    @rule(commits=st.booleans())
    def end(self, commits):
        transaction, self.transaction = self.transaction, None
        if commits:
            transaction.__exit__(None, None, None)
            return
        error = ZeroDivisionError()
        transaction.__exit__(type(error), error, None)
        self.rows = self.saved

    @rule(words=st.lists(st.sampled_from(["rust", "crab", "of", "E"]), min_size=1, max_size=2))
    def search(self, words):
        plain = {id: text.lower().replace("é", "e").split() for id, (text, _) in self.rows.items()}
        expected = {id for id, there in plain.items() if all(word.lower() in there for word in words)}
        assert {id for id, _, _ in self.texts.search(" ".join(words), 1000)} == expected

    @invariant()
    def has_the_rows(self):
        if hasattr(self, "rows"):
            assert dict(self.texts.items()) == self.rows
            assert len(self.texts) == len(self.rows)

    def teardown(self):
        if getattr(self, "transaction", None) is not None:
            self.transaction.__exit__(None, None, None)
        if hasattr(self, "texts"):
            assert self.texts.check() == []


@pytest.mark.timeout(3600 if STRESS else 120)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_against_a_dict(shared_engines, database):
    machine = type("Machine", (LikeADictOfTexts,), {"bind": shared_engines(database)})
    examples = {"sqlite": 1000 if STRESS else 30, "postgresql": 200 if STRESS else 8}[database]
    chosen = settings(
        max_examples=examples,
        stateful_step_count=60 if STRESS else 25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)

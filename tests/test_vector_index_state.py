"""The state machine of test_vector_state.py, with lists, and with indexes that are built anew at any moment.

``check()``, which is run after each step, compares every entry of the index with its row.
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

import test_vector_state as state
from test_vector_state import FORMS, ONE_BIT, STRESS

KINDS = ["exact", "rabitq", "ivf"]


class Indexed(state.OnSQLite):
    """A vault with an index."""

    @initialize(form=st.sampled_from(FORMS))
    def make(self, form) -> None:
        self.is_exact = self.options["index"] == "exact"
        self.metric, self.vector_type = form if self.is_exact or form[0] in ONE_BIT else ("l2", "f32")
        self.pool = state.pool(self.vector_type)
        self.vault = self.open(self.engine)

    @rule()
    def rebuild_index(self) -> None:
        self.vault.rebuild_index()

    @precondition(lambda self: not self.saved and self.session is None)
    @rule()
    def optimize(self) -> None:
        self.vault.optimize()


@pytest.mark.timeout(3600 if STRESS else 300)
@pytest.mark.parametrize("kind", KINDS)
def test_on_sqlite(kind):
    machine = type("Indexed", (Indexed,), {"options": {"index": kind}})
    state.run(machine, *((1000, 100) if STRESS else (20, 30)))

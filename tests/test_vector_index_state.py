"""The state machine of test_vector_state.py over every kind of index, with thresholds so small that blocks always move.

``check()``, which is run after each step, compares every entry of the index with its row.
"""

from __future__ import annotations

from functools import partial
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

import test_vector_state as state
from test_vector_state import FORMS, STRESS
from vector_indexes import EXACT, small_thresholds
from vector_model import check_found

KINDS = [None, "exact", "rabitq", "ivf", "auto"]


class Indexed(state.OnSQLite):
    """A vault with an index."""

    forms = FORMS

    @initialize(data=st.data())
    def make(self, data) -> None:
        form = data.draw(st.sampled_from(self.forms))
        self.metric, self.vector_type = form
        self.pool = state.pool(self.vector_type)
        self.vault = self.open(self.engine)

    @precondition(lambda self: self.options["index"] is not None)
    @rule()
    def rebuild_index(self) -> None:
        self.vault.rebuild_index()

    @precondition(lambda self: self.options["index"] is not None and not self.saved and self.session is None)
    @rule()
    def optimize(self) -> None:
        self.vault.optimize()


@pytest.mark.timeout(3600 if STRESS else 300)
@pytest.mark.parametrize("kind", KINDS)
def test_on_sqlite(kind):
    forms = [form for form in FORMS if kind not in ("rabitq", "ivf") or form[0] in ("cosine", "l2", "ip")]
    machine = type("Indexed", (Indexed,), {"options": {"index": kind}, "forms": forms})
    checked = partial(check_found, exact=kind in EXACT)
    with mock.patch("test_vector_state.check_found", checked), small_thresholds(fold=8, first=12):
        state.run(machine, *((1000, 100) if STRESS else (60, 30)))

"""Vector indexes whose writers are killed, and that several processes fold, build anew and search at once.

``make stress`` kills many more times.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STRESS = bool(os.environ.get("KOHAKUVAULT_STRESS"))

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="its processes are forked"),
    pytest.mark.timeout(3600 if STRESS else 120),
]

WORKERS = Path(__file__).parent / "vector_index_workers.py"
KINDS = ["exact", "rabitq", "ivf"]

each_kind = pytest.mark.parametrize("kind", KINDS)


def run(scenario: str, new_url, kind: str, argument: object) -> None:
    """Run a scenario of vector_index_workers.py in a process of its own, on SQLite."""
    url = new_url("sqlite").render_as_string(hide_password=False)
    command = [sys.executable, str(WORKERS), scenario, url, f'{{"index": "{kind}"}}', str(argument)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@each_kind
def test_a_killed_writer_leaves_an_index_that_is_right(new_url, kind):
    run("killing", new_url, kind, 200 if STRESS else 5)


@each_kind
def test_whoever_builds_an_index_may_be_killed(new_url, kind):
    run("rebuilding", new_url, kind, 200 if STRESS else 4)


@each_kind
def test_searches_beside_writers_see_whole_batches(new_url, kind):
    run("whole_batches", new_url, kind, 30 if STRESS else 2)


@each_kind
def test_rows_are_found_while_others_write_and_build(new_url, kind):
    run("at_once", new_url, kind, 30 if STRESS else 3)

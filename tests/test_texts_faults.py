"""TextVault among processes: killed writers, and several that write at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from kohakuvault import TextVault

STRESS = bool(os.environ.get("KOHAKUVAULT_STRESS"))
BATCH = 700

WRITER = f"""
import sys
from kohakuvault import TextVault
texts = TextVault(sys.argv[1])
number = 0
while True:
    texts.insert_many((f"batch{{number}} word{{place}} of all", number) for place in range({BATCH}))
    print(number, flush=True)
    number += 1
"""


@pytest.mark.timeout(3600 if STRESS else 120)
def test_a_killed_writer_leaves_whole_batches(url):
    address = url.render_as_string(hide_password=False)
    rng = random.Random(7)
    texts = TextVault(url)
    for _ in range(40 if STRESS else 3):
        texts.clear()
        writer = subprocess.Popen([sys.executable, "-c", WRITER, address], stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "0\n"
        time.sleep(rng.uniform(0, 0.3))
        writer.send_signal(signal.SIGKILL)
        acknowledged = 1 + len(writer.stdout.read().split())
        writer.wait()
        writer.stdout.close()
        # PostgreSQL may still be at what the writer had sent.
        while texts.engine.dialect.name == "postgresql" and len(texts) % BATCH:
            time.sleep(0.01)
        batches = len(texts) // BATCH
        assert len(texts) == batches * BATCH
        assert batches in (acknowledged, acknowledged + 1)
        assert texts.count_matches("all") == len(texts)
        for number in range(batches):
            assert texts.count_matches(f"batch{number}") == BATCH
        assert texts.check() == []


SETTER = """
import sys
from kohakuvault import TextVault
texts = TextVault(sys.argv[1])
for number in range(60):
    texts[f"text {number}"] = sys.argv[2]
"""


def test_processes_that_set_the_same_texts_leave_one_row_each(url):
    address = url.render_as_string(hide_password=False)
    writers = [subprocess.Popen([sys.executable, "-c", SETTER, address, str(n)]) for n in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    texts = TextVault(url)
    assert sorted(text for _, (text, _) in texts.items()) == sorted(f"text {number}" for number in range(60))
    assert texts.check() == []

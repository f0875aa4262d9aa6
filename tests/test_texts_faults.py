"""TextVault among processes: killed writers, and several that write at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from kohakuvault import DriverError, TextVault, create_engine
from kohakuvault.orm import TextTable

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


# -- rows that are indexed together ------------------------------------------------------------------------

MANY = [(f"number {number} of all", number) for number in range(100)]


@pytest.mark.parametrize(
    "trigger",
    [
        "AFTER INSERT ON text_vault BEGIN UPDATE text_vault SET value = value WHERE id = NEW.id; END",
        "AFTER INSERT ON text_vault WHEN NEW.id > 1 BEGIN UPDATE text_vault SET content = 'changed' WHERE id = 1; END",
        "AFTER INSERT ON text_vault WHEN NEW.id = 50 BEGIN DELETE FROM text_vault WHERE id = 3; END",
    ],
)
def test_the_index_has_what_a_trigger_of_ones_own_makes_of_rows(tmp_path, trigger):
    texts = TextVault(tmp_path / "app.db")
    with texts.transaction() as connection:
        connection.exec_driver_sql(f"CREATE TRIGGER mine {trigger}")
    texts.insert_many(MANY)
    changed = "changed" in trigger
    assert texts.count_matches("all") == len(texts) - changed
    assert texts.count_matches("changed") == changed
    assert texts.check() == []


class Base(DeclarativeBase):
    pass


class Named(TextTable, Base):
    __tablename__ = "named"
    name: Mapped[str | None] = mapped_column(unique=True)


def test_what_fails_among_many_leaves_the_index_at_work(tmp_path):
    engine = create_engine(tmp_path / "app.db")
    with Session(engine) as session:
        texts = TextVault(session, Named)
        texts.insert("before", 1, {"name": "number 60"})
        with pytest.raises(DriverError, match="UNIQUE"):
            texts.insert_many((text, value, {"name": text.removesuffix(" of all")}) for text, value in MANY)
        assert len(texts) == 1
        texts.insert("one behind it", 2)
        texts.insert_many(MANY)
        session.commit()
    with TextVault(engine, Named) as texts:
        assert texts.count_matches("behind") == 1
        assert texts.count_matches("all") == 100
        assert texts.check() == []
    engine.dispose()


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

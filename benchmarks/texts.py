"""``TextVault`` beside FTS5 by itself and the earlier package: 20,000 docstrings."""

from __future__ import annotations

import itertools
from pathlib import Path
from time import perf_counter
from typing import Any

import peers
import raw
from harness import Report, Target, in_turns
from kohakuvault import TextVault
from kohakuvault.packing import pack
from text_corpus import QUERIES, K, documents

COUNT = 20_000
FTS5 = "FTS5, executemany"
CONTENT = "FTS5 of external content, with a trigger"


_numbers = itertools.count()


def new(folder: Path) -> Path:
    """Return the path of a new file: what is written in each round is written to an empty one."""
    return folder / f"{next(_numbers)}.db"


class Ours:
    """TextVault."""

    def __init__(self, path: Path, texts: list[str]) -> None:
        self._path = path
        self._texts = texts

    def insert_many(self) -> float:
        self._vault = TextVault(new(self._path))
        start = perf_counter()
        self._vault.insert_many((text, number) for number, text in enumerate(self._texts))
        return perf_counter() - start

    def search(self) -> float:
        start = perf_counter()
        for query in QUERIES:
            self._vault.search(query, K)
        return (perf_counter() - start) / len(QUERIES)


class Raw:
    """An FTS5 table by itself, and a cursor; what is searched for is quoted before the time is taken."""

    MAKE = "CREATE VIRTUAL TABLE texts USING fts5(content, value UNINDEXED)"
    SEARCH = "SELECT rowid, -rank, value FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT ?"

    def __init__(self, path: Path, texts: list[str]) -> None:
        self._path = path
        self._rows = [(text, pack(number)) for number, text in enumerate(texts)]
        self._queries = [" ".join(f'"{word}"' for word in query.split()) for query in QUERIES]

    def insert_many(self) -> float:
        self._connection: Any = raw.connect(new(self._path))
        self._connection.executescript(self.MAKE)
        cursor = self._connection.cursor()
        start = perf_counter()
        cursor.execute("BEGIN IMMEDIATE")
        cursor.executemany("INSERT INTO texts (content, value) VALUES (?, ?)", self._rows)
        cursor.execute("COMMIT")
        return perf_counter() - start

    def search(self) -> float:
        cursor = self._connection.cursor()
        start = perf_counter()
        for query in self._queries:
            cursor.execute(self.SEARCH, (query, K)).fetchall()
        return (perf_counter() - start) / len(QUERIES)


class Content(Raw):
    """What the FTS5 documentation shows: a table, an index of external content, a trigger."""

    MAKE = """
    CREATE TABLE texts (id INTEGER PRIMARY KEY, content TEXT NOT NULL, value BLOB NOT NULL);
    CREATE VIRTUAL TABLE words USING fts5(content, content='texts', content_rowid='id');
    CREATE TRIGGER texts_insert AFTER INSERT ON texts BEGIN
      INSERT INTO words (rowid, content) VALUES (NEW.id, NEW.content);
    END;
    """
    SEARCH = (
        "SELECT texts.id, -words.rank, texts.value FROM words JOIN texts ON texts.id = words.rowid "
        "WHERE words MATCH ? ORDER BY words.rank LIMIT ?"
    )


def bench(report: Report, folder: Path, versions: dict[str, str]) -> None:
    """20,000 docstrings of the standard library, of which there are 6,504, with an int each."""
    report.section(f"TextVault: {COUNT:,} docstrings")
    folder.mkdir(exist_ok=True)
    texts = documents(COUNT)
    runners: dict[str, Any] = {
        "TextVault": Ours(folder, texts),
        FTS5: Raw(folder, texts),
        CONTENT: Content(folder, texts),
    }
    with peers.started("text", folder, COUNT) as others:
        versions.update(peers.versions(others))
        rows = (
            ("insert_many", 7, Target("≥ 0.9 × FTS5's speed", 1 / 0.9, FTS5)),
            ("search", 31, Target("≤ 1.3 × FTS5", 1.3, FTS5)),
        )
        for what, rounds, target in rows:
            timers = {name: getattr(runner, what) for name, runner in runners.items()}
            timers |= {peer.name: peer.timer(what) for peer in others}
            label = f"insert_many of {COUNT:,}" if what == "insert_many" else f"search, k={K}, a query"
            report.add(label, in_turns(timers, rounds), target)
        for note in peers.notes(others):
            report.note(note)

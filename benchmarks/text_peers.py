"""The text vault that ``TextVault`` is compared with; for a Python of .venv-peers."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from text_corpus import QUERIES, K, documents


class Upstream:
    """The earlier package, which takes a query for one phrase: of its language instead, words are side by side."""

    package = "kohakuvault"

    def __init__(self, path: str, count: int) -> None:
        self._path = path
        self._round = 0
        self._texts = [(text, number) for number, text in enumerate(documents(count))]

    def insert_many(self) -> float:
        from kohakuvault import TextVault

        self._round += 1
        self._vault: Any = TextVault(f"{self._path}-{self._round}.db")
        start = perf_counter()
        self._vault.insert_many(self._texts)
        return perf_counter() - start

    def search(self) -> float:
        start = perf_counter()
        for query in QUERIES:
            self._vault.search(query, K, escape=False)
        return (perf_counter() - start) / len(QUERIES)

    def settings(self) -> str:
        return "searches with escape=False, so that words are found wherever they are, as ours does"


PEERS = {"upstream": Upstream}

"""What is measured of vector stores that hold one data set; figures are plain values, by name of the store."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from vector_data import Array, Truth, VectorSet
from vector_stores import NUMPY, PLAIN, VEC, Stores, ours, say

K = 10
BATCH = 10  # queries that a store answers before it is another's turn
FRESH = 3  # new processes that search once
SHARES = (0.5, 0.1, 0.01, 0.001)  # of rows that pass a filter
FILTERED = 40  # queries of each filter
Figures = dict[str, dict[str, Any]]


def load(stores: Stores, data: VectorSet, ranks: Array | None = None) -> Figures:
    """Fill every store at once: rows a second, seconds of building, bytes."""
    file = None
    if ranks is not None:
        file = str(stores.folder / "ranks.npy")
        np.save(file, ranks)
    found = {}
    for name in list(stores.alive):
        say(f"{data.title}: loading {name}")
        seconds = stores.ask(name, "load", data.documents_file, file)
        if seconds is not None:
            found[name] = {
                "rows/s": len(data) / seconds["add"],
                "rows/s with build": len(data) / (seconds["add"] + seconds["build"]),
                "build": seconds["build"],
                "size": stores.ask(name, "size"),
            }
    return found


def search(stores: Stores, data: VectorSet, queries: int) -> Figures:
    """Search in turns: recall, and the latency beside that of others at the same query, in the same turn."""
    say(f"{data.title}: searching")
    queries = min(queries, len(data.queries)) // BATCH * BATCH
    names = _that_search(stores)
    taken, found = _in_turns(stores, names, queries, "search", data.queries_file, after=())
    truth = Truth.of(data, 0, queries, K)
    figures = {}
    for name, seconds in taken.items():
        recall = truth.recall(found[name])
        figures[name] = {
            "recall": float(recall.mean()),
            "recall p5": float(np.percentile(recall, 5)),
            "p50": float(np.percentile(seconds, 50)),
            "p95": float(np.percentile(seconds, 95)),
            "times numpy": _ratio(seconds, taken.get(NUMPY)),
            "times vec": _ratio(seconds, taken.get(VEC)),
        }
    return figures


def first_search(stores: Stores, data: VectorSet) -> Figures:
    """Open and search once in processes in which nothing has happened before."""
    say(f"{data.title}: first search of a new process")
    figures = {}
    for name in _that_search(stores):
        numbers = range(FRESH)
        seconds = [stores.in_new_process(name, "first_search", data.queries_file, number, K) for number in numbers]
        if None not in seconds:
            figures[name] = {"first": statistics.median(seconds)}
    return figures


def search_where(stores: Stores, data: VectorSet, ranks: Array) -> dict[str, dict[str, Figures]]:
    """Search with filters, by chance and by topic: rank → share that passes → figures."""
    figures: dict[str, dict[str, Figures]] = {"random": {}, "topic": {}}
    for column, rank in enumerate(figures):
        for share in SHARES:
            say(f"{data.title}: filter {rank}, {share:.1%} pass")
            below = int(share * len(data))
            truth = Truth.of(data, 0, FILTERED, K, ranks[:, column] < below)
            names = _that_search(stores)
            taken, found = _in_turns(stores, names, FILTERED, "search_where", data.queries_file, after=(rank, below))
            figures[rank][str(share)] = {
                name: {
                    "recall": float(truth.recall(found[name]).mean()),
                    "fewest": int((found[name] >= 0).sum(axis=1).min()),
                    "wanted": truth.wanted,
                    "p50": float(np.percentile(seconds, 50)),
                    "times numpy": _ratio(seconds, taken.get(NUMPY)),
                }
                for name, seconds in taken.items()
            }
    return figures


# Where a commit writes everything: how many of them in a turn.
FEW_COMMITS = {"sqlite-vss": 1, "ours vss": 20}
TURNS, A_TURN = 10, 20
LARGE = 1000  # rows of a large transaction


def write(stores: Stores, data: VectorSet) -> Figures:
    """Add rows and remove them again, one in a transaction and a thousand, in turns with the plain table.

    Where a store can remove, the rows of the data set are all that it holds afterwards.
    """
    say(f"{data.title}: writing")
    names, added = list(stores.alive), dict.fromkeys(stores.alive, 0)
    removed = dict(added)

    def add(name: str, count: int, per: int) -> float | None:
        label = len(data) + added[name]
        taken: float | None = stores.ask(name, "add_some", data.more_file, added[name], count, label, per)
        added[name] += 0 if taken is None else count
        return taken

    def remove(name: str, count: int, per: int) -> float | None:
        count = min(count, added[name] - removed[name])
        taken: float | None = stores.ask(name, "remove_some", len(data) + removed[name], count, per) if count else None
        removed[name] += 0 if taken is None else count
        return taken

    kinds: dict[str, tuple[Callable[[str, int, int], float | None], int, int, int]] = {
        "add 1": (add, TURNS, A_TURN, 1),
        "add 1000": (add, 3, LARGE, LARGE),
        "remove 1": (remove, 5, A_TURN, 1),
        "remove 1000": (remove, 3, LARGE, LARGE),
    }
    figures: Figures = {name: {} for name in names}
    for kind, (run, turns, count, per) in kinds.items():
        taken: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(turns + 1):
            for name in [name for name in names if name in stores.alive]:
                seconds = run(name, min(count, FEW_COMMITS.get(name, count)) if per == 1 else count, per)
                if seconds is not None and turn:  # the first is not counted
                    taken[name].append(seconds)
        for name, times in taken.items():
            if len(times) == turns:
                figures[name][kind] = {
                    "s": statistics.median(times),
                    "times plain": _ratio(times, taken.get(PLAIN)),
                    "times none": _ratio(times, taken.get(ours("none"))),
                }
    for name in list(stores.alive):
        remove(name, added[name], LARGE)
    return figures


def churn(stores: Stores, data: VectorSet, queries: int) -> Figures:
    """Remove half of the rows and add them again: speed, bytes of the files, what is then found."""
    say(f"{data.title}: removing half and adding it again")
    half = str(stores.folder / "half.npy")
    np.save(half, np.random.default_rng(5).permutation(len(data))[: len(data) // 2])
    figures: Figures = {}
    for name in list(stores.alive):
        full, removing = stores.ask(name, "size"), stores.ask(name, "remove_many", half)
        if removing is not None:
            figures[name] = {"removed/s": 1 / removing, "full": full, "half": stores.ask(name, "size")}
            adding = stores.ask(name, "add_again", data.documents_file, half)
            if adding is not None:
                figures[name] |= {"added/s": 1 / adding, "again": stores.ask(name, "size")}
    again = search(stores, data, queries)
    for name, found in figures.items():
        if name in again:
            found |= {"recall": again[name]["recall"], "p50": again[name]["p50"]}
    return figures


def _that_search(stores: Stores) -> list[str]:
    return [name for name in stores.alive if name != PLAIN]


def _in_turns(
    stores: Stores, names: Iterable[str], queries: int, operation: str, file: str, after: tuple[Any, ...]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the seconds and the labels of each query; what is found before the first turn is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    found: dict[str, list[Array]] = {name: [] for name in taken}
    for first in (-BATCH, *range(0, queries, BATCH)):
        for name in [name for name in taken if name in stores.alive]:
            answers = stores.answers_file(name)
            seconds = stores.ask(name, operation, file, max(first, 0), BATCH, K, answers, *after)
            if seconds is None:
                del taken[name]
            elif first >= 0:
                taken[name] += seconds
                found[name].append(np.load(answers))
    whole = [name for name, seconds in taken.items() if len(seconds) == queries]
    return {name: np.array(taken[name]) for name in whole}, {name: np.concatenate(found[name]) for name in whole}


def _ratio(one: Any, other: Any) -> float | None:
    """Return the median of a time divided by another's of the same turn."""
    if other is None or len(other) != len(one):
        return None
    return float(np.median(np.asarray(one) / np.asarray(other)))

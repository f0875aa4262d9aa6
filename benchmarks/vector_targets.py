"""What vector search should reach, and whether a run's figures do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A figure and its bound; ``reached`` is None where it was not measured."""

    text: str
    bound: float
    reached: float | None
    at_least: bool
    show: Callable[[float], str]

    @property
    def met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached >= self.bound if self.at_least else self.reached <= self.bound


def targets(results: Results) -> Iterator[Target]:
    """Yield every target, in the order in which they were set."""

    def at_most(text: str, bound: float, show: Callable[[float], str], *path: str) -> Target:
        return Target(text, bound, figure(results, *path), False, show)

    def at_least(text: str, bound: float, show: Callable[[float], str], *path: str) -> Target:
        return Target(text, bound, figure(results, *path), True, show)

    def search(name: str, *path: str) -> tuple[str, ...]:
        return ("sets", name, "search", *path)

    def of(part: str, *path: str) -> tuple[str, ...]:
        return ("sets", "100k", part, *path)

    exact, rabitq, ivf = (search("100k", "ours exact"), search("100k", "ours rabitq"), search("1m", "ours ivf"))
    yield at_most("exact: p50 ≤ 2.5 × numpy", 2.5, _times, *exact, "times numpy")
    yield at_least("exact: ≥ 4 × as fast as sqlite-vec", 4, _times, *exact, "faster than vec")
    yield at_most("no index: p50 ≤ 7 × numpy", 7, _times, *search("100k", "ours none"), "times numpy")
    yield at_least("rabitq: recall@10 ≥ 0.99", 0.99, _share, *rabitq, "recall")
    yield at_least("rabitq: recall@10 at p5 ≥ 0.9", 0.9, _share, *rabitq, "recall p5")
    yield at_most("rabitq: p50 ≤ 3 ms", 3e-3, _ms, *rabitq, "p50")
    yield at_least("rabitq: ≥ 20 × as fast as sqlite-vec", 20, _times, *rabitq, "faster than vec")
    yield at_least("ivf, 1M: recall@10 ≥ 0.97", 0.97, _share, *ivf, "recall")
    yield at_most("ivf, 1M: p50 ≤ 4 ms", 4e-3, _ms, *ivf, "p50")
    yield at_least("rabitq: bulk insert ≥ 20k/s", 20e3, _rate, *of("load", "ours rabitq", "rows/s with build"))
    one = of("writes", "ours rabitq", "add 1", "/s")
    yield at_least("rabitq: insert, one per transaction, ≥ 5k/s", 5e3, _rate, *one)
    for kind in ("exact", "rabitq", "ivf"):
        churn, filters = of("churn", f"ours {kind}"), of("filters", f"ours {kind}")
        yield at_least(f"{kind}: delete ≥ 50k/s", 50e3, _rate, *churn, "removed/s")
        yield at_least(f"{kind}: recall after churn ≥ before - 0.002", -0.002, _change, *churn, "recall change")
        yield at_most(f"{kind}: bytes after churn ≤ 1.05 × before", 1.05, _times, *churn, "growth")
        yield at_least(f"{kind}: filters, lowest recall ≥ 0.99", 0.99, _share, *filters, "recall")
        yield at_least(f"{kind}: filters, results ≥ min(k, matches)", 1, _share, *filters, "results")
    commit = of("writes", "ours vss", "add 1")
    yield at_most("vss: commit of one row ≤ 2 × a vault's without index", 2, _times, *commit, "times none")
    yield at_most("vss: commit of one row ≤ 2 × the driver's cursor", 2, _times, *commit, "times plain")


def figure(results: Results, *path: str) -> float | None:
    """Return a figure of a run, or one that follows from its figures; None where it was not measured."""
    *parents, last = path
    if parents[-2] == "filters":
        return _worst_filter(results, *parents, last)
    found: Any = results
    for name in parents:
        found = found.get(name)
        if found is None:
            return None
    derived: dict[str, Callable[[], float | None]] = {
        "faster than vec": lambda: _inverse(found.get("times vec")),
        "/s": lambda: _inverse(found.get("s")),
        "growth": lambda: found["again"][0] / found["full"][0] if "again" in found else None,
        "recall change": lambda: _recall_change(results, found, *parents),
    }
    if last in derived:
        return derived[last]()
    value: float | None = found.get(last)
    return value


def _worst_filter(results: Results, *path: str) -> float | None:
    sets, name, _, store, what = path
    filters = results.get(sets, {}).get(name, {}).get("filters", {})
    cases = [case[store] for shares in filters.values() for case in shares.values() if store in case]
    if not cases:
        return None
    return min(case["recall"] if what == "recall" else case["fewest"] / case["wanted"] for case in cases)


def _recall_change(results: Results, found: dict[str, Any], *path: str) -> float | None:
    before = figure(results, *path[:2], "search", path[-1], "recall")
    return None if before is None or "recall" not in found else found["recall"] - before


def _inverse(value: float | None) -> float | None:
    return None if value is None else 1 / value


def _times(value: float) -> str:
    return f"{value:.2f} ×"


def _share(value: float) -> str:
    return f"{value:.4f}"


def _ms(value: float) -> str:
    return f"{value * 1e3:.2f} ms"


def _rate(value: float) -> str:
    return f"{value / 1e3:.1f}k/s"


def _change(value: float) -> str:
    return f"{value:+.4f}"

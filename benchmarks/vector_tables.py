"""The tables of a run of vector_bench.py: a store a row."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import span
from vector_stores import PLAIN, is_ours
from vector_targets import targets

Figures = dict[str, Any]
# Heading → what is in the cell for a store; None where it was not measured.
Columns = dict[str, Callable[[str], "str | None"]]


def show(results: Figures) -> None:
    """Print every table, then the targets, the settings and what is missing."""
    console = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
    for found in results["sets"].values():
        title = f"{found['title']}, local intrinsic dimension {found['intrinsic dimension']:.0f}"
        console.print(_search(title, found))
        for rank, cases in found.get("filters", {}).items():
            console.print(_filters(f"{found['title']}: filters, {_RANKS[rank]}: recall@10, p50", cases))
        if "writes" in found:
            console.print(_writes(f"{found['title']}: writing, a row (× that of the {PLAIN})", found["writes"]))
        if "churn" in found:
            console.print(_churn(f"{found['title']}: half of the rows removed, then added again", found["churn"]))
    for table in _growth(results):
        console.print(table)
    console.print(_targets(results))
    for line in about(results):
        console.print(escape(f"  {line}"))


_RANKS = {"random": "rows by chance", "topic": "the rows nearest to one of them"}


def about(results: Figures) -> list[str]:
    """Return what the figures are, how each store was set, and what is not there."""
    return [
        "k = 10, cosine, one processor, warm cache of the system. p50, p95: latency of a query; first: opening and one",
        "query in a new process, imports not counted. × numpy: median of the latencies divided by numpy's at the same",
        "query in the same turn; sqlite-vec ÷: how many times as fast as sqlite-vec, likewise. Ties count for recall.",
        "–: not measured, or the store cannot do that. !n: a query with only n results, where there were more.",
        *(f"{name} {store['version']}: {store['settings']}." for name, store in results["stores"].items()),
        *(f"{name} is missing: {reason}" for name, reason in results["missing"].items()),
        results["machine"],
    ]


def _search(title: str, found: Figures) -> Table:
    search, load, first = found["search"], found["load"], found.get("first", {})
    columns: Columns = {
        "recall@10": lambda name: _share(search, name, "recall"),
        "at p5": lambda name: _share(search, name, "recall p5", digits=2),
        "p50": lambda name: _span(search, name, "p50"),
        "p95": lambda name: _span(search, name, "p95"),
        "× numpy": lambda name: _get(search, name, "times numpy", lambda times: f"{times:.3g}"),
        "sqlite-vec ÷": lambda name: _get(search, name, "times vec", lambda times: f"{1 / times:.3g}"),
        "first": lambda name: _span(first, name, "first"),
        "rows/s added": lambda name: _rate(load, name, "rows/s"),
        "with index": lambda name: _rate(load, name, "rows/s with build"),
        "size": lambda name: _get(load, name, "size", _bytes),
    }
    return _table(title, search, columns)


def _filters(title: str, cases: dict[str, Figures]) -> Table:
    columns: Columns = {
        f"{float(share):.1%} pass": lambda name, case=case: _filter_cell(case, name) for share, case in cases.items()
    }
    return _table(title, dict.fromkeys(name for case in cases.values() for name in case), columns)


def _filter_cell(case: Figures, name: str) -> str | None:
    if name not in case:
        return None
    figures = case[name]
    few = f" !{figures['fewest']}" if figures["fewest"] < figures["wanted"] else ""
    return f"{figures['recall']:.3f}{few}, {span(figures['p50'])}"


def _writes(title: str, writes: Figures) -> Table:
    columns: Columns = {
        f"{what}, {per} per transaction": lambda name, kind=f"{what} {per}": _write_cell(writes[name].get(kind))
        for what in ("add", "remove")
        for per in (1, 1000)
    }
    return _table(title, [name for name, figures in writes.items() if figures], columns)


def _write_cell(figures: Figures | None) -> str | None:
    if figures is None:
        return None
    beside = figures["times plain"]
    return span(figures["s"]) + ("" if beside is None else f" ({beside:.3g} ×)")


def _churn(title: str, churn: Figures) -> Table:
    columns: Columns = {
        "removed": lambda name: _rate(churn, name, "removed/s"),
        "added again": lambda name: _rate(churn, name, "added/s"),
        "size before": lambda name: _get(churn, name, "full", _bytes),
        "of half": lambda name: _get(churn, name, "half", _bytes),
        "of all again": lambda name: _get(churn, name, "again", _bytes),
        "recall@10": lambda name: _share(churn, name, "recall"),
        "p50": lambda name: _span(churn, name, "p50"),
    }
    return _table(title, churn, columns)


def _growth(results: Figures) -> Iterable[Table]:
    by_rows = {
        f"{found['rows']:,}": found["search"]
        for name, found in results["sets"].items()
        if found["dimensions"] == 384 and name in ("20k", "100k", "1m")
    }
    if len(by_rows) > 1:
        yield _sizes("p50 as the number of rows grows, 384 dimensions", by_rows)
    if results.get("growth"):
        yield _sizes("p50 as the dimensions grow, 20,000 rows", results["growth"])


def _sizes(title: str, by_size: dict[str, Figures]) -> Table:
    columns: Columns = {
        size: lambda name, search=search: _span(search, name, "p50") for size, search in by_size.items()
    }
    return _table(title, dict.fromkeys(name for search in by_size.values() for name in search), columns)


def _targets(results: Figures) -> Table:
    table = Table(title="Targets, of 100,000 × 384 NORMAL", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("target", "reached", "met"):
        table.add_column(heading)
    for target in targets(results):
        reached = "–" if target.reached is None else target.show(target.reached)
        table.add_row(target.text, reached, {True: "yes", False: "no", None: "?"}[target.met])
    return table


def _table(title: str, names: Iterable[str], columns: Columns) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in columns:
        table.add_column(escape(heading), justify="right")
    for name in names:
        style = "bold" if is_ours(name) else None
        table.add_row(name, *(cell(name) or "–" for cell in columns.values()), style=style)
    return table


# -- cells -----------------------------------------------------------------------------------------


def _get(figures: Figures, name: str, what: str, show: Callable[[Any], str]) -> str | None:
    value = figures.get(name, {}).get(what)
    return None if value is None else show(value)


def _share(figures: Figures, name: str, what: str, digits: int = 4) -> str | None:
    return _get(figures, name, what, lambda share: f"{share:.{digits}f}")


def _span(figures: Figures, name: str, what: str) -> str | None:
    return _get(figures, name, what, span)


def _rate(figures: Figures, name: str, what: str) -> str | None:
    return _get(figures, name, what, lambda rate: f"{rate / 1e3:.3g}k" if rate >= 1000 else f"{rate:.0f}")


def _bytes(size: list[int]) -> str:
    """Return the bytes of the files, with what is free in them."""
    used, free = (count / 1e6 for count in size)
    return f"{used:.0f} MB ({free:.0f} free)" if free >= 1 else f"{used:.0f} MB"

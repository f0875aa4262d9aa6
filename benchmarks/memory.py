"""How much memory a process takes; Linux only. Nothing but the standard library: two Pythons import this."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def growth_of_iterating(entries: Iterable[Any]) -> dict[str, int] | None:
    """Return by how many bytes the process's private and mapped memory grew at most while iterating; Linux only."""
    before = _memory()
    if before is None:
        return None
    most = dict(before)
    for number, _ in enumerate(entries):
        if number % 20_000 == 0:
            most = {name: max(most[name], size) for name, size in (_memory() or before).items()}
    return {name: most[name] - before[name] for name in before}


def _memory() -> dict[str, int] | None:
    try:
        with open("/proc/self/status") as status:
            lines = dict(line.split(":", 1) for line in status)
    except OSError:
        return None
    fields = {"private": "RssAnon", "mapped": "RssFile"}
    return {name: int(lines[field].split()[0]) * 1024 for name, field in fields.items()}


def in_new_process(run: Callable[..., Any], *arguments: Any) -> Any:
    """Return what ``run`` returns in a process in which nothing has happened before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()

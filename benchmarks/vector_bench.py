"""Vector search beside numpy and what others have for it: tables, targets, a plot: ``make bench-vectors``.

Every store has a process of its own and one processor; they answer in turns, so that a noisy machine slows all of
them. The first run of a data set makes it, in benchmarks/.cache.

    python benchmarks/vector_bench.py [--sets minilm 100k …] [--kinds none rabitq …] [--peers sqlite-vec …] [--scale]
                                      [--parts search filters writes churn growth] [--json FILE] [--plot FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import vector_data
import vector_measures as measures
import vector_tables
from peers import PeerFailed
from vector_data import VectorSet
from vector_stores import KINDS, NUMPY, PEERS, PLAIN, PYTHON, SLOW_TO_BUILD, VEC, lose, opened, ours, start

HERE = Path(__file__).parent
PARTS = ("search", "filters", "writes", "churn", "growth")
DETAILED = "100k"  # the set of which filters and writes are measured
QUERIES = {"1m": 100, "1m-hard": 100}
DIMENSIONS = (64, 128, 384, 768, 1536)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    small = [name for name in vector_data.NAMES if name not in vector_data.SCALE]
    parser.add_argument("--sets", nargs="*", default=small, choices=vector_data.NAMES, metavar="SET", help=str(small))
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS, metavar="KIND", help=str(KINDS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, metavar="PEER", help=f"all by default: {PEERS}")
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS, metavar="PART", help=str(PARTS))
    parser.add_argument("--detailed", default=DETAILED, choices=vector_data.GENERATED, metavar="SET", help=DETAILED)
    parser.add_argument("--scale", action="store_true", help="also a million vectors")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw recall over latency there, a PNG")
    options = parser.parse_args()
    sets = [*options.sets, *(name for name in vector_data.SCALE if options.scale and name not in options.sets)]
    stores = [*map(ours, options.kinds), NUMPY, *(PEERS if options.peers is None else options.peers)]

    results: dict[str, Any] = {"machine": machine(), "stores": {}, "missing": {}, "sets": {}}
    with tempfile.TemporaryDirectory(prefix="vectors-") as folder:
        stores = about(stores, Path(folder), results)
        for name in sets:
            names = stores
            if name in vector_data.SCALE and options.peers is None:
                names = [store for store in stores if store not in SLOW_TO_BUILD]
            parts = options.parts if name == options.detailed else [part for part in options.parts if part == "search"]
            results["sets"][name] = of_set(vector_data.load(name), names, Path(folder), parts, results)
            keep(results, options.json, options.plot)  # a run of hours may be broken off
        if "growth" in options.parts:
            results["growth"] = growth(stores, Path(folder), results)
    vector_tables.show(results)
    keep(results, options.json, options.plot)


def keep(results: dict[str, Any], figures: Path | None, plot: Path | None) -> None:
    """Write the figures and draw the plot, where these are wanted."""
    text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
    if figures:
        figures.write_text(text)
    if plot and PYTHON.exists():
        draw = [str(PYTHON), "-E", str(HERE / "vector_plot.py"), str(plot)]
        subprocess.run(draw, input=text, text=True, check=True)


def about(names: list[str], folder: Path, results: dict[str, Any]) -> list[str]:
    """Return those that can be started; note the version and settings of each, or the reason why not."""
    started = []
    for name in names:
        try:
            with start(name, folder, 384, 100_000 + vector_data.MORE) as store:
                results["stores"][name] = {"version": store.version, "settings": store.settings}
            started.append(name)
        except PeerFailed as error:
            lose(name, error, results["missing"])
    return started


def of_set(data: VectorSet, names: list[str], folder: Path, parts: list[str], results: dict[str, Any]) -> Any:
    """Return all figures of a data set."""
    queries = QUERIES.get(data.name, 200)
    found: dict[str, Any] = {
        "title": data.title,
        "rows": len(data),
        "dimensions": data.dimensions,
        "intrinsic dimension": data.intrinsic_dimension(),
    }
    if "writes" in parts or "churn" in parts:
        names = [*names, PLAIN]
    ranks = data.ranks() if "filters" in parts else None
    capacity = len(data) + vector_data.MORE
    with opened(names, folder / data.name, data.dimensions, capacity, results["missing"]) as stores:
        found["load"] = measures.load(stores, data, ranks)
        found["search"] = measures.search(stores, data, queries)
        if "search" in parts:
            found["first"] = measures.first_search(stores, data)
        if ranks is not None:
            found["filters"] = measures.search_where(stores, data, ranks)
        if "writes" in parts:
            found["writes"] = measures.write(stores, data)
        if "churn" in parts:
            found["churn"] = measures.churn(stores, data, queries)
    return found


def growth(names: list[str], folder: Path, results: dict[str, Any]) -> Any:
    """Return the latency of ours and of the exact ones at 20,000 rows of more and more dimensions."""
    exact = [name for name in names if name.startswith("ours") or name in (NUMPY, VEC, "faiss-flat")]
    found = {}
    for dimensions in DIMENSIONS:
        data = vector_data.load(f"20000x{dimensions}")
        with opened(exact, folder / data.name, dimensions, len(data), results["missing"]) as stores:
            measures.load(stores, data)
            found[str(dimensions)] = measures.search(stores, data, 50)
    return found


def machine() -> str:
    """Return what it ran on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {platform.system()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()

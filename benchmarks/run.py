"""Speed beside the raw driver, the earlier kohakuvault and the like of each container: ``make bench``.

Each row is of several rounds in which ours and the peers take turns, so that a noisy machine slows all of
them; times are medians, and a ratio is the median of those of the rounds.

    python benchmarks/run.py [--only packing|kv|columns|vectors|texts|ordered] [--scale] [--rows 100000] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import sqlalchemy

import columns
import kohakuvault
import kv
import ordered
import packing
import texts
import vectors
from harness import Report
from kohakuvault import doctor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["packing", "kv", "columns", "vectors", "texts", "ordered"])
    parser.add_argument("--scale", action="store_true", help="kv: up to 1M keys; columns: up to 10M elements")
    parser.add_argument("--rows", type=int, default=100_000, help="vectors (default 100000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    report = Report()
    peers: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only in (None, "packing"):
            packing.bench(report, folder, peers)
        if options.only in (None, "kv"):
            kv.bench(report, folder / "kv", peers, options.scale)
        if options.only in (None, "columns"):
            columns.bench(report, folder / "columns", peers, options.scale)
        if options.only in (None, "vectors"):
            vectors.bench(report, folder, options.rows)
        if options.only in (None, "texts"):
            texts.bench(report, folder / "texts", peers)
        if options.only in (None, "ordered"):
            ordered.bench(report, folder / "ordered", peers)
    report.show()
    about = doctor(":memory:")
    versions = {
        "kohakuvault": kohakuvault.__version__,
        "Python": platform.python_version(),
        "driver": about.driver,
        "SQLite": about.version.removeprefix("SQLite "),
        "SQLAlchemy": sqlalchemy.__version__,
        "numpy": np.__version__,
        "msgpack": version("msgpack"),
        "sqlite-vec": version("sqlite-vec"),
        **peers,
    }
    print(", ".join(f"{name} {number}" for name, number in versions.items()) + f"; functions by {about.rung}")
    if options.json:
        figures = {"versions": versions, "sections": report.figures()}
        options.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()

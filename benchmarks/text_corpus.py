"""The texts of the benchmarks, for every Python that runs one: docstrings of the standard library, over and over."""

from __future__ import annotations

import gzip
import json
from itertools import cycle, islice
from pathlib import Path

CORPUS = Path(__file__).parent.parent / "examples" / "data" / "stdlib_corpus.json.gz"

# Of one word and of several, that few texts have and that many do.
QUERIES = ["compress", "sleep", "thread", "date parse", "json", "list of the", "return value", "temporary directory"]
K = 10


def documents(count: int) -> list[str]:
    """Return ``count`` texts, some 240 characters each; a number at the end of each tells them apart."""
    with gzip.open(CORPUS, "rt", encoding="utf-8") as file:
        texts = [document["text"] for document in json.load(file)["documents"]]
    return [f"{text} {number}" for number, text in enumerate(islice(cycle(texts), count))]

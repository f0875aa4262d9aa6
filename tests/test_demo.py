"""The demo as a person runs it: a program with its output, on every database."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy

from kohakuvault import ColumnVault, KVault, VectorKVault

EXAMPLES = Path(__file__).parent.parent / "examples"
GZIP = "how do I compress a file with gzip"
NOT_IN_THE_DATA = "how do I fold a paper crane"


class Corpus(NamedTuple):
    texts: dict[str, str]
    questions: list[str]


class Run(NamedTuple):
    """What a run of the demo left: its result, what it printed, the file it was to keep."""

    code: int
    output: str
    errors: str
    file: Path


class Hit(NamedTuple):
    rank: int
    similarity: float
    name: str
    first_line: str


def run_demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR", "TERM")}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "stdlib_search.py"), *arguments],
        env={**inherited, "PYTHONUTF8": "1", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


def answers(output: str) -> dict[str, list[Hit]]:
    """Return the hits that were printed, by the line above their table."""
    found: dict[str, list[Hit]] = {}
    title = previous = ""
    for line in output.splitlines():
        if line.split() == ["rank", "similarity", "name", "first", "line"]:
            title = previous
            found[title] = []
        elif title and (match := re.match(r" *(\d+) +(-?\d\.\d+) +(\S+) +(.*?) *$", line)):
            rank, similarity, name, first_line = match.groups()
            found[title].append(Hit(int(rank), float(similarity), name, first_line))
        else:
            title = ""
        previous = line.strip()
    return found


def counts(output: str, moment: str) -> list[int]:
    (line,) = [line for line in output.splitlines() if line.startswith(moment)]
    return [int(number.replace(",", "")) for number in line.removeprefix(moment).split()]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    data = json.loads(gzip.decompress((EXAMPLES / "data" / "stdlib_corpus.json.gz").read_bytes()))
    return Corpus({document["name"]: document["text"] for document in data["documents"]}, data["queries"])


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole demo, once, into a file that is kept."""
    file = tmp_path_factory.mktemp("demo") / "stdlib.db"
    done = run_demo("--database", str(file))
    return Run(done.returncode, done.stdout, done.stderr, file)


# -- the tour --------------------------------------------------------------------------------------


def test_it_succeeds_and_its_output_suits_a_log(tour: Run) -> None:
    assert (tour.code, tour.errors) == (0, "")
    assert "\x1b" not in tour.output
    assert "\r" not in tour.output
    assert max(map(len, tour.output.splitlines())) < 160


def test_a_rollback_leaves_nothing_and_a_commit_everything(tour: Run, corpus: Corpus) -> None:
    documents = len(corpus.texts)
    nothing = [0] * 6
    assert counts(tour.output, "before") == nothing
    assert counts(tour.output, "after rollback") == nothing
    tables, *rows = counts(tour.output, "after commit")
    assert tables > 0
    assert rows == [documents] * 5


def test_every_question_is_answered_as_numpy_answers_it(tour: Run, corpus: Corpus) -> None:
    summary = re.search(r"(\d+) of (\d+) questions answered, (\d+) with the similarities that numpy finds", tour.output)
    assert summary is not None
    assert [int(number) for number in summary.groups()] == [len(corpus.questions)] * 3


def test_answers_give_rank_similarity_name_and_first_line(tour: Run, corpus: Corpus) -> None:
    printed = answers(tour.output)
    assert len(printed) >= 6
    assert set(printed) & set(corpus.questions)
    for hits in printed.values():
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
        assert all(0 <= hit.similarity <= 1 for hit in hits)
        assert all(nearer.similarity >= hit.similarity for nearer, hit in itertools.pairwise(hits))
        for hit in hits:
            assert corpus.texts[hit.name].startswith(hit.first_line.rstrip("…."))


def test_the_question_about_gzip_finds_gzip(tour: Run) -> None:
    assert answers(tour.output)[GZIP][0].name.startswith("gzip.")


def test_the_filtered_search_stays_in_its_module(tour: Run) -> None:
    ((title, hits),) = [item for item in answers(tour.output).items() if "only in" in item[0]]
    module = title.rpartition(" ")[2].rstrip(")")
    assert {hit.name.partition(".")[0] for hit in hits} == {module}


def both(output: str) -> dict[str, list[list[str]]]:
    """Return what words, meaning and both found, by the line above the table."""
    table = r"^(.+?) *\nrank +words alone +meaning alone +both *\n((?: +\d.*\n)+)"
    return {
        title: [line.split()[1:] for line in rows.splitlines()]
        for title, rows in re.findall(table, output, re.MULTILINE)
    }


def test_words_and_meaning_find_more_than_each(tour: Run) -> None:
    tables = both(tour.output)
    assert len(tables) == 2
    asyncio = tables["sleep for some seconds; by the words: asyncio"]
    assert all(len(row) == 3 for row in asyncio)
    by_words, by_meaning, by_both = zip(*asyncio, strict=True)
    assert "asyncio.sleep" not in by_words
    assert by_meaning[0] != "asyncio.sleep"
    assert "asyncio.sleep" in by_both


def test_speeds_and_the_size_of_the_file_are_printed(tour: Run) -> None:
    (size,) = re.findall(r"([\d.]+) MB on disk", tour.output)
    assert float(size) == pytest.approx(tour.file.stat().st_size / 1e6, abs=0.1)
    speeds = tour.output.partition("rows/s")[2]
    for container in (
        "Doc",
        "KVault",
        "Column str:utf8",
        "Column i64",
        "Column vec:f32:384",
        "TextVault",
        "VectorKVault",
    ):
        assert re.search(rf"^{container}\b.* [1-9][\d,]* *$", speeds, re.MULTILINE), container


def test_the_file_holds_ordinary_tables_and_all_of_the_data(tour: Run, corpus: Corpus) -> None:
    with closing(sqlite3.connect(tour.file)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM doc ORDER BY id")]
    assert names == list(corpus.texts)
    with KVault(tour.file, "texts") as texts, ColumnVault(tour.file) as columns:
        assert dict(texts) == corpus.texts
        assert columns["names"][:] == names
        assert columns["lengths"][:] == [len(text) for text in corpus.texts.values()]
        embeddings = columns["embeddings"].to_numpy()
    with VectorKVault(tour.file, table="meanings", dimensions=embeddings.shape[1]) as vectors:
        assert len(vectors) == len(names)
        assert vectors.search(embeddings[0], k=1)[0][2] == names[0]


def test_on_postgresql_too(new_url: Callable[[str], sqlalchemy.URL], corpus: Corpus) -> None:
    url = new_url("postgresql").render_as_string(hide_password=False)
    done = run_demo("-k", "2", "--database", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert counts(done.stdout, "after rollback") == [0] * 6
    assert counts(done.stdout, "after commit")[1:] == [len(corpus.texts)] * 5
    assert f"{len(corpus.questions)} of {len(corpus.questions)} questions answered" in done.stdout
    assert [hit.rank for hit in answers(done.stdout)[GZIP]] == [1, 2]


# -- a question of one's own -----------------------------------------------------------------------


def test_a_question_of_the_data_set_needs_no_model(tour: Run) -> None:
    done = run_demo(GZIP, "-k", "3", "--database", str(tour.file))
    assert (done.returncode, done.stderr) == (0, "")
    assert answers(done.stdout)[GZIP] == answers(tour.output)[GZIP][:3]
    assert "Loading" not in done.stdout, "the file was filled by the tour"


def test_a_question_within_one_module(tour: Run) -> None:
    done = run_demo(GZIP, "--module", "tarfile", "--database", str(tour.file))
    (hits,) = answers(done.stdout).values()
    assert len(hits) == 5
    assert all(hit.name.startswith("tarfile") for hit in hits)


def test_a_question_by_its_own_words(tour: Run) -> None:
    done = run_demo(GZIP, "--hybrid", "--database", str(tour.file))
    assert (done.returncode, done.stderr) == (0, "")
    ((title, rows),) = both(done.stdout).items()
    assert title == GZIP
    by_words, by_meaning, by_both = zip(*rows, strict=True)
    assert by_both[0] in (*by_words, *by_meaning)
    assert run_demo("--hybrid").returncode == 2


def test_a_question_with_words(tour: Run) -> None:
    done = run_demo(GZIP, "--words", "mtime", "-k", "3", "--database", str(tour.file))
    assert (done.returncode, done.stderr) == (0, "")
    ((title, rows),) = both(done.stdout).items()
    assert title == f"{GZIP}; by the words: mtime"
    assert len(rows) == 3
    for wrong in (["--words", "mtime"], [GZIP, "--words", "mtime", "--module", "gzip"]):
        refused = run_demo(*wrong)
        assert refused.returncode == 2
        assert "--words go with a question" in refused.stderr


def test_a_file_of_an_earlier_version_is_left_alone(tour: Run, tmp_path: Path) -> None:
    file = tmp_path / "earlier.db"
    shutil.copyfile(tour.file, file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE pages RENAME TO other")
    done = run_demo(GZIP, "--database", str(file))
    assert done.returncode == 1
    assert "an earlier version of this program" in done.stderr


def test_without_a_file_it_works_in_a_temporary_one_that_it_removes(tmp_path: Path) -> None:
    done = run_demo(GZIP, TMPDIR=str(tmp_path), TEMP=str(tmp_path), TMP=str(tmp_path))
    assert done.returncode == 0
    assert answers(done.stdout)[GZIP][0].name.startswith("gzip.")
    assert not list(tmp_path.iterdir())


def standing_in(folder: Path, code: str) -> dict[str, str]:
    """Return the environment in which ``code`` is the package sentence_transformers."""
    (folder / "sentence_transformers.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


NO_PACKAGE = "raise ModuleNotFoundError('sentence_transformers')"
NO_MODEL = """
def SentenceTransformer(name, local_files_only):
    assert local_files_only
    raise OSError("not in the cache")
"""


@pytest.mark.parametrize("code", [NO_PACKAGE, NO_MODEL], ids=["no package", "no model"])
def test_where_there_is_no_model_it_says_in_a_sentence_what_to_install(code: str, tmp_path: Path) -> None:
    done = run_demo(NOT_IN_THE_DATA, **standing_in(tmp_path, code))
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert "pip install sentence-transformers" in sentence
    assert "all-MiniLM-L6-v2" in sentence


MODEL = f"""
import os
import numpy as np

class SentenceTransformer:
    def __init__(self, name, **options):
        assert os.environ["HF_HUB_OFFLINE"] == "1"

    def encode(self, question, **options):
        assert question == {NOT_IN_THE_DATA!r}
        return np.load({str(EXAMPLES / "data" / "stdlib_minilm.npz")!r})["queries"][0]
"""


def test_where_there_is_a_model_it_answers_any_question(tour: Run, tmp_path: Path) -> None:
    done = run_demo(NOT_IN_THE_DATA, "--database", str(tour.file), **standing_in(tmp_path, MODEL))
    assert (done.returncode, done.stderr) == (0, "")
    assert answers(done.stdout)[NOT_IN_THE_DATA] == answers(tour.output)[GZIP]


# -- what can be wrong -----------------------------------------------------------------------------


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE customer (name)")
    done = run_demo(GZIP, "--database", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert "customer" in sentence
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("customer",)]


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear aunt, " * 500, encoding="utf-8")
    done = run_demo(GZIP, "--database", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert str(file) in sentence
    assert "not a database" in sentence
    assert file.read_text(encoding="utf-8") == "Dear aunt, " * 500

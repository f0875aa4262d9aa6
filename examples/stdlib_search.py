"""Search the documentation of Python's standard library by meaning, by words, and by both.

One Session transaction writes, into one database: the application's own mapped rows, a dict, three columns, a vector
index and a full-text index. Rolled back it leaves none of them, committed all of them. Then it answers questions.

    python examples/stdlib_search.py                                   the whole tour
    python examples/stdlib_search.py "how do I parse a date"           a question of your own
    python examples/stdlib_search.py "wait for a result" -m asyncio    only within one module
    python examples/stdlib_search.py "make a file smaller" --hybrid    by meaning and by its words
    python examples/stdlib_search.py "sleep for some seconds" -w time  by meaning and by other words
    python examples/stdlib_search.py --database stdlib.db              keep the database, and use it next time
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from kohakuvault import ColumnVault, KohakuVaultError, KVault, TextVault, VectorKVault, create_engine
from kohakuvault.orm import Vector, nearest

Floats = NDArray[np.float32]

DATA = Path(__file__).parent / "data"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSIONS = 384  # of a vector that the model makes

BATCH = 500  # documents written between two steps of the progress bar
SHOWN = 6  # questions of the tour whose answers are printed; all of them are asked
WITHIN = ("sleep for some seconds", "asyncio")  # the tour's question within one module
# The tour's questions by meaning, each with the words to find beside it: some of one's own, or the question's.
WITH_WORDS = [("sleep for some seconds", "asyncio"), ("open a zip archive and list its members", None)]

NO_MODEL = (
    "a question of your own needs sentence-transformers and its model on this machine: "
    "run `pip install sentence-transformers`, then `python -c 'from sentence_transformers import "
    f'SentenceTransformer; SentenceTransformer("{MODEL}")\'`, and ask again '
    "(the data set's own questions need neither)"
)

# A log has no width of its own, and rich would assume 80 columns.
console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)


# -- what is stored --------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Doc(Base):
    """The application's own table: an ordinary mapped class with a vector among its columns."""

    __tablename__ = "doc"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    module: Mapped[str] = mapped_column(index=True)
    first_line: Mapped[str]
    embedding: Mapped[np.ndarray[Any, Any]] = mapped_column(Vector(DIMENSIONS))


def open_texts(session: Session) -> KVault:
    return KVault(session, "texts")


def open_vectors(session: Session) -> VectorKVault:
    # Of an index that finds exactly the nearest, as the answers are compared with numpy's.
    return VectorKVault(session, table="meanings", dimensions=DIMENSIONS, metric="cosine", index="exact")


def open_pages(session: Session) -> TextVault:
    """The texts by their words; a page has the id of its vector."""
    return TextVault(session, "pages", ["name", "text"], weights=[2, 1])


@dataclass(frozen=True)
class Corpus:
    """Documents and questions; row ``i`` of each array is the meaning of the ``i``-th of them."""

    names: list[str]
    texts: list[str]
    embeddings: Floats
    questions: list[str]
    question_embeddings: Floats

    def __len__(self) -> int:
        return len(self.names)


def read_corpus() -> Corpus:
    with gzip.open(DATA / "stdlib_corpus.json.gz", "rt", encoding="utf-8") as file:
        corpus = json.load(file)
    with np.load(DATA / "stdlib_minilm.npz") as arrays:
        # The file holds float16, which is half the size; the database holds float32.
        embeddings = arrays["documents"].astype(np.float32)
        question_embeddings = arrays["queries"].astype(np.float32)
    names = [document["name"] for document in corpus["documents"]]
    texts = [document["text"] for document in corpus["documents"]]
    return Corpus(names, texts, embeddings, corpus["queries"], question_embeddings)


def first_line(text: str) -> str:
    # Docstrings begin with one sentence on a line of its own; the data set has joined the lines.
    line, _, more = text.partition(". ")
    return f"{line}." if more else line


# -- writing ---------------------------------------------------------------------------------------


class Speeds:
    """How many rows each container took, and how long that was."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, container: str, rows: int) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[container] += time.perf_counter() - start
        self.rows[container] += rows


def load(session: Session, corpus: Corpus, description: str = "Loading") -> Speeds:
    """Write everything in the transaction of ``session``, its tables too; the caller ends it."""
    texts = open_texts(session)
    vectors = open_vectors(session)
    pages = open_pages(session)
    columns = ColumnVault(session)
    names = columns.create_column("names", "str:utf8")
    lengths = columns.create_column("lengths", "i64")
    embeddings = columns.create_column("embeddings", f"vec:f32:{DIMENSIONS}")
    # After the VectorKVault, which on PostgreSQL brings the extension that has the type of Doc.embedding.
    Base.metadata.create_all(session.connection())

    speeds = Speeds()
    with progress_bar() as progress:
        documents = progress.add_task(description, total=len(corpus))
        for start in range(0, len(corpus), BATCH):
            batch = slice(start, start + BATCH)
            batch_names, batch_texts = corpus.names[batch], corpus.texts[batch]
            batch_vectors = corpus.embeddings[batch]
            rows = len(batch_names)

            with speeds.measure("Doc (mapped class)", rows):
                session.add_all(map(new_doc, batch_names, batch_texts, batch_vectors))
                session.flush()
            with speeds.measure("KVault", rows):
                texts.update(zip(batch_names, batch_texts, strict=True))
            with speeds.measure("Column str:utf8", rows):
                names.extend(batch_names)
            with speeds.measure("Column i64", rows):
                lengths.extend(map(len, batch_texts))
            with speeds.measure(f"Column {embeddings.dtype}", rows):
                embeddings.extend(batch_vectors)
            with speeds.measure("TextVault", rows):
                ids = pages.insert_many(map(new_page, batch_names, batch_texts))
            with speeds.measure("VectorKVault", rows):
                vectors.upsert_many(ids, batch_vectors, batch_names)
            progress.advance(documents, rows)
    return speeds


def new_doc(name: str, text: str, embedding: Floats) -> Doc:
    return Doc(name=name, module=name.partition(".")[0], first_line=first_line(text), embedding=embedding)


def new_page(name: str, text: str) -> tuple[dict[str, str], str]:
    return {"name": name, "text": text}, name


def contents(engine: Engine) -> dict[str, int]:
    """Return how much of everything is in the database, as a new connection sees it."""
    tables = inspect(engine).get_table_names()
    counts = {
        "tables": len(tables),
        "Doc rows": 0,
        "KVault entries": 0,
        "elements per column": 0,
        "vectors": 0,
        "pages": 0,
    }
    if tables:
        with Session(engine) as session:
            counts["Doc rows"] = session.scalars(select(func.count()).select_from(Doc)).one()
            counts["KVault entries"] = len(open_texts(session))
            counts["elements per column"] = min(map(len, ColumnVault(session).values()))
            counts["vectors"] = len(open_vectors(session))
            counts["pages"] = len(open_pages(session))
    return counts


def show_transactions(engine: Engine, corpus: Corpus) -> Speeds:
    """Write everything twice: roll it back, then commit it."""
    moments = {"before": contents(engine)}
    with Session(engine) as session:
        load(session, corpus, "Loading, to roll it back")
        session.rollback()
    moments["after rollback"] = contents(engine)
    with Session(engine) as session:
        speeds = load(session, corpus, "Loading, to commit it  ")
        session.commit()
    moments["after commit"] = contents(engine)

    heading("One transaction: rolled back, then committed")
    table = Table("", box=None, pad_edge=False)
    for what in moments["before"]:
        table.add_column(what, justify="right")
    for moment, counts in moments.items():
        table.add_row(moment, *(f"{count:,}" for count in counts.values()))
    console.print(table)
    return speeds


# -- searching -------------------------------------------------------------------------------------


class Hit(NamedTuple):
    similarity: float
    name: str
    first_line: str


def search_vault(session: Session, query: Floats, k: int) -> list[Hit]:
    """Search the VectorKVault, whose values are names, and look the texts up in the KVault."""
    texts = open_texts(session)
    found = open_vectors(session).search(query, k)
    return [Hit(1 - distance, name, first_line(texts[name])) for _, distance, name in found]


def search_rows(session: Session, query: Floats, k: int, module: str) -> list[Hit]:
    """Search the mapped rows of one module: ``k`` of them, because the filter applies before the search."""
    hit = nearest(Doc.embedding, query, k, where=Doc.module == module)
    found = select(Doc, hit.c.distance).join(hit, hit.c.id == Doc.id).order_by(hit.c.distance)
    return [Hit(1 - distance, doc.name, doc.first_line) for doc, distance in session.execute(found)]


def show_hits(question: str, hits: list[Hit]) -> None:
    console.print()
    console.print(Text(question, "bold"))
    if not hits:
        console.print("nothing found: there are no such documents")
        return
    table = Table("rank", "similarity", "name", "first line", box=None, pad_edge=False, expand=True)
    for column in table.columns[:2]:
        column.justify = "right"
    table.columns[2].no_wrap = True
    table.columns[3].no_wrap, table.columns[3].ratio = True, 1
    for rank, (similarity, name, line) in enumerate(hits, 1):
        # As Text, because brackets in a str would be taken for rich's markup.
        table.add_row(str(rank), f"{similarity:.3f}", Text(name), Text(line))
    console.print(table)


def show_questions(session: Session, corpus: Corpus, k: int) -> None:
    """Ask every question of the data set, print some of the answers and compare them all with numpy's."""
    heading("Answers: VectorKVault.search")
    vectors = open_vectors(session)
    embeddings = ColumnVault(session)["embeddings"].to_numpy()
    milliseconds = []
    as_numpy = 0
    for question, query in zip(corpus.questions, corpus.question_embeddings, strict=True):
        start = time.perf_counter()
        found = vectors.search(query, k)
        milliseconds.append(1000 * (time.perf_counter() - start))
        if len(milliseconds) <= SHOWN:
            show_hits(question, search_vault(session, query, k))
        nearest_first = np.sort(cosine_similarities(embeddings, query))[::-1][:k]
        # By similarity, not by id: aliases share a docstring, and so a rank.
        similarities = [1 - distance for _, distance, _ in found]
        as_numpy += len(found) == len(nearest_first) and np.allclose(similarities, nearest_first, atol=1e-5)
    console.print(
        f"\n{len(milliseconds)} of {len(corpus.questions)} questions answered, "
        f"{as_numpy} with the similarities that numpy finds; "
        f"per search {statistics.median(milliseconds):.1f} ms (median), {max(milliseconds):.1f} ms (slowest)",
        soft_wrap=True,
    )


def cosine_similarities(vectors: Floats, query: Floats) -> Floats:
    similarities: Floats = (vectors @ query) / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
    return similarities


def show_filtered(session: Session, corpus: Corpus, k: int) -> None:
    heading("Answers: nearest(Doc.embedding, …, where=…) joined with the application's own rows")
    question, module = WITHIN
    query = corpus.question_embeddings[corpus.questions.index(question)]
    start = time.perf_counter()
    hits = search_rows(session, query, k, module)
    milliseconds = 1000 * (time.perf_counter() - start)
    show_hits(f"{question} (only in {module})", hits)
    console.print(f"\n1 search of the mapped rows: {milliseconds:.1f} ms, with the compilation of its SQL")


def search_both(session: Session, words: str, query: Floats, k: int) -> list[tuple[float, str]]:
    """Search by any of the words and by meaning in one statement; the best of both rankings come first."""
    found = open_pages(session).hybrid_search(words, query, k, vectors=open_vectors(session))
    return [(score, name) for _, score, name in found]


def show_both(session: Session, question: str, words: str, query: Floats, k: int) -> None:
    """Print what words find, what meaning finds, and what both find together."""
    by_words = [name for _, _, name in open_pages(session).search(words, k, any_word=True)]
    by_meaning = [hit.name for hit in search_vault(session, query, k)]
    both = [name for _, name in search_both(session, words, query, k)]
    console.print()
    console.print(Text(question if words == question else f"{question}; by the words: {words}", "bold"))
    table = Table("rank", "words alone", "meaning alone", "both", box=None, pad_edge=False)
    table.columns[0].justify = "right"
    for rank in range(max(map(len, (by_words, by_meaning, both)))):
        row = [names[rank] if rank < len(names) else "" for names in (by_words, by_meaning, both)]
        table.add_row(str(rank + 1), *map(Text, row))
    console.print(table)


def show_hybrid(session: Session, corpus: Corpus, k: int) -> None:
    heading("Answers: TextVault.hybrid_search, words and meaning in one statement")
    for question, words in WITH_WORDS:
        show_both(session, question, words or question, corpus.question_embeddings[corpus.questions.index(question)], k)


# -- a question of one's own -----------------------------------------------------------------------


def embed(question: str, corpus: Corpus) -> Floats:
    """Return the vector of ``question``: the stored one if the data set asks it too, else the model's."""
    for known, embedding in zip(corpus.questions, corpus.question_embeddings, strict=True):
        if known.casefold() == question.casefold():
            return embedding
    # A model that is not here is reported; it is not downloaded behind anybody's back.
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    try:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(MODEL, local_files_only=True)
    except (ImportError, OSError, ValueError):
        stop(NO_MODEL, code=2)
    return np.asarray(model.encode(question, show_progress_bar=False), dtype=np.float32)


# -- the program -----------------------------------------------------------------------------------


@contextmanager
def open_database(database: str | None) -> Iterator[Engine]:
    """Give an engine on ``database``; by default on a file that is removed at the end."""
    if database is None:
        with tempfile.TemporaryDirectory() as folder, open_database(str(Path(folder, "stdlib.db"))) as engine:
            yield engine
        return
    engine = create_engine(database)
    try:
        yield engine
    finally:
        engine.dispose()


def is_loaded(engine: Engine) -> bool:
    """Return whether an earlier run has filled the database; stop if somebody else has."""
    tables = inspect(engine).get_table_names()
    if tables and {"doc", "texts", "meanings"} <= set(tables) and "pages" not in tables:
        stop(f"{engine.url} was filled by an earlier version of this program, without full text; name a new file")
    if tables and not {"doc", "texts", "meanings", "pages", "vault_column"} <= set(tables):
        stop(f"{engine.url} holds tables of something else ({', '.join(tables)}); name a new or empty one")
    return bool(tables)


def megabytes(engine: Engine) -> float:
    if engine.dialect.name == "sqlite":
        # The last connection that closes moves what was written from the log into the file.
        engine.dispose()
        return Path(engine.url.database or "").stat().st_size / 1e6
    with engine.connect() as connection:
        return float(connection.scalars(select(func.pg_database_size(func.current_database()))).one()) / 1e6


def show_speeds(speeds: Speeds, engine: Engine, corpus: Corpus) -> None:
    table = Table("written to", "rows/s", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for container, seconds in speeds.seconds.items():
        table.add_row(container, f"{speeds.rows[container] / seconds:,.0f}")
    heading("Speed and size")
    console.print(table)
    with Session(engine) as session:
        characters = int(ColumnVault(session)["lengths"].to_numpy().sum())
    console.print(
        f"\n{megabytes(engine):.1f} MB on disk: {len(corpus):,} documents of {characters:,} characters, "
        "each vector three times, each text twice"
    )


def progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("documents"),
        TimeElapsedColumn(),
        console=console,
    )


def heading(title: str) -> None:
    console.print(Text(f"\n== {title} ==", "bold cyan"))


def stop(message: str, code: int = 1) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


def main(
    question: Annotated[str | None, typer.Argument(help="What to look for, in your own words.")] = None,
    module: Annotated[str | None, typer.Option("--module", "-m", help="Look only in this module.")] = None,
    words: Annotated[str | None, typer.Option("--words", "-w", help="Look for any of these words too.")] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Look for any of the question's words too.")] = False,
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 5,
    database: Annotated[
        str | None, typer.Option(help="File or PostgreSQL URL that is kept; default: a temporary file.")
    ] = None,
) -> None:
    """Search the documentation of Python's standard library by meaning, by words, and by both."""
    if (hybrid or words is not None) and (question is None or module is not None):
        stop("--hybrid and --words go with a question, and not with --module", code=2)
    words = question if hybrid and words is None else words
    corpus = read_corpus()
    query = None if question is None else embed(question, corpus)
    try:
        with open_database(database) as engine:
            if query is None:
                tour(engine, corpus, k)
            else:
                answer(engine, corpus, question or "", query, k, module, words)
    except KohakuVaultError as error:
        stop(str(error))
    except DBAPIError as error:
        stop(f"{database}: {error.orig}")


def tour(engine: Engine, corpus: Corpus, k: int) -> None:
    loaded = is_loaded(engine)
    if loaded:
        console.print(Text(f"{engine.url} was filled by an earlier run, and is used as it is"), soft_wrap=True)
    speeds = None if loaded else show_transactions(engine, corpus)
    with Session(engine) as session:
        show_questions(session, corpus, k)
        show_filtered(session, corpus, k)
        show_hybrid(session, corpus, k)
    if speeds is not None:
        show_speeds(speeds, engine, corpus)


def answer(
    engine: Engine, corpus: Corpus, question: str, query: Floats, k: int, module: str | None, words: str | None
) -> None:
    with Session(engine) as session:
        if not is_loaded(engine):
            load(session, corpus)
            session.commit()
        if words is not None:
            show_both(session, question, words, query, k)
        elif module is None:
            show_hits(question, search_vault(session, query, k))
        else:
            show_hits(f"{question} (only in {module})", search_rows(session, query, k, module))


if __name__ == "__main__":
    typer.run(main)

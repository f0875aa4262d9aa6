"""A handbook of Python's standard library, in one SQLite file or a PostgreSQL database.

    alembic upgrade 0001                      the application as it was before it had anything of KohakuVault's
    python app.py load                        put the entries into it
    alembic upgrade head                      bring that database, with its rows, to what the application is now
    python app.py embed                       add the embeddings, which are new
    python app.py search "compress file"      by words
    python app.py like gzip.compress          by meaning; `--module zlib` only within one module
    python app.py visit gzip.compress ann 12  ann has read it for 12 seconds
    python app.py about gzip.compress

The database is that of the environment variable HANDBOOK, a SQLAlchemy URL.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from models import DIMENSIONS, Entry, Reader
from sqlalchemy import Engine, insert, select, table, update
from sqlalchemy import column as table_column
from sqlalchemy.orm import Session

from kohakuvault import create_engine
from kohakuvault.orm import match, nearest

DATA = Path(__file__).resolve().parent.parent / "data"

app = typer.Typer(no_args_is_help=True)

Module = Annotated[str, typer.Option("--module", "-m", help="Only within this module.")]


def engine() -> Engine:
    return create_engine(os.environ.get("HANDBOOK", "sqlite:///handbook.db"))


@app.command()
def load() -> None:
    """Put the entries into a database at revision 0001, as the application did then: rows of text and JSON."""
    rows = [
        {"name": name, "text": text, "facts": json.dumps({"module": name.split(".")[0], "characters": len(text)})}
        for name, text in documents()
    ]
    entry = table("entry", table_column("name"), table_column("text"), table_column("facts"))
    with engine().begin() as connection:
        connection.execute(insert(entry), rows)
    typer.echo(f"{len(rows)} entries")


@app.command()
def embed() -> None:
    """Add to every entry the vector of its meaning."""
    with np.load(DATA / "stdlib_minilm.npz") as file:
        vectors = dict(zip((name for name, _ in documents()), file["documents"].astype(np.float32), strict=True))
    with Session(engine()) as session:
        named = session.execute(select(Entry.id, Entry.name)).all()
        session.execute(update(Entry), [{"id": id, "embedding": vectors[name]} for id, name in named])
        session.commit()
    typer.echo(f"{len(named)} entries have a vector of {DIMENSIONS} dimensions")


@app.command()
def search(words: str, module: Module = "") -> None:
    """Print the entries in which all of these words occur."""
    query = select(Entry).where(match(Entry, words)).order_by(Entry.name).limit(10)
    with Session(engine()) as session:
        for entry in session.scalars(query.where(Entry.facts["module"].as_string() == module) if module else query):
            typer.echo(f"{entry.name}: {shortened(entry.text)}")


@app.command()
def like(name: str, module: Module = "") -> None:
    """Print the entries that mean nearly the same as this one."""
    with Session(engine()) as session:
        this = session.scalars(select(Entry).where(Entry.name == name)).one()
        within = Entry.facts["module"].as_string() == module if module else None
        hit = nearest(Entry.embedding, this.embedding, k=6, where=within)
        found = select(Entry, hit.c.distance).join(hit, hit.c.id == Entry.id).order_by(hit.c.distance)
        for entry, distance in session.execute(found.where(Entry.id != this.id)):
            typer.echo(f"{distance:.3f}  {entry.name}: {shortened(entry.text)}")


@app.command()
def visit(name: str, reader: str, seconds: float) -> None:
    """Note that somebody has read an entry: in its list of visits, its facts and the reader's memory, or in none."""
    with Session(engine()) as session:
        entry = session.scalars(select(Entry).where(Entry.name == name)).one()
        person = session.scalars(select(Reader).where(Reader.name == reader)).one_or_none() or Reader(name=reader)
        session.add(person)
        entry.visits.append(seconds)
        entry.facts["read"] = entry.facts.get("read", 0) + 1
        person.memory["last"] = name
        person.memory.incr("visits")
        session.commit()


@app.command()
def about(name: str) -> None:
    """Print what is known of an entry and its visits."""
    with Session(engine()) as session:
        entry = session.scalars(select(Entry).where(Entry.name == name)).one()
        typer.echo(f"{entry.name}: {shortened(entry.text)}")
        typer.echo(f"facts {dict(entry.facts)}")
        typer.echo(f"{len(entry.visits)} visits, {sum(entry.visits):.1f} s")
        for reader in session.scalars(select(Reader).order_by(Reader.name)):
            typer.echo(f"{reader.name} {dict(reader.memory)}")


def shortened(text: str) -> str:
    return " ".join(text.split())[:70]


def documents() -> list[tuple[str, str]]:
    with gzip.open(DATA / "stdlib_corpus.json.gz") as file:
        return [(each["name"], each["text"]) for each in json.load(file)["documents"]]


if __name__ == "__main__":
    app()

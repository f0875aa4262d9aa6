"""The command ``kohakuvault`` on tables of vectors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sqlalchemy import Boolean, Column, DateTime, Float, Integer, String, text

from kohakuvault import KVault, VectorKVault
from test_cli import fails, run

COLUMNS = [
    Column("lang", String(5), index=True),
    Column("year", Integer),
    Column("score", Float),
    Column("seen", DateTime),
    Column("good", Boolean),
]


@pytest.fixture
def vault(engine):
    vault = VectorKVault(engine, "docs", dimensions=3, metric="l2", metadata=COLUMNS)
    vault.insert_many(np.eye(3), "abc", {"lang": ["en", "de", None], "good": [True, False, None]})
    VectorKVault(engine, "codes", dimensions=9, vector_type="bit").insert([1] * 9)
    KVault(engine, "settings")["theme"] = "dark"
    return vault


@pytest.fixture
def database(vault, url):
    return url.render_as_string(hide_password=False)


def test_stats_counts_every_table(database):
    figures = {figure["table"]: figure for figure in json.loads(run("stats", database, "--json"))}
    assert set(figures) == {"settings", "docs", "codes"}
    assert (figures["docs"]["rows"], figures["docs"]["dimensions"], figures["docs"]["metric"]) == (3, 3, "l2")
    assert figures["codes"]["vector_type"] == "bit"
    assert "rows" in run("stats", database, "docs")


def test_check_looks_at_every_table(vault, database):
    assert run("check", database) == "settings: no problems\ncodes: no problems\ndocs: no problems\n"
    with vault.engine.begin() as connection:
        connection.execute(text("UPDATE docs SET value = :value WHERE id = 2"), {"value": b"\xff"})
    assert "docs: row 2: " in run_output("check", database, "docs")
    vault.update(2, value="mended")
    assert run("check", database, "docs", "--fix") == "docs: no problems\n"
    assert vault.get_metadata(1)["lang"] == "en"


def run_output(*arguments: object) -> str:
    """What a command prints to stdout that finds problems."""
    from typer.testing import CliRunner

    from kohakuvault.cli import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments]).stdout


def test_a_record_that_says_too_little_is_named(vault, database):
    with vault.engine.begin() as connection:
        connection.execute(text("DROP TABLE docs"))
    assert "does not exist" in fails("stats", database, "docs")

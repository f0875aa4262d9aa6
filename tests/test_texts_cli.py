"""The command ``kohakuvault`` on tables of texts."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Integer
from typer.testing import CliRunner

from kohakuvault import TextVault
from kohakuvault.cli import app
from test_cli import run


@pytest.fixture
def vault(engine):
    vault = TextVault(
        engine, "pages", ["title", "body"], tokenize="porter", weights=[3, 1], metadata={"year": Integer()}
    )
    vault.insert({"title": "Crabs", "body": "they run"}, 1, {"year": 2000})
    TextVault(engine, "notes").insert("a note", None)
    return vault


@pytest.fixture
def database(vault, url):
    return url.render_as_string(hide_password=False)


def test_stats_counts_every_table(database):
    figures = {figure["table"]: figure for figure in json.loads(run("stats", database, "--json"))}
    assert set(figures) == {"pages", "notes"}
    assert figures["pages"]["columns"] == ["title", "body"]
    assert (figures["pages"]["rows"], figures["pages"]["tokenize"]) == (1, "porter")
    assert figures["pages"]["metadata"] == ["year"]


def test_check_looks_at_every_table_and_mends_an_index(vault, database, engine):
    assert run("check", database).splitlines() == ["notes: no problems", "pages: no problems"]
    with engine.begin() as connection:
        for statement in vault._index.drop_statements(engine.dialect):
            connection.exec_driver_sql(statement)
    found = CliRunner().invoke(app, ["check", database, "pages"])
    assert found.exit_code == 1
    assert "pages_index" in found.stdout
    assert "(fixed)" in run("check", database, "--fix")
    assert run("check", database, "pages") == "pages: no problems\n"
    assert len(vault.search("crab run")) == 1

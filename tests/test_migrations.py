"""The vault's own tables: made, upgraded and taken over by the migrations that the package carries."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
from argparse import Namespace
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, inspect, text
from typer.testing import CliRunner

import kohakuvault
from kohakuvault import ColumnVault, InvalidArgument, KVault, SchemaMismatch
from kohakuvault.cli import app
from kohakuvault.migrating import VERSION_TABLE, config_for, current_revision, downgrade, upgrade
from kohakuvault.orm.tables import VaultBase
from migrating import dump

OWN = r"vault_version.*|sqlite_.*"


def as_text(url: sqlalchemy.URL) -> str:
    return url.render_as_string(hide_password=False)


def made_by_models(new_url, like):
    """Return what the models make, with the record of the columns."""
    engine = kohakuvault.create_engine(new_url(like.dialect.name))
    VaultBase.metadata.create_all(engine)
    found = dump(engine, OWN)
    names = [each.url.query.get("options", "").split("=")[-1].split(",")[0] for each in (engine, like)]
    engine.dispose()
    return {key: value.replace(f"{names[0]}.", f"{names[1]}.") if names[0] else value for key, value in found.items()}


def test_migrated_created_and_reflected_schema_are_one(engine, url, new_url):
    upgrade(url)
    assert dump(engine, OWN) == made_by_models(new_url, engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": VERSION_TABLE, "include_name": lambda name, type_, _: name != "spatial_ref_sys"},
        )
        assert compare_metadata(context, VaultBase.metadata) == []
        reflected = MetaData()
        reflected.reflect(connection, only=list(VaultBase.metadata.tables))
        for name, table in VaultBase.metadata.tables.items():
            assert [(column.name, column.nullable) for column in reflected.tables[name].columns] == [
                (column.name, column.nullable) for column in table.columns
            ]


def test_up_down_and_up_again_is_where_it_was(engine, url):
    upgrade(url)
    made = dump(engine, OWN)
    downgrade(url, "0001")
    older = dump(engine, OWN)
    assert older != made
    downgrade(url, "base")
    assert dump(engine, OWN) == {}
    upgrade(url, "0001")
    assert dump(engine, OWN) == older
    upgrade(url)
    assert dump(engine, OWN) == made
    assert current_revision(url) == ("0002", "0002")


def test_columns_survive_every_step(engine, url):
    vault = ColumnVault(engine)
    vault.create_column("gone", "i64")
    vault.create_column("scores", "f64", block_bytes=1024).extend(range(10_000))
    last = vault.create_column("last", "i64")
    vault.delete_column("last")
    upgrade(url)
    assert ColumnVault(engine, create=False)["scores"][9999] == 9999.0
    downgrade(url, "0001")
    with engine.begin() as connection:
        with pytest.raises(sqlalchemy.exc.IntegrityError), connection.begin_nested():
            connection.execute(text("UPDATE vault_column SET name = NULL"))
        assert connection.scalar(text("SELECT version FROM vault_table WHERE name = 'vault_column'")) == 2
    upgrade(url)
    vault = ColumnVault(kohakuvault.create_engine(url), create=False)
    assert vault["scores"][:] == [float(number) for number in range(10_000)]
    assert vault.check() == []
    # The id of a deleted column is not given again.
    assert vault.create_column("new", "i64")._id > last._id
    vault.engine.dispose()


def test_tables_that_containers_made_are_taken_over(engine, url, new_url):
    KVault(engine, "settings")["a"] = 1
    upgrade(url)
    assert dump(engine, OWN + "|settings|ix_settings.*").items() >= made_by_models(new_url, engine).items()
    assert KVault(engine, "settings", create=False)["a"] == 1
    # Twice, and with a vault that was made by containers only.
    ColumnVault(engine).create_column("x", "i64").append(1)
    upgrade(url)
    assert ColumnVault(engine)["x"][:] == [1]


def test_a_strangers_table_is_left_alone(engine, url):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE vault_block (id INTEGER PRIMARY KEY, note VARCHAR)"))
        connection.execute(text("INSERT INTO vault_block VALUES (1, 'mine')"))
    with pytest.raises(SchemaMismatch, match="not KohakuVault's: it lacks column_id"):
        upgrade(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT note FROM vault_block")) == "mine"
        assert not inspect(connection).has_table("vault_column")


def test_a_newer_format_is_refused(engine, url):
    KVault(engine, "settings")
    with engine.begin() as connection:
        connection.execute(text("UPDATE vault_table SET version = 99"))
    with pytest.raises(SchemaMismatch, match="install a newer kohakuvault"):
        upgrade(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE vault_table SET version = 1"))
    upgrade(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE vault_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match="newer release"):
        upgrade(url)


def test_a_downgrade_that_would_lose_something_is_refused(engine, url):
    upgrade(url)
    vault = ColumnVault(engine)
    vault.create_column("x", "i64")
    with engine.begin() as connection:
        connection.execute(text("UPDATE vault_column SET name = NULL"))
    with pytest.raises(SchemaMismatch, match="1 lists that rows own"):
        downgrade(url, "0001")
    with engine.begin() as connection:
        connection.execute(text("UPDATE vault_column SET name = 'x'"))
    with pytest.raises(SchemaMismatch, match="1 columns in vault_column"):
        downgrade(url, "base")
    assert current_revision(url)[0] == "0002"
    vault.delete_column("x")
    KVault(engine, "settings")
    with pytest.raises(SchemaMismatch, match="records of dicts"):
        downgrade(url, "base")


def test_the_applications_own_version_table_is_not_touched(engine, url):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('app')"))
    upgrade(url)
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT version_num FROM alembic_version")).all() == ["app"]


def test_in_a_transaction_of_the_applications(url):
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        connection.begin() if not connection.in_transaction() else None
        upgrade(connection)
        connection.rollback()
        assert not inspect(connection).has_table("vault_table")
        connection.rollback()
        upgrade(connection)
    with engine.connect() as connection:
        assert inspect(connection).has_table("vault_table")
    engine.dispose()


def test_sql_is_a_script_that_makes_the_same(engine, url, new_url, tmp_path):
    script = io.StringIO()
    upgrade(url, sql=True, output=script)
    sql = script.getvalue()
    assert not inspect(engine).has_table("vault_table")
    if engine.dialect.name == "sqlite":
        with sqlite3.connect(url.database) as connection:
            connection.executescript(sql)
        connection.close()
    else:
        raw = engine.raw_connection()
        raw.driver_connection.autocommit = True
        raw.driver_connection.execute(sql)
        raw.close()
    assert dump(engine, OWN) == made_by_models(new_url, engine)
    upgrade(url)
    assert current_revision(url)[0] == "0002"


def run(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment from another folder."""
    program = Path(sys.executable).parent / arguments[0]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [program, *arguments[1:]], cwd=cwd, capture_output=True, text=True, timeout=100, check=False, env=environment
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def test_by_the_command_from_any_folder(engine, url, tmp_path):
    address = as_text(url)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert run("kohakuvault", "upgrade", address, cwd=folder).stdout == "0002 (newest)\n"
    assert list(folder.iterdir()) == []
    assert ColumnVault(engine, create=False).list_columns() == []


def test_what_the_commands_print(engine, url):
    KVault(engine, "settings")

    def call(*arguments: str):
        return CliRunner().invoke(app, [arguments[0], as_text(url), *arguments[1:]])

    assert call("upgrade", "--revision", "0001").stdout == "0001, the newest is 0002\n"
    done = call("current")
    assert (done.exit_code, done.stdout) == (1, "0001, the newest is 0002\n")
    assert call("upgrade").stdout == "0002 (newest)\n"
    done = call("current")
    assert (done.exit_code, done.stdout) == (0, "0002 (newest)\n")
    assert "CREATE TABLE vault_payload" in call("upgrade", "--sql").stdout
    assert call("downgrade", "-1").stdout == "0001, the newest is 0002\n"
    failed = call("downgrade", "0009")
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: Can't locate revision")
    assert len(failed.stderr.splitlines()) == 1


def test_by_alembics_command_and_an_ini(engine, url, tmp_path):
    address = as_text(url).replace("%", "%%")
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = kohakuvault:migrations\nsqlalchemy.url = {address}\n")
    run("alembic", "-c", "alembic.ini", "upgrade", "head", cwd=tmp_path)
    assert ColumnVault(engine, create=False).list_columns() == []
    config = Config(str(ini))
    # Raises if there is anything that a revision would have to do.
    command.check(config)
    command.downgrade(config, "base")
    assert not inspect(engine).has_table("vault_table")
    ini.write_text("[alembic]\nscript_location = kohakuvault:migrations\n")
    command.upgrade(Config(str(ini), cmd_opts=Namespace(x=[f"url={as_text(url)}"])), "head")
    assert inspect(engine).has_table("vault_table")


def test_many_at_once_make_the_tables_once(engine, url, tmp_path):
    address = as_text(url)
    programs = [
        subprocess.Popen(
            [Path(sys.executable).parent / "kohakuvault", "upgrade", address],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for program in programs:
        out, err = program.communicate(timeout=100)
        assert program.returncode == 0, err
        assert out == "0002 (newest)\n"
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT version_num FROM vault_version")).all() == ["0002"]


def test_without_a_database_it_says_how_to_give_one(tmp_path):
    with pytest.raises(InvalidArgument, match=r"sqlalchemy.url in alembic.ini"):
        command.upgrade(config_for(), "head")


def test_the_folder_at_the_top_is_that_of_the_package():
    top = Path(__file__).parent.parent / "migrations"
    assert top.resolve() == (Path(kohakuvault.__file__).parent / "migrations").resolve()


@pytest.mark.parametrize("command", ["upgrade", "current"])
def test_a_file_that_is_no_database_is_one_line(tmp_path, command):
    path = tmp_path / "garbage.db"
    path.write_bytes(b"garbage" * 1000)
    done = CliRunner().invoke(app, [command, str(path)])
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "not a database" in done.stderr


@pytest.mark.parametrize("table", ["kohakuvault_meta (key TEXT)", "col_meta (col_id, dtype, elem_size)"])
def test_a_file_of_an_old_release_is_imported_and_not_upgraded(tmp_path, table):
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {table}")
    with pytest.raises(SchemaMismatch, match="kohakuvault import OLD NEW"):
        upgrade(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)

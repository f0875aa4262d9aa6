"""The ``kohakuvault`` command: what it prints, what it changes, and that errors are one line and exit code 1."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

import kohakuvault
from kohakuvault import ColumnVault, KVault
from kohakuvault.cli import app

FULL = os.path.join(os.path.dirname(sys.executable), "kohakuvault")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.db"


def run(*arguments: object, code: int = 0):
    """Run the command in this process, and return what it printed to stdout, or if it should fail, to stderr."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    if code == 0:
        assert result.stderr == ""
    return result.stdout if code == 0 else result.stderr


def fails(*arguments: object) -> str:
    """Run a command that fails; return its message."""
    message = run(*arguments, code=1)
    assert message.startswith("error: ")
    assert message.endswith("\n")
    assert message.count("\n") == 1
    return message.removeprefix("error: ").rstrip()


@pytest.fixture
def database(url):
    """The URL of a database with a dict, as the command line takes it."""
    kv = KVault(url)
    kv.update({"a": "text", "b": {"list": [1, 2.5, None]}, 5: 5, b"\x00\xff": b"raw\n\xff"})
    kv.close()
    return url.render_as_string(hide_password=False)


# -- one entry ------------------------------------------------------------------------------------


def test_get_prints_text_as_it_is_and_other_values_as_python_writes_them(database):
    assert run("get", database, "a") == "text\n"
    assert run("get", database, "b") == "{'list': [1, 2.5, None]}\n"
    assert run("get", database, "b", "--json") == '{"list": [1, 2.5, null]}\n'
    assert run("get", database, "5", "--int") == "5\n"
    assert run("get", database, "00ff", "--bytes") == "b'raw\\n\\xff'\n"


def test_get_writes_bytes_and_text_to_a_file(database, tmp_path):
    for key, option, data in (("00ff", ["--bytes"], b"raw\n\xff"), ("a", [], b"text")):
        run("get", database, key, *option, "-o", tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == data
    assert "leave the option out" in fails("get", database, "b", "-o", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert "no" in fails("get", database, "a", "-o", tmp_path / "no" / "out")


def test_set_and_delete_change_one_entry(database, url):
    kv = KVault(url)
    assert run("set", database, "new", "5") == ""
    run("set", database, "list", '[1, {"a": 2.5}]', "--json")
    run("set", database, "--int", "--", "-7", "-8")
    run("set", database, "ff", "x", "--bytes")
    assert (kv["new"], kv["list"], kv[-7], kv[b"\xff"]) == ("5", [1, {"a": 2.5}], "-8", "x")
    assert run("delete", database, "new") == ""
    run("delete", database, "5", "--int")
    assert "new" not in kv
    assert 5 not in kv
    assert "no key 'new'" in fails("delete", database, "new")


def test_set_makes_the_database_and_the_table(path):
    run("set", path, "a", "1", "--table", "settings")
    assert dict(KVault(path, "settings")) == {"a": "1"}
    assert run("get", path, "a", "-t", "settings") == "1\n"


def test_an_entry_that_is_set_with_ttl_expires(database, url):
    run("set", database, "short", "x", "--ttl", "1000")
    assert 900 < KVault(url).expires_at("short") - time.time() <= 1000
    assert "ttl=0.0" in fails("set", database, "short", "x", "--ttl", "0")


def test_keys_are_printed_as_the_other_commands_take_them(database, url):
    KVault(url).update({"--int": 1, "line\nbreak": 2, "ä": 3})
    lines = run("keys", database).splitlines()
    assert lines == ["a", "b", "--int 5", "--bytes 00ff", "--int", r"line\nbreak", "ä"]
    assert run("get", database, *lines[2].split()) == "5\n"
    assert run("keys", database, "--prefix", "line") == "line\\nbreak\n"
    assert run("keys", database, "--limit", "2") == "a\nb\n"
    assert run("keys", database, "--limit", "0") == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "DB", "missing"], "no key 'missing'"),
        (["get", "DB", "x", "--int"], "'x' is not an int"),
        (["get", "DB", "0g", "--bytes"], "'0g' is not hexadecimal digits"),
        (["get", "DB", "1", "--int", "--bytes"], "--int and --bytes"),
        (["get", "DB", "00ff", "--bytes", "--json"], "cannot be written as JSON"),
        (["get", "DB", "99999999999999999999", "--int"], "beyond 64 bits"),
        (["set", "DB", "a", "{", "--json"], "the value is not JSON"),
        (["set", "DB", "a", "[NaN]", "--json"], "the value is not JSON"),
        (["set", "DB", "a", "[" * 100000, "--json"], "not JSON"),
        (["get", "DB", "a", "-t", "other"], "'other'"),
        (["keys", "DB", "-t", "sqlite_x"], "cannot name a table"),
        (["check", "DB", "other"], "'other'"),
        (["stats", "DB", "other"], "'other'"),
        (["stats", "nonsense://x"], "nonsense"),
    ],
)
def test_mistakes_are_one_line_on_stderr_and_exit_code_1(database, url, arguments, message):
    before = dict(KVault(url))
    assert message in fails(*(database if argument == "DB" else argument for argument in arguments))
    assert dict(KVault(url)) == before


@pytest.mark.parametrize(
    "arguments",
    [["get", "a"], ["delete", "a"], ["keys"], ["stats"], ["check"], ["check", "--fix"], ["optimize"], ["backup", "x"]],
    ids=" ".join,
)
def test_a_database_that_is_missing_is_not_made(path, arguments):
    command, *rest = arguments
    assert f"there is no database {path}" in fails(command, path, *rest)
    assert os.listdir(path.parent) == []


def test_a_file_that_is_no_database_is_named_and_stays(path):
    path.write_text("something else, and long enough to be looked at" * 100)
    before = path.read_bytes()
    for arguments in (["get", path, "a"], ["set", path, "a", "1"], ["stats", path], ["check", path]):
        assert "not an SQLite database" in fails(*arguments)
    assert path.read_bytes() == before


def test_reading_commands_leave_a_foreign_database_as_it_is(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    before = path.read_bytes()
    assert "there is no dict" in fails("stats", path)
    assert "there is no dict" in fails("check", path)
    assert "'kv' does not exist" in fails("get", path, "a")
    assert path.read_bytes() == before


# -- files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 262_144, 1_000_001])
def test_files_are_stored_and_written_back(database, tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "in").write_bytes(data)
    assert run("put-file", database, "file", tmp_path / "in") == ""
    assert run("get-file", database, "file", tmp_path / "out") == ""
    assert (tmp_path / "out").read_bytes() == data
    run("put-file", database, "--int", "--", "-3", tmp_path / "in")
    run("get-file", database, "--int", "--", "-3", tmp_path / "out2")
    assert (tmp_path / "out2").read_bytes() == data
    assert sorted(os.listdir(tmp_path)) >= ["in", "out", "out2"]
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]


def test_a_file_that_cannot_be_had_changes_nothing(database, url, path, tmp_path):
    before = dict(KVault(url))
    (tmp_path / "out").write_text("before")
    assert "no file" in fails("put-file", database, "a", tmp_path / "no file")
    assert "no key 'missing'" in fails("get-file", database, "missing", tmp_path / "out")
    assert "a file is bytes" in fails("get-file", database, "a", tmp_path / "out")
    assert "no file" in fails("put-file", path, "a", tmp_path / "no file")
    assert "there is no database" in fails("get-file", path, "a", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "before"
    assert not path.exists()
    assert dict(KVault(url)) == before


def test_files_come_from_stdin_and_go_to_stdout(path):
    data = os.urandom(700_000)
    stored = subprocess.run([FULL, "put-file", str(path), "a", "-"], input=data, capture_output=True, check=True)
    assert (stored.stdout, stored.stderr) == (b"", b"")
    done = subprocess.run([FULL, "get-file", str(path), "a", "-"], capture_output=True, check=True)
    assert done.stdout == data


# -- whole dicts and databases ----------------------------------------------------------------------


def test_stats_are_of_every_dict_or_of_one(database, url):
    KVault(url, "other").update(a=1, b=2)
    (first, second) = json.loads(run("stats", database, "--json"))
    assert (first["table"], first["entries"], second["table"], second["entries"]) == ("kv", 4, "other", 2)
    lines = run("stats", database, "other").splitlines()
    assert "table           other" in lines
    assert "entries         2" in lines
    assert len(run("stats", database).split("\n\n")) == 2


def test_check_says_what_is_wrong_and_repairs_what_it_can(database, url):
    KVault(url, "other")
    assert run("check", database) == "kv: no problems\nother: no problems\n"
    engine = kohakuvault.create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_kv_expires_at"))
    result = CliRunner().invoke(app, ["check", database])
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == "kv: the index of expires_at is missing\nother: no problems\n"
    assert run("check", database, "kv", "--fix") == "kv: the index of expires_at is missing (fixed)\n"
    assert run("check", database, "kv") == "kv: no problems\n"
    with engine.begin() as connection:
        connection.execute(text("UPDATE kv SET value = :value WHERE id = 1"), {"value": b"\xff"})
    result = CliRunner().invoke(app, ["check", database, "kv", "--fix"])
    assert result.exit_code == 1
    assert result.stdout.startswith("kv: key 'a': ")
    engine.dispose()


def test_optimize_removes_what_has_expired(database, url):
    for name in ("kv", "other"):
        KVault(url, name).put("keep", 1, ttl=100)
        KVault(url, name).put("gone", 1, ttl=0.001)
    ColumnVault(url).create_column("c", "i64").extend(range(1000))
    time.sleep(0.01)
    assert run("optimize", database) == ""
    assert [stats["expired"] for stats in json.loads(run("stats", database, "--json"))[:2]] == [0, 0]
    assert ColumnVault(url)["c"][-1] == 999


def test_backup_makes_a_copy_once(path, tmp_path):
    run("set", path, "a", "1")
    copy = tmp_path / "copy.db"
    assert run("backup", path, copy) == ""
    run("set", path, "a", "2")
    assert "exists" in fails("backup", path, copy)
    assert run("get", copy, "a") == "1\n"
    run("backup", path, copy, "--overwrite")
    assert run("get", copy, "a") == "2\n"


def test_backup_of_postgresql_names_pg_dump(new_url, tmp_path):
    url = new_url("postgresql").render_as_string(hide_password=False)
    assert "pg_dump" in fails("backup", url, tmp_path / "copy")


# -- as a program -----------------------------------------------------------------------------------


def test_the_installed_command_runs(path):
    def command(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([FULL, *map(str, arguments)], capture_output=True, timeout=60, check=False)

    KVault(path)["raw"] = b"\x00\r\n\xff"
    assert command("get", path, "raw", "-o", "-").stdout == b"\x00\r\n\xff"
    failed = command("get", path, "missing")
    assert (failed.returncode, failed.stdout) == (1, b"")
    assert failed.stderr.startswith(b"error: no key 'missing'")
    assert failed.stderr.count(b"\n") == 1
    done = command("backup", path, path.with_name("copy.db"))
    # No bar where stderr is no terminal.
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert command("nonsense").returncode == 2


def test_a_reader_that_has_had_enough_ends_the_command_quietly(path):
    KVault(path).update((f"key {number}", 1) for number in range(100_000))
    process = subprocess.Popen([FULL, "keys", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"key 0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait(timeout=60)
    process.stderr.close()


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are of POSIX")
@pytest.mark.parametrize(
    "arguments",
    [
        lambda path, folder: ["backup", str(path), str(folder / "copy.db")],
        lambda path, folder: ["put-file", str(path), "b", str(folder / "in")],
        lambda path, folder: ["get-file", str(path), "a", str(folder / "out")],
    ],
    ids=["backup", "put-file", "get-file"],
)
def test_a_terminal_sees_a_bar(path, tmp_path, arguments):
    import pty

    KVault(path)["a"] = os.urandom(3_000_000)
    (tmp_path / "in").write_bytes(os.urandom(3_000_000))
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [FULL, *arguments(path, tmp_path)]
    done = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, env=environment, timeout=60, check=False)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert done.stdout == b""
    assert "100%" in shown
    assert "MB" in shown


# -- columns ---------------------------------------------------------------------------------------


@pytest.fixture
def with_columns(url):
    """The URL of a database with two columns and no dict."""
    cv = ColumnVault(url)
    cv.create_column("n", "i64").extend(range(3))
    cv.create_column("s", "str").extend(["a", "b", "c"])
    cv.close()
    return url.render_as_string(hide_password=False)


def test_columns_are_listed(with_columns):
    lines = [line.split() for line in run("columns", with_columns).splitlines()]
    assert lines == [["i64", "3", "24", "n"], ["str:utf8", "3", "15", "s"]]
    rows = json.loads(run("columns", with_columns, "--json"))
    assert [(row["name"], row["dtype"], row["elements"]) for row in rows] == [("n", "i64", 3), ("s", "str:utf8", 3)]


def test_stats_and_check_are_of_columns_too(with_columns, url):
    figures = json.loads(run("stats", with_columns, "--json"))
    assert [(figure["table"], figure["columns"], figure["elements"]) for figure in figures] == [("vault_column", 2, 6)]
    assert run("check", with_columns) == "vault_column: no problems\n"
    KVault(url)["a"] = 1
    assert run("check", with_columns) == "kv: no problems\nvault_column: no problems\n"
    assert run("check", with_columns, "vault_column") == "vault_column: no problems\n"
    engine = kohakuvault.create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE vault_column SET length = 5 WHERE name = 'n'"))
        connection.execute(text("INSERT INTO vault_payload (id, data) VALUES (5, :data)"), {"data": b"12"})
    engine.dispose()
    printed = CliRunner().invoke(app, ["check", with_columns, "--fix"])
    assert printed.exit_code == 1
    assert "vault_column: column 'n': its tail has 3 elements, rather than the 5 from 0 to 5\n" in printed.stdout
    assert "vault_column: 1 payloads with 2 bytes belong to no block (fixed)\n" in printed.stdout


def test_columns_are_written_to_parquet_and_read_again(with_columns, tmp_path, path):
    run("export-columns", with_columns, tmp_path / "all.parquet")
    run("export-columns", with_columns, tmp_path / "one.parquet", "-c", "n")
    assert run("import-columns", path, tmp_path / "all.parquet") == "3 rows\n"
    assert run("import-columns", path, tmp_path / "all.parquet", "-c", "s") == "3 rows\n"
    assert ColumnVault(path).list_columns() == [("n", "i64", 3), ("s", "str:utf8", 6)]
    assert "3 of 'n', 6 of 's'" in fails("export-columns", path, tmp_path / "x.parquet")
    assert "no column 'x'" in fails("export-columns", path, tmp_path / "x.parquet", "-c", "x")
    assert "missing.parquet" in fails("import-columns", tmp_path / "new.db", tmp_path / "missing.parquet")
    assert not (tmp_path / "new.db").exists()

"""``doctor``, in Python and on the command line: what a database runs on, and what is wrong with it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy
from sqlalchemy import text
from typer.testing import CliRunner

import kohakuvault
from kohakuvault import CannotOpen, InvalidArgument, InvalidDatabase, KVault, doctor
from kohakuvault.cli import app
from kohakuvault.diagnosis import _without_race

BACKENDS = {"sqlite-vec": "sqlite_vec", "sqlite-vss": "sqlite_vss"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.db"


@pytest.fixture
def engine(path):
    engine = kohakuvault.create_engine(path)
    yield engine
    engine.dispose()


@pytest.fixture
def no_backends(monkeypatch):
    """A machine without the optional backends; starting them takes most of the time."""

    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("kohakuvault.diagnosis.importlib.metadata.version", version)


def loads_blas() -> bool:
    try:
        return all(ctypes.CDLL(name) for name in ("libblas.so.3", "liblapack.so.3", "libgomp.so.1"))
    except OSError:
        return False


# -- SQLite ---------------------------------------------------------------------------------------------


def test_a_good_engine_has_no_problems(engine, path, no_backends):
    report = doctor(engine)
    assert report.problems == []
    assert report.database == f"sqlite:///{path}"
    assert report.driver == f"{engine.dialect.dbapi.__name__}"
    with engine.connect() as connection:
        assert report.version == f"SQLite {connection.execute(text('SELECT sqlite_version()')).scalar()}"
        assert report.rung == connection.info["kohakuvault.rung"]


def test_the_settings_are_those_that_the_connection_has(path, no_backends):
    engine = kohakuvault.create_engine(path, durability="full", pragmas={"busy_timeout": 17, "page_size": 8192})
    settings = doctor(engine).settings
    # SQLite maps as much as it was built for.
    assert settings.pop("mmap_size") >= 1 << 30
    assert settings == {
        "busy_timeout": 17,
        "page_size": 8192,
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "cache_size": -32768,
    }
    engine.dispose()


def test_a_path_or_url_is_examined_and_left_as_it_was(path, no_backends):
    with KVault(path) as kv:
        kv["a"] = 1
    before = path.read_bytes()
    for bind in (path, str(path), f"sqlite:///{path}"):
        assert doctor(bind).problems == []
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_path_where_nothing_is_makes_nothing(path):
    with pytest.raises(CannotOpen, match=f"there is no database {path}"):
        doctor(path)
    assert not path.exists()


def test_a_file_that_is_not_a_database_is_a_named_error(path):
    path.write_bytes(b"Dear diary" * 100)
    with pytest.raises(InvalidDatabase):
        doctor(path)
    assert path.read_bytes() == b"Dear diary" * 100


def test_what_is_no_database_is_refused():
    with pytest.raises(InvalidArgument, match="expected a file path or a SQLAlchemy URL, not int"):
        doctor(7)


def test_the_problem_of_a_bare_engine_is_named_with_its_cure(path, no_backends):
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    report = doctor(engine)
    assert report.rung == "none"
    (problem,) = report.problems
    assert "kohakuvault.install(engine)" in problem
    assert "?plugin=kohakuvault" in problem
    kohakuvault.install(engine)
    assert doctor(engine).problems == []
    engine.dispose()


def test_functions_that_run_through_python_are_a_problem(path, no_backends):
    engine = kohakuvault.create_engine(path, extension="create_function")
    report = doctor(engine)
    assert report.rung == "create_function"
    (problem,) = report.problems
    assert "kohakuvault[pysqlite3]" in problem
    engine.dispose()


def test_backends_are_reported_as_they_really_load(engine):
    backends = doctor(engine).backends
    assert backends.keys() == BACKENDS.keys()
    for name, module in BACKENDS.items():
        if importlib.util.find_spec(module) is None:
            assert backends[name] == f"not installed (pip install {name})"
        elif name == "sqlite-vss" and sys.platform == "linux" and not loads_blas():
            assert backends[name].startswith("cannot be loaded: ")
            assert backends[name].endswith("(on Debian: apt install libopenblas0 libgomp1)")
        else:
            assert backends[name] == f"v{importlib.metadata.version(name)}"
    # They were loaded elsewhere.
    with engine.connect() as connection:
        loaded = "SELECT count(*) FROM pragma_function_list WHERE name IN ('vec_version', 'vss_version')"
        assert connection.execute(text(loaded)).scalar() == 0


def test_backends_that_are_not_installed_are_reported_with_the_command_that_installs_them(engine, no_backends):
    assert doctor(engine).backends == {name: f"not installed (pip install {name})" for name in BACKENDS}


def test_a_backend_that_cannot_be_loaded_is_reported_with_the_reason(engine, tmp_path, monkeypatch):
    # A package of that name whose library is broken.
    (tmp_path / "sqlite_vec.py").write_text("def loadable_path(): return '/nonexistent/vec0'\n")
    metadata = tmp_path / "sqlite_vec-9.9.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sqlite-vec\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    report = doctor(engine)
    assert report.backends["sqlite-vec"].startswith("cannot be loaded: ")
    assert "/nonexistent/vec0" in report.backends["sqlite-vec"]
    assert report.problems == []


def test_the_report_is_text_with_one_fact_a_line(path, no_backends):
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    report = doctor(engine)
    lines = str(report).splitlines()
    engine.dispose()
    assert lines[0] == f"kohakuvault {kohakuvault.__version__}"
    assert f"database    sqlite:///{path}" in lines
    assert "driver      sqlite3.dbapi2" in lines
    assert f"version     SQLite {sqlite3.sqlite_version}" in lines
    assert "functions   none" in lines
    assert "sqlite-vec  not installed (pip install sqlite-vec)" in lines
    assert lines[-1] == f"problem     {report.problems[0]}"
    assert "problems    none" in str(doctor(":memory:")).splitlines()


# -- PostgreSQL -----------------------------------------------------------------------------------------


def test_postgresql_is_reported_with_its_version_and_pgvector(new_url):
    url = new_url("postgresql")
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        version = connection.execute(text("SHOW server_version")).scalar()
        pgvector = connection.execute(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")).scalar()
    for bind in (engine, url, url.render_as_string(hide_password=False)):
        report = doctor(bind)
        assert report.driver == "psycopg"
        assert report.version == f"postgresql {version}"
        assert report.rung == "pgvector"
        assert report.backends == {"pgvector": pgvector}
        assert report.problems == []
        assert f"pgvector    {pgvector}" in str(report).splitlines()
    engine.dispose()


def test_pgvector_that_is_there_but_not_made_yet_is_no_problem(postgresql_url):
    admin = sqlalchemy.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE without_pgvector"))
    report = doctor(postgresql_url.set(database="without_pgvector"))
    assert report.backends["pgvector"].endswith("(available; made with the first vector table)")
    assert report.problems == []
    with admin.connect() as connection:
        # Nobody is left on it, or this would fail.
        connection.execute(text("DROP DATABASE without_pgvector"))
    admin.dispose()


def test_the_password_of_a_server_is_not_in_the_report(new_url):
    url = new_url("postgresql").set(password="s3cret")
    assert "s3cret" not in str(doctor(url))


# -- the command ----------------------------------------------------------------------------------------


def test_the_command_prints_the_report_and_succeeds_if_there_are_no_problems(path, no_backends):
    KVault(path).close()
    result = CliRunner().invoke(app, ["doctor", str(path)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{doctor(path)}\n"


def test_the_command_without_a_database_examines_the_installation(no_backends):
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert result.stdout == f"{doctor(':memory:')}\n"


def test_the_command_fails_if_there_are_problems(path, no_backends, monkeypatch):
    KVault(path).close()
    monkeypatch.setattr("kohakuvault.extension._library", lambda: None)
    monkeypatch.setattr("kohakuvault.extension.best_rung", lambda driver: "create_function")
    result = CliRunner().invoke(app, ["doctor", str(path)])
    assert result.exit_code == 1
    assert "problem     this Python's sqlite3 can load no extension" in result.stdout


@pytest.mark.parametrize(
    ("database", "message"),
    [
        ("{}/missing.db", "error: there is no database"),
        ("{}/missing/x.db", "error: there is no database"),
        ("foo://x", "error: Can't load plugin"),
        ("postgresql://nobody@127.0.0.1:1/x", "error: "),
        ("", "error: the path is empty"),
    ],
)
def test_the_command_says_in_a_sentence_why_it_cannot_look(tmp_path, database, message):
    result = CliRunner().invoke(app, ["doctor", database.format(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(message)
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_alone_prints_its_help():
    result = CliRunner().invoke(app, [])
    assert "doctor" in result.output
    assert "Traceback" not in result.output


def test_the_command_works_in_a_process_of_its_own(path):
    KVault(path).close()
    done = subprocess.run(
        [sys.executable, "-c", "from kohakuvault.cli import app; app()", "doctor", str(path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"kohakuvault {kohakuvault.__version__}\n")
    assert done.stdout.endswith("problems    none\n")


@pytest.mark.parametrize(
    ("version", "without"),
    [("3.40.1", False), ("3.44.6", True), ("3.45.0", False), ("3.50.7", True), ("3.51.2", False), ("3.51.3", True)],
)
def test_a_sqlite_with_the_wal_reset_race_is_noted(version, without):
    assert _without_race(tuple(map(int, version.split(".")))) is without
    report = doctor(":memory:")
    assert ("WAL-reset" in str(report)) is not _without_race(sqlite3.sqlite_version_info)

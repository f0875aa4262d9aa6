"""``doctor``: what an engine runs on, and what is wrong with it."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL, Engine

from . import _native, extension
from .backends import BACKENDS, Backend
from .database_address import require_exists
from .driver_connection import driver_module, driver_of
from .engine import PRAGMAS, create_engine, installed
from .errors import InvalidArgument
from .lending import translated_errors

__all__ = ["Report", "doctor"]

# The first releases, of the newest and of two older branches, without SQLite's WAL-reset race (sqlite.org/wal.html).
_WITHOUT_RACE = ((3, 51, 3), (3, 50, 7), (3, 44, 6))


@dataclass
class Report:
    """What :func:`doctor` found."""

    database: str
    driver: str
    version: str
    rung: str
    settings: dict[str, Any] = field(default_factory=dict)
    backends: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"kohakuvault {_native.__version__}",
            f"database    {self.database}",
            f"driver      {self.driver}",
            f"version     {self.version}",
            f"functions   {self.rung}",
        ]
        lines += [f"{name:<11} {value}" for name, value in {**self.settings, **self.backends}.items()]
        lines += [f"note        {note}" for note in self.notes]
        lines += [f"problem     {problem}" for problem in self.problems] or ["problems    none"]
        return "\n".join(lines)


def doctor(bind: Engine | str | os.PathLike[str] | URL) -> Report:
    """Look at an engine, or a path or URL, and report driver, version, settings, backends and problems.

    >>> from kohakuvault import create_engine, doctor
    >>> doctor(create_engine(":memory:")).problems
    []
    """
    if isinstance(bind, Engine):
        return _sqlite(bind) if bind.dialect.name == "sqlite" else _server(bind)
    if hasattr(bind, "sync_engine"):
        raise InvalidArgument(
            "doctor() is not for asyncio: within async with engine.connect() as connection, await connection.run_sync("
            "lambda connection: doctor(connection.engine))"
        )
    require_exists(bind)
    engine = create_engine(bind)
    try:
        return doctor(engine)
    finally:
        engine.dispose()


def _sqlite(engine: Engine) -> Report:
    dbapi = driver_module(engine)
    with translated_errors(engine), engine.connect() as connection:
        driver = driver_of(connection)
        rung = connection.info.get("kohakuvault.rung", "none")
        functions = extension.has_functions(driver)
        rows = {name: driver.execute(f"PRAGMA {name}").fetchone() for name in PRAGMAS}
        # A database in memory has no mmap_size.
        settings = {name: row[0] for name, row in rows.items() if row}
        version = driver.execute("SELECT sqlite_version()").fetchone()[0]
    database = f"sqlite:///{engine.url.database or ':memory:'}"
    report = Report(database, dbapi.__name__, f"SQLite {version}", rung if functions else "none", settings)
    if not _without_race(tuple(map(int, version.split(".")))):
        report.notes.append(
            f"SQLite {version} has the WAL-reset race, which two processes that checkpoint at the same moment can "
            "rarely hit, and lose a commit; 3.51.3 and newer do not"
        )
    report.backends = {each.project: _backend(each, dbapi.__name__) for each in BACKENDS.values()}
    if engine not in installed:
        report.problems.append(
            "the engine is as the application made it: call kohakuvault.install(engine), or add "
            "?plugin=kohakuvault to its URL, for native functions and BEGIN IMMEDIATE"
        )
    elif not functions:
        report.problems.append("the connection was opened before install() and lacks the SQL functions")
    if rung == "create_function":
        report.problems.append(
            "this Python's sqlite3 can load no extension, so vector search runs through Python: pip install "
            "kohakuvault[pysqlite3], or use a Python whose sqlite3 has enable_load_extension"
        )
    return report


def _server(engine: Engine) -> Report:
    with translated_errors(engine), engine.connect() as connection:
        version = ".".join(map(str, engine.dialect.server_version_info or ()))
        found = connection.execute(
            text("SELECT installed_version, default_version FROM pg_available_extensions WHERE name = 'vector'")
        ).one_or_none()
    dialect = engine.dialect
    report = Report(engine.url.render_as_string(), dialect.driver, f"{dialect.name} {version}", "pgvector")
    if found is None:
        report.backends["pgvector"] = "not available"
        report.problems.append("the server lacks pgvector: install its package on the database server")
    else:
        report.backends["pgvector"] = found[0] or f"{found[1]} (available; made with the first vector table)"
    return report


def _without_race(version: tuple[int, ...]) -> bool:
    newest, *branches = _WITHOUT_RACE
    return version >= newest or any(version[:2] == fixed[:2] and version >= fixed for fixed in branches)


# In a process of its own: an extension that a second SQLite library loads later would crash this one.
_PROBE = """
import importlib, sys
from kohakuvault.extension import open_with
driver, package, function, *libraries = sys.argv[1:]
module = importlib.import_module(package)
libraries = [library.split(":") for library in libraries]
connection = open_with(
    importlib.import_module(driver), [(getattr(module, path)(), entry) for path, entry in libraries]
)
print(connection.execute(f"SELECT {function}()").fetchone()[0])
"""


def _backend(backend: Backend, driver: str) -> str:
    name = backend.project
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed (pip install {name})"
    libraries = (":".join(library) for library in backend.libraries)
    probe = [sys.executable, "-c", _PROBE, driver, backend.package, backend.version_function, *libraries]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "does not answer"
    if done.returncode == 0:
        return done.stdout.strip()
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    hint = " (on Debian: apt install libopenblas0 libgomp1)" if "blas" in reason or "lapack" in reason else ""
    return f"cannot be loaded: {reason}{hint}"

"""Engines: making one, or fitting an existing one, with the vault's pragmas, transactions and SQL functions."""

from __future__ import annotations

import importlib
import os
import re
import sqlite3
import time
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import URL, CreateEnginePlugin, Engine
from sqlalchemy.exc import DisconnectionError, NoSuchModuleError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from . import extension
from .backends import check_backends, load_backends, opening_with, prepare_backends
from .database_address import as_url, file_url, is_memory
from .driver_connection import driver_connection, driver_module, in_driver, is_waitable
from .errors import InvalidArgument
from .extension import Rung
from .postgresql_vectors import send_binary, sends_binary
from .write_lock import begin_before_write

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["PRAGMAS", "KohakuVaultPlugin", "create_engine", "install"]

AnyEngine = TypeVar("AnyEngine", bound="Engine | AsyncEngine")

# What every SQLite connection is set to, in this order; `pragmas=` overrides each.
PRAGMAS: Mapping[str, Any] = MappingProxyType(
    {
        "busy_timeout": 5000,  # ms; first, because switching to WAL may have to wait
        "page_size": 16384,  # of new files only: bulk writes are several times faster than with 4096
        "journal_mode": "WAL",
        "synchronous": "NORMAL",
        "foreign_keys": "ON",
        "mmap_size": 1 << 36,  # bytes, or SQLite's own limit, mostly 2 GiB: what lies beyond is read half as fast
        "cache_size": -32768,  # KiB, taken as needed; what is still in the WAL cannot be read from the mapping
    }
)

# That of Python's sqlite3.
_BUSY_TIMEOUT = 5000

_DURABILITY = {"normal": "NORMAL", "full": "FULL"}
_NO_OPTIONS = ("normal", None, False, "auto", ())
_DRIVERS = ("sqlite3", "pysqlite3", "sqlean")

Durability = Literal["normal", "full"]


def create_engine(
    path_or_url: str | os.PathLike[str] | URL,
    *,
    durability: Durability = "normal",
    pragmas: Mapping[str, Any] | None = None,
    read_only: bool = False,
    driver: str = "auto",
    extension: str = "auto",
    backends: Iterable[str] = (),
    **options: Any,
) -> Engine:
    """Return a SQLAlchemy engine for a file or URL that the containers, and your own models, run on.

    Parameters
    ----------
    path_or_url
        A file path (``"app.db"``), ``":memory:"``, or a SQLAlchemy URL (``"postgresql://…"``). A
        PostgreSQL URL that names no driver gets psycopg.
    durability
        SQLite: ``"normal"`` survives a crash of the process; ``"full"`` also syncs each commit to disk, so
        that a power failure loses none (``PRAGMA synchronous=FULL``).
    pragmas
        SQLite: values that override or extend :data:`PRAGMAS`; None leaves SQLite's own default.
    read_only
        SQLite: open the file read-only; it must exist.
    driver
        SQLite: ``"auto"``, ``"sqlite3"``, ``"pysqlite3"`` or ``"sqlean"``.
    extension
        SQLite: the rung by which connections get the SQL functions; see :mod:`kohakuvault.extension`.
    backends
        SQLite: ``"vec"`` (sqlite-vec) and ``"vss"`` (sqlite-vss), for the kinds of vector index of those names. A
        container of such a kind loads what it needs by itself; Sessions and ``create_all`` need it here.
    **options
        Passed to :func:`sqlalchemy.create_engine`.

    Raises
    ------
    InvalidArgument
        for an unknown option value.
    CannotOpen
        when the directory of a new file does not exist, or a file to be read only does not.
    ExtensionUnavailable
        when a backend is not installed, or cannot be loaded.
    """
    url = as_url(path_or_url)
    backends = check_plugin(url, (durability, pragmas, read_only, extension), backends)
    if url.get_backend_name() != "sqlite":
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        return install(_new_engine(url, options))

    if url.get_driver_name() == "pysqlite":
        options.setdefault("module", _driver(driver))
        if is_memory(url):
            options.setdefault("poolclass", StaticPool)
            options.setdefault("connect_args", {}).setdefault("check_same_thread", False)
        else:
            url = file_url(url, read_only)
    engine = _new_engine(url, options)
    return install(
        engine, durability=durability, pragmas=pragmas, read_only=read_only, extension=extension, backends=backends
    )


def check_plugin(url: URL, options: tuple[Any, ...], backends: Iterable[str]) -> tuple[str, ...]:
    """Return ``backends``, checked; raise if there are options beside a URL that sets the engine up by its own."""
    checked = check_backends(backends)
    if "kohakuvault" in url.normalized_query.get("plugin", ()) and (*options, checked) != _NO_OPTIONS:
        raise InvalidArgument(
            "plugin=kohakuvault in the URL sets the engine up by the URL's own options: put all of them "
            "there, or leave the plugin out"
        )
    return checked


def _new_engine(url: URL, options: dict[str, Any]) -> Engine:
    try:
        return sqlalchemy.create_engine(url, **options)
    except NoSuchModuleError as error:
        raise InvalidArgument(f"{error}; expected a file path, a sqlite:// or a postgresql:// URL") from error
    except ModuleNotFoundError as error:
        hint = ": pip install 'kohakuvault[postgres]'" if error.name == "psycopg" else ""
        raise InvalidArgument(f"the driver of {url.drivername} is not installed ({error}){hint}") from error


@dataclass
class Installation:
    """What new connections of an engine get: our functions by a rung, and these backends."""

    rung: Rung
    backends: list[str]
    busy_timeout: int


installed: weakref.WeakKeyDictionary[Engine, Installation] = weakref.WeakKeyDictionary()


def install(
    engine: AnyEngine,
    *,
    durability: Durability = "normal",
    pragmas: Mapping[str, Any] | None = None,
    read_only: bool = False,
    extension: str = "auto",
    backends: Iterable[str] = (),
) -> AnyEngine:
    """Fit an existing engine with what :func:`create_engine` sets up, and return it.

    On SQLite every new connection gets :data:`PRAGMAS` and the SQL functions, and every transaction that
    writes begins with ``BEGIN IMMEDIATE`` at its first write, so that it waits for the lock instead of
    failing half-way. (Reads before that see each the newest commit, as on PostgreSQL.) The pool's connections
    are replaced, each when nobody has it checked out. On PostgreSQL, psycopg sends vectors in binary. Calling it twice
    is harmless; with ``backends`` the second call adds those. An ``AsyncEngine`` is fitted in the same way.
    """
    sync_engine = getattr(engine, "sync_engine", engine)
    if not isinstance(sync_engine, Engine):
        raise InvalidArgument(f"install() takes a SQLAlchemy Engine or AsyncEngine, not {type(engine).__name__}")
    _fit(sync_engine, durability, pragmas, read_only, extension, check_backends(backends))
    return engine


def _fit(
    engine: Engine,
    durability: str,
    pragmas: Mapping[str, Any] | None,
    read_only: bool,
    extension: str,
    backends: Iterable[str],
) -> None:
    if engine.dialect.name != "sqlite":
        if not sends_binary(engine.dialect):
            send_binary(engine)
        return
    if engine in installed:
        add_backends(engine, backends)
        return

    settings = _settings(durability, pragmas, read_only)
    rung = _extension_rung(extension, driver_module(engine))
    loaded = prepare_backends(backends, rung, driver_module(engine))
    mark_tables(engine, rung != "create_function")

    def set_up(connection: Any) -> Rung:
        _apply_pragmas(connection, settings)
        reached = rung
        if rung != "auto_extension" or not _extension_loaded(connection):
            reached = _attach(connection, None if rung == "auto_extension" else rung)
        if rung == "load_extension":
            load_backends(connection, loaded)
        return reached

    def connect(connection: Any, record: Any) -> None:
        try:
            record.info["kohakuvault.rung"] = in_driver(connection, set_up)
        except BaseException:
            # One of asyncio's has a thread, which would outlive it; and this may be a task that was cancelled.
            if engine.dialect.is_async:
                driver_connection(connection).close()
            raise

    def open_with_functions(dialect: Any, record: Any, arguments: Any, keywords: Any) -> Any:
        if dialect.is_async:
            # aiosqlite opens it in a thread of its own: it is there that the functions are registered meanwhile, never
            # across an await, behind which another coroutine may want to open one too.
            factory = _with_functions(keywords.get("factory"), loaded)
            # Not set in `keywords`, which are those of the next connection too.
            return dialect.connect(*arguments, **{**keywords, "factory": factory})
        with opening_with(loaded):
            return dialect.connect(*arguments, **keywords)

    if rung == "auto_extension":
        event.listen(engine, "do_connect", open_with_functions)
    event.listen(engine, "connect", connect)
    event.listen(engine, "before_cursor_execute", begin_before_write)
    installed[engine] = Installation(rung, loaded, int(settings.get("busy_timeout", _BUSY_TIMEOUT)))
    if isinstance(engine.pool, (StaticPool, SingletonThreadPool)):
        # A database in memory lives in its connection, which therefore cannot be replaced.
        event.listen(engine, "checkout", lambda connection, record, _: _fit_old(connection, record, connect))
    elif engine.dialect.is_async:
        # Nothing can be closed here: see is_waitable().
        event.listen(engine, "checkout", _replace_old)
    elif getattr(engine.pool, "checkedin", int)() or getattr(engine.pool, "checkedout", int)():
        engine.dispose()


def _with_functions(factory: Any, backends: list[str]) -> Any:
    """Return a factory of ``sqlite3`` connections: ``factory``, but they have our functions and backends."""

    def opened(*arguments: Any, **keywords: Any) -> Any:
        keywords.pop("factory", None)
        with opening_with(backends):
            return (factory or sqlite3.Connection)(*arguments, **keywords)

    return opened


def busy_timeout(engine: Engine) -> int:
    """Return the milliseconds for which connections of ``engine`` wait for a lock."""
    has = installed.get(engine)
    return _BUSY_TIMEOUT if has is None else has.busy_timeout


def add_backends(engine: Engine, names: Iterable[str]) -> None:
    """Give new connections of ``engine`` backends, and replace those that nobody has checked out."""
    has = installed[engine]
    missing = [name for name in names if name not in has.backends]
    new = prepare_backends(missing, has.rung, driver_module(engine))
    has.backends += new
    if new and not isinstance(engine.pool, (StaticPool, SingletonThreadPool)):
        engine.dispose(close=not engine.dialect.is_async or is_waitable())


def mark_tables(engine: Engine, has_tables: bool) -> None:
    """Note whether connections of ``engine`` have the extension's tables, by which searches are compiled."""
    # On the dialect, which is all that a compiler is told of.
    engine.dialect.kohakuvault_lacks_tables = not has_tables  # type: ignore[attr-defined]


class KohakuVaultPlugin(CreateEnginePlugin):
    """``sqlalchemy.create_engine("sqlite:///app.db?plugin=kohakuvault")`` is an engine with :func:`install`.

    ``durability``, ``extension``, ``read_only`` and ``backends``, with commas between them, may follow in the URL's
    query, as may ``pragma_<name>``.
    """

    _OPTIONS = ("durability", "extension", "read_only", "backends")

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        query = url.query
        self.options: dict[str, Any] = {name: query[name] for name in self._OPTIONS if name in query}
        if "read_only" in self.options:
            self.options["read_only"] = str(self.options["read_only"]).lower() in ("1", "true", "on", "yes")
        if "backends" in self.options:
            given = self.options["backends"]
            names = given.split(",") if isinstance(given, str) else given
            self.options["backends"] = check_backends(name.strip() for name in names if name.strip())
        self.options["pragmas"] = {
            name.removeprefix("pragma_"): value for name, value in query.items() if name.startswith("pragma_")
        }

    def update_url(self, url: URL) -> URL:
        """Return the URL without this plugin's own options."""
        own = [name for name in url.query if name in self._OPTIONS or name.startswith("pragma_")]
        url = url.difference_update_query(own)
        return file_url(url, True) if self.options.get("read_only") else url

    def engine_created(self, engine: Engine) -> None:
        """Fit the new engine."""
        install(engine, **self.options)


# -- drivers ---------------------------------------------------------------------------------------


def _driver(name: str) -> ModuleType:
    """Return the DB-API module called ``name``; for "auto" the first that can load the extension."""
    if name == "auto":
        for candidate in _DRIVERS:
            try:
                module = _driver_module(candidate)
            except ImportError:
                continue
            if extension.best_rung(module) != "create_function":
                return module
        return _driver_module("sqlite3")
    if name not in _DRIVERS:
        raise InvalidArgument(f"unknown SQLite driver {name!r}; expected 'auto' or one of {', '.join(_DRIVERS)}")
    try:
        return _driver_module(name)
    except ImportError as error:
        package = "sqlean.py" if name == "sqlean" else name
        raise InvalidArgument(f"the SQLite driver {name} is not installed: pip install {package}") from error


def _driver_module(name: str) -> ModuleType:
    return importlib.import_module("sqlean.dbapi2" if name == "sqlean" else f"{name}.dbapi2")


# create_engine() and install() have a parameter of the module's name.
_extension_rung = extension.check_rung
_extension_loaded = extension.has_functions
_attach = extension.attach


# -- connections -----------------------------------------------------------------------------------


def _settings(durability: str, pragmas: Mapping[str, Any] | None, read_only: bool) -> dict[str, Any]:
    if durability not in _DURABILITY:
        raise InvalidArgument(f"unknown durability {durability!r}; expected 'normal' or 'full'")
    settings = {**PRAGMAS, "synchronous": _DURABILITY[durability], **(pragmas or {})}
    if read_only:
        for name in ("page_size", "journal_mode"):
            settings.pop(name, None)
    for name, value in settings.items():
        # PRAGMA takes no bound parameters.
        if not re.fullmatch(r"\w+", name) or not re.fullmatch(r"-?\w+", str(value)):
            raise InvalidArgument(f"pragma {name!r} = {value!r} is not a name and a plain value")
    return {name: value for name, value in settings.items() if value is not None}


def _apply_pragmas(connection: Any, settings: Mapping[str, Any]) -> None:
    cursor = connection.cursor()
    try:
        for name, value in settings.items():
            if name == "journal_mode":
                _set_journal_mode(cursor, str(value))
            else:
                cursor.execute(f"PRAGMA {name}={value}")
    finally:
        cursor.close()


def _set_journal_mode(cursor: Any, mode: str) -> None:
    # Leaving the rollback journal needs an exclusive lock that SQLite does not wait for.
    deadline = time.monotonic() + cursor.execute("PRAGMA busy_timeout").fetchone()[0] / 1000
    while cursor.execute("PRAGMA journal_mode").fetchone()[0].lower() != mode.lower():
        try:
            reached = cursor.execute(f"PRAGMA journal_mode={mode}").fetchone()[0]
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            # Databases in memory, and files on file systems without shared memory, keep their own mode.
            if reached.lower() != mode.lower():
                return


def _fit_old(connection: Any, record: Any, fit: Any) -> None:
    """Set up a connection that was opened before :func:`install`, once it is not in a transaction."""
    if "kohakuvault.rung" not in record.info and not driver_connection(connection).in_transaction:
        fit(connection, record)


def _replace_old(connection: Any, record: Any, proxy: Any) -> None:
    """Have the pool replace a connection that was opened before :func:`install`."""
    if "kohakuvault.rung" not in record.info:
        raise DisconnectionError("opened before kohakuvault.install()")

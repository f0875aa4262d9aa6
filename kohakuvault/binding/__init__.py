"""Where a container's statements run: a path, URL, Engine, Connection, Session or another container."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol

from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.orm import Session, scoped_session

from .. import engine as engines
from .. import extension
from ..database_address import as_url, is_memory
from ..driver_connection import driver_module
from ..errors import InvalidArgument
from ..lending import translated_errors
from .base import Binding
from .joined import JoinedBinding
from .on_engine import EngineBinding
from .read_only import ReadOnlyBinding

__all__ = ["Bind", "Binding", "address", "bind_to", "path_key"]


class _Bound(Protocol):
    """Anything that has a binding: every container."""

    @property
    def binding(self) -> Binding: ...


Bind = str | os.PathLike[str] | URL | Engine | Connection | Session | scoped_session[Any] | _Bound


def bind_to(bind: Bind, *, read_only: bool = False) -> Binding:
    """Return the binding for what a container was given as ``bind``; ``read_only`` refuses every write.

    The same path in one process is the same engine; ``":memory:"`` is a new database each time.
    """
    if read_only:
        return _read_only(bind)
    if isinstance(bind, Engine):
        return _of_engine(bind)
    if isinstance(bind, (Connection, Session, scoped_session)):
        return _of_source(bind)
    if isinstance(bind, (str, os.PathLike, URL)):
        return _of_path(bind)
    binding = getattr(bind, "binding", None)
    if isinstance(binding, Binding):
        return binding
    hint = ""
    if hasattr(bind, "sync_engine") or hasattr(bind, "sync_session"):
        hint = (
            "; AsyncKVault, AsyncColumnVault, AsyncTextVault and AsyncVectorKVault take that, and in await "
            "session.run_sync(lambda session: …) there is one for this"
        )
    raise InvalidArgument(
        "bind must be a path, URL, Engine, Connection, Session or another container, "
        f"not {type(bind).__module__}.{type(bind).__name__}{hint}"
    )


# -- one binding per engine, one engine per path ---------------------------------------------------

# Reentrant: a finaliser may run while it is held.
_lock = threading.RLock()
_by_engine: weakref.WeakValueDictionary[int, EngineBinding] = weakref.WeakValueDictionary()
_by_source: weakref.WeakValueDictionary[int, JoinedBinding] = weakref.WeakValueDictionary()
_by_path: weakref.WeakValueDictionary[str, EngineBinding] = weakref.WeakValueDictionary()


def _of_engine(engine: Engine) -> EngineBinding:
    _check_dialect(engine)
    with _lock:
        binding = _by_engine.get(id(engine))
        if binding is None or binding.engine is not engine:
            binding = _by_engine[id(engine)] = _new_binding(engine)
        return binding


def _new_binding(engine: Engine) -> EngineBinding:
    if not engine.dialect.is_async:
        return EngineBinding(engine)
    # Not above: applications without asyncio load nothing of it.
    from ..asynchronous.binding import AsyncEngineBinding

    return AsyncEngineBinding(engine)


def _of_source(source: Connection | Session | scoped_session[Any]) -> JoinedBinding:
    with _lock:
        binding = _by_source.get(id(source))
        if binding is None or binding.source is not source:
            binding = JoinedBinding(source)
            _check_dialect(binding.engine)
            _by_source[id(source)] = binding
        return binding


def _check_dialect(engine: Engine) -> None:
    if not isinstance(engine.dialect, (SQLiteDialect, PGDialect)):
        raise InvalidArgument(
            f"containers run on SQLite, PostgreSQL and what speaks its protocol, not on {engine.dialect.name}"
        )
    if engine.dialect.name == "sqlite" and engine not in engines.installed:
        # What an open connection of the application's own engine can be given.
        engines.mark_tables(engine, extension.best_rung(driver_module(engine)) == "load_extension")
    if engine.get_execution_options().get("schema_translate_map"):
        raise InvalidArgument(
            "containers do not follow schema_translate_map; set the schema by the connection's search_path instead"
        )


def _of_path(path: str | os.PathLike[str] | URL, *, read_only: bool = False) -> EngineBinding:
    key = path_key(path)
    if key and read_only:
        key += " read only"
    with _lock:
        binding = _by_path.get(key) if key else None
        file = _file_of(path)
        if binding is not None and file != binding.file and binding.file is not None:
            # That file was deleted, or replaced by another, as by restoring a backup.
            binding = None
        if binding is None:
            engine = engines.create_engine(path, read_only=read_only and bool(key))
            binding = _of_engine(engine)
            # Nobody else has this engine: when the last container is gone, so are its connections.
            weakref.finalize(binding, engine.dispose)
            if key:
                _by_path[key] = binding
            if key and file is None and engine.dialect.name == "sqlite":
                # Makes the file, so that it can be told from another.
                with translated_errors(engine), engine.connect():
                    file = _file_of(path)
            binding.file = file
        return binding


def _file_of(path: str | os.PathLike[str] | URL) -> tuple[int, int] | None:
    """Return device and inode of the SQLite file at a path or URL, None if there is none."""
    url = as_url(path)
    if url.get_backend_name() != "sqlite" or is_memory(url):
        return None
    try:
        status = os.stat(url.database or "")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _read_only(bind: Bind) -> ReadOnlyBinding:
    # A file is opened read-only by SQLite too.
    if isinstance(bind, (str, os.PathLike, URL)):
        return ReadOnlyBinding(_of_path(bind, read_only=True))
    binding = bind_to(bind)
    return binding if isinstance(binding, ReadOnlyBinding) else ReadOnlyBinding(binding)


def address(bind: Bind) -> str | None:
    """Return the absolute path or URL by which another process can bind to the same; None if there is no such."""
    if not isinstance(bind, (str, os.PathLike, URL)):
        return None
    return path_key(bind) or None


def path_key(path: str | os.PathLike[str] | URL) -> str:
    """Return what tells databases apart, or "" for one in memory, which nobody else can open."""
    url = as_url(path)
    if url.get_backend_name() == "sqlite":
        if is_memory(url):
            return ""
        url = url.set(database=os.path.realpath(url.database or ""))
        if url.get_driver_name() in ("pysqlite", "aiosqlite"):
            url = url.set(drivername="sqlite")
    return url.render_as_string(hide_password=False)


def _forked() -> None:
    global _lock
    _lock = threading.RLock()
    for binding in list(_by_engine.values()):
        binding.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

"""Engines for asyncio: making one, and the one of each path or URL in each loop."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy.ext.asyncio
from sqlalchemy.engine import URL
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine

from ..binding import path_key
from ..database_address import as_url, file_url, is_memory
from ..engine import Durability, check_plugin, install
from ..errors import InvalidArgument

__all__ = ["SharedEngine", "create_async_engine", "shared_engine"]


# The extra that brings each package.
_EXTRAS = {"aiosqlite": "async", "greenlet": "async", "psycopg": "postgres"}


def create_async_engine(
    path_or_url: str | os.PathLike[str] | URL,
    *,
    durability: Durability = "normal",
    pragmas: Mapping[str, Any] | None = None,
    read_only: bool = False,
    extension: str = "auto",
    backends: Iterable[str] = (),
    **options: Any,
) -> AsyncEngine:
    """Return an ``AsyncEngine`` for a file or URL that the containers, and your own models, run on.

    As :func:`kohakuvault.create_engine`, for asyncio: SQLite by aiosqlite, PostgreSQL by psycopg. ``await
    engine.dispose()`` closes its connections.

    Parameters
    ----------
    path_or_url
        A file path (``"app.db"``), ``":memory:"``, or a SQLAlchemy URL (``"postgresql://…"``). Without a driver for
        asyncio in the URL it gets aiosqlite or psycopg.
    durability, pragmas, read_only, extension, backends
        As for :func:`kohakuvault.create_engine`.
    **options
        Passed to :func:`sqlalchemy.ext.asyncio.create_async_engine`.

    Raises
    ------
    InvalidArgument
        for an unknown option value, and when aiosqlite, psycopg or greenlet is not installed.
    CannotOpen, ExtensionUnavailable
        As for :func:`kohakuvault.create_engine`.

    Examples
    --------
    >>> create_async_engine(":memory:").url.drivername
    'sqlite+aiosqlite'
    """
    url = as_url(path_or_url)
    backends = check_plugin(url, (durability, pragmas, read_only, extension), backends)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        url = url.set(drivername="sqlite+aiosqlite")
    if url.get_backend_name() != "sqlite":
        engine = _new_engine(url, options)
        install(engine)
        return engine
    if not is_memory(url):
        url = file_url(url, read_only)
    engine = _new_engine(url, options)
    install(engine, durability=durability, pragmas=pragmas, read_only=read_only, extension=extension, backends=backends)
    return engine


def _new_engine(url: URL, options: dict[str, Any]) -> AsyncEngine:
    try:
        import greenlet  # noqa: F401  (SQLAlchemy would say so at the first connection)

        return sqlalchemy.ext.asyncio.create_async_engine(url, **options)
    except NoSuchModuleError as error:
        raise InvalidArgument(f"{error}; expected a file path, a sqlite:// or a postgresql:// URL") from error
    except sqlalchemy.exc.InvalidRequestError as error:
        raise InvalidArgument(f"{error} Use sqlite+aiosqlite:// or postgresql+psycopg://") from error
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        hint = "" if extra is None else f": pip install 'kohakuvault[{extra}]'"
        raise InvalidArgument(
            f"{url.drivername} for asyncio needs {error.name}, which is not installed{hint}"
        ) from error


# -- one engine per path, in one loop --------------------------------------------------------------

_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, SharedEngine]] = weakref.WeakKeyDictionary()


class SharedEngine:
    """The engine that the containers of one loop have by the same path; the last one that closes disposes of it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._users = 1
        self._of: dict[str, SharedEngine] = {}
        self._key = ""

    def join(self) -> SharedEngine:
        """Count one more user, and return itself."""
        self._users += 1
        return self

    def keep_in(self, shared: dict[str, SharedEngine], key: str) -> None:
        """Be found by ``key`` from now on."""
        self._of, self._key = shared, key
        shared[key] = self

    async def leave(self) -> None:
        """Count one user less; close the connections behind the last."""
        self._users -= 1
        if self._users == 0:
            if self._of.get(self._key) is self:
                del self._of[self._key]
            await self.engine.dispose()


def shared_engine(path: str | os.PathLike[str] | URL, *, read_only: bool) -> SharedEngine:
    """Return the engine of a path or URL in the running loop; ``":memory:"`` is a new database each time."""
    key = path_key(path)
    if key and read_only:
        key += " read only"
    of_loop = _shared.setdefault(asyncio.get_running_loop(), {})
    found = of_loop.get(key)
    if found is not None:
        return found.join()
    new = SharedEngine(create_async_engine(path, read_only=read_only and bool(key)))
    if key:
        new.keep_in(of_loop, key)
    return new

"""Where a database is: file paths and SQLAlchemy URLs, and what a person calls it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from .errors import CannotOpen, InvalidArgument, InvalidDatabase

__all__ = ["as_url", "display_name", "file_url", "is_memory", "require_exists"]


def as_url(path_or_url: str | os.PathLike[str] | URL) -> URL:
    """Return the SQLAlchemy URL for a file path or URL."""
    if isinstance(path_or_url, URL):
        return path_or_url
    if isinstance(path_or_url, os.PathLike):
        path_or_url = os.fspath(path_or_url)
    if not isinstance(path_or_url, str):
        raise InvalidArgument(f"expected a file path or a SQLAlchemy URL, not {type(path_or_url).__name__}")
    if not path_or_url or "\0" in path_or_url:
        what = "contains a NUL" if path_or_url else "is empty"
        raise InvalidArgument(f"the path {what}; give a file path, ':memory:' or a SQLAlchemy URL")
    if "://" not in path_or_url:
        return URL.create("sqlite", database=path_or_url)
    try:
        return make_url(path_or_url)
    except ArgumentError as error:
        raise InvalidArgument(f"{path_or_url!r} is neither a file path nor a SQLAlchemy URL: {error}") from error


def display_name(url: URL) -> str:
    """Return what a person calls the database."""
    if url.get_backend_name() == "sqlite":
        path = str(url.database)
        if path.startswith("file:///"):
            # As it is opened to be read only.
            path = url2pathname(urlsplit(path).path)
        return ":memory:" if is_memory(url) else path
    return url.render_as_string()


def is_memory(url: URL) -> bool:
    """Whether an SQLite URL names a database in memory."""
    return url.database in (None, "", ":memory:", "file::memory:") or url.query.get("mode") == "memory"


def require_exists(path_or_url: str | os.PathLike[str] | URL) -> None:
    """Raise if an SQLite file does not exist, for whoever only looks at it, or changes what is there."""
    url = as_url(path_or_url)
    path = url.database or ""
    is_path = url.get_backend_name() == "sqlite" and not is_memory(url) and not path.startswith("file:")
    if is_path and not os.path.exists(path):
        raise CannotOpen(f"there is no database {os.path.abspath(path)}")


def file_url(url: URL, read_only: bool) -> URL:
    """Check that the file can be opened or made, and mark it read-only where that is asked for."""
    database = url.database or ""
    if database.startswith("file:"):
        return url.update_query_dict({"mode": "ro", "uri": "true"}) if read_only else url
    path = os.path.abspath(database)
    if not os.path.isdir(directory := os.path.dirname(path)):
        raise CannotOpen(f"cannot open {path}: the directory {directory} does not exist. Create it first")
    if os.path.isfile(path) and os.path.getsize(path) == 1:
        # SQLite takes every other file that is not its own for what it is, and this one for empty.
        raise InvalidDatabase(f"{path} is not a database: it is one byte long. Check the path; nothing was changed")
    if not read_only:
        return url
    if not os.path.exists(path):
        raise CannotOpen(f"cannot open {path} read-only: it does not exist")
    return url.set(database=Path(path).as_uri()).update_query_dict({"mode": "ro", "uri": "true"})

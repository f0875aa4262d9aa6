"""Getting the native SQL functions into an SQLite connection: a ladder of ways, the best that works first.

================== ==============================================================================
rung               what it needs
================== ==============================================================================
load_extension     a driver built with ``enable_load_extension`` (Debian's and most system Pythons)
auto_extension     ctypes and a dynamically linked ``_sqlite3`` (pyenv's Pythons, many on macOS);
                   only while a connection is being opened
create_function    nothing; the same functions called through Python, several times slower; no ``kv_rows``
================== ==============================================================================

A driver of another package (``pysqlite3``, ``sqlean``) is taken by :mod:`kohakuvault.engine` only when
the standard library's ``sqlite3`` offers neither of the first two, so that a process has one SQLite library.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, Literal

from . import _native
from .errors import ExtensionUnavailable, InvalidArgument

__all__ = [
    "Rung",
    "attach",
    "auto_extension",
    "best_rung",
    "entry_point",
    "has_collect",
    "has_functions",
    "has_gather",
    "has_rows",
    "open_with",
]

Rung = Literal["load_extension", "auto_extension", "create_function"]
RUNGS: tuple[Rung, ...] = ("load_extension", "auto_extension", "create_function")

# sqlite3_auto_extension registers for the whole process while it is registered.
_registering = threading.Lock()


def _new_lock_in_child() -> None:
    global _registering
    _registering = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_in_child)


def best_rung(driver: ModuleType) -> Rung:
    """Return the best rung that ``driver``, a DB-API module for SQLite, offers."""
    if hasattr(getattr(driver, "Connection", None), "enable_load_extension"):
        return "load_extension"
    return "auto_extension" if driver.__name__.startswith("sqlite3") and _library() else "create_function"


def check_rung(rung: str, driver: ModuleType) -> Rung:
    """Return ``rung``, or the best for ``"auto"``; raise if ``driver`` does not offer it."""
    best = best_rung(driver)
    if rung == "auto":
        return best
    if rung not in RUNGS:
        raise InvalidArgument(f"unknown extension rung {rung!r}; expected 'auto' or one of {', '.join(RUNGS)}")
    offered = {best, "create_function"}
    if driver.__name__.startswith("sqlite3") and _library():
        offered.add("auto_extension")
    if rung not in offered:
        raise ExtensionUnavailable(
            f"driver {driver.__name__} does not offer {rung}; it offers {', '.join(sorted(offered))}. "
            "Use extension='auto'"
        )
    return rung


def has_functions(connection: Any) -> bool:
    """Whether the driver's ``connection`` has the SQL functions of this very build."""
    return _is_of_this_build(connection, "SELECT kv_version()")


def has_rows(connection: Any) -> bool:
    """Whether the driver's ``connection`` has the table ``kv_rows`` of this very build."""
    return _is_of_this_build(connection, "SELECT kv_version(), count(*) FROM kv_rows(x'01')")


def _is_of_this_build(connection: Any, sql: str) -> bool:
    try:
        row = connection.execute(sql).fetchone()
    except Exception:  # noqa: BLE001 ("no such function" or table, in a class of the driver's own)
        return False
    return bool(row[0] == _native.__version__)


def has_collect(connection: Any) -> bool:
    """Whether ``kv_collect`` of the driver's ``connection`` reaches this process's scans: it is of this very file."""
    scan = _native.PageScan("keys", 1, 1, 1)
    try:
        connection.execute("SELECT kv_collect(?, 1)", (scan.token,)).fetchone()
    except Exception:  # noqa: BLE001 ("no such function", in a class of the driver's own)
        return False
    return scan.take() == ([1], None)


def has_gather(connection: Any) -> bool:
    """Whether ``kv_gather`` of the driver's ``connection`` reaches this process's buffers: it is of this very file."""
    buffer = bytearray(1)
    gather = _native.Gather(buffer, 1, 0)
    try:
        connection.execute("SELECT kv_gather(?, 0, 1, x'01')", (gather.token,)).fetchone()
    except Exception:  # noqa: BLE001 ("no such function", in a class of the driver's own)
        return False
    return buffer == b"\x01"


def attach(connection: Any, rung: Rung | None = None) -> Rung:
    """Give the open ``connection`` the SQL functions by ``rung``, or by the best one for an open connection."""
    if rung is None:
        rung = "load_extension" if hasattr(connection, "enable_load_extension") else "create_function"
    if rung == "load_extension":
        connection.enable_load_extension(True)
        try:
            connection.load_extension(_native.__file__)
        finally:
            connection.enable_load_extension(False)
    else:
        for name in ("cosine_distance", "l2_distance", "l1_distance", "hamming_distance", "ip_distance"):
            for arguments in (2, 3):
                connection.create_function(f"kv_{name}", arguments, getattr(_native, name), deterministic=True)
        for name in ("text", "integer", "real", "boolean"):
            connection.create_function(f"kv_{name}", 2, getattr(_native, f"packed_{name}"), deterministic=True)
        for arguments in (2, 3):
            connection.create_function("kv_contains", arguments, _native.packed_contains, deterministic=True)
        connection.create_function("kv_version", 0, lambda: _native.__version__, deterministic=True)
        for arguments in (5, 6):
            connection.create_aggregate("kv_nearest", arguments, _native.NearestAggregate)
        rung = "create_function"
    return rung


def open_with(driver: ModuleType, libraries: Sequence[tuple[str, str]]) -> Any:
    """Return a new connection in memory with other extensions: ``(path, entry point)`` of each library."""
    if best_rung(driver) == "load_extension":
        connection = driver.connect(":memory:")
        connection.enable_load_extension(True)
        for path, _ in libraries:
            connection.load_extension(path)
        return connection
    import ctypes

    # SQLite adds the suffix by itself; dlopen does not.
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    entries = [ctypes.cast(getattr(ctypes.CDLL(path + suffix), entry), ctypes.c_void_p) for path, entry in libraries]
    with auto_extension(*entries):
        return driver.connect(":memory:")


@contextmanager
def auto_extension(*entries: Any) -> Iterator[None]:
    """Have every connection that the standard library's ``sqlite3`` opens inside get the SQL functions.

    ``entries`` are the entry points of other extensions, to be registered instead.

    Uses SQLite's public ``sqlite3_auto_extension`` (sqlite.org/c3ref/auto_extension.html) in the very library
    that ``_sqlite3`` is linked with. It is process-global, hence the lock and the immediate cancellation.
    """
    library = _library()
    if library is None:
        raise ExtensionUnavailable("sqlite3_auto_extension cannot be reached through ctypes in this Python")
    entries = entries or (entry_point(),)
    with _registering:
        try:
            for entry in entries:
                library.sqlite3_auto_extension(entry)
            yield
        finally:
            for entry in entries:
                library.sqlite3_cancel_auto_extension(entry)


@cache
def _library() -> Any:
    """Return the SQLite library of the standard library's driver, or None where it cannot be reached."""
    try:
        import _sqlite3
        import ctypes

        # Without a file the module is linked into the interpreter, whose own symbols are then looked up.
        library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        for name in ("sqlite3_auto_extension", "sqlite3_cancel_auto_extension"):
            function = getattr(library, name)
            function.argtypes = [ctypes.c_void_p]
            function.restype = ctypes.c_int
    except (ImportError, OSError, AttributeError):
        return None
    return library


@cache
def entry_point() -> Any:
    """Return the entry point of our extension, as a pointer."""
    import ctypes

    return ctypes.cast(ctypes.CDLL(_native.__file__).sqlite3_native_init, ctypes.c_void_p)

"""sqlite-vec and sqlite-vss: which there are, and how they get into the connections of an engine.

Loaded on the rungs of :mod:`kohakuvault.extension` that load extensions.
"""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from . import extension
from .errors import ExtensionUnavailable, InvalidArgument

__all__ = [
    "BACKENDS",
    "Backend",
    "check_backends",
    "ensure_backend",
    "load_backends",
    "opening_with",
    "prepare_backends",
    "provides",
]


@dataclass(frozen=True)
class Backend:
    """Another extension of SQLite that vectors can be searched with.

    Attributes
    ----------
    project, package
        Its names on PyPI and in Python.
    version_function
        The SQL function that gives its version.
    libraries
        Of each of its libraries the function of the package that gives its path, and its entry point.
    wheels
        What there are wheels for.
    """

    project: str
    package: str
    version_function: str
    libraries: tuple[tuple[str, str], ...]
    wheels: str


BACKENDS = {
    "vec": Backend(
        "sqlite-vec",
        "sqlite_vec",
        "vec_version",
        (("loadable_path", "sqlite3_vec_init"),),
        "Linux (x86-64, ARM64), macOS and Windows (x86-64)",
    ),
    "vss": Backend(
        "sqlite-vss",
        "sqlite_vss",
        "vss_version",
        (("vector_loadable_path", "sqlite3_vector_init"), ("vss_loadable_path", "sqlite3_vss_init")),
        "Linux (x86-64) and macOS",
    ),
}

# FAISS in sqlite-vss is linked with the system's BLAS, LAPACK and OpenMP.
_SYSTEM_LIBRARIES = (
    "sqlite-vss needs BLAS, LAPACK and OpenMP of the system: apt install libopenblas0 libgomp1 (Debian, Ubuntu), "
    "dnf install blas lapack libgomp (Fedora), brew install libomp (macOS)"
)

# Which driver's SQLite a library of a backend was initialised with: they keep one pointer for the whole process.
_taken: dict[str, str] = {}


def check_backends(names: Any) -> tuple[str, ...]:
    """Return ``names`` if each is one of :data:`BACKENDS`; otherwise raise."""
    given = (names,) if isinstance(names, str) else tuple(names or ())
    for name in given:
        if name not in BACKENDS:
            raise InvalidArgument(f"unknown backend {name!r:.60}; expected {' or '.join(map(repr, BACKENDS))}")
    return tuple(dict.fromkeys(given))


def prepare_backends(names: Iterable[str], rung: str, driver: ModuleType) -> list[str]:
    """Return ``names`` if all of them can be loaded into connections of ``driver`` by ``rung``.

    Raises
    ------
    ExtensionUnavailable
        where one is not installed, lacks a library of the system's, or cannot be loaded by the rung.
    """
    wanted = list(names)
    for name in wanted:
        if rung == "create_function":
            raise ExtensionUnavailable(
                f"this Python's sqlite3 can load no extension, and so not {BACKENDS[name].project}: pip install "
                "kohakuvault[pysqlite3], or use a Python whose sqlite3 has enable_load_extension"
            )
        _claim(name, driver)
    return wanted


def provides(connection: Any, name: str) -> bool:
    """Whether the driver's ``connection`` has a backend."""
    try:
        connection.execute(f"SELECT {BACKENDS[name].version_function}()").fetchone()
    except Exception:  # noqa: BLE001 ("no such function", in a class of the driver's own)
        return False
    return True


def load_backends(connection: Any, names: Iterable[str]) -> None:
    """Load backends into an open connection of a driver that has ``enable_load_extension``."""
    for name in names:
        if provides(connection, name):
            continue
        connection.enable_load_extension(True)
        try:
            for path, _ in _libraries(name):
                connection.load_extension(path)
        finally:
            connection.enable_load_extension(False)


def ensure_backend(connection: Any, name: str, *, may_load: bool) -> None:
    """Make sure that the driver's open ``connection`` has a backend, or raise :class:`ExtensionUnavailable`."""
    if provides(connection, name):
        return
    if may_load and hasattr(connection, "enable_load_extension"):
        load_backends(connection, [name])
        return
    project = BACKENDS[name].project
    raise ExtensionUnavailable(
        f"this connection was opened without {project}: make the engine with kohakuvault.create_engine(path, "
        f"backends=[{name!r}]), or call kohakuvault.install(engine, backends=[{name!r}]) before it is used"
    )


def opening_with(names: Iterable[str]) -> AbstractContextManager[None]:
    """Return a context in which connections are opened with our functions and backends."""
    import ctypes

    entries = [extension.entry_point()]
    for name in names:
        for path, entry in _libraries(name):
            entries.append(ctypes.cast(getattr(ctypes.CDLL(path + _suffix()), entry), ctypes.c_void_p))
    return extension.auto_extension(*entries)


def _claim(name: str, driver: ModuleType) -> None:
    """Check that a backend can be loaded with a driver."""
    import ctypes

    project = BACKENDS[name].project
    taken = _taken.get(name, driver.__name__)
    if taken != driver.__name__:
        raise ExtensionUnavailable(
            f"{project} is loaded into the SQLite of {taken}, and a second SQLite library in one process, that of "
            f"{driver.__name__}, would crash it: use one driver, create_engine(path, driver=…), for both engines"
        )
    for path, _ in _libraries(name):
        try:
            # SQLite would say less of what is missing.
            ctypes.CDLL(path + _suffix())
        except OSError as error:
            advice = _SYSTEM_LIBRARIES if name == "vss" else f"pip install --force-reinstall {project}"
            raise ExtensionUnavailable(f"{project} cannot be loaded ({error}): {advice}") from error
    _taken[name] = driver.__name__


def _libraries(name: str) -> list[tuple[str, str]]:
    """Return path, without suffix, and entry point of each library of a backend."""
    backend = BACKENDS[name]
    try:
        package = importlib.import_module(backend.package)
    except ImportError as error:
        raise ExtensionUnavailable(
            f"{backend.project} is not installed: pip install {backend.project}, which has wheels for {backend.wheels}"
            f"; and this is {platform.system()} ({platform.machine()}). index='auto' needs no other extension"
        ) from error
    return [(getattr(package, path)(), entry) for path, entry in backend.libraries]


def _suffix() -> str:
    # SQLite adds the suffix by itself; dlopen does not.
    return {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")

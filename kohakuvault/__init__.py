"""KohakuVault: dicts, typed lists, vector and full-text search as ordinary SQLAlchemy tables on your own engine."""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from ._native import DataPacker, __version__, distance
from .columns import Column, ColumnVault
from .diagnosis import doctor
from .engine import create_engine, install
from .errors import (
    CannotOpen,
    CorruptValue,
    DatabaseBusy,
    DriverError,
    ExtensionUnavailable,
    InvalidArgument,
    InvalidDatabase,
    KohakuVaultError,
    NotFound,
    OutOfRange,
    ReaderFailed,
    ReadOnlyDatabase,
    SchemaMismatch,
    StreamLost,
    UnknownOption,
    UnsupportedType,
    WriterFailed,
)
from .kvault import KVault
from .maintenance import Problem
from .ordered import CSBTree, SkipList
from .packing import Cbor, Json, MsgPack, Pickle
from .texts import TextVault
from .vectors import VectorKVault

if TYPE_CHECKING:
    from .asynchronous.column import AsyncColumn
    from .asynchronous.columns import AsyncColumnVault
    from .asynchronous.engine import create_async_engine
    from .asynchronous.kvault import AsyncKVault
    from .asynchronous.texts import AsyncTextVault
    from .asynchronous.vectors import AsyncVectorKVault

__all__ = [
    "AsyncColumn",
    "AsyncColumnVault",
    "AsyncKVault",
    "AsyncTextVault",
    "AsyncVectorKVault",
    "CSBTree",
    "CannotOpen",
    "Cbor",
    "Column",
    "ColumnVault",
    "CorruptValue",
    "DataPacker",
    "DatabaseBusy",
    "DriverError",
    "ExtensionUnavailable",
    "InvalidArgument",
    "InvalidDatabase",
    "Json",
    "KVault",
    "KohakuVaultError",
    "MsgPack",
    "NotFound",
    "OutOfRange",
    "Pickle",
    "Problem",
    "ReadOnlyDatabase",
    "ReaderFailed",
    "SchemaMismatch",
    "SkipList",
    "StreamLost",
    "TextVault",
    "UnknownOption",
    "UnsupportedType",
    "VectorKVault",
    "WriterFailed",
    "__version__",
    "create_async_engine",
    "create_engine",
    "distance",
    "doctor",
    "install",
]

# Loaded when they are asked for: applications without asyncio load nothing of it.
_ASYNCHRONOUS = {
    "AsyncColumn": "column",
    "AsyncColumnVault": "columns",
    "AsyncKVault": "kvault",
    "AsyncTextVault": "texts",
    "AsyncVectorKVault": "vectors",
    "create_async_engine": "engine",
}


def _has_greenlet() -> bool:
    try:
        return importlib.util.find_spec("greenlet") is not None
    except (ImportError, ValueError):
        return False


if not _has_greenlet():
    # `from kohakuvault import *` asks for every name that is there.
    for _name in _ASYNCHRONOUS:
        __all__.remove(_name)
    del _name


def __getattr__(name: str) -> Any:
    if name not in _ASYNCHRONOUS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _has_greenlet():
        raise ImportError(
            f"kohakuvault.{name} needs greenlet, which is not installed: pip install 'kohakuvault[async]'",
            name="greenlet",
        )
    module = importlib.import_module(f"{__name__}.asynchronous.{_ASYNCHRONOUS[name]}")
    return globals().setdefault(name, getattr(module, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

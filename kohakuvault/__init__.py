"""KohakuVault: dicts, typed lists and vector search as ordinary SQLAlchemy tables on your own engine."""

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
from .packing import Cbor, Json, MsgPack, Pickle
from .vectors import VectorKVault

__all__ = [
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
    "StreamLost",
    "UnknownOption",
    "UnsupportedType",
    "VectorKVault",
    "WriterFailed",
    "__version__",
    "create_engine",
    "distance",
    "doctor",
    "install",
]

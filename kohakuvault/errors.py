"""The exceptions that KohakuVault raises, each saying what was given, what was expected and what to do.

Every one is a :class:`KohakuVaultError` and, where Python has a word for the case, also the built-in
exception that a ``dict`` or ``list`` would raise, so that code written for those keeps working.
"""

from __future__ import annotations

from typing import Any


class KohakuVaultError(Exception):
    """Base class of all errors raised by KohakuVault."""


class NotFound(KohakuVaultError, KeyError):
    """A key, column or row that was asked for does not exist."""

    # KeyError.__str__ shows the repr of its argument, which quotes our sentences.
    __str__ = Exception.__str__


class InvalidArgument(KohakuVaultError, ValueError):
    """A value of the right type that cannot be used."""


class UnsupportedType(KohakuVaultError, TypeError):
    """A value of a type that cannot be stored, or cannot be a key."""


class UnknownOption(KohakuVaultError, TypeError):
    """A keyword argument that there is not; the message names what there is instead."""


class OutOfRange(KohakuVaultError, IndexError):
    """An index beyond the ends of a column."""


class CorruptValue(KohakuVaultError, ValueError):
    """Stored bytes that this version cannot have written."""


class ReaderFailed(KohakuVaultError, OSError):
    """A reader whose bytes were to be stored failed, or ended too early; its own exception is the ``__cause__``."""


class WriterFailed(KohakuVaultError, OSError):
    """A file that a value was to be written to did not take it."""


class StreamLost(KohakuVaultError, OSError):
    """The chunks of a value that is being read or written are gone: its entry was replaced or removed meanwhile."""


def corrupt_at(key: Any, error: CorruptValue) -> CorruptValue:
    """Return ``error``, that of a value, with its key."""
    return CorruptValue(f"key {key!r:.200}: {error}. check() finds all such entries; the others can be read")


class SchemaMismatch(KohakuVaultError):
    """A table that exists with another layout, other options or a newer format."""


class DriverError(KohakuVaultError):
    """An error of the database or its driver; the driver's own exception is the ``__cause__``."""


class DatabaseBusy(DriverError):
    """Another connection kept the database locked for longer than the busy timeout."""


class InvalidDatabase(DriverError):
    """The file is not an SQLite database, or is damaged."""


class CannotOpen(DriverError):
    """The database cannot be opened or created."""


class ReadOnlyDatabase(DriverError):
    """A write to a database that is, or was opened, read-only."""


class ExtensionUnavailable(DriverError):
    """The SQL functions of KohakuVault or of the database are not there."""


# SQLite reports most conditions by text only (``sqlite_errorname`` needs Python 3.11), so the text decides.
_SQLITE_MESSAGES: tuple[tuple[str, type[KohakuVaultError], str], ...] = (
    (
        "is locked",
        DatabaseBusy,
        "another connection holds the write lock. If it is your own Session, pass that Session as the bind; "
        "otherwise keep write transactions short or raise the busy_timeout pragma",
    ),
    (
        "cannot VACUUM",
        DatabaseBusy,
        "a transaction is open on the only connection of this database in memory; end it first",
    ),
    (
        "not a database",
        InvalidDatabase,
        "the file exists and is not an SQLite database. Check the path; nothing was changed",
    ),
    (
        "malformed",
        InvalidDatabase,
        "the database file is damaged. Restore a backup, or salvage it with the sqlite3 shell's .recover",
    ),
    (
        "unable to open",
        CannotOpen,
        "check that the directory exists and that this user may read and write it (SQLite puts -wal and "
        "-shm files beside the database)",
    ),
    (": sqlite-vec: ", CorruptValue, "something else wrote to the tables of that vector index: call rebuild_index"),
    ("call rebuild_index", CorruptValue, "something else wrote to the tables of that vector index"),
    (
        "no such table: kv_knn",
        ExtensionUnavailable,
        "call kohakuvault.install(engine) before the first connection, or create the engine with "
        "kohakuvault.create_engine",
    ),
    (
        "readonly",
        ReadOnlyDatabase,
        "check the permissions of the file and its directory, or open without read_only=True",
    ),
    (
        "no such table",
        SchemaMismatch,
        "the table was dropped, or its creation was rolled back, after the container was opened. Open it again",
    ),
    (
        "no such module: v",
        ExtensionUnavailable,
        "the table is one of sqlite-vec or sqlite-vss: make the engine with kohakuvault.create_engine(path, "
        'backends=["vec", "vss"]), or call kohakuvault.install(engine, backends=…)',
    ),
    (
        "no such function: kv_",
        ExtensionUnavailable,
        "call kohakuvault.install(engine) before the first connection, or create the engine with "
        "kohakuvault.create_engine",
    ),
    (
        "Could not decode to UTF-8",
        CorruptValue,
        "a text in the table is not valid UTF-8: it was written by something else, or the file is damaged",
    ),
    (": the vector of row", CorruptValue, "the vector of that row was written by something else; update or delete it"),
    ("kv_nearest: row", CorruptValue, "the vector of that row was written by something else; update or delete it"),
    ("kv_gather: corrupt block", CorruptValue, "something else wrote it, or the file is damaged"),
    ("disk is full", DriverError, "free some space; the statement was not applied"),
    ("too big", DriverError, "SQLite limits one value to 1,000,000,000 bytes; split it, or use KVault.put_file"),
)

# Of blocks of columns, whose ids are counted in the column's row: as either database names them.
_IDS_TAKEN = tuple(f"vault_{table}{suffix}" for table in ("block", "payload") for suffix in (".id", "_pkey"))

# PostgreSQL's conditions by SQLSTATE (Appendix A of its manual).
_SQLSTATES: dict[str, tuple[type[KohakuVaultError], str]] = {
    "55P03": (DatabaseBusy, "another transaction holds the lock; try again"),
    "40P01": (DatabaseBusy, "the transaction was chosen as a deadlock victim; try again"),
    "40001": (DatabaseBusy, "the transaction conflicts with another; try again"),
    "25006": (ReadOnlyDatabase, "the transaction or server is read-only"),
    "42P01": (
        SchemaMismatch,
        "the table was dropped, or its creation was rolled back, after the container was opened. Open it again",
    ),
    "0A000": (DriverError, "the server does not support this"),
    "58P01": (
        ExtensionUnavailable,
        "the server lacks a file of the extension; install pgvector on the database server",
    ),
    "42501": (DriverError, "the database user lacks a privilege; ask for it or let Alembic own the schema"),
}


def translate(error: BaseException) -> KohakuVaultError:
    """Return the :class:`KohakuVaultError` that stands for a driver's or SQLAlchemy's database error."""
    original: Any = getattr(error, "orig", None) or error
    text = str(original).strip() or type(original).__name__
    state = getattr(original, "sqlstate", None)
    if any(name in text for name in _IDS_TAKEN):
        return CorruptValue(
            f"{text}: there are blocks that the column's row does not know of; something else wrote one"
        )
    if text.startswith("no such table: main.") and text.endswith("_pending"):
        return CorruptValue(
            f"{text}: a table of a vector index is missing, which its triggers write to: call rebuild_index"
        )
    if state in _SQLSTATES:
        kind, advice = _SQLSTATES[state]
        return kind(f"{text}: {advice}")
    if state is None:
        for fragment, sqlite_kind, advice in _SQLITE_MESSAGES:
            if fragment in text:
                return sqlite_kind(f"{text}: {advice}")
    return DriverError(text)

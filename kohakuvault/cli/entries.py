"""Commands about single entries of a dict: get, set, delete, keys."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..database_address import require_exists
from ..errors import InvalidArgument, NotFound, UnsupportedType
from ..kvault import KVault
from .app import Database, TableName, app

__all__ = ["AsBytes", "AsInt", "Key", "delete", "get", "key_of", "keys", "open_existing", "set_"]

Key = Annotated[str, typer.Argument(help="The key; a str unless an option says otherwise.", show_default=False)]
AsInt = Annotated[bool, typer.Option("--int", help="The key is an int.")]
AsBytes = Annotated[bool, typer.Option("--bytes", help="The key is bytes, given in hexadecimal.")]


@app.command()
def get(
    database: Database,
    key: Key,
    table: TableName = "kv",
    as_int: AsInt = False,
    as_bytes: AsBytes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the value as JSON.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a str or bytes as it is to this file; - is stdout."),
    ] = None,
) -> None:
    """Print a value: a str as it is, any other as Python writes it."""
    value = open_existing(database, table, read_only=True)[key_of(key, as_int, as_bytes)]
    if output is not None:
        data = _raw(value)
        if str(output) == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            output.write_bytes(data)
    elif as_json:
        typer.echo(_to_json(value))
    else:
        typer.echo(value if isinstance(value, str) else repr(value))


@app.command("set")
def set_(
    database: Database,
    key: Key,
    value: Annotated[str, typer.Argument(help="The value, a str.", show_default=False)],
    table: TableName = "kv",
    as_int: AsInt = False,
    as_bytes: AsBytes = False,
    as_json: Annotated[bool, typer.Option("--json", help="The value is JSON: a number, list, dict, …")] = False,
    ttl: Annotated[float | None, typer.Option("--ttl", help="Seconds after which the entry expires.")] = None,
) -> None:
    """Set a key to a value; the database and the table are made if they are missing."""
    chosen = key_of(key, as_int, as_bytes)
    stored = _from_json(value) if as_json else value
    KVault(database, table).put(chosen, stored, ttl)


@app.command()
def delete(
    database: Database, key: Key, table: TableName = "kv", as_int: AsInt = False, as_bytes: AsBytes = False
) -> None:
    """Remove a key; the exit code is 1 if there is no such key."""
    chosen = key_of(key, as_int, as_bytes)
    kv = open_existing(database, table)
    if not kv.delete(chosen):
        raise NotFound(f"no key {chosen!r} in {kv!r}")


@app.command()
def keys(
    database: Database,
    table: TableName = "kv",
    prefix: Annotated[str | None, typer.Option("--prefix", help="Only keys that are a str and begin so.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=0)] = None,
) -> None:
    """Print the keys, one in a line, as the other commands take them: ``--int 5``, ``--bytes 00ff``.

    In the order of insertion; with ``--prefix`` in the order of keys. A character that is not printable is escaped.
    """
    for key in open_existing(database, table, read_only=True).keys(prefix, limit):
        typer.echo(_shown(key))


def open_existing(database: str, table: str, *, read_only: bool = False) -> KVault:
    """Open a dict that must exist, in a database that must exist."""
    require_exists(database)
    return KVault(database, table, create=False, read_only=read_only)


def key_of(text: str, as_int: bool, as_bytes: bool) -> str | bytes | int:
    """Return the key that the command line names."""
    if as_int and as_bytes:
        raise InvalidArgument("--int and --bytes: a key is one of them")
    try:
        if as_int:
            return int(text)
        return bytes.fromhex(text) if as_bytes else text
    except ValueError as error:
        expected = "an int" if as_int else "hexadecimal digits, two for each byte"
        raise InvalidArgument(f"{text!r} is not {expected}") from error


def _shown(key: Any) -> str:
    if isinstance(key, int):
        return f"--int {key}"
    if isinstance(key, bytes):
        return f"--bytes {key.hex()}"
    return str(key) if key.isprintable() else key.encode("unicode_escape").decode()


def _raw(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise UnsupportedType(
        f"--output writes a str or bytes, and the value is of type {type(value).__name__}; leave the option out, or "
        "use --json"
    )


def _to_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UnsupportedType(f"the value cannot be written as JSON: {error}") from error


def _from_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the value is not JSON: {error}") from error

"""Values that are read and written in pieces, so that they may be larger than memory.

A value of up to one chunk is ordinary bytes in its entry. A larger one is a stream: rows of the chunk table, written
under a number that no entry has yet, in short transactions; the last one makes the entry name it. A stream never
changes, so a reader that has its number either finds the right bytes or finds that they are gone.
"""

from __future__ import annotations

import io
import os
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from itertools import chain
from typing import Any, Protocol

from sqlalchemy import Table, inspect, select

from ..binding import Binding
from ..errors import (
    CorruptValue,
    InvalidArgument,
    NotFound,
    SchemaMismatch,
    StreamLost,
    UnsupportedType,
    WriterFailed,
    corrupt_at,
)
from ..known import forget, is_known, remember
from ..lending import DriverCursor, translated_errors
from ..orm.chunks import CHUNKED_TAG, TriggerCount, chunk_table, create_triggers
from ..packing import ChunkedBytes, pack
from ..replacing import replaced
from ..schema import lock_schema, open_tables
from ..statements import Statement
from .expiry import is_over
from .statements import KVStatements
from .stream_reader import ChunkReader
from .stream_source import Reader, Source, opened, whole_number
from .stream_statements import stream_statements
from .stream_target import Writer, check_writer

__all__ = ["CHUNK_SIZE", "Progress", "Streams", "check_progress"]

# As fast as larger ones from end to end, and a seek reads no more than this.
CHUNK_SIZE = 256 * 1024

# Of one transaction: large enough to cost little, small enough that other writers hardly wait.
_BATCH_BYTES = 4 * 1024 * 1024
_BATCH_ROWS = 1024

_LARGEST_CHUNK = 256 * 1024 * 1024
_MOST_CHUNKS = 2**32

_FORM = struct.Struct("<BIQI")

# Called with the number of bytes so far and of all of them, or None where that is not known.
Progress = Callable[[int, int | None], object]


class _Runs(Protocol):
    """What runs a statement: a binding, by itself, or a cursor, as part of its transaction."""

    def one(self, statement: Statement, *values: Any) -> Any: ...


class Streams:
    """The values of one KV table, in pieces.

    Parameters
    ----------
    binding
        Where statements run.
    entries
        The KV table.
    entry_statements
        The statements on it.
    create
        Whether the chunk table may be made.
    owner
        Of a table with the dicts of many owners, the one whose entries these are, as a tuple; otherwise an empty one.
    """

    def __init__(
        self,
        binding: Binding,
        entries: Table,
        entry_statements: KVStatements,
        *,
        create: bool,
        owner: tuple[Any, ...] = (),
    ) -> None:
        self._binding = binding
        self._entries = entries
        self._entry_sql = entry_statements
        self._sql = stream_statements(entries, binding.dialect, is_owned=bool(owner))
        self._create = create
        self._owner = owner

    # -- writing -------------------------------------------------------------------------------

    def put(
        self,
        key: Any,
        reader: Reader,
        size: int | None,
        chunk_size: int | None,
        progress: Progress | None,
        expires_at: float | None,
    ) -> int:
        """Set ``key`` to the bytes of ``reader``; see :meth:`KVault.put_file`."""
        chunk_size = CHUNK_SIZE if chunk_size is None else whole_number("chunk_size", chunk_size, 1, _LARGEST_CHUNK)
        check_progress(progress)
        self._binding.check_may_write()
        # What cannot be a key is refused before anything is read.
        self._sql.put.parameters((key, b"", expires_at, *self._owner))
        with opened(reader, size) as source:
            chunks = _reported(source, chunk_size, progress)
            first = next(chunks, b"")
            second = next(chunks, None)
            if second is None:
                self._binding.run(self._sql.put, key, pack(first), expires_at, *self._owner)
                return len(first)
            return self._put_chunks(key, chain((first, second), chunks), chunk_size, expires_at)

    def _put_chunks(self, key: Any, chunks: Iterable[bytes], chunk_size: int, expires_at: float | None) -> int:
        self._open()
        stream = None
        count = length = 0
        try:
            for batch in _batches(chunks, chunk_size):
                stream = self._write(stream, count, batch)
                count += len(batch)
                length += sum(map(len, batch))
            assert stream is not None
            value = ChunkedBytes(stream, length, chunk_size)
            with self._binding.writing() as cursor:
                # Whoever looks for streams that no entry names locks them too.
                cursor.one(self._sql.lock, _id(stream, 0))
                if not self._is_whole(cursor, value):
                    raise StreamLost(
                        f"chunks of {key!r} were removed while it was written: by a rollback within the reader, or "
                        "by another process that removed chunks of no entry. The old value is as it was; put it again"
                    )
                cursor.run(self._sql.put, key, _packed(value), expires_at, *self._owner)
            return length
        except BaseException:
            if stream is not None:
                # The entry may name it all the same: an interrupt or a lost connection may follow the commit.
                value = ChunkedBytes(stream, length, chunk_size)
                with suppress(Exception):
                    self._binding.run(self._sql.discard, *_range(stream), key, _packed(value), *self._owner)
            raise

    def _write(self, stream: int | None, count: int, batch: list[bytes]) -> int:
        """Write chunks behind the ``count`` that there are; return the stream's number, which the first ones choose."""
        with self._binding.writing() as cursor:
            rest = batch
            if stream is None:
                stream = secrets.randbits(31)
                while not cursor.run(self._sql.begin, _id(stream, 0), batch[0]):
                    stream = secrets.randbits(31)
                count, rest = 1, batch[1:]
            if rest:
                cursor.many(self._sql.insert, [(_id(stream, count + at), chunk) for at, chunk in enumerate(rest)])
            return stream

    def _open(self) -> None:
        """Make the chunk table and the triggers, or see that they are there."""
        binding, entries, chunks = self._binding, self._entries, chunk_table(self._entries)
        fact = ("triggers", chunks.fullname)
        if is_known(binding.engine, fact):
            return
        open_tables(binding, [chunks], "chunks", {}, create=self._create)
        count = select(TriggerCount(entries, chunks))
        with translated_errors(binding.engine), binding.inspecting() as connection:
            complete = connection.scalar(count) == TriggerCount.complete
            settled = binding.is_settled(connection)
        if complete:
            if settled:
                remember(binding.engine, fact)
            return
        # The table of the entries was dropped and made anew, say.
        if not self._create:
            raise SchemaMismatch(
                f"table {entries.name!r} lacks the triggers that delete the chunks of an entry, and create=False: run "
                "the migration that makes them, or open the vault with create=True"
            )
        with translated_errors(binding.engine), binding.transaction() as connection:
            binding.forget_on_rollback(connection)
            lock_schema(connection)
            if connection.scalar(count) != TriggerCount.complete:
                for trigger in create_triggers(entries, chunks):
                    trigger(chunks, connection)

    def replace(self, key: Any, old: bytes, new: Any) -> bool:
        """Set ``key`` to ``new`` if its bytes are in chunks and are ``old``; return whether it was set."""
        with self._binding.writing() as cursor:
            row = cursor.one(self._entry_sql.get_for_update, key)
            value = None if row is None or is_over(row[1]) else self._unpack(key, row[0])
            if not isinstance(value, ChunkedBytes) or value.length != len(old):
                return False
            compared = memoryview(old)
            for number, chunk in enumerate(self._chunks(cursor, value)):
                start = number * value.chunk_size
                if chunk != compared[start : start + len(chunk)]:
                    return False
            return cursor.run(self._entry_sql.set, new, key) > 0

    # -- reading -------------------------------------------------------------------------------

    def open(self, key: Any) -> io.BufferedReader:
        """Return the value of ``key`` as a file object; see :meth:`KVault.open`."""
        value = self._value(self._binding, key)
        if isinstance(value, ChunkedBytes):
            load = partial(self._chunk, self._binding, value)
            return io.BufferedReader(ChunkReader(key, value.length, value.chunk_size, load))
        whole = value
        return io.BufferedReader(ChunkReader(key, len(whole), max(len(whole), 1), lambda number: whole))

    def copy(self, key: Any, writer: Writer, chunk_size: int | None, progress: Progress | None) -> int:
        """Write the value of ``key`` to ``writer``; see :meth:`KVault.get_to_file`."""
        if chunk_size is not None:
            whole_number("chunk_size", chunk_size, 1)
        check_writer(writer)
        check_progress(progress)
        with self._binding.reading() as cursor, ExitStack() as stack:
            value = self._value(cursor, key)
            total = value.length if isinstance(value, ChunkedBytes) else len(value)
            # Not before the value is there: a missing key makes no file.
            file: Any = stack.enter_context(replaced(writer)) if isinstance(writer, os.PathLike) else writer
            done = 0
            for chunk in self._chunks(cursor, value) if isinstance(value, ChunkedBytes) else (value,):
                for piece in _pieces(chunk, chunk_size):
                    _write_all(file, piece)
                    done += len(piece)
                    if progress is not None:
                        progress(done, total)
            return done

    def whole(self, value: ChunkedBytes, cursor: DriverCursor | None = None) -> bytes:
        """Return all the bytes, in the transaction of ``cursor`` if there is one.

        Raises
        ------
        StreamLost
            when the entry that the value was read from has been replaced or removed.
        CorruptValue
            when an entry still names a chunk that is missing, or has another size.
        """
        if cursor is not None:
            return b"".join(self._chunks(cursor, value))
        with self._binding.reading() as reading:
            return b"".join(self._chunks(reading, value))

    def _value(self, source: _Runs, key: Any) -> bytes | ChunkedBytes:
        row = source.one(self._entry_sql.get, key)
        if row is None or is_over(row[1]):
            raise NotFound(f"no key {key!r} in table {self._entries.name!r}")
        value = self._unpack(key, row[0])
        if not isinstance(value, (bytes, ChunkedBytes)):
            raise UnsupportedType(
                f"the value of {key!r} is of type {type(value).__name__}, and a file is bytes; read it by kv[key]"
            )
        return value

    def _unpack(self, key: Any, stored: Any) -> Any:
        try:
            return self._entry_sql.unpack(stored)
        except CorruptValue as error:
            raise corrupt_at(key, error) from error

    def _chunks(self, source: _Runs, value: ChunkedBytes) -> Iterator[bytes]:
        return (self._chunk(source, value, number) for number in range(value.chunks))

    def _chunk(self, source: _Runs, value: ChunkedBytes, number: int) -> bytes:
        row = source.one(self._sql.chunk, _id(value.stream, number))
        if row is None:
            if source.one(self._sql.has_value, _packed(value)) is None:
                raise StreamLost(
                    f"the entry in table {self._entries.name!r} whose value was being read has been replaced or "
                    "removed meanwhile, and its bytes with it; open it again"
                )
            raise CorruptValue(f"chunk {number} of {value!r} is missing from {chunk_table(self._entries).name!r}")
        data = row[0]
        expected = min(value.chunk_size, value.length - number * value.chunk_size)
        if not isinstance(data, (bytes, memoryview)) or len(data) != expected:
            found = f"{len(data)} bytes" if isinstance(data, (bytes, memoryview)) else f"a {type(data).__name__}"
            raise CorruptValue(
                f"chunk {number} of {value!r} in {chunk_table(self._entries).name!r} is {found}, not {expected} bytes"
            )
        return bytes(data)

    # -- care ----------------------------------------------------------------------------------

    def is_incomplete(self) -> bool:
        """Whether the chunk table or the triggers on it are missing, while the other is there."""
        count = select(TriggerCount(self._entries, chunk_table(self._entries)))
        exists = self._exists()
        with translated_errors(self._binding.engine), self._binding.inspecting() as connection:
            triggers = connection.scalar(count)
        return triggers != (TriggerCount.complete if exists else 0)

    def restore(self) -> None:
        """Make what is missing."""
        forget(self._binding.engine)
        self._open()

    def orphans(self) -> dict[int, int]:
        """Return the streams that no entry names, with their bytes: what a process that was killed left behind.

        One that is being written now is among them.
        """
        if not self._exists():
            return {}
        with self._binding.reading() as cursor:
            return self._orphans(cursor)

    def remove_orphans(self) -> int:
        """Delete the streams that no entry names; return their bytes.

        A ``put_file`` that is writing one of them raises :class:`StreamLost`.
        """
        found = self.orphans()
        if not found:
            return 0
        with self._binding.writing() as cursor:
            for stream in found:
                cursor.one(self._sql.lock, _id(stream, 0))
            # Once more: an entry may have come to name one before it was locked.
            found = {stream: size for stream, size in self._orphans(cursor).items() if stream in found}
            for stream in found:
                cursor.run(self._sql.delete, *_range(stream))
        return sum(found.values())

    def damaged(self) -> list[tuple[Any, str]]:
        """Return the keys whose chunks are not all there, or not of the right size, and what is wrong with each."""
        exists = self._exists()
        problems = []
        with self._binding.reading() as cursor:
            for key, data in cursor.all(self._sql.chunked, *self._owner):
                problem = self._problem(cursor, data) if exists else "there is no chunk table"
                if problem:
                    problems.append((self._entry_sql.key(key), problem))
        return problems

    def _exists(self) -> bool:
        chunks = chunk_table(self._entries)
        with translated_errors(self._binding.engine), self._binding.inspecting() as connection:
            return inspect(connection).has_table(chunks.name, schema=chunks.schema)

    def _orphans(self, cursor: DriverCursor) -> dict[int, int]:
        # The number alone: of a value that is damaged elsewhere the chunks are kept.
        named = {int.from_bytes(bytes(data)[1:5], "little") for _, data in cursor.all(self._sql.all_chunked)}
        return {stream: int(size) for stream, size in cursor.all(self._sql.streams) if stream not in named}

    def _problem(self, cursor: DriverCursor, data: Any) -> str | None:
        try:
            value = self._entry_sql.unpack(data)
        except CorruptValue as error:
            return str(error)
        if self._is_whole(cursor, value):
            return None
        count, right = self._sizes(cursor, value)
        return f"of {value.chunks} chunks {right} are there and of the right size, among {count}"

    def _is_whole(self, cursor: DriverCursor, value: ChunkedBytes) -> bool:
        return self._sizes(cursor, value) == (value.chunks, value.chunks)

    def _sizes(self, cursor: DriverCursor, value: ChunkedBytes) -> tuple[int, int]:
        last = value.chunks - 1
        rest = value.length - last * value.chunk_size
        at = _id(value.stream, last)
        count, right = cursor.one(self._sql.sizes, at, value.chunk_size, at, rest, *_range(value.stream))
        return int(count), int(right)


def check_progress(progress: Any) -> None:
    """Raise unless ``progress`` can be called, before anything is read."""
    if progress is not None and not callable(progress):
        raise UnsupportedType(f"progress is a function of the bytes so far and of all, not {progress!r:.60}")


def _id(stream: int, number: int) -> int:
    return (stream << 32) + number


def _range(stream: int) -> tuple[int, int]:
    return _id(stream, 0), _id(stream + 1, 0) - 1


def _packed(value: ChunkedBytes) -> bytes:
    return _FORM.pack(CHUNKED_TAG, value.stream, value.length, value.chunk_size)


def _reported(source: Source, chunk_size: int, progress: Progress | None) -> Iterator[bytes]:
    done = 0
    for number, chunk in enumerate(source.chunks(chunk_size)):
        if number == _MOST_CHUNKS:
            raise InvalidArgument(f"a value has at most {_MOST_CHUNKS} chunks; use a larger chunk_size")
        done += len(chunk)
        if progress is not None:
            progress(done, source.total)
        yield chunk


def _batches(chunks: Iterable[bytes], chunk_size: int) -> Iterator[list[bytes]]:
    count = max(1, min(_BATCH_BYTES // chunk_size, _BATCH_ROWS))
    batch: list[bytes] = []
    for chunk in chunks:
        batch.append(chunk)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


def _pieces(chunk: bytes, size: int | None) -> Iterator[bytes | memoryview]:
    if size is None or size >= len(chunk):
        if chunk:
            yield chunk
        return
    with memoryview(chunk) as view:
        yield from (view[start : start + size] for start in range(0, len(chunk), size))


def _write_all(file: Any, piece: bytes | memoryview) -> None:
    """Write ``piece``, which an unbuffered file may take in parts."""
    while (written := file.write(piece)) is not None:
        if type(written) is not int or not 0 < written <= len(piece):
            raise WriterFailed(
                f"the writer's write() was given {len(piece)} bytes and returned {written!r:.60}; expected how many of "
                "them it has written, or None for all"
            )
        if written == len(piece):
            return
        piece = memoryview(piece)[written:]

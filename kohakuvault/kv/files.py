"""Files in a KVault, and values larger than memory."""

from __future__ import annotations

import io
from typing import Any

from .base import KVBase
from .expiry import TimeToLive, deadline
from .stream_source import Reader
from .stream_target import Writer
from .streams import Progress

__all__ = ["KVFiles"]


class KVFiles(KVBase):
    """The part of :class:`~kohakuvault.KVault` that reads and writes values in pieces."""

    def put_file(
        self,
        key: Any,
        reader: Reader,
        *,
        size: int | None = None,
        chunk_size: int | None = None,
        progress: Progress | None = None,
        ttl: TimeToLive | None = None,
    ) -> int:
        """Set ``key`` to the bytes of a file, chunk by chunk; return how many there are.

        The value may be larger than memory. It is ``bytes`` for ``kv[key]``. The old value stays until all of the new
        one is stored, and for good if the reader fails or ends too early. Other writers are not kept waiting
        while the reader is read, unless this is part of a transaction of yours.

        Parameters
        ----------
        key
            As for ``kv[key] = value``.
        reader
            A binary file object or anything else with ``read(size)``, ``bytes``, ``bytearray``, ``memoryview``, or a
            :class:`pathlib.Path`.
        size
            How many bytes to read; by default all until the reader ends.
        chunk_size
            Bytes that are read at a time and stored in one row, and that ``open`` reads; 256 KiB by default.
        progress
            Called after each chunk with the number of bytes that were read so far, and the number of all or None.
        ttl
            That of :meth:`put`.

        Raises
        ------
        ReaderFailed
            when the reader raises an exception or ends before ``size`` bytes.
        UnsupportedType
            when it gives text, or is nothing that can be read.
        """
        return self._streams.put(key, reader, size, chunk_size, progress, deadline(ttl))

    def get_to_file(
        self, key: Any, writer: Writer, *, chunk_size: int | None = None, progress: Progress | None = None
    ) -> int:
        """Write the value of ``key``, which must be ``bytes``, chunk by chunk; return how many bytes there are.

        Parameters
        ----------
        key
            As for ``kv[key]``.
        writer
            A binary file object or anything else with ``write(bytes)``, or a :class:`pathlib.Path`. The file at a
            path is replaced when all has been written beside it.
        chunk_size
            Bytes that are written at a time; by default as they were stored.
        progress
            Called after each write with the number of bytes so far, and of all.

        Raises
        ------
        WriterFailed
            when ``write`` returns something else than how many of the bytes it has written.
        UnsupportedType
            when ``writer`` is nothing that bytes can be written to.
        """
        return self._streams.copy(key, writer, chunk_size, progress)

    def open(self, key: Any) -> io.BufferedReader:
        r"""Return the value of ``key``, which must be ``bytes``, as a readable, seekable file object.

        It has one chunk in memory and keeps no transaction open. If the entry is replaced or removed meanwhile, the
        next read beyond that chunk raises :class:`StreamLost`.

        >>> from kohakuvault import KVault
        >>> kv = KVault(":memory:")
        >>> kv.put_file("notes.txt", b"first line\nsecond line\n")
        23
        >>> with kv.open("notes.txt") as file:
        ...     file.readlines()
        [b'first line\n', b'second line\n']
        """
        return self._streams.open(key)

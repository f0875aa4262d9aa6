"""The Rust half of KohakuVault: packed blocks and values, vector distances, exact nearest neighbours.

The same file is a SQLite extension (entry point ``sqlite3_native_init``) with the SQL functions
``kv_version()``, ``kv_cosine_distance(a, b[, elem])``, ``kv_l2_distance``, ``kv_l1_distance``,
``kv_hamming_distance``, ``kv_ip_distance``, the aggregate ``kv_nearest(key, vector, query, k, metric[, elem])``,
the table-valued function ``kv_rows(rows)``, with the columns ``position``, ``key`` and ``value``, of a buffer that
:func:`pack_rows` or :func:`pack_keys` made, ``kv_collect`` for :class:`PageScan`, ``kv_gather`` for
:class:`Gather`, ``kv_wal_index(token)`` for :class:`ReadCache`, and ``kv_text(value, path)``, ``kv_integer``,
``kv_real``, ``kv_boolean`` and ``kv_contains(value, part[, path])``. The functions ``*_distance`` and ``packed_*`` and
:class:`NearestAggregate` do the same through ``create_function`` and ``create_aggregate``, which cannot make a table.

All packed numbers are little-endian. Everything here may be used from several threads at once.
"""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, final, overload

import numpy
from typing_extensions import Buffer, Self

__version__: str

_Metric = Literal["cosine", "l2", "l1", "hamming", "ip"]
_Elem = Literal["f32", "f16", "i8", "bit"]
_Vector = Buffer | Sequence[float]
_K = TypeVar("_K")
_V = TypeVar("_V")
_Items = Mapping[_K, _V] | Iterable[tuple[_K, _V]]

class CorruptBlock(ValueError):
    """The bytes of a block are not what its dtype and count say."""

@final
class ElementCodec:
    """Everything about the bytes of one dtype: packs values into blocks, reads, slices, joins and checks blocks.

    A *block* is packed elements back to back. Where elements differ in size (``bytes``, ``str:<encoding>``,
    ``vec:<scalar>``, ``msgpack``, ``cbor``, ``json``) a table of ``count`` cumulative ends (u32) precedes them. The
    count is kept by the caller.

    ========================  =========================================================================
    ``i8`` … ``u64``          ``int``; anything with ``__index__`` but no ``bool``
    ``f32``, ``f64``          ``float``, ``int``, NumPy numbers; ``f32`` rounds, but never to infinity
    ``bool``                  ``bool``, ``numpy.bool_``
    ``bytes``, ``bytes:N``    ``bytes``, ``bytearray``, ``memoryview``; padded with NUL, padding kept on read
    ``str:<encoding>``        ``str``; utf8, utf16le, utf16be, latin1, ascii; ``str`` is ``str:utf8``
    ``str:N:<encoding>``      ``str`` of at most N bytes, not ending in NUL; padding stripped on read
    ``vec:<scalar>:<dims>``   array or nested sequences of that shape; read as its bytes in C order
    ``vec:<scalar>``          array or nested sequences of any shape; read as (shape, bytes)
    ``msgpack``               what :func:`pack_msgpack` takes
    ``cbor``                  what :func:`pack_cbor` takes
    ``json``                  what ``Json`` takes
    ========================  =========================================================================

    Raises ``ValueError`` for an unknown dtype. Instances are immutable and can be pickled.
    """

    def __new__(cls, dtype: str) -> ElementCodec: ...
    @property
    def dtype(self) -> str:
        """The canonical dtype string."""

    @property
    def element(self) -> str:
        """The scalar dtype (of vectors too), ``"bytes"``, ``"str"`` or the name of the format."""

    @property
    def item_size(self) -> int | None:
        """Bytes of one element; None if elements differ in size."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The dimensions of a vector of fixed shape; ``()`` for what is no vector; None for vectors of any shape."""

    @property
    def is_vector(self) -> bool: ...
    def pack(self, values: Iterable[Any] | Buffer, block_bytes: int, room: int = 0) -> list[tuple[int, bytes]]:
        """Pack values into blocks of at most ``block_bytes`` bytes (ends included) but at least one element.

        Parameters
        ----------
        values
            A sequence of values. For scalars and vectors of fixed shape also an array of exactly the element's
            format, shape ``(n,)`` or ``(n, *dims)``, which is copied as it is.
        block_bytes
            The size at which a block is full.
        room
            If not 0, the size of the first block instead: bytes left in a block that exists already. Ignored
            if the first element does not fit.

        Returns
        -------
        The blocks with their counts; no block for no values.

        Raises
        ------
        TypeError
            A value, or the array's format, is not of the dtype. Names the index, the value and the dtype.
        OverflowError
            A number is out of range.
        ValueError
            Too long, not encodable, of another shape.
        """

    def pack_one(self, value: Any) -> bytes:
        """The bytes of one element, without a table of ends. Raises as :meth:`pack`."""

    def unpack(self, data: Buffer, count: int, start: int = 0, stop: int | None = None) -> list[Any]:
        """The values of the elements ``start`` to ``stop`` (exclusive; None: ``count``) of a block.

        Raises ``CorruptBlock`` for bad bytes, ``IndexError`` unless ``0 <= start <= stop <= count``.
        """

    def unpack_one(self, data: Buffer, count: int, index: int) -> Any:
        """``unpack(data, count, index, index + 1)[0]``, faster."""

    def slice(self, data: Buffer, count: int, start: int, stop: int) -> bytes:
        """A block of the elements ``start`` to ``stop`` of a block. Raises as :meth:`unpack`."""

    def join(self, parts: Sequence[tuple[int, Buffer]], block_bytes: int) -> list[tuple[int, bytes]]:
        """Join blocks, given with their counts, and cut them again into blocks of at most ``block_bytes`` bytes."""

    def check(self, data: Buffer, count: int) -> None:
        """Validate every element of a block. Raises ``CorruptBlock``."""

    def stream(self, data: Buffer, count: int) -> bytes:
        """A block as a *stream*, to which elements are added by appending the bytes of another stream.

        Elements of fixed size stand back to back, as in the block. Any other element follows its length as u32. The
        elements are not validated. Raises ``CorruptBlock``.
        """

    def from_stream(self, stream: Buffer) -> tuple[int, bytes]:
        """The count and the block of a stream's elements.

        Raises ``CorruptBlock`` for a stream that ends inside an element or is larger than a block may be.
        """

    def summary(self, data: Buffer, count: int) -> bytes | None:
        """What lies in a block, in 32 bytes; None if the dtype is no scalar, or the block has no elements.

        Of integers and ``bool``: min and max (i64; for ``u64`` u64), sum (i128). Of floats: min, max, sum (f64) and the
        number of NaN (u64). NaN is left out of the others; where there is nothing else, min and max are NaN. Sums of
        floats are compensated. Raises ``CorruptBlock``.
        """

    def summarize(self, summaries: Iterable[tuple[int, Buffer]]) -> tuple[Any, Any, Any, int] | None:
        """Min, max, sum and number of NaN of many blocks, given with their counts; None for no block.

        Min and max are of the element's type, sums of ``bool`` are ``int``. The sum of floats leaves NaN out; it is NaN
        where there are infinities of both signs.

        Raises
        ------
        CorruptBlock
            Bytes that are not the summary of so many elements.
        ValueError
            The dtype is no scalar.
        """

    def may_contain(self, summary: Buffer, low: float | None, high: float | None) -> bool:
        """Whether a block may have elements from ``low`` to ``high``, both included. None: any.

        Exact, also where ints of any size are compared with floats. NaN is in no range, and a range with NaN as bound
        has nothing in it. Raises as :meth:`summarize`, and ``TypeError`` for bounds that are neither ints nor floats.
        """

def frame(block: Buffer, compress: int | None, checksum: bool) -> bytes:
    """A block as it is stored: with ``checksum`` behind the crc32c (u32) of what follows.

    ``compress`` is a level from 1 to 22, at which the block becomes one zstd frame; None for no compression. Raises
    ``ValueError`` for another level.
    """

def unframe(stored: Buffer, most_bytes: int, compressed: bool, checksummed: bool) -> bytes:
    """The block that :func:`frame` made ``stored`` from.

    Raises ``CorruptBlock`` for a wrong checksum, bytes that are not exactly one zstd frame, and a block of more than
    ``most_bytes``, which is known before any memory is taken for it.
    """

@final
class Gather:
    """A buffer into which the SQL function ``kv_gather`` copies the elements of blocks.

    ``kv_gather(token, start, count, data)`` copies those of a block's elements that lie in the buffer to their place,
    and gives their number; the first of the block has the index ``start``. It is an SQL error if ``data`` is not of
    ``count`` elements.

    The buffer can be neither resized nor freed as long as this lives; what nobody wrote to keeps what was there.
    Any thread may run the statement. What it copied is there when the statement is done.

    Parameters
    ----------
    buffer
        Writable memory in C order, such as a numpy array.
    item_size
        Bytes of an element.
    start
        The index of the element that comes first in the buffer.

    Raises
    ------
    TypeError, BufferError
        There is no buffer, or it is read-only or has gaps.
    ValueError
        The buffer is not of whole elements, or ``start`` is negative.
    """

    def __new__(cls, buffer: Buffer | numpy.ndarray[Any, Any], item_size: int, start: int) -> Gather: ...
    @property
    def token(self) -> int:
        """What ``kv_gather`` knows this by, as long as it lives."""

    def has_once(self, start: int, stop: int) -> bool:
        """Whether the elements ``start`` to ``stop`` were copied, each once, and no others."""

@final
class DataPacker:
    """Packs values of one dtype into bytes, and reads them: immutable, safe in threads, can be pickled.

    Values are taken and refused as by :class:`ElementCodec`; ``msgpack``, ``cbor`` and ``json`` take what
    :func:`pack_msgpack`, :func:`pack_cbor` and ``Json`` take. Elements stand back to back, without a table of ends. An
    element of ``vec:<scalar>:<dims>`` begins with one byte for its type, as one of ``vec:<scalar>`` does.

    Parameters
    ----------
    dtype
        A dtype string.
    json_schema
        A JSON schema (dict, bool or JSON text) that values of ``msgpack``, ``cbor`` or ``json`` are held to when they
        are packed; they are nested at most 100 deep then.

    Raises
    ------
    InvalidArgument
        (a ``ValueError``) from the constructor for an unknown dtype or a schema that is none, from packing for a value
        that the dtype cannot hold, or that the schema does not allow.
    UnsupportedType
        (a ``TypeError``) for a value of another type.
    CorruptValue
        (a ``ValueError``) from unpacking, for data that is damaged, too short or of another dtype.
    """

    def __new__(cls, dtype: str, json_schema: dict[str, Any] | bool | str | None = None) -> DataPacker: ...
    @property
    def dtype(self) -> str:
        """The canonical dtype string."""

    @property
    def elem_size(self) -> int:
        """Bytes of a packed element; 0 if elements differ in size."""

    @property
    def is_varsize(self) -> bool:
        """Whether elements differ in size."""

    @property
    def json_schema(self) -> str | None:
        """The JSON schema that values are held to, as JSON text; None without one."""

    def pack(self, value: Any, /) -> builtins.bytes:
        """The bytes of one value."""

    def pack_many(self, values: Iterable[Any] | Buffer, /) -> builtins.bytes:
        """The bytes of many values, one behind the other.

        Parameters
        ----------
        values
            Any iterable of values. For numbers and vectors of one shape also what holds numbers in one piece: a numpy
            array of shape ``(n,)`` or ``(n, *dims)``, of any stride and byte order, ``array.array``, ``memoryview``, an
            Arrow array without nulls, what has ``__array__``. Such numbers are converted where no value changes by it
            but for the rounding of floats to a narrower float.
        """

    def pack_with_offsets(self, values: Iterable[Any] | Buffer, /) -> tuple[builtins.bytes, list[int]]:
        """What :meth:`pack_many` returns, and where in it each element begins: ``offsets`` for :meth:`unpack_many`."""

    def unpack(self, data: Buffer, offset: int = 0) -> Any:
        """The value whose bytes begin at ``offset``.

        ``bytes``, ``str:<encoding>`` and ``json`` take all the bytes from there on; others leave what follows alone.
        Vectors are new arrays.
        """

    def unpack_many(
        self, data: Buffer, count: int | None = None, offsets: Iterable[int] | Buffer | None = None
    ) -> list[Any]:
        """The values of many elements.

        Parameters
        ----------
        count
            How many elements to read from the beginning; None for all that there are.
        offsets
            Where each element begins, ascending; it ends where the next begins, the last with the data. With ``count``
            there may be one more offset, the end of the last. Needed for ``bytes``, ``str:<encoding>`` and ``json``.

        Returns
        -------
        The values. Vectors of one shape are the rows of one new array.
        """

    def to_array(self, data: Buffer, count: int | None = None) -> Any:
        """A view of packed numbers as an array: shape ``(n,)``, for vectors ``(n, *dims)``; nothing is copied.

        It is writable if the data is. Rows of vectors begin at odd addresses, one byte apart: copy the array where
        speed matters more than memory. Raises ``UnsupportedType`` for dtypes that are no numbers of one shape.
        """

    def from_array(self, array: Any, /) -> memoryview:
        """The packed elements of an array, as a memoryview of bytes; takes the arrays that :meth:`pack_many` takes.

        It is a view of the array's own memory where that has the layout already, so do not change the array while it is
        used; anything else is copied.
        """

    with_json_schema: ClassVar[_WithJsonSchema]
    """``with_json_schema(schema)``: a packer that holds values to a JSON schema, of the same dtype as the packer it is
    called on; called on the class, of ``msgpack``."""

    def __hash__(self) -> int: ...

class _WithJsonSchema(Protocol):
    def __call__(self, schema: dict[str, Any] | bool | str, /) -> DataPacker: ...

@final
class VectorQuery:
    """A metric and a query vector, prepared for many distances.

    ``cosine`` is ``1 - a·b / (|a| |b|)``, in [0, 2], NaN if a norm is 0; ``l2`` is Euclidean; ``l1`` is the sum of
    absolute differences; ``hamming`` is the number of dimensions in which exactly one of the two is above zero; ``ip``
    is ``-a·b``. Distances agree with double precision to about 1e-7.

    The query is rounded to ``elem``, the type of the vectors' elements. Vectors of bits have ``hamming`` only.

    Raises ``ValueError`` for an unknown metric or element type, an empty vector, or a number that the elements cannot
    hold, such as NaN or infinity.
    """

    def __new__(cls, metric: _Metric | str, query: _Vector, elem: _Elem | str = "f32") -> VectorQuery: ...
    @property
    def metric(self) -> str: ...
    @property
    def elem(self) -> str: ...
    @property
    def dimensions(self) -> int:
        """Of bits, a multiple of eight."""

    def distance(self, vector: _Vector) -> float:
        """The distance to one vector. Raises ``ValueError`` for another number of dimensions."""

    def distances(self, matrix: Buffer) -> list[float]:
        """The distances to the rows of an array of the elements, shape ``(n, dimensions)``, or of packed bytes.

        Bits are packed in arrays too: uint8 of shape ``(n, ceil(dimensions / 8))``.

        Other threads run meanwhile if the matrix is large; none may write to it.
        """

def distance(metric: _Metric | str, a: _Vector, b: _Vector, elem: _Elem | str = "f32") -> float:
    """The distance of two vectors, both rounded to ``elem``: arrays or sequences of numbers, or packed bytes."""

def pack_vector(value: _Vector, dimensions: int | None, elem: _Elem | str = "f32") -> bytes:
    """The packed bytes of a vector: little-endian, of bits the first dimension in the highest bit of the first byte.

    Parameters
    ----------
    value
        A one-dimensional array of numbers, a sequence of numbers (of bits also bools), or bytes that are packed
        already. An array of uint8 that has not ``dimensions`` items but as many as packed bits have bytes is packed.
    dimensions
        How many there must be; None for any number but 0.
    elem
        The type of the elements. Floats are rounded to the nearest; of i8 and bit they must be whole.

    Raises
    ------
    ValueError
        Another number of dimensions; a number that the elements cannot hold, such as NaN or infinity; not
        one-dimensional; bits behind the last dimension.
    TypeError
        Not numbers.
    """

def vector_from_text(text: str) -> bytes:
    """Return the float32 numbers of PostgreSQL's text of a vector, little-endian.

    Raises
    ------
    ValueError
        if it is no such text.
    """

def vector_text(value: _Vector, dimensions: int | None, elem: _Elem | str = "f32") -> str:
    """A vector as PostgreSQL reads it, which gives the same elements: ``[1.0,0.5]``, of bits ``10``.

    Takes and raises what :func:`pack_vector` does.
    """

@final
class IndexForm:
    """How the vectors of an index are encoded.

    Raises ``ValueError`` for a code that does not go with the metric, an unknown name, or a mean of another length.
    """

    def __init__(
        self,
        code: str,
        metric: str,
        element: str,
        dimensions: int,
        seed: int = 0,
        mean: bytes | None = None,
    ) -> None:
        """``mean`` is ``dimensions`` little-endian float32, of one-bit codes only; None for zeros."""

    @property
    def entry_bytes(self) -> int:
        """The bytes of an entry."""

    def encode(self, rows: list[tuple[int, bytes]]) -> bytes:
        """Return the entries of ``(id, packed vector)``, one behind the other; ``ValueError`` for another length."""

@final
class NearestAggregate:
    """The SQL aggregate ``kv_nearest(key, vector, query, k, metric[, elem])`` for ``create_aggregate`` of ``sqlite3``.

    Examples
    --------
    >>> import sqlite3
    >>> connection = sqlite3.connect(":memory:")
    >>> connection.create_aggregate("kv_nearest", 5, NearestAggregate)
    """

    def __new__(cls) -> NearestAggregate: ...
    def step(
        self, key: int | str, vector: _Vector | None, query: _Vector, k: int, metric: str, elem: str = "f32"
    ) -> None:
        """Take one row; None as vector is skipped. What follows the vector is read at the first row only."""

    def finalize(self) -> str:
        """``[[key, distance], ...]`` as JSON, nearest first, NaN (``null``) last; ``[]`` without rows."""

def cosine_distance(a: _Vector | None, b: _Vector | None, elem: str = "f32", /) -> float | None:
    """Cosine distance for ``create_function``; None for None and where there is none."""

def l2_distance(a: _Vector | None, b: _Vector | None, elem: str = "f32", /) -> float | None:
    """Euclidean distance for ``create_function``; None for None."""

def l1_distance(a: _Vector | None, b: _Vector | None, elem: str = "f32", /) -> float | None:
    """Sum of absolute differences for ``create_function``; None for None."""

def hamming_distance(a: _Vector | None, b: _Vector | None, elem: str = "f32", /) -> float | None:
    """Number of dimensions where exactly one is above zero, for ``create_function``; None for None."""

def ip_distance(a: _Vector | None, b: _Vector | None, elem: str = "f32", /) -> float | None:
    """Negative inner product for ``create_function``; None for None."""

def pack(value: Any, allow_pickle: bool = False, encoding: str | None = None) -> bytes:
    """Return ``value`` as one tag byte and its payload.

    Parameters
    ----------
    value
        ``bytes``, ``bytearray``, ``memoryview`` (of bytes, one-dimensional), ``str``, ``bool``, ``int`` of any size,
        ``float``, ``complex``, ``None``; ``dict``, ``list``, ``tuple``, ``set``, ``frozenset`` of these, nested up
        to 512 deep; ``datetime``, ``date``, ``time``, ``timedelta``, ``timezone``, ``ZoneInfo``; ``UUID``,
        ``Decimal``, ``Fraction``; numpy arrays and scalars of bool, integer, float, complex, datetime and
        fixed-width string dtypes. Or one of the wrappers of :mod:`kohakuvault.packing`.
    allow_pickle
        Store any other object as a pickle.
    encoding
        ``"msgpack"``, ``"cbor"``, ``"json"`` or ``"pickle"`` for what has no wrapper.

    Raises
    ------
    UnsupportedType
        (a ``TypeError``) for any other type, subclasses of these included, because they would not come
        back as the same type.
    InvalidArgument
        (a ``ValueError``) for text with lone surrogates, for nesting that is too deep or cyclic, and for a
        container that is changed meanwhile.
    """

def check_key(key: Any, /) -> str | bytes | int:
    """Return ``key`` if it can be the key of an entry: text without lone surrogates, bytes, or an int of 64 bits.

    Raises
    ------
    UnsupportedType
        (a ``TypeError``) for any other type, subclasses included.
    InvalidArgument
        (a ``ValueError``) for text with lone surrogates and for larger ints.
    """

def pack_rows(
    pairs: Iterator[Any], size: int, allow_pickle: bool = False, encoding: str | None = None, packed: bool = False
) -> tuple[bytes | None, tuple[Any, Any] | None]:
    """Keys and packed values of the next pairs in one buffer, for the SQL table ``kv_rows``.

    Parameters
    ----------
    pairs
        An iterator of ``(key, value)``. It is read until the buffer has ``size`` bytes: call again, with the same
        iterator, for the rest.
    size
        The size at which a buffer is full.
    allow_pickle, encoding
        As for :func:`pack`.
    packed
        Values are ``bytes`` that :func:`pack` made already.

    Returns
    -------
    The buffer, None if there is nothing for it; and the pair, as it was given, that follows the buffer's rows and is
    larger than ``size`` by itself: better not copied. ``(None, None)`` when the iterator is exhausted.

    Raises
    ------
    UnsupportedType, InvalidArgument
        As :func:`check_key` and :func:`pack`, and ``InvalidArgument`` for what is no pair.
    """

def pack_keys(keys: Iterator[Any], size: int) -> bytes | None:
    """The next keys in one buffer, for the SQL table ``kv_rows``; None when the iterator is exhausted.

    Raises as :func:`check_key`. Call again, with the same iterator, for the rest.
    """

@final
class WriteBuffer:
    """Entries that wait to be written, by key, in the order in which their keys were first set.

    Keys are exactly ``str``, ``bytes`` or ``int``, kept apart. Sizes are bytes of memory, about: of the keys and packed
    values, and 200 or so for each entry.
    """

    def __new__(cls) -> WriteBuffer: ...
    def admit(self, limit: int, /) -> None:
        """Say how large :meth:`put` may make it; nothing at first."""

    def put(self, key: Any, value: Any, expires_at: float | None, allow_pickle: bool, /) -> bool:
        """Set ``key`` to ``value``, packed; return False, changing nothing, if it is empty or would exceed the limit.

        Raises as :func:`check_key` and :func:`pack`.
        """

    def insert(self, key: Any, packed: builtins.bytes, expires_at: float | None, limit: int, /) -> bool:
        """Set ``key`` to a packed value; return False, changing nothing, if it would exceed ``limit``.

        Raises as :func:`check_key`.
        """

    def get(self, key: Any, /) -> tuple[builtins.bytes, float | None] | None:
        """The packed value of ``key``, and when it expires; None if there is none."""

    def page(
        self, start: int, size: int, as_rows: bool, /
    ) -> tuple[int, builtins.bytes | None, list[tuple[Any, builtins.bytes, float | None]] | None]:
        """Some of the entries, from number ``start`` on.

        Returns the number of the next, and either a buffer for ``kv_rows`` of at most ``size`` bytes, or a list of
        ``(key, packed, expires_at)`` of about so many; neither when there are no more. Without ``as_rows`` only lists;
        with it, in lists are what expires or is larger than ``size`` by itself.
        """

    def clear(self) -> int:
        """Forget every entry; return how many there were."""

    @property
    def entries(self) -> int:
        """How many entries there are."""

    @property
    def bytes(self) -> int:
        """Memory that they take."""

@final
class ColumnBuffer:
    """Elements that wait to be appended to columns, packed. Sizes are bytes of packed elements.

    In a forked child an instance of the parent holds and takes nothing.
    """

    def __new__(cls) -> ColumnBuffer: ...
    def admit(self, limit: int, own: list[tuple[int, int]] = ..., /) -> None:
        """Say how large :meth:`ColumnSlot.append` may make it, in general and for columns by id; nothing at first."""

    def slot(self, column_id: int, dtype: str, /) -> ColumnSlot:
        """What takes the elements of a column. Raises ``ValueError`` if there is no such dtype."""

    def streams(self) -> list[tuple[int, int, builtins.bytes]]:
        """What waits for each column, in the order of their ids: id, count, and a stream of the elements."""

    def clear(self) -> int:
        """Forget every element; return how many bytes they had."""

    @property
    def entries(self) -> int:
        """How many elements there are."""

    @property
    def bytes(self) -> int:
        """Memory that they take."""

@final
class ColumnSlot:
    """What takes the elements of one column, made by :meth:`ColumnBuffer.slot`."""

    def append(self, value: Any, /) -> bool:
        """Add an element; return False, changing nothing, if nothing waits, beyond the limit, or for a wrong value."""

    def insert(self, count: int, stream: builtins.bytes, limit: int, /) -> bool:
        """Add ``count`` elements, packed as a stream; return False, changing nothing, if it would exceed ``limit``."""

    @property
    def bytes(self) -> int:
        """Bytes that wait for this column."""

@final
class PageScan:
    """Keys, values or both of a query's rows, collected by the SQL function ``kv_collect`` and taken page by page.

    ``kv_collect(token, key, value)``, or without ``value`` for ``"keys"``, is to be the condition of a query on every
    SQLite library of this process that has loaded this file. It lets through the row with which a page is full; take
    the page before the query goes on.

    Parameters
    ----------
    form
        ``"keys"``, ``"values"`` or ``"items"``: what :meth:`take` returns.
    rows, most
        The number of rows of the first page, and of those that come later: each has up to four times as many as the
        one before.
    size
        The bytes of keys and values with which a page is full too.
    """

    def __new__(cls, form: Literal["keys", "values", "items"], rows: int, most: int, size: int) -> PageScan: ...
    @property
    def token(self) -> int:
        """What ``kv_collect`` knows this by, as long as it lives."""

    def take(self) -> tuple[list[Any], tuple[Any, Any] | None] | None:
        """The next entries that were collected; None when there are none. Call again for the rest of a page.

        The second is a key and what is stored as its value, which follow the entries and which are left to the caller:
        the value is damaged, a pickle, or of a kind that :func:`unpack` alone knows.

        Raises
        ------
        CorruptValue
            for a key that is no text, when the entries before it were taken.
        """

def unpack(data: Buffer, allow_pickle: bool = False) -> Any:
    """Return the value that :func:`pack` made ``data`` from.

    Raises
    ------
    CorruptValue
        when ``data`` cannot have been written by :func:`pack`, or has a pickle that is not allowed.
    """

def pack_msgpack(value: Any, allow_pickle: bool = False) -> bytes:
    """Return ``value`` as MessagePack; what that lacks travels as extension types. Raises as :func:`pack`."""

def unpack_msgpack(data: Buffer, allow_pickle: bool = False) -> Any:
    """Return the value that :func:`pack_msgpack`, or any MessagePack writer, made ``data`` from."""

def pack_cbor(value: Any) -> bytes:
    """Return ``value`` as CBOR (RFC 8949); types that CBOR would change are refused. Raises as :func:`pack`."""

def unpack_cbor(data: Buffer) -> Any:
    """Return the value that :func:`pack_cbor`, or any CBOR writer, made ``data`` from."""

def packed_text(value: object, path: str | None) -> str | None:
    """Return the str that a packed value has at ``path``, a JSON array of keys and positions; None for anything else.

    So too where ``value`` is no packed value, or the str has a NUL. :class:`InvalidArgument` for what is no path. As
    the SQL function ``kv_text``.
    """

def packed_integer(value: object, path: str | None) -> int | None:
    """Return the int of 64 bits that a packed value has at ``path``. Else as :func:`packed_text`."""

def packed_real(value: object, path: str | None) -> float | None:
    """Return the float, or int of 64 bits, that a packed value has at ``path``. Else as :func:`packed_text`."""

def packed_boolean(value: object, path: str | None) -> bool | None:
    """Return the bool that a packed value has at ``path``. Else as :func:`packed_text`."""

def packed_contains(value: object, part: object, path: str | None = None) -> bool | None:
    """Whether what a packed value has at ``path`` contains another packed value, as ``@>`` of ``jsonb`` means it.

    None if it has nothing there, either is no packed value, or the part is nested deeper than 100 levels.
    """

@final
class Watch:
    """Marks of the state of an SQLite database, which every commit by any process makes void.

    The database is that of the connection that runs ``SELECT kv_wal_index(token)``, an SQL function that gives NULL, or
    the reason why what is read there cannot be kept. That connection must be closed next: the watch keeps it open where
    only SQLite can reach it. ``native/module/src/sqlite/wal_index.rs`` explains it all.

    In a forked child an instance of the parent gives no marks.
    """

    def __new__(cls) -> Watch: ...
    @property
    def token(self) -> int: ...
    def attach(self) -> bool:
        """Take over what ``kv_wal_index`` has found; whether it has found anything."""

    def mark(self) -> int:
        """A mark to be made before the database is read: larger after each commit; 0 for none."""

    def close(self) -> None:
        """Let the connection go, which caches keep too; from then on there are no marks. Closing twice is harmless."""

class OrderedMap(Generic[_K, _V]):
    """What ``CSBTree`` and ``SkipList`` have in common; neither is a Mapping, as iteration gives pairs."""

    def insert_many(self, items: _Items[_K, _V]) -> int:
        """Set the values of many keys; return how many of them are new. Fastest where they come in order."""

    def update(self, other: _Items[_K, _V] | None = None, /, **keywords: _V) -> None:
        """Set the values of many keys."""

    def setdefault(self, key: _K, default: Any = None) -> Any:
        """Return the value of a key, which is set to ``default`` if there is none."""

    def remove(self, key: _K) -> _V | None:
        """Remove a key and return its value; None if there is no such key."""

    def pop(self, key: _K, *default: Any) -> Any:
        """Remove a key and return its value; without such a key ``default``, or raise NotFound."""

    def popitem(self, last: bool = True) -> tuple[_K, _V]:
        """Remove the last or first key and return it with its value; NotFound if there is none."""

    def clear(self) -> None:
        """Remove every key."""

    def get(self, key: _K, default: Any = None) -> Any:
        """Return the value of a key; ``default`` if there is none."""

    def get_default(self, key: _K, default: Any) -> Any:
        """Return the value of a key; ``default`` if there is none."""

    def is_empty(self) -> bool:
        """Whether there is no key."""

    def keys(self) -> list[_K]:
        """Return the keys as a list, in their order."""

    def values(self) -> list[_V]:
        """Return the values as a list, in the order of their keys."""

    def items(self) -> list[tuple[_K, _V]]:
        """Return the pairs of key and value as a list, in the order of keys."""

    def range(
        self,
        lo: _K | None = None,
        hi: _K | None = None,
        *,
        inclusive: tuple[bool, bool] = (True, False),
        reverse: bool = False,
    ) -> list[tuple[_K, _V]]:
        """Return the entries from ``lo`` to ``hi``; None is no bound. ``inclusive`` is whether they are part of it."""

    def floor(self, key: _K) -> tuple[_K, _V] | None:
        """Return the entry of the greatest key that is not above ``key``; None if there is none."""

    def ceiling(self, key: _K) -> tuple[_K, _V] | None:
        """Return the entry of the least key that is not below ``key``; None if there is none."""

    def lower(self, key: _K) -> tuple[_K, _V] | None:
        """Return the entry of the greatest key below ``key``; None if there is none."""

    def higher(self, key: _K) -> tuple[_K, _V] | None:
        """Return the entry of the least key above ``key``; None if there is none."""

    def first(self) -> tuple[_K, _V] | None:
        """Return the entry of the least key; None if there is none."""

    def last(self) -> tuple[_K, _V] | None:
        """Return the entry of the greatest key; None if there is none."""

    def copy(self) -> Self:
        """Return another map of the same keys and values, in the same order."""

    def check(self) -> list[str]:
        """Return what is wrong with the map, an empty list if nothing is."""

    def __getitem__(self, key: _K) -> _V: ...
    def __setitem__(self, key: _K, value: _V) -> None: ...
    def __delitem__(self, key: _K) -> None: ...
    def __contains__(self, key: _K) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[_K, _V]]: ...
    def __reversed__(self) -> Iterator[tuple[_K, _V]]: ...
    def __copy__(self) -> Self: ...

class CSBTree(OrderedMap[_K, _V]):
    """An ordered map in memory: a B+tree. ``help(CSBTree)`` says what it guarantees."""

    @overload
    def __new__(
        cls,
        items: _Items[_K, _V] = ...,
        /,
        *,
        order: int | None = None,
        key: Callable[[_K], Any] | None = None,
        comparator: Callable[[_K, _K], int] | None = None,
    ) -> CSBTree[_K, _V]: ...
    @overload
    def __new__(cls, order: int, /) -> CSBTree[Any, Any]: ...
    def insert(self, key: _K, value: _V) -> _V | None:
        """Set the value of a key; return the one that it had."""

class SkipList(OrderedMap[_K, _V]):
    """An ordered map in memory for several threads: a skip list whose iterators keep what they began with.

    ``help(SkipList)`` says what it guarantees, and when to choose it over ``CSBTree``.
    """

    def __new__(
        cls,
        items: _Items[_K, _V] = ...,
        /,
        *,
        key: Callable[[_K], Any] | None = None,
        comparator: Callable[[_K, _K], int] | None = None,
    ) -> SkipList[_K, _V]: ...
    def insert(self, key: _K, value: _V) -> _V | None:
        """Add a key with its value, unless it is there; return the value that it had then, and keeps."""

@final
class ReadCache:
    """Packed values by key, kept while nothing is committed to the database of a watch, which has to be attached.

    Keys are exactly ``str``, ``bytes`` or ``int``, kept apart; nothing is known of others. In a forked child an
    instance of the parent knows nothing and keeps nothing.
    """

    def __new__(cls, capacity: int, watch: Watch) -> ReadCache: ...
    def get(self, key: Any, /) -> builtins.bytes | None:
        """The packed value; ``b""`` if there is certainly none; None if it is not known."""

    def contains(self, key: Any, /) -> bool | None:
        """Whether there is such a key; None if it is not known."""

    def mark(self) -> int:
        """A mark to be made before the database is read; 0 if nothing can be kept."""

    def put(self, key: Any, data: builtins.bytes | bool | None, expires_at: float | None, mark: int, /) -> None:
        """Keep what was read after ``mark``, unless anything has been committed since.

        Parameters
        ----------
        data
            The packed value; None for no value; True for one that was not read. Nothing else is kept.
        expires_at
            When the value expires, in seconds since 1970; None for never.
        """

    def clear(self) -> None:
        """Forget every entry."""

    def close(self) -> None:
        """Forget everything and let the connection go; from then on nothing is kept. Closing twice is harmless."""

    @property
    def hits(self) -> int: ...
    @property
    def misses(self) -> int: ...
    @property
    def bytes(self) -> int:
        """Memory that the entries take, about."""

    @property
    def entries(self) -> int: ...

@final
class RunCache:
    """Runs of the elements of columns as arrays, kept while nothing is committed to the database of a watch.

    The watch has to be attached. In a forked child an instance of the parent knows nothing and keeps nothing.
    """

    def __new__(cls, capacity: int, watch: Watch) -> RunCache: ...
    def of(self, column_id: int, per_run: int, /) -> ColumnRuns:
        """The runs of one column, each of so many elements, from a multiple of as many on."""

    def mark(self) -> int:
        """A mark to be made before the database is read; 0 if nothing can be kept."""

    def clear(self) -> None:
        """Forget every run."""

    def close(self) -> None:
        """Forget everything and let the connection go; from then on nothing is kept. Closing twice is harmless."""

    @property
    def hits(self) -> int: ...
    @property
    def misses(self) -> int: ...
    @property
    def bytes(self) -> int:
        """Memory that the runs take, about."""

    @property
    def entries(self) -> int: ...

@final
class ColumnRuns:
    """The runs of one column, made by :meth:`RunCache.of`."""

    @property
    def per_run(self) -> int: ...
    def view(self, start: Any = None, stop: Any = None, /) -> numpy.ndarray[Any, Any] | None:
        """A view of the elements that a slice means, if one run has all of them; None otherwise."""

    def item(self, index: int, /) -> Any:
        """One element of an array of one dimension as a Python value; None if no run has it."""

    def mark(self) -> int:
        """The mark of the cache, as it is now."""

    def length(self) -> int | None:
        """The number of elements, if it is known."""

    def put_length(self, length: int, mark: int, /) -> None:
        """Keep the number of elements, which was read after ``mark``, unless anything has been committed since."""

    def run(self, number: int, /) -> numpy.ndarray[Any, Any] | None:
        """The array of a run that is kept."""

    def notice(self, number: int, /) -> bool:
        """Remember that a run was asked for; whether it was before."""

    def put(self, number: int, array: numpy.ndarray[Any, Any], mark: int, /) -> bool:
        """Keep the array of a run, read-only and read after ``mark``; return False if anything was committed since."""

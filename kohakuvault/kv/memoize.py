"""``KVault.memoize``: what a function returned, kept in a vault, and computed by one caller at a time."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import wraps
from hashlib import blake2b
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from typing_extensions import Self

from ..errors import InvalidArgument, KohakuVaultError, UnsupportedType
from ..packing import Cbor, Json, MsgPack, Pickle, pack
from .expiry import TimeToLive, deadline
from .function_names import name_of
from .scan import prefix_bounds

if TYPE_CHECKING:
    from ..kvault import KVault

__all__ = ["Memoized", "memoize"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

# PostgreSQL takes keys of 2,600 bytes; the digest and a prefix come on top of the name.
_LONGEST_NAME = 2_500

# Seconds between two looks at whether another process has finished.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1

_MISSING: Any = object()
_OURS: Any = object()

# What is being computed around here. Tasks and asyncio.to_thread inherit it, so recursion is seen through those too.
_computing: ContextVar[frozenset[tuple[object, str, bytes]]] = ContextVar("kohakuvault_computing", default=frozenset())


class Memoized(Protocol[P, R_co]):
    """A function that :meth:`KVault.memoize` decorated: it is called as before."""

    @property
    def __wrapped__(self) -> Callable[P, R_co]:
        """The function itself: calling it neither reads nor writes the vault."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the result that is kept for the arguments, or compute it."""

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> bytes:
        """Return the key that the result of such a call has in the vault."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result of such a call; return whether there was one.

        A call that is computing meanwhile stores its result when it is done.
        """

    def invalidate_all(self) -> int:
        """Forget the results of all calls of this function; return how many there were."""

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self: Memoized[Concatenate[Any, Q], R], instance: object, owner: type) -> Callable[Q, R]: ...


@overload
def memoize(self: KVault, ttl: Callable[P, R], /) -> Memoized[P, R]: ...
@overload
def memoize(
    self: KVault,
    ttl: TimeToLive | None = None,
    *,
    key: Callable[..., Any] | None = None,
    name: str | None = None,
    lease: TimeToLive = 60,
) -> Callable[[Callable[P, R]], Memoized[P, R]]: ...
def memoize(
    self: KVault,
    ttl: TimeToLive | Callable[..., Any] | None = None,
    *,
    key: Callable[..., Any] | None = None,
    name: str | None = None,
    lease: TimeToLive = 60,
) -> Any:
    """Keep what a function returns, and return that when it is called with the same arguments again.

    For functions and ``async`` functions, as ``@kv.memoize`` or ``@kv.memoize(ttl=60)``.

    Parameters
    ----------
    ttl
        As in :meth:`KVault.put`, from when the result was computed.
    key
        Called with the arguments; returns a packable value that tells calls apart. For arguments that cannot be
        packed, such as the ``self`` of a method.
    name
        Stands for the function in the keys, instead of its module and qualified name. Two functions with one name
        share results; a new name starts without any.
    lease
        Seconds, or a timedelta, after which a process that waits for another one's computation no longer does.

    Raises
    ------
    UnsupportedType
        When it is called: an argument cannot be packed, or the result cannot be stored.
    InvalidArgument
        The function needs a ``name`` or ``key``; or it is ``async`` and the vault's statements are part of a
        transaction of this thread's, by its bind or by ``transaction()``.

    Notes
    -----
    Of callers with the same arguments, in any thread, task or process, one computes and the others wait for its
    result. If it raises, or its process dies, the next one computes. Exceptions are not kept; None is. A caller
    whose operations are part of a transaction computes by itself: waiting for one who needs the lock that it holds
    would never end.

    >>> from kohakuvault import KVault
    >>> kv = KVault(":memory:")
    >>> @kv.memoize(ttl=60)
    ... def square(x, verbose=False):
    ...     print("computing")
    ...     return x * x
    >>> square(12), square(x=12, verbose=False)
    computing
    (144, 144)
    >>> square.invalidate(12), square(12)
    computing
    (True, 144)
    """
    until = None if callable(ttl) else ttl
    deadline(until)
    longest = lease.total_seconds() if isinstance(lease, timedelta) else lease
    if type(longest) not in (int, float) or not 0 < longest < math.inf:
        raise InvalidArgument(f"lease={lease!r:.60}: expected seconds or a timedelta, longer than the function takes")

    def decorate(function: Callable[..., Any]) -> Any:
        return _decorated(_Memo(self, function, until, key, name, longest))

    return decorate(ttl) if callable(ttl) else decorate


def _decorated(memo: _Memo) -> Any:
    function = memo.function
    if _is_async(function):
        memo.refuse_transaction()

        @wraps(function)
        async def memoized(*args: Any, **kwargs: Any) -> Any:
            return await memo.call_async(args, kwargs)
    else:

        @wraps(function)
        def memoized(*args: Any, **kwargs: Any) -> Any:
            return memo.call(args, kwargs)

    decorated = cast(Any, memoized)
    # `wraps` copies what an already memoized function has; these are of this one.
    decorated.cache_key = memo.cache_key
    decorated.invalidate = memo.invalidate
    decorated.invalidate_all = memo.invalidate_all
    return decorated


class _Memo:
    """One function and the vault that its results are in."""

    def __init__(
        self,
        kv: KVault,
        function: Callable[..., Any],
        ttl: TimeToLive | None,
        key: Callable[..., Any] | None,
        name: str | None,
        lease: float,
    ) -> None:
        if isinstance(function, (classmethod, staticmethod)) or not callable(function):
            raise UnsupportedType(
                f"memoize decorates a function, not {function!r:.80}; write @classmethod and @staticmethod above it"
            )
        if key is not None and not callable(key):
            raise UnsupportedType(f"memoize: key is a function of the arguments, not {key!r:.60}")
        self.kv = kv
        self.function = function
        self.lease = lease
        self._ttl = ttl
        self._key = key
        self.name = _checked(name) if name is not None else _checked(name_of(function))
        self._prefix = b"memoize:" + self.name.encode() + b":"
        self._signature = _signature_of(function, self.name) if key is None else None
        self._flights: dict[tuple[int, bytes], Future[None]] = {}

    # -- keys ----------------------------------------------------------------------------------

    def cache_key(self, *args: Any, **kwargs: Any) -> bytes:
        return self._prefix + self._digest(args, kwargs)

    def lease_key(self, key: bytes) -> bytes:
        """Return the key of the lease on ``key``, which is not among the results."""
        return b"memoize-lease:" + key.removeprefix(b"memoize:")

    def invalidate(self, *args: Any, **kwargs: Any) -> bool:
        return self.kv.delete(self.cache_key(*args, **kwargs))

    def invalidate_all(self) -> int:
        return self.kv.delete_range(*prefix_bounds(self._prefix))

    def _digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        if self._key is not None:
            told = self._key(*args, **kwargs)
            try:
                packed = pack(told)
            except KohakuVaultError as error:
                raise UnsupportedType(f"{self.name}: what key= returned cannot be packed: {error}") from error
        else:
            arguments = self._arguments(args, kwargs)
            try:
                packed = pack(arguments)
            except KohakuVaultError as error:
                raise self._unpackable(arguments, error) from error
        return blake2b(packed, digest_size=32).digest()

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments by the names of their parameters, the same however they were passed."""
        assert self._signature is not None
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None
        bound.apply_defaults()
        for parameter in self._signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                # In whatever order the caller wrote them.
                bound.arguments[parameter.name] = dict(sorted(bound.arguments[parameter.name].items()))
        return bound.arguments

    def _unpackable(self, arguments: Mapping[str, Any], error: KohakuVaultError) -> UnsupportedType:
        for name, value in arguments.items():
            try:
                pack([value])
            except KohakuVaultError as reason:
                return UnsupportedType(
                    f"{self.name}: the argument {name!r} of type {type(value).__name__} cannot be part of a key. Give "
                    "memoize(key=…), a function of the arguments that returns what tells calls apart. "
                    f"({reason})"
                )
        return UnsupportedType(f"{self.name}: {error}")

    # -- calls ---------------------------------------------------------------------------------

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = self.cache_key(*args, **kwargs)
        found = self._find(key)
        while found is _MISSING:
            if self.kv.binding.holds_transaction or self._is_within(key):
                return self._compute(key, args, kwargs)
            with self._flight(key) as other:
                if other is None:
                    return self._lead(key, args, kwargs)
            if not wait([other], self._patience()).done:
                return self._compute(key, args, kwargs)
            found = self._find(key)
        return found

    def _lead(self, key: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result, for all of this process: computed here, or by another process."""
        lease = _Lease(self, key)
        try:
            for pause in _pauses():
                found = lease.attempt()
                if found is _OURS:
                    return self._compute(key, args, kwargs)
                if found is not _MISSING:
                    return found
                sleep(pause)
        finally:
            lease.release()

    def _compute(self, key: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._within(key):
            result = self.function(*args, **kwargs)
        return self._store(key, result)

    # The same three for coroutines. What waits for the database does so in another thread.

    async def call_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.refuse_transaction()
        key = self.cache_key(*args, **kwargs)
        found = await asyncio.to_thread(self._find, key)
        while found is _MISSING:
            if self._is_within(key):
                return await self._compute_async(key, args, kwargs)
            with self._flight(key) as other:
                if other is None:
                    return await self._lead_async(key, args, kwargs)
            landed = asyncio.wrap_future(other)
            try:
                done, _ = await asyncio.wait([landed], timeout=self._patience())
            finally:
                landed.cancel()
            if not done:
                return await self._compute_async(key, args, kwargs)
            found = await asyncio.to_thread(self._find, key)
        return found

    async def _lead_async(self, key: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        lease = _Lease(self, key)
        try:
            for pause in _pauses():
                found = await asyncio.to_thread(lease.attempt)
                if found is _OURS:
                    return await self._compute_async(key, args, kwargs)
                if found is not _MISSING:
                    return found
                await asyncio.sleep(pause)
        except GeneratorExit:
            # Collected with its loop: a finaliser must not use the database, and the lease runs out by itself.
            lease.is_over = True
            raise
        finally:
            if not lease.is_over:
                await asyncio.to_thread(lease.release)

    async def _compute_async(self, key: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._within(key):
            result = await self.function(*args, **kwargs)
        return await asyncio.to_thread(self._store, key, result)

    def refuse_transaction(self) -> None:
        """Raise where a statement in another thread would not be part of what this thread's are."""
        if self.kv.binding.holds_transaction:
            raise InvalidArgument(
                f"{self.name} is async, so its results are read and written by other threads, which are not in the "
                "transaction that this one is in. Bind the vault to an Engine or path rather than a Session or "
                "Connection, and await outside of transaction() and snapshot()"
            )

    # -- results -------------------------------------------------------------------------------

    def _find(self, key: bytes) -> Any:
        return self.kv.get(key, _MISSING)

    def _store(self, key: bytes, result: Any) -> Any:
        try:
            # Not `put`, which may wait in a cache: the lease, which others watch, ends after it.
            self.kv.put_many([(key, result)], self._ttl)
        except (UnsupportedType, InvalidArgument) as error:
            raise UnsupportedType(
                f"{self.name} returned a value of type {type(result).__name__}, which cannot be kept: {error}"
            ) from error
        # As it will be read.
        return result.value if isinstance(result, (Cbor, Json, MsgPack, Pickle)) else result

    # -- who computes --------------------------------------------------------------------------

    @contextmanager
    def _within(self, key: bytes) -> Iterator[None]:
        token = _computing.set(_computing.get() | {self._entry(key)})
        try:
            yield
        finally:
            _computing.reset(token)

    def _is_within(self, key: bytes) -> bool:
        """Whether the caller is part of the very computation that it would wait for."""
        return self._entry(key) in _computing.get()

    def _entry(self, key: bytes) -> tuple[object, str, bytes]:
        # Of the vault, not of this memo: a function may be decorated twice.
        return self.kv.binding, self.kv._name, key

    def _patience(self) -> float | None:
        """Return how long to wait for a caller in this process.

        For ever, but for one who is computing something that the other may be waiting for.
        """
        return self.lease if _computing.get() else None

    @contextmanager
    def _flight(self, key: bytes) -> Iterator[Future[None] | None]:
        """Be the one in this process who gets the result (None), or learn of the one who is."""
        # A forked child has nobody who would end what its parent began.
        slot = os.getpid(), key
        ours: Future[None] = Future()
        # Running, so that a waiter that is cancelled does not cancel it for the others.
        ours.set_running_or_notify_cancel()
        try:
            # One operation, as `pop` is, so that no lock is needed. An interrupt may come right after it.
            flight = self._flights.setdefault(slot, ours)
            yield None if flight is ours else flight
        finally:
            if self._flights.get(slot) is ours:
                del self._flights[slot]
            ours.set_result(None)


class _Lease:
    """An entry that says that some process is computing a result; it ends with that process or by its time."""

    def __init__(self, memo: _Memo, key: bytes) -> None:
        self._memo = memo
        self._key = key
        self._lease_key = memo.lease_key(key)
        self._token = f"{os.getpid()} {secrets.token_hex(8)}"
        self._until: float | None = None
        # A cancelled task may release while a thread of its is still attempting.
        self._lock = threading.Lock()
        self.is_over = False

    def attempt(self) -> Any:
        """Return the result if there is one, ``_OURS`` if we are to compute it, ``_MISSING`` if somebody does."""
        kv = self._memo.kv
        with self._lock:
            # Looked at first, so that who waits does not write.
            if not self.is_over and self._lease_key not in kv:
                # Before it is taken: an interrupt may come right after.
                self._until = monotonic() + self._memo.lease
                if not kv.add(self._lease_key, self._token, ttl=self._memo.lease):
                    self._until = None
            # After the lease was taken: whoever had it before has stored the result by now.
            found = kv.get(self._key, _MISSING)
            return _OURS if found is _MISSING and self._until is not None else found

    def release(self) -> None:
        """Let the next one compute. A lease that has run out may be another's by now and is left alone."""
        with self._lock:
            self.is_over = True
            if self._until is not None and monotonic() < self._until:
                kv = self._memo.kv
                if kv.get(self._lease_key) == self._token:
                    kv.delete(self._lease_key)


def _pauses() -> Iterator[float]:
    pause = _SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _checked(name: Any) -> str:
    if not isinstance(name, str):
        raise UnsupportedType(f"name={name!r:.60}: expected text")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"name={name!r:.60}: {error}") from error
    if not name or ":" in name or size > _LONGEST_NAME:
        raise InvalidArgument(f"name={name!r:.60}: expected 1 to {_LONGEST_NAME:,} bytes of UTF-8, without a colon")
    return name


def _signature_of(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name}: {error}; give memoize(key=…), a function of its arguments") from error

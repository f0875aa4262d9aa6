"""When an entry expires: seconds since 1970 by this machine's clock, from a time to live."""

from __future__ import annotations

from datetime import timedelta
from time import time

from ..errors import CorruptValue, InvalidArgument, UnsupportedType

__all__ = ["TimeToLive", "deadline", "is_over"]

# Further than any clock goes: 30,000 years.
_LONGEST = 1e12

TimeToLive = int | float | timedelta


def deadline(ttl: TimeToLive | None) -> float | None:
    """Return when something that lives for ``ttl`` (seconds or a timedelta) from now on ends; None for never.

    >>> deadline(None) is None, 59 < deadline(60) - time() <= 60
    (True, True)
    """
    if ttl is None:
        return None
    if isinstance(ttl, timedelta):
        ttl = ttl.total_seconds()
    if type(ttl) not in (int, float):
        raise UnsupportedType(f"ttl is a number of seconds, a timedelta or None, not {ttl!r:.60}")
    if not 0 < ttl < _LONGEST:
        raise InvalidArgument(
            f"ttl={_shown(ttl)}: expected more than 0 and less than {_LONGEST:.0e} seconds; None is for ever, "
            "delete() is for at once"
        )
    return time() + ttl


def _shown(ttl: int | float) -> str:
    # Python itself refuses to print an int of thousands of digits.
    return repr(ttl) if -_LONGEST < ttl < _LONGEST or isinstance(ttl, float) else "an int beyond that"


def is_over(expires_at: float | None) -> bool:
    """Whether something that expires at that time, None for never, has expired."""
    try:
        return expires_at is not None and expires_at <= time()
    except TypeError as error:
        raise CorruptValue(
            f"expires_at is {expires_at!r:.60}, which is no number: something else wrote it. Set it by touch(key, ttl)"
        ) from error

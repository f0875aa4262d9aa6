"""When an entry expires: seconds since 1970 by this machine's clock, from a time to live."""

from __future__ import annotations

import math
from datetime import timedelta
from time import time

from ..errors import CorruptValue, InvalidArgument, UnsupportedType

__all__ = ["TimeToLive", "deadline", "is_over"]

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
    if not 0 < ttl < math.inf:
        raise InvalidArgument(f"ttl={ttl}: expected more than 0 seconds; None is for ever, delete() is for at once")
    return time() + ttl


def is_over(expires_at: float | None) -> bool:
    """Whether something that expires at that time, None for never, has expired."""
    try:
        return expires_at is not None and expires_at <= time()
    except TypeError as error:
        raise CorruptValue(
            f"expires_at is {expires_at!r:.60}, which is no number: something else wrote it. Set it by touch(key, ttl)"
        ) from error

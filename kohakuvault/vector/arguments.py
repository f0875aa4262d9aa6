"""What methods of a VectorKVault alone are given, checked before anything is searched for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import InvalidArgument, UnsupportedType
from ..rows.arguments import shown

__all__ = ["as_radius"]


def as_radius(r: Any) -> float:
    """Return ``r`` as a float, if it can be compared with distances."""
    if isinstance(r, (bool, np.bool_)) or not isinstance(r, (int, float, np.integer, np.floating)):
        raise UnsupportedType(f"r, a distance, is a number, not {shown(r)}")
    try:
        radius = float(r)
    except OverflowError:
        radius = math.inf if r > 0 else -math.inf
    if math.isnan(radius):
        raise InvalidArgument("r, a distance, is NaN; expected a number")
    return radius

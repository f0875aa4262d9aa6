"""SQLAlchemy types of the vault's columns: one small file per type."""

from .key import Key
from .packed import Packed
from .packed_array import PackedArray
from .tensor import Tensor
from .vector import Vector

__all__ = ["Key", "Packed", "PackedArray", "Tensor", "Vector"]

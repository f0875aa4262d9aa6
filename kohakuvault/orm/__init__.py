"""SQLAlchemy's side of KohakuVault: column types, the vault's mapped tables and search expressions."""

from .distance import Distance
from .nearest import nearest
from .types import Key, Packed, Vector
from .vector_index import VectorIndex

__all__ = ["Distance", "Key", "Packed", "Vector", "VectorIndex", "nearest"]

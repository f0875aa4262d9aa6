"""SQLAlchemy's side of KohakuVault: column types, the vault's mapped tables and search expressions."""

from .distance import Distance
from .match import match, rank, text_search
from .nearest import nearest
from .text_index import TextIndex
from .types import Key, Packed, Vector
from .vector_index import VectorIndex

__all__ = [
    "Distance",
    "Key",
    "Packed",
    "TextIndex",
    "Vector",
    "VectorIndex",
    "match",
    "nearest",
    "rank",
    "text_search",
]

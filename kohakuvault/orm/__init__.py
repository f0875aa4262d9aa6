"""SQLAlchemy's side of KohakuVault: column types, the vault's mapped tables and search expressions."""

from . import tracked_attributes  # noqa: F401 (it listens)
from .annotations import annotated_types, type_annotation_map
from .distance import Distance
from .match import match, rank, text_search
from .nearest import nearest
from .text_index import TextIndex
from .types import Key, Packed, Vector
from .postgresql_objects import required_objects
from .reflection import reflected_type
from .tracked import TrackedDict, TrackedList, TrackedSet
from .types import Key, Packed, PackedArray, Tensor, Vector
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
    "PackedArray",
    "Tensor",
    "TrackedDict",
    "TrackedList",
    "TrackedSet",
    "Vector",
    "VectorIndex",
    "annotated_types",
    "nearest",
    "reflected_type",
    "required_objects",
    "type_annotation_map",
]

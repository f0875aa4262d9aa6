"""SQLAlchemy's side: column types, mapped tables, containers of rows, indexes and search expressions."""

from . import tracked_attributes  # noqa: F401 (it listens)
from .annotations import annotated_types, type_annotation_map
from .distance import Distance
from .hybrid import hybrid_search
from .match import match, rank, text_search
from .nearest import nearest
from .postgresql_objects import required_objects
from .reflection import reflected_type
from .row_containers import RowDictTriggers, VaultList, vault_dict, vault_list
from .snippet import highlight, snippet
from .tables import KVTable, TextTable, VectorTable
from .text_index import TextIndex
from .tracked import TrackedDict, TrackedList, TrackedSet
from .types import Key, Packed, PackedArray, Tensor, Vector
from .vector_index import VectorIndex

__all__ = [
    "Distance",
    "KVTable",
    "Key",
    "Packed",
    "PackedArray",
    "RowDictTriggers",
    "Tensor",
    "TextIndex",
    "TextTable",
    "TrackedDict",
    "TrackedList",
    "TrackedSet",
    "VaultList",
    "Vector",
    "VectorIndex",
    "VectorTable",
    "annotated_types",
    "highlight",
    "hybrid_search",
    "match",
    "nearest",
    "rank",
    "reflected_type",
    "required_objects",
    "snippet",
    "text_search",
    "type_annotation_map",
    "vault_dict",
    "vault_list",
]

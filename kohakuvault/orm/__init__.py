"""SQLAlchemy's side of KohakuVault: column types, the vault's mapped tables and search expressions."""

from .distance import Distance
from .nearest import nearest
from .row_containers import RowDictTriggers, VaultList, vault_dict, vault_list
from .types import Key, Packed, Vector
from .vector_index import VectorIndex

__all__ = [
    "Distance",
    "Key",
    "Packed",
    "RowDictTriggers",
    "VaultList",
    "Vector",
    "VectorIndex",
    "nearest",
    "vault_dict",
    "vault_list",
]

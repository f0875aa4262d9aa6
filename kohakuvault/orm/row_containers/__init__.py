"""Containers that a row owns: a dict and a list as attributes of mapped objects."""

from .dict_attribute import vault_dict
from .list_attribute import vault_list
from .triggers import RowDictTriggers, VaultList, create_statements, drop_statements

__all__ = ["RowDictTriggers", "VaultList", "create_statements", "drop_statements", "vault_dict", "vault_list"]

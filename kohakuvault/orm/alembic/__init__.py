"""Alembic: operations for what is ours, autogenerate that knows it, and batch mode that keeps triggers.

Importing this package registers the operations ``op.create_vector_index`` and so on, and comparisons in groups of their
own; ``context.configure(…, **configure_args(…))`` does the rest.
"""

from . import batch_triggers, comparing, comparing_texts, rendering
from .configuring import configure_args
from .foreign_keys import without_foreign_keys
from .prepare import PrepareVaultTypesOp
from .repack import RepackColumnOp
from .row_container_ops import CreateVaultDictOp, CreateVaultListOp, DropVaultDictOp, DropVaultListOp
from .text_index_ops import CreateTextIndexOp, DropTextIndexOp
from .vault_table_ops import CreateVaultTableOp, DropVaultTableOp
from .vector_index_ops import CreateVectorIndexOp, DropVectorIndexOp

__all__ = [
    "CreateTextIndexOp",
    "CreateVaultDictOp",
    "CreateVaultListOp",
    "CreateVaultTableOp",
    "CreateVectorIndexOp",
    "DropTextIndexOp",
    "DropVaultDictOp",
    "DropVaultListOp",
    "DropVaultTableOp",
    "DropVectorIndexOp",
    "PrepareVaultTypesOp",
    "RepackColumnOp",
    "batch_triggers",
    "comparing",
    "comparing_texts",
    "configure_args",
    "rendering",
    "without_foreign_keys",
]

"""Reading the files of KohakuVault 0.8.6 and 1.1.0, whose formats are others, and importing them.

Those releases read values by guessing, ran pickles that any ``bytes`` value could hold, and used a virtual table for
vectors. Their files are read here with nothing but :mod:`sqlite3`, and no byte of them is trusted.
"""

from __future__ import annotations

from .importing import import_file
from .report import ImportReport, ItemReport, Remark

__all__ = ["ImportReport", "ItemReport", "Remark", "import_file"]

"""Ordered maps in memory: ``CSBTree``.

They are made in Rust, and have nothing to do with a database.
"""

from __future__ import annotations

from ._native import CSBTree

__all__ = ["CSBTree"]

"""Ordered maps in memory: ``CSBTree``, ``SkipList`` and what they have in common.

They are made in Rust, and have nothing to do with a database.
"""

from __future__ import annotations

from ._native import CSBTree, OrderedMap, SkipList

__all__ = ["CSBTree", "OrderedMap", "SkipList"]

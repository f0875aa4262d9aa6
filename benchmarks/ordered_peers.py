"""The ordered maps that ours are compared with; for a Python of .venv-peers."""

from __future__ import annotations

from typing import Any

from ordered_operations import Operations


class Upstream(Operations):
    """The earlier package."""

    package = "kohakuvault"

    def new(self, kind: str) -> Any:
        from kohakuvault import CSBTree

        return CSBTree()

    def new_list(self) -> Any:
        from kohakuvault import SkipList

        return SkipList()

    def inserter(self, tree: Any) -> Any:
        return tree.insert

    def ranging(self, tree: Any, low: int, high: int) -> Any:
        return tree.range(low, high)


class SortedContainers(Operations):
    """``SortedDict``: a dict with a sorted list of its keys."""

    package = "sortedcontainers"

    def new(self, kind: str) -> Any:
        from sortedcontainers import SortedDict

        return SortedDict()

    def ranging(self, tree: Any, low: int, high: int) -> Any:
        return [(key, tree[key]) for key in tree.irange(low, high, inclusive=(True, False))]


class BTrees(Operations):
    """``OOBTree``, and ``LOBTree`` of ints."""

    package = "BTrees"

    def new(self, kind: str) -> Any:
        from BTrees.LOBTree import LOBTree
        from BTrees.OOBTree import OOBTree

        return LOBTree() if kind == "int" else OOBTree()

    def ranging(self, tree: Any, low: int, high: int) -> Any:
        return list(tree.items(low, high, excludemax=True))

    def settings(self) -> str:
        return "LOBTree of ints, OOBTree of str"


PEERS = {"upstream": Upstream, "sortedcontainers": SortedContainers, "BTrees": BTrees}

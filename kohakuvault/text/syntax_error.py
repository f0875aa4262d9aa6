"""What is wrong in a query of a database's own language, and where."""

from __future__ import annotations

__all__ = ["QuerySyntaxError"]


class QuerySyntaxError(ValueError):
    """Something else than what is expected is at a position of a query, in characters from 0."""

    def __init__(self, position: int, found: str, expected: str) -> None:
        shown = repr(found[:40]) if found else "the end"
        super().__init__(f"at position {position} is {shown}; expected {expected}")
        self.position = position

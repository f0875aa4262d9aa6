"""What the parts of a ColumnVault share: finding columns, and reading several of one state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..container import Container
from ..errors import UnsupportedType

if TYPE_CHECKING:
    from ..columns import Column

__all__ = ["ColumnVaultBase"]


class ColumnVaultBase(Container, Mapping[str, "Column"]):
    """Named columns. See :class:`~kohakuvault.ColumnVault`."""

    @abstractmethod
    def ensure(self, name: str, dtype: str, **options: Any) -> Column:
        """Return the column of that name, made if it is missing."""

    def _chosen(self, names: Iterable[str] | None) -> list[Column]:
        """Return the columns of these names, or all."""
        if isinstance(names, str):
            raise UnsupportedType(f"names is a list of names; for one column give [{names!r}]")
        return [self[name] for name in (self if names is None else names)]

    @abstractmethod
    def _every(self) -> Iterator[Column]:
        """Give all columns, those too that are lists of rows and have no name."""

    @contextmanager
    def _one_state(self) -> Iterator[None]:
        """Have what this thread reads be of one state, unless a transaction is open whose matter that is."""
        binding = self._settled
        if binding.holds_transaction:
            yield
            return
        with binding.snapshot():
            yield

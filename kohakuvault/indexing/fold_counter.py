"""When what is pending is folded into an index."""

from __future__ import annotations

import sys
import warnings

from ..binding.base import savepoint
from ..errors import CorruptValue, ExtensionUnavailable, InvalidDatabase, KohakuVaultError, SchemaMismatch
from ..lending import DriverCursor
from ..orm.vector_index import VectorIndex
from . import kinds
from .statements import index_statements
from .stores import store_of

__all__ = ["FoldCounter"]


class FoldCounter:
    """Folds an index when about enough rows are pending.

    What is pending is counted when this process has written enough since it was last counted, so that a write costs
    nothing; what another process left is counted at the first write.

    Attributes
    ----------
    backend
        The extension that the index needs, by its name in :data:`~kohakuvault.backends.BACKENDS`; None for none.
    """

    def __init__(self, index: VectorIndex) -> None:
        self._index = index
        self._store = store_of(index)
        self._left = 0
        self.backend = self._store.backend

    def written(self, cursor: DriverCursor, rows: int) -> None:
        """Tell that ``rows`` rows were written in the transaction of ``cursor``, and fold if that is due."""
        self._left -= rows
        # In autocommit a fold would be several transactions.
        if self._left > 0 or not cursor.in_transaction:
            return
        try:
            pending, due = self._pending(cursor)
            if due is None:
                self._left = sys.maxsize
                return
            self._left = kinds.FOLD if pending >= due else due - pending
            if pending >= due:
                with savepoint(cursor):
                    self._store.fold(cursor)
        except (CorruptValue, ExtensionUnavailable, InvalidDatabase, SchemaMismatch) as error:
            if not cursor.in_transaction:
                raise
            self._left = kinds.FOLD
            if cursor.one(index_statements(self._index, cursor.dialect).exists) is None:
                # Declared, and not made yet.
                return
            # The rows are what matters, and they are well. Searches raise the error.
            warnings.warn(f"{self._describe(error)}: {error}", RuntimeWarning, stacklevel=2)

    def _pending(self, cursor: DriverCursor) -> tuple[int, int | None]:
        """Return how many rows are pending, and from how many on they are folded; what is more is not counted."""
        due = self._store.due(cursor)
        if due is None:
            return 0, None
        ((pending,),) = cursor.all(index_statements(self._index, cursor.dialect).pending_count, due)
        return pending, due

    def _describe(self, error: KohakuVaultError) -> str:
        if isinstance(error, ExtensionUnavailable):
            return f"vector index {self._index.name!r} stays behind its table while the extension is missing"
        return (
            f"vector index {self._index.name!r} is damaged, and stays behind its table until rebuild_index() or "
            "check(fix=True) mends it"
        )

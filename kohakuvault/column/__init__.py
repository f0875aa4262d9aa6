"""The parts of :class:`~kohakuvault.Column` and :class:`~kohakuvault.ColumnVault`, one concept in each file."""

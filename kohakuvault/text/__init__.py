"""The parts of :class:`~kohakuvault.TextVault`."""

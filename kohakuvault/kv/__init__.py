"""The parts of :class:`~kohakuvault.KVault`, one concept in each file."""

"""The parts of :class:`~kohakuvault.VectorKVault`, one concept in each file."""

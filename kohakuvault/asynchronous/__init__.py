"""The containers for asyncio: the parts of ``AsyncKVault``, ``AsyncColumnVault`` and ``AsyncVectorKVault``."""

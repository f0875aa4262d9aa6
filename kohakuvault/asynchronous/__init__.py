"""The containers for asyncio, ``AsyncKVault`` and those like it, and their parts."""

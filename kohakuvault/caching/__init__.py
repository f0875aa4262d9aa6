"""What containers keep in memory: writes that wait (``face``, ``writes``), and what was read (``reads``, ``watch``)."""

"""How large the blocks of a column are if nobody says."""

from __future__ import annotations

__all__ = ["fitting_block_bytes"]

# Pages of SQLite that create_engine() makes, and what a block of one page leaves for its row's header.
_PAGE = 16_384
_BLOCK = 16_000

# Few enough that reading one element of such a block is still quick.
_MOST_PAGES = 4
_GOOD = 1.035


def fitting_block_bytes(item_size: int | None) -> int:
    """Return the bytes of a block for elements of ``item_size`` bytes, None where they differ.

    Blocks of one page, unless so few elements fit one that much of it stays empty: then the number of elements
    with which SQLite's leaf and overflow pages are full, or nearly.
    """
    if item_size is None or _waste(_BLOCK // item_size * item_size) <= _GOOD:
        return _BLOCK
    most = max(_MOST_PAGES * _PAGE // item_size, 2)
    sizes = [count * item_size for count in range(1, most + 1)]
    good = next((size for size in sizes if _waste(size) <= _GOOD), None)
    return good or min(sizes, key=_waste)


def _waste(size: int) -> float:
    """Return the pages' bytes over those of a block, by the rules of SQLite's file format, section 1.6."""
    if size == 0:
        return float("inf")
    # The row: its header, the id, which is not stored again, and the block.
    payload = size + 6
    usable = _PAGE
    largest = usable - 35
    if payload <= largest:
        local, overflow = payload, 0
    else:
        least = (usable - 12) * 32 // 255 - 23
        local = least + (payload - least) % (usable - 4)
        if local > largest:
            local = least
        overflow = -(-(payload - local) // (usable - 4))
    # A cell: lengths, the local part, and the number of the first overflow page.
    cell = local + 12 + (4 if overflow else 0) + 2
    cells = max((usable - 8) // cell, 1)
    return (overflow * usable + usable / cells) / size

"""Values to bytes and back, in memory, beside packages that lose types."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import peers
from harness import Report, as_fast, in_turns, timed
from kohakuvault.packing import pack, unpack
from operations import SMALL


def bench(report: Report, folder: Path, versions: dict[str, str]) -> None:
    """Add a row for packing and one for unpacking each value."""
    report.section("Packing")
    user = {"id": 5, "name": "Alice", "score": 1.5, "tags": ["a", "b"], "ok": True, "nested": {"x": [1, 2, 3]}}
    values = {"small dict": (SMALL, 5000), "nested dict": (user, 2000), "1000 nested dicts": ([user] * 1000, 3)}
    with ExitStack() as stack:
        upstream = stack.enter_context(peers.Peer("upstream", folder, 1)) if peers.are_installed() else None
        if upstream is not None:
            versions["upstream (kohakuvault)"] = upstream.version
        for name, (value, inner) in values.items():
            data = pack(value)
            packers = {"pack": timed(partial(pack, value), inner)}
            unpackers = {"unpack": timed(partial(unpack, data), inner)}
            for peer, (encode, decode) in messagepack_peers().items():
                packers[peer] = timed(partial(encode, value), inner)
                unpackers[peer] = timed(partial(decode, encode(value)), inner)
            if upstream is not None and value is SMALL:
                packers["upstream"] = upstream.timer("pack", inner)
                unpackers["upstream"] = upstream.timer("unpack", inner)
            for what, timers, factor in (("pack", packers, 2), ("unpack", unpackers, 1.3)):
                target = as_fast(factor, "upstream") if value is SMALL else None
                report.add(f"{what}, {name}", in_turns(timers, 25), target)


def messagepack_peers() -> dict[str, tuple[Callable[..., bytes], Callable[..., object]]]:
    """Return the MessagePack packages that are installed: how each packs and unpacks."""
    import msgpack

    found = {"msgpack": (msgpack.packb, msgpack.unpackb)}
    try:
        import ormsgpack

        found["ormsgpack"] = (ormsgpack.packb, ormsgpack.unpackb)
    except ImportError:
        pass
    try:
        import msgspec

        found["msgspec"] = (msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode)
    except ImportError:
        pass
    return found

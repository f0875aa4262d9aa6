"""Values to bytes and back, in memory: one value beside packages that lose types, many of one type beside numpy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import peers
from harness import Report, Timer, as_fast, in_turns, timed
from kohakuvault.packing import pack, unpack
from packing_operations import DIMENSIONS, SMALL, PackMany, values
from peers import UPSTREAM, Peer

# dtype, how many, how many times the earlier package's speed packing and unpacking should reach.
MANY = [("i64", 1_000_000, 1.0, 1.0), ("f64", 1_000_000, 1.0, 1.0), ("vec:f32:768", 2_000, 20.0, 1.0)]


def bench(report: Report, folder: Path, versions: dict[str, str]) -> None:
    """Add a row for packing and one for unpacking: each value, then many of each dtype."""
    with peers.started("packing", folder) as others:
        versions |= peers.versions(others)
        report.section("Packing")
        one_value(report, others)
        report.section("DataPacker: pack_many, unpack_many, a value")
        many_values(report, others)
        for line in peers.notes(others):
            report.note(line)


def one_value(report: Report, others: list[Peer]) -> None:
    user = {"id": 5, "name": "Alice", "score": 1.5, "tags": ["a", "b"], "ok": True, "nested": {"x": [1, 2, 3]}}
    given = {"small dict": (SMALL, 5000), "nested dict": (user, 2000), "1000 nested dicts": ([user] * 1000, 3)}
    for name, (value, inner) in given.items():
        data = pack(value)
        packers = {"pack": timed(partial(pack, value), inner)}
        unpackers = {"unpack": timed(partial(unpack, data), inner)}
        for peer, (encode, decode) in messagepack_peers().items():
            packers[peer] = timed(partial(encode, value), inner)
            unpackers[peer] = timed(partial(decode, encode(value)), inner)
        if value is SMALL:
            packers |= {peer.name: peer.timer("pack", inner) for peer in others}
            unpackers |= {peer.name: peer.timer("unpack", inner) for peer in others}
        for what, timers, factor in (("pack", packers, 2), ("unpack", unpackers, 1.3)):
            targets = (as_fast(factor, UPSTREAM),) if value is SMALL else ()
            report.add(f"{what}, {name}", in_turns(timers, 25), *targets)


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


def many_values(report: Report, others: list[Peer]) -> None:
    ours = PackMany()
    for dtype, count, packing, unpacking in MANY:
        to_bytes, from_bytes = numpy_packing(dtype, count)
        for operation, numpy_run, factor in (
            ("pack_many", to_bytes, packing),
            ("unpack_many", from_bytes, unpacking),
        ):
            timers: dict[str, Timer] = {"ours": partial(getattr(ours, operation), dtype, count)}
            timers |= {peer.name: peer.timer(operation, dtype, count) for peer in others}
            timers["numpy"] = partial(_of_one, timed(numpy_run), count)
            report.add(f"{operation}, {dtype}, {count:,}", in_turns(timers, 15), as_fast(factor, UPSTREAM))


def numpy_packing(dtype: str, count: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return what numpy does for it: a list to bytes, and those bytes to a list."""
    given = values(dtype, count)
    if dtype.startswith("vec:"):
        data = np.stack(given).tobytes()
        return (
            lambda: np.stack(given).tobytes(),
            lambda: list(np.frombuffer(data, np.float32).reshape(-1, DIMENSIONS)),
        )
    kind = {"i64": "<i8", "f64": "<f8"}[dtype]
    data = np.array(given, kind).tobytes()
    return lambda: np.array(given, kind).tobytes(), lambda: np.frombuffer(data, kind).tolist()


def _of_one(timer: Timer, count: int) -> float | None:
    seconds = timer()
    return None if seconds is None else seconds / count

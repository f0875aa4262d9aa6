"""Draws recall over latency from the figures of vector_bench.py; for a Python of .venv-vector-peers.

.venv-vector-peers/bin/python benchmarks/vector_plot.py docs/images/vectors.png < figures.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.text import Text
from matplotlib.transforms import Bbox

SETS = ("100k", "100k-hard")
OURS, OTHERS, YARDSTICK = "#c0392b", "#5d6d7e", "#000000"
NEAR_ONE = 0.985  # recall of those whose names stand above the line of the exact ones
# Where a name may stand beside its mark, in points; the first place that is free is taken.
ABOVE = [
    (right, up, align) for up in range(14, 160, 12) for right, align in ((0, "center"), (-4, "left"), (4, "right"))
]
LINE = {"arrowstyle": "-", "color": "#b3b6b7", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3, "relpos": (0.5, 0)}
BESIDE = [
    place
    for reach in (8, 18, 30)
    for place in ((reach, 0, "left"), (-reach, 0, "right"), (0, -1.4 * reach, "center"), (0, 1.4 * reach, "center"))
]


def main() -> None:
    results = json.load(sys.stdin)
    names = [name for name in SETS if name in results["sets"]] or list(results["sets"])[:2]
    if not names:
        return
    figure, panels = plt.subplots(1, len(names), figsize=(6.2 * len(names), 5.2), sharey=True, squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        draw(axes, results["sets"][name])
    lowest = min(figures["recall"] for name in names for figures in results["sets"][name]["search"].values())
    for axes in panels[0]:
        # A third of the height is for names.
        bottom = min(lowest, 0.97) - 0.02
        axes.set_ylim(bottom, 1 + 0.35 * (1 - bottom))
        axes.set_yticks([tick for tick in axes.get_yticks() if bottom <= tick <= 1])
    panels[0][0].set_ylabel("recall@10")
    figure.tight_layout()
    figure.canvas.draw()
    for axes, name in zip(panels[0], names, strict=True):
        label(axes, results["sets"][name]["search"])
    figure.savefig(sys.argv[1], dpi=110)


def draw(axes: Any, found: dict[str, Any]) -> None:
    axes.set_title(f"{found['title']} (local intrinsic dimension {found['intrinsic dimension']:.0f})", fontsize=10)
    axes.set_xscale("log")
    axes.set_xlabel("p50 latency of a query, ms, one thread")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(color="#e5e8e8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for name, figures in found["search"].items():
        axes.scatter(figures["p50"] * 1e3, figures["recall"], s=34, color=colour(name), zorder=3)
    axes.margins(x=0.12)


def label(axes: Any, search: dict[str, Any]) -> None:
    """Write each name where it covers neither a mark nor another name."""
    renderer = axes.figure.canvas.get_renderer()
    points = {name: axes.transData.transform((f["p50"] * 1e3, f["recall"])) for name, f in search.items()}
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in points.values()]
    frame = axes.get_window_extent(renderer)
    for name in sorted(search, key=lambda name: search[name]["p50"]):
        where = (search[name]["p50"] * 1e3, search[name]["recall"])
        places = ABOVE if where[1] >= NEAR_ONE else BESIDE
        for place in places:
            text = write(axes, name, where, *place)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # without its line
            within = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if place == places[-1] or (within and not any(box.overlaps(other) for other in taken)):
                break
            text.remove()
        taken.append(box)


def write(axes: Any, name: str, where: tuple[float, float], right: float, up: float, align: str) -> Any:
    return axes.annotate(
        name,
        where,
        (right, up),
        textcoords="offset points",
        ha=align,
        va="center",
        fontsize=8,
        color=colour(name),
        fontweight="bold" if name.startswith("ours") else "normal",
        arrowprops=LINE if abs(up) > 10 else None,
    )


def colour(name: str) -> str:
    return OURS if name.startswith("ours") else YARDSTICK if name == "numpy" else OTHERS


if __name__ == "__main__":
    main()

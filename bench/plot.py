"""Throughput and latency against offered load, as a picture."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.contestants import PEERS, WORKER
from bench.latency import Latency
from bench.results import Results

SIZE_INCHES = (9.0, 4.2)
DOTS_PER_INCH = 130


def write_plot(results: Results, path: Path) -> None:
    """Write the picture as PNG."""
    mpl.use("Agg")
    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, results, lambda step: step.events_per_s)
    most = max(step.offered_per_s for steps in results.offered.values() for step in steps)
    left.plot((0, most), (0, most), color="lightgrey", linewidth=1, zorder=0)
    left.set(title="throughput", ylabel="assignments/s")
    right.set(xscale="log", yscale="log")
    _draw(right, results, lambda step: step.median_ms)
    _draw(right, results, lambda step: step.p99_ms, dashed=True)
    right.set(title="latency: median, and p99 dashed", ylabel="ms")
    left.legend(frameon=False)
    figure.savefig(path, metadata={"Software": None})


def _draw(
    axes: Axes, results: Results, value: Callable[[Latency], float], *, dashed: bool = False
) -> None:
    for at, contestant in enumerate((WORKER, *PEERS)):
        steps = [*results.latency[contestant.name][-1:], *results.offered[contestant.name]]
        axes.plot(
            [step.offered_per_s for step in steps],
            [value(step) for step in steps],
            color=f"C{at}",
            label=None if dashed else contestant.name,
            linestyle="--" if dashed else "-",
            linewidth=1 if dashed else 2,
            marker="" if dashed else "o",
            markersize=4,
        )
    axes.set(xlabel="offered events/s")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
        axis.set_minor_formatter("")
    axes.grid(visible=True, color="whitesmoke")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)

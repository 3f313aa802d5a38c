"""Draws each client's CPU time and instructions per call beside bare aiohttp: GET, one in flight and many."""

from pathlib import Path

import matplotlib as mpl
from benchmarks.speed.adapters import ADAPTERS
from benchmarks.speed.bars import ratio_of
from benchmarks.speed.figures import Figures, key_of
from benchmarks.speed.scenarios import IN_FLIGHT

mpl.use("svg")
from matplotlib import pyplot as plt


def draw(figures: Figures, path: Path) -> None:
    """Write the chart as SVG, the same bytes for the same figures."""
    mpl.rcParams["svg.hashsalt"] = "holdfast"
    figure, axes = plt.subplots(1, len(IN_FLIGHT), figsize=(9, 4.2), sharex=True, sharey=True, layout="constrained")
    names = [name for name in reversed(ADAPTERS) if name in figures.cpu[key_of(("get", IN_FLIGHT[0]))]]
    for at, axis in zip(IN_FLIGHT, axes, strict=True):
        case = key_of(("get", at))
        axis.axvline(1.0, color="#cccccc", zorder=0)
        for place, name in enumerate(names):
            colour = "#2ca02c" if "holdfast" in name else "#7f7f7f"
            turns = figures.cpu[case][name]
            axis.plot([turns.least, turns.most], [place, place], color=colour, linewidth=1)
            axis.plot(turns.ratio, place, "o", color=colour, markersize=4)
            counted, _ = ratio_of(figures, case, name)
            if counted is not None:
                axis.plot(counted, place, "|", color="#d62728", markersize=10)
        axis.set_title(f"GET 200, {at} in flight", fontsize=9, loc="left")
        axis.set_xscale("log")
        axis.set_xticks([0.75, 1, 1.5, 2, 3, 5, 10, 20], ["0.75", "1", "1.5", "2", "3", "5", "10", "20"])
        axis.minorticks_off()
        axis.tick_params(labelsize=7)
    axes[0].set_yticks(range(len(names)), [ADAPTERS[name].title.replace("**", "") for name in names])
    figure.supxlabel(
        "bare aiohttp is 1: CPU time per call, median and range of the rounds (red: instructions)", fontsize=8
    )
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

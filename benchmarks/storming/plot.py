"""Draws what arrives at the server, second by second, for each strategy: one small chart for each scenario."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from benchmarks.storming.runs import DOWN_S, WARM_UP_S, Figures

mpl.use("svg")
from matplotlib import pyplot as plt

_SMOOTH_S: Final = 5
_COLOURS: Final = ("#7f7f7f", "#d62728", "#ff7f0e", "#bcbd22", "#1f77b4", "#2ca02c")


def draw(runs: Sequence[Figures], path: Path) -> None:
    """Write the chart as SVG, the same bytes for the same figures."""
    mpl.rcParams["svg.hashsalt"] = "holdfast"
    mpl.rcParams["path.simplify_threshold"] = 1.0
    scenarios = list(dict.fromkeys(run.scenario for run in runs))
    figure, axes = plt.subplots(len(scenarios), 1, figsize=(9, 2.1 * len(scenarios)), sharex=True, layout="constrained")
    for scenario, axis in zip(scenarios, axes, strict=True):
        axis.axvspan(WARM_UP_S, WARM_UP_S + DOWN_S, color="#eeeeee")
        ours = [run for run in runs if run.scenario == scenario]
        for run, colour in zip(ours, _COLOURS, strict=True):
            smooth = [
                sum(run.load[at : at + _SMOOTH_S]) / (_SMOOTH_S * run.clients)
                for at in range(0, len(run.load) - _SMOOTH_S, _SMOOTH_S)
            ]
            axis.plot(
                range(0, len(smooth) * _SMOOTH_S, _SMOOTH_S), smooth, color=colour, label=run.strategy, linewidth=1
            )
        axis.set_title(scenario, fontsize=9, loc="left")
        axis.set_ylim(0, 4.5)
        axis.tick_params(labelsize=7)
    axes[0].legend(fontsize=7, ncols=2, loc="upper right")
    figure.supylabel("requests a second, as a share of the calls", fontsize=8)
    axes[-1].set_xlabel("seconds; the fault lasts through the grey", fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

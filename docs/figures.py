"""The README's picture from a finished run: python docs/figures.py runs/mnist_mlp docs/img/mnist_cloud.png"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dynsim import RunFolder, Trajectory
from dynsim.observables.projection import pca_projection
from dynsim.runfolder import TRAJECTORY

# Okabe-Ito: told apart by colour-blind readers too.
COLOURS = {"input": "#56B4E9", "hidden": "#E69F00", "output": "#D55E00"}


def cloud(run: str, out: str) -> None:
    """All particles before and after training, on the two first principal axes of the trained cloud."""
    with Trajectory(RunFolder.open(run) / TRAJECTORY) as t:
        frames, cast = [t.frame(0), t.frame(len(t) - 1)], t.cast
    axes = pca_projection(frames[-1].properties["position"])[:2]
    figure, panels = plt.subplots(1, 2, figsize=(11, 6.4), facecolor="#14161a")
    for panel, frame, title in zip(panels, frames, ("before training", f"after {frames[-1].step} steps")):
        points = frame.properties["position"] @ axes.T
        for k, name in enumerate(cast.subsystems):
            chosen = points[cast.subsystem == k]
            size = 14 if name == "output" else 1.8
            label = f"{name} ({len(np.unique(cast.index[cast.subsystem == k]))} sub-models)"
            panel.scatter(*chosen.T, s=size, c=COLOURS[name], alpha=0.75, linewidths=0, label=label, zorder=k)
        reach = 1.1 * np.quantile(np.abs(points), 0.998)  # a few stragglers lie outside
        panel.set(xlim=(-reach, reach), ylim=(-reach, reach))
        panel.set_title(f"{title} (mind the scale)", color="w")
        panel.set_facecolor("#14161a")
        panel.tick_params(colors="#9aa0a6")
        panel.set_aspect("equal")
        for spine in panel.spines.values():
            spine.set_color("#3c4043")
        panel.set_xlabel("first principal axis", color="#9aa0a6")
    panels[0].set_ylabel("second principal axis", color="#9aa0a6")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=3, frameon=False, labelcolor="w", markerscale=3)
    figure.tight_layout(rect=(0, 0.06, 1, 0.98))
    figure.savefig(out, dpi=110, facecolor=figure.get_facecolor())


if __name__ == "__main__":
    cloud(*sys.argv[1:3])

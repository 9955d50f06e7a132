"""Where sorting a link takes as long as a dense product, measured and by the cost model.

    python docs/crossover.py docs/img/crossover.png

About a minute. Square l1 links, float32, one thread, time of computing. A sorted product costs the same for each axis,
so that one with few axes says at how many the two are equal.
"""

import sys
from time import process_time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dynsim.backend.choice import Shape, seconds
from dynsim.backend.machine import machine
from dynsim.bench import Context
from dynsim.bench.inference import Forms
from dynsim.kernels.load import load
from dynsim.kernels.sharing import limited_to

BATCHES = {1: "#0072B2", 32: "#E69F00", 256: "#009E73"}
SIDES = (256, 512, 1024, 2048, 4096)
PER_AXIS = 32  # sub-models for each axis that is timed
ROUNDS = 15


def measured(kernels, side, batch):
    """H d at which sorting takes as long as W: the quickest of rounds in turn."""
    shape = Shape(side, side, side // PER_AXIS)
    forms = Forms(Context(kernels), shape, batch)
    works = [forms.product(form, "sorted") for form in ("dense", "sorted")]
    times = [[timed(work, forms.emitted) for work in works] for _ in range(ROUNDS + 1)]
    dense, by_order = np.min(times[1:], axis=0)
    return shape.axes * dense / by_order


def timed(work, emitted):
    """Seconds."""
    started = process_time()
    work(emitted)
    return process_time() - started


def predicted(on, side, batch):
    """H d at which the cost model finds both equal."""
    axes = np.arange(1, side)
    sums = np.array([seconds(on, "sorted", Shape(side, side, k), batch) for k in axes])
    return axes[np.argmin(np.abs(np.log(sums / seconds(on, "dense", Shape(side, side, 1), batch))))]


def chart(out):
    kernels, on = load("cpu"), machine("cpu")
    sides = np.geomspace(SIDES[0], SIDES[-1], 33).astype(int)
    figure, panel = plt.subplots(figsize=(7.2, 4.8))
    for batch, colour in BATCHES.items():
        panel.loglog(sides, [predicted(on, n, batch) for n in sides], color=colour)
        panel.loglog(SIDES, [measured(kernels, n, batch) for n in SIDES], "o", color=colour, label=f"batch {batch}")
    panel.loglog([], [], color="#555555", label="cost model")
    for part in (16, 45):
        panel.loglog(sides, sides / part, ":", color="#999999", linewidth=1)
        panel.annotate(f"N/{part}", (sides[-1], sides[-1] / part), xytext=(4, -3), textcoords="offset points")
    panel.text(0.03, 0.93, "dense W is quicker", transform=panel.transAxes)
    panel.text(0.62, 0.05, "sorting is quicker", transform=panel.transAxes)
    panel.set_xticks(SIDES, map(str, SIDES))
    panel.minorticks_off()
    panel.set(xlabel="sub-models on each side, N", ylabel="axes of the particles, H d")
    panel.legend(loc="upper left", bbox_to_anchor=(0.0, 0.9), frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    with limited_to(1):
        chart(sys.argv[1])

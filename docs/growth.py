"""The figure of docs/performance.md, and its exponents: python docs/growth.py docs/img/growth.png"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dynsim.bench.growth import EXPECTED, SIZES
from dynsim.bench.run import run
from dynsim.progress import Progress

# Okabe-Ito, with another marker each: told apart by colour-blind readers too.
LOOK = {"N": ("#0072B2", "o"), "H": ("#D55E00", "s"), "d": ("#009E73", "^"), "batch": ("#CC79A7", "D")}


def measure() -> dict[str, np.ndarray]:
    """Milliseconds of a step for all sizes of N, H, d and batch, one thread."""
    found = dict(run(["growth"], "1", Progress()))["growth"]
    return {name: np.array([r.ours_ms for r in found if r.name == f"step against {name}"]) for name in SIZES}


def exponent(sizes: tuple[int, ...], times: np.ndarray) -> tuple[float, float]:
    """Slopes of log time against log size, over both decades and over the upper one."""
    x, y = np.log(sizes), np.log(times)
    upper = x >= x[-1] - np.log(10.5)
    return float(np.polyfit(x, y, 1)[0]), float(np.polyfit(x[upper], y[upper], 1)[0])


def draw(times: dict[str, np.ndarray], out: str) -> None:
    figure, panels = plt.subplots(1, 4, figsize=(12, 3.6), sharey=True)
    for panel, (name, sizes) in zip(panels, SIZES.items()):
        colour, marker = LOOK[name]
        whole, upper = exponent(sizes, times[name])
        panel.loglog(sizes, times[name], marker=marker, color=colour, label=f"measured: {whole:.2f}, end {upper:.2f}")
        ideal = times[name][-1] * (np.array(sizes) / sizes[-1]) ** EXPECTED[name]
        panel.loglog(sizes, ideal, "--", color="0.5", label=f"expected: {EXPECTED[name]:g}")
        panel.set(xlabel=name, title=f"step against {name}")
        panel.legend(frameon=False, fontsize=8, loc="upper left")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("time of a step, ms")
    lowest, highest = min(map(np.min, times.values())), max(map(np.max, times.values()))
    panels[0].set_ylim(lowest / 3, highest * 4)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    measured = measure()
    for name, sizes in SIZES.items():
        whole, upper = exponent(sizes, measured[name])
        said = ", ".join(f"{n}: {t:.3g} ms" for n, t in zip(sizes, measured[name]))
        ideal = EXPECTED[name]
        sys.stdout.write(f"{name:<6} exponent {whole:.2f}, upper decade {upper:.2f}, expected {ideal:g}  ({said})\n")
    draw(measured, sys.argv[1])

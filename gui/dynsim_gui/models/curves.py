"""Which curves there are, how they are smoothed and binned, and how their numbers are written."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dynsim.panels import Curve, Panel, drawn, particles_of
from dynsim_gui.models.history import History
from dynsim_gui.models.palette import ACCENT, DIM, ERROR, GOOD, TEXT, WARN, lookup

SMOOTHING = 50
MOST_BINS = 60
MOST_BARS = 500
FIRST_HISTOGRAM = "lambda"


# Panels ------------------------------------------------------------------------------------------------------------

COLOURS = {
    "main": ACCENT,
    "second": WARN,
    "third": TEXT,
    "good": GOOD,
    "bad": ERROR,
    "control": DIM,
}
FAMILY = "viridis"


@dataclass(frozen=True)
class Line:
    """A curve as it is drawn.

    smooth : shown as a moving average, with the raw values faint behind it.
    """

    name: str
    label: str
    colour: str
    dashed: bool = False
    smooth: bool = False


def available(
    panels: Sequence[Panel], names: Iterable[str], valueless: Collection[str] = (), properties: Collection[str] = ()
) -> tuple[dict[str, tuple[Panel, tuple[Line, ...]]], dict[str, str]]:
    """Title -> panel and lines of those that have something to show, and title -> reason of the others.

    panels : as the run declares them. names : scalars recorded; valueless : those of them that are NaN all along;
    properties : per-particle observables that there are. Whatever no panel covers has one of its own.
    """
    shown: dict[str, tuple[Panel, tuple[Line, ...]]] = {}
    reasons: dict[str, str] = {}
    for panel, recorded in drawn(panels, names):
        curves = tuple(c for c in recorded if c.name not in valueless)
        if curves:
            shown[panel.title] = panel, lines(curves)
        elif recorded:
            reasons[panel.title] = "recorded, but without a value so far"
        else:
            reasons[panel.title] = f"not recorded: add '{panel.source}' to record.observables"
    for panel in particles_of(panels, properties):
        if panel.source in properties:
            shown[panel.title] = panel, ()
        else:
            reasons[panel.title] = f"not recorded: add '{panel.source}' to record.properties"
    return shown, reasons


def shown_first(panels: Iterable[Panel]) -> set[str]:
    """Titles of what a person sees who has chosen nothing: the first panel of each observable, and one histogram."""
    first: dict[str, str] = {}
    for panel in panels:
        if not panel.per_particle or panel.source == FIRST_HISTOGRAM:
            first.setdefault(panel.source, panel.title)
    return set(first.values())


def lines(curves: Sequence[Curve]) -> tuple[Line, ...]:
    """Colours by role; a family runs through its colour map."""
    family = [c.name for c in curves if c.role == "family"]
    # the darkest third of the map would not stand out from the ground
    shades = lookup(FAMILY)[np.linspace(80, 245, len(family)).astype(int)]
    of = {name: "#{:02x}{:02x}{:02x}".format(*shade) for name, shade in zip(family, shades)}
    return tuple(
        Line(c.name, c.label, of.get(c.name) or COLOURS.get(c.role, ACCENT), c.role == "control", c.smooth)
        for c in curves
    )


# Smoothing ---------------------------------------------------------------------------------------------------------


def smooth(values: np.ndarray, span: int = SMOOTHING) -> np.ndarray:
    """Exponential moving average of (n,) values with decay 1 - 2 / (span + 1); NaN have no weight.

    Weights are divided by their sum, so that the start is not drawn towards zero (Adam's bias correction). By
    doubling: the sum over 2k terms is that over k terms plus the one k places before, decayed.
    """
    decay = 1 - 2 / (span + 1)
    known = np.isfinite(values)
    total, weight = np.where(known, values, 0.0), known.astype(float)
    k = 1
    while k < len(values) and decay**k > 1e-9:
        total[k:] += decay**k * total[:-k]
        weight[k:] += decay**k * weight[:-k]
        k *= 2
    return np.divide(total, weight, out=np.full(len(values), np.nan), where=weight > 1e-9)


class Smoothed:
    """A column's moving average that costs only its new rows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._values: np.ndarray = np.empty(0)
        self._of: tuple[History, int] | None = None

    def update(self, history: History) -> np.ndarray:
        """(len(history),) average of the column, in whichever table it stands now."""
        if self._of is None or self._of[0] is not history or self._of[1] != history.epoch:
            self._values, self._of = np.empty(0), (history, history.epoch)
        # what lies 20 spans back has a weight below 1e-9 on this side
        done = len(self._values)
        since = max(0, done - 20 * SMOOTHING)
        tail = smooth(history.column(self.name)[since:])
        self._values = np.concatenate([self._values, tail[done - since :]])
        return self._values


def peaks(x: np.ndarray, y: np.ndarray, most: int = MOST_BARS) -> tuple[np.ndarray, np.ndarray]:
    """A line of (n,) points as at most `most` vertical bars from the lowest to the highest value, all peaks kept.

    As many rows as a power of two share a bar, so that the bars stay put while rows come. NaN show only where all are.
    """
    rows = 2 ** math.ceil(math.log2(max(len(x) / most, 1)))
    if rows <= 2:
        return x, y
    starts = np.arange(0, len(x), rows)
    return np.repeat(x[starts], 2), np.stack([np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)], axis=1).ravel()


def within(steps: np.ndarray, span: tuple[float, float]) -> slice:
    """Rows from the last before a span of steps to the first after it."""
    start, stop = np.searchsorted(steps, span)
    return slice(max(int(start) - 1, 0), int(stop) + 1)


# Histogram ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Histogram:
    """Counts between edges, all values counted once.

    Attributes
    ----------
    edges : (k + 1,), equally wide in log10 if `log`. counts : (k,).
    zeros : values exactly zero that a logarithmic axis cannot show. invalid : NaN and infinite. total : of all.
    """

    edges: np.ndarray
    counts: np.ndarray
    log: bool
    zeros: int
    invalid: int
    total: int


def histogram(values: np.ndarray) -> Histogram:
    """Bins by Freedman & Diaconis (1981), at most 60; logarithmic where positive values span more than two decades."""
    values = np.asarray(values, float).ravel()
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    log = bool(len(positive) and finite.min() >= 0 and positive.max() > 100 * positive.min())
    binned = np.log10(positive) if log else finite
    counts, edges = np.histogram(binned, bins=_bins(binned))
    return Histogram(
        edges=10**edges if log else edges,
        counts=counts,
        log=log,
        zeros=int((finite == 0).sum()),
        invalid=len(values) - len(finite),
        total=len(values),
    )


def _bins(values: np.ndarray) -> int:
    if not len(values) or (extent := np.ptp(values)) == 0:
        return 1
    lower, upper = np.percentile(values, (25, 75))
    width = 2 * (upper - lower) / len(values) ** (1 / 3) or extent / math.sqrt(len(values))
    return int(np.clip(math.ceil(extent / width), 1, MOST_BINS))


# Numbers -----------------------------------------------------------------------------------------------------------

_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float, digits: int = 3) -> str:
    """A number in few characters: 12.3k, 1230, 0.0123, 1.2e-5; "-" for NaN."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else f"{value}".replace("inf", "∞")
    if abs(value) >= 1e15 or 0 < abs(value) < 1e-3:
        return _exponent(f"{value:.{digits - 1}e}")
    scale, letter = _scale(abs(value))
    value /= scale
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{decimals}f}{letter}"


def tick_labels(values: Iterable[float], spacing: float) -> list[str]:
    """Labels of an axis's ticks `spacing` apart, just long enough to tell them apart."""
    values = list(values)
    largest = max(map(abs, values), default=0.0)
    if not largest:
        return ["0"] * len(values)
    if largest < 1e-3 or largest >= 1e15:
        decimals = max(0, math.floor(math.log10(largest)) - math.floor(math.log10(spacing) + 1e-9))
        return ["0" if abs(v) < spacing / 2 else _exponent(f"{v:.{decimals}e}") for v in values]
    scale, letter = _scale(largest)
    decimals = max(0, -math.floor(math.log10(spacing / scale) + 1e-9))
    return ["0" if abs(v) < spacing / 2 else f"{v / scale:.{decimals}f}{letter}" for v in values]


def tidy(value: float) -> str:
    """`short` without zeros that say nothing, for round numbers."""
    return re.sub(r"\.?0+(?=[kMGT]?$)", "", text) if "." in (text := short(value)) else text


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """log10 of at most `most` round numbers between 10^low and 10^high: decades, else 1-2-5, else equally spaced."""
    decades = [float(e) for e in range(math.ceil(low), math.floor(high) + 1)]
    fine = [e + math.log10(m) for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    fine = [v for v in fine if low <= v <= high]
    if len(decades) > 2 or len(fine) > most:
        return decades[:: math.ceil(len(decades) / most) or 1]
    if len(fine) > 1 or not high > low:
        return fine
    step = (10**high - 10**low) / most
    step = next(m for m in (10 ** math.floor(math.log10(step)) * np.array([1, 2, 5, 10])) if m >= step)
    return [math.log10(k * step) for k in range(math.ceil(10**low / step), math.floor(10**high / step) + 1) if k]


def _scale(size: float) -> tuple[float, str]:
    """From ten thousand on: four digits are still read at a glance."""
    return next(((s, c) for s, c in _SCALES if size >= max(s, 1e4)), (1.0, ""))


def _exponent(text: str) -> str:
    """1.20e-05 -> 1.2e-5."""
    mantissa, power = text.split("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(power)}"

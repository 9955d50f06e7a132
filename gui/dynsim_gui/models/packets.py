"""Packets of signal on their way along links: they start at the source and fade as the signal profile S_ij(v) does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dynsim.commands import LinkBundle, Prediction
from dynsim.frame import Cast
from dynsim.signals import signal_profile
from dynsim_gui.models.medium import Way, on_the_way

# Seconds from one end of a link to the other, and packets that are on it at a time.
SECONDS, ON_THE_WAY = 1.6, 2


def emitted_by(bundle: LinkBundle, cast: Cast, prediction: Prediction | None, source: str) -> np.ndarray:
    """(k,) |E_i| of the sources: of the sample that was predicted last, or else over the batch; 1 is the strongest."""
    emitted = bundle.emitted
    if prediction is not None and source in prediction.emitted:
        emitted = np.abs(prediction.emitted[source][0][cast.index[bundle.source]])
    return emitted / (float(np.max(emitted, initial=0.0)) or 1.0)


def packets(
    bundles: tuple[LinkBundle, ...],
    positions: np.ndarray,
    emitted: list[np.ndarray],
    clock: float,
    metric: str = "l2",
    ways: Sequence[Way] = (),
    view: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (m, 3) and brightness (m,) in [0, 1] of all packets at a time.

    Parameters
    ----------
    positions : (n, 3) of the particles in the view. emitted : one array a bundle, see `emitted_by`.
    clock : seconds. Links start one after another, so that a wave runs from the input to the output.
    ways : one a bundle where a medium bends or damps, none in empty space. view : from R^d to the view, for ways.
    """
    places, brightness = [], []
    for k, (bundle, strength) in enumerate(zip(bundles, emitted)):
        start, end = positions[bundle.source], positions[bundle.target]
        for phase in range(ON_THE_WAY):
            way = (clock / SECONDS + phase / ON_THE_WAY - 0.5 * k) % 1.0
            # Their own place in the stream, so that packets do not march in rank and file.
            along = (way + 0.61803 * np.arange(len(start))) % 1.0
            if ways and view is not None:
                place, part = on_the_way(ways[k], along)
                at, left = view(place), strength * part
            else:
                at = start + along[:, None].astype(np.float32) * (end - start)
                # Section 4 of the paper: E_i - |v - q_i|_p / |q_j - q_i|_p
                left = signal_profile(strength, start, end, at[:, None], metric=metric)[:, 0]
            places.append(at)
            brightness.append(np.clip(left, 0.0, 1.0))
    if not places:
        return np.zeros((0, 3), np.float32), np.zeros(0, np.float32)
    return np.concatenate(places).astype(np.float32), np.concatenate(brightness).astype(np.float32)

"""Dynamical discrepancy (S11) of the weights of any network, with all that it must be compared with.

Every layer's W / std is fitted by `graph_learning.learn_coordinates`, with fixed signs and the same seed whatever the
state, so that states of one network are comparable; D_l = std / (M + N) sum_ij |Q_i g1 - Q_j g0|. See
`dynsim.observables.discrepancy` for the formula, and for that of a run's own particles.

Of (S10)'s local states g only their size is printed. Here g1 = 1, and g0 is 1, or the rotation, copy by copy, that
brings the receiving neurons nearest to the emitting ones of the layer before (orthogonal Procrustes; (S10) couples
these), 1 for a layer that follows none of as many neurons.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.conversion.graph_learning import Fitted, learn_coordinates
from dynsim.observables.discrepancy import discrepancy, in_a_row, stable_rank
from dynsim.runfolder import TRAJECTORY, RunFolder
from dynsim.signals import all_weights
from dynsim.simulation import Simulation
from dynsim.system.graph import carried
from dynsim.system.initialise import random
from dynsim.trajectory import Trajectory


@dataclass(frozen=True)
class LayerDiscrepancy:
    """One layer, or the whole of them.

    Attributes
    ----------
    discrepancy : D_l for g0 = 1, in units of the weights. turned : D_l for g0 of Procrustes.
    shape : D_l / std for g0 = 1, what is left of it without the scale of the weights.
    norm : |W|_F. stable_rank : |W|_F^2 / |W|_2^2. error : |W - phi| / |W| of the fit.
    """

    discrepancy: float
    turned: float
    shape: float
    norm: float
    stable_rank: float
    error: float


def discrepancies(
    weights: Mapping[str, np.ndarray],
    *,
    shuffled: bool = False,
    metric: str = "l2",
    copies: int = 4,
    dim: int = 4,
    steps: int = 300,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, LayerDiscrepancy]:
    """D_l of every layer W (M, N), inputs by outputs, in the order given; `total` sums up.

    Parameters
    ----------
    shuffled : the control: each layer's weights in a random order, the same norm without what was learned.

    Raises OptionError and ShapeError as `learn_coordinates` does.
    """
    if shuffled:
        weights = {name: shuffled_weights(w, name, seed) for name, w in weights.items()}
    fitted = learn_coordinates(weights, metric=metric, copies=copies, dim=dim, steps=steps, seed=seed, device=device)
    result, before = {}, None
    for name, layer in fitted.items():
        w = np.asarray(weights[name])
        shape, turned = _pair_sums(layer, before)
        result[name] = LayerDiscrepancy(
            discrepancy=layer.std * shape,
            turned=layer.std * turned,
            shape=shape,
            norm=float(np.linalg.norm(w)),
            stable_rank=stable_rank(w),
            error=layer.error,
        )
        before = layer
    return result


def total(layers: Mapping[str, LayerDiscrepancy]) -> LayerDiscrepancy:
    """(S11): the mean over the layers; of the norms, that of all weights."""
    values = list(layers.values())
    means = {k: float(np.mean([getattr(v, k) for v in values])) for k in LayerDiscrepancy.__dataclass_fields__}
    return replace(LayerDiscrepancy(**means), norm=float(np.hypot.reduce([v.norm for v in values])))


def over_run(path: str | Path, every: int = 1, **settings: Any) -> list[tuple[int, dict[str, LayerDiscrepancy]]]:
    """(step, D of every layer) of every so many frames that a run folder has recorded; `settings` as above.

    Of a network of particles it is the weights that are fitted, their path integrals, as if nobody knew the particles:
    so it can be compared with networks of weights. The observable "discrepancy" takes the particles themselves.

    Raises RunFolderError for what is no run folder, FileFormatError for a damaged trajectory.
    """
    folder = RunFolder.open(path)
    simulation = Simulation(folder.scenario)
    with Trajectory(folder / TRAJECTORY) as trajectory:
        frames = [trajectory.frame(i) for i in range(0, len(trajectory), every)]
    result = []
    for frame in frames:
        weights = all_weights(simulation.kernels, simulation.state_at(frame))
        (matrices,) = carried(simulation.kernels.to_host, {k: w.matrix() for k, w in weights.items()})
        result.append((frame.step, discrepancies(matrices, **settings)))
    return result


def shuffled_weights(w: np.ndarray, name: str, seed: int) -> np.ndarray:
    """The numbers of a matrix in a random order, its own for every name."""
    w = np.asarray(w)
    return random(seed, "target", zlib.crc32(name.encode())).permutation(w.ravel()).reshape(w.shape)


def _pair_sums(layer: Fitted, before: Fitted | None) -> tuple[float, float]:
    """D_l / std for g0 = 1 and for g0 of Procrustes, about the layer's own centre, which path integrals do not know."""
    q = np.concatenate([layer.q["a"], layer.q["b"]], axis=1)
    q = q - q.mean(axis=1, keepdims=True)
    ones = np.ones(len(q), q.dtype)
    plain = discrepancy(in_a_row(q, ones))
    if before is None or before.q["b"].shape != layer.q["a"].shape:
        return plain, plain
    return plain, discrepancy(in_a_row(q, ones), in_a_row(_turned(q, layer.q["a"], before.q["b"]), ones))


def _turned(q: np.ndarray, receiving: np.ndarray, emitting: np.ndarray) -> np.ndarray:
    """q (H, n, d), every copy by the rotation (or reflection) that brings `receiving` nearest to `emitting`."""
    from scipy.linalg import orthogonal_procrustes

    pairs = zip(receiving - receiving.mean(axis=1, keepdims=True), emitting - emitting.mean(axis=1, keepdims=True))
    return np.stack([points @ orthogonal_procrustes(a, b)[0] for points, (a, b) in zip(q, pairs)])

"""Merging after training: particles of a finished model that are close become one and are stored as one.

The remark under Eq. (5), without its time: a finished model no longer moves (`dynsim.dynamics.merging` merges what
does).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.cost import cost
from dynsim.backend.export import Source
from dynsim.backend.formats import save_model
from dynsim.backend.inference import Model
from dynsim.errors import OptionError, RunFolderError
from dynsim.fields.data import LearningData, Part
from dynsim.fields.losses import loss_and_feedback
from dynsim.fields.network import predict_logits
from dynsim.kernels.load import load
from dynsim.start import learning_data
from dynsim.system.graph import Groups
from dynsim.system.merging import Clusters


@dataclass(frozen=True)
class Merged:
    """A model whose particles have merged.

    clusters : who is one, particles numbered in the order of the model's subsystems.
    """

    model: Model
    clusters: Clusters

    @property
    def fraction(self) -> float:
        """Of the particles, what merging has spared."""
        return 1 - self.clusters.distinct / max(len(self.clusters.leader), 1)


def merged(model: Model, radius: float, across: bool = False) -> Merged:
    """A model in which every cluster of particles within a radius of their leader is at its mean place.

    Parameters
    ----------
    radius : in units of q; 0 finds who is at the same place.
    across : whether particles of different subsystems may merge.

    Raises OptionError for a radius that is none.
    """
    if not 0 <= radius < math.inf:
        raise OptionError("not a radius", where="--radius", given=radius, allowed="a number from 0 on")
    flat = flat_coordinates(model)
    parts = [np.concatenate(list(flat.values()))] if across else list(flat.values())
    n = sum(map(len, parts))
    alone = Clusters(np.arange(n, dtype=np.int32), np.ones((n, 1)))
    return placed_together(model, alone.merged([q[None] for q in parts], radius))


def placed_together(model: Model, clusters: Clusters) -> Merged:
    """A model with every cluster at its mean place; coefficients, weights and biases stay."""
    flat = flat_coordinates(model)
    shared = np.split(clusters.shared(np.concatenate(list(flat.values()))), np.cumsum([*map(len, flat.values())])[:-1])
    q = {k: a.reshape(model.x[k].shape) for k, a in zip(flat, shared)}
    return Merged(replace(model, x=dict(model.x) | q), clusters)


def flat_coordinates(model: Model) -> Groups:
    """ "q:NAME" -> (H N, d), in the order of the subsystems. Raises OptionError for a model without particles."""
    names = [s.name for s in model.graph.particle_subsystems]
    if not names:
        raise OptionError("nothing here is a particle", where="model", hint="a model whose links have path integrals")
    return {f"q:{n}": model.x[f"q:{n}"].reshape(-1, model.graph.dim) for n in names}


def merge(
    path: str | Path, radii: Sequence[float], out: str | Path | None = None, across: bool = False
) -> dict[str, Any]:
    """What a run's or model file's classifier is and costs when merged at each radius, beside itself (radius 0).

    Parameters
    ----------
    out : where the merged model is written; then there is one radius.

    Raises OptionError, RunFolderError, FileFormatError.
    """
    if out is not None:
        _check_place(Path(out), radii)
    source = Source.open(path)
    data = learning_data(source.scenario, None) if source.scenario is not None else None
    made = [merged(source.model, radius, across) for radius in (0.0, *radii)]
    rows = [_row(m, radius, data) for m, radius in zip(made, (0.0, *radii))]
    report: dict[str, Any] = {"source": str(path), "across": across, "classifies": bool(source.model.classes)}
    report |= {"rows": rows, "file": None}
    if out is not None:
        try:
            save_model(made[1].model, Path(out))
        except OSError as error:
            raise RunFolderError("cannot be written", where=str(out), given=error.strerror) from None
        report |= {"file": str(out), "file_bytes": Path(out).stat().st_size}
    return report


def _check_place(out: Path, radii: Sequence[float]) -> None:
    if len(radii) != 1:
        raise OptionError("one model is written", where="--out", given=f"{len(radii)} radii", allowed="one --radius")
    if out.suffix != ".safetensors":
        raise OptionError("not a name for a model", where="--out", given=str(out), allowed="*.safetensors")
    if not out.parent.is_dir():
        raise OptionError("no such folder", where="--out", given=str(out.parent), hint=f"mkdir -p {out.parent}")


def _row(merged: Merged, radius: float, data: LearningData | None) -> dict[str, Any]:
    clusters, scores = merged.clusters, {}
    if data is not None:
        parts = {"validation": data.validation, "test": data.test}
        scores = {name: score(merged.model, part) for name, part in parts.items() if len(part)}
    return {
        "radius": radius,
        "particles": len(clusters.leader),
        "distinct": clusters.distinct,
        "merged": merged.fraction,
        "largest_cluster": int(clusters.sizes.max()),
        **scores,
        **asdict(cost(merged.model)),
    }


def score(model: Model, part: Part) -> float:
    """Fraction of scaled samples that are classified rightly; of a regression the mean loss."""
    logits = predict_logits(model.network, model.weights(), model.x, part.x, load("cpu"))
    if part.y.ndim == 2:
        return float(loss_and_feedback("squared", logits, part.y)[0])
    return float((logits.argmax(axis=1) == part.y).mean())

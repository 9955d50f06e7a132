"""Who hears whom in a pool of sub-models, where no graph says it: Eq. (2) with the links that positions make."""

from __future__ import annotations

from itertools import product

import numpy as np

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel
from dynsim.signals import link_weights
from dynsim.system.graph import Subsystem

ROLES = ("data", "free", "read")
ROUTES = tuple(f"routes_{a}_{b}" for a, b in product(ROLES, ROLES[1:]))


def roles(pool: Subsystem) -> dict[str, slice]:
    """Which sub-models of a pool hold data, are free, are read."""
    last = pool.size - pool.reads
    return {"data": slice(0, pool.holds), "free": slice(pool.holds, last), "read": slice(last, pool.size)}


@observable
class Routes(Observable):
    """Fractions of what free sub-models hear, and of what those hear that are read, by who speaks: sums over pairs of
    |phi_ij| rms(E_i) of the last tick. routes_data_read is heard directly, routes_free_read is passed on by free ones.
    Sub-models that hold data hear nobody. Nothing is measured where there is no pool."""

    name, kind, every = "routes", "scalar", "frame"
    panels = tuple(
        Panel(
            title,
            "fraction of |φ| rms(E)",
            "routes",
            tuple(Curve(f"routes_{a}_{b}", f"from {a}", role) for a, role in zip(ROLES, ("main", "second", "third"))),
        )
        for title, b in (("What free sub-models hear", "free"), ("What the answer hears", "read"))
    )

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        system, response = snapshot.system, snapshot.response
        pools = [k for k in system.graph.links if system.graph.by_name[k.source].holds and k.to_itself]
        if not pools:
            return {}
        heard = dict.fromkeys(ROUTES, 0.0)
        for link in pools:
            pool = system.graph.by_name[link.source]
            phi = np.abs(link_weights(snapshot.kernels, system, link).matrix()).astype(float)
            said = phi * response.emitted[pool.name][:, None] if response is not None else phi
            parts = roles(pool)
            for a, b in product(ROLES, ROLES[1:]):
                heard[f"routes_{a}_{b}"] += float(said[parts[a], parts[b]].sum())
        total = {b: sum(heard[f"routes_{a}_{b}"] for a in ROLES) or 1.0 for b in ROLES[1:]}
        return {f"routes_{a}_{b}": heard[f"routes_{a}_{b}"] / total[b] for a, b in product(ROLES, ROLES[1:])}

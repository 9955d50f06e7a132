"""(S6)-(S8): a weight matrix is a potential field, learning moves it, and particles follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.conversion.coordinates import SIDES
from dynsim.backend.conversion.descent import Adam
from dynsim.backend.conversion.graph_learning import energy_and_forces, learn_coordinates, signs
from dynsim.kernels.load import load
from dynsim.kernels.reference import metric_value
from dynsim.reproduce import picture
from dynsim.reproduce.study import Sample, Study, Unit, load_arrays, save_arrays
from dynsim.reproduce.table import Table
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.graph import Groups

SIZE = 64  # of the hidden subsystem, and of the input
MOVES = 160  # of W, one for every step of training
RATE = 0.005  # of Adam while W learns
WAYS = ("flow", "adam")
PUSH = {"flow": 1.0, "adam": 0.02}  # of (S7) in units of 1 / curvature, and of Adam
COPIES, DIM = 4, 4


def potential(q: np.ndarray, others: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Phi(q_i; Q, W), (S6) with p = 1: sum_j |d(q_i, q_j) - W_ij| at places q (k, H, d) of neuron i.

    Parameters
    ----------
    others : (H, N, d) of all j. row : W_ij (N,). d is that of Sec. 4.2, sum_h (-1)^h |q_ih - q_jh|.
    """
    distances = metric_value("l2", q[:, :, None], others[None], 0.0, 2.0)
    return np.abs(np.einsum("h,khj->kj", signs(len(others), others.dtype), distances) - row).sum(axis=1)


def path_of(seed: int, moves: int) -> np.ndarray:
    """(moves + 1, M, N) the weights between inputs and hidden sub-models at every step while digits are learned."""
    scenario = Scenario.from_dict(
        {
            "system": {"layers": ["auto", SIZE, "auto"], "metric": "weights", "trained": ["weight", "bias"]},
            "field": {"dataset": "digits", "batch": 128},
            "dynamics": {"integrator": "adam", "eta": RATE},
            "run": {"steps": moves, "seed": seed},
            "record": {"observables": []},
        }
    )
    simulation = Simulation(scenario)
    path = [simulation.system.x["weight:input>hidden"][..., 0]]
    while not simulation.done:
        simulation.step()
        path.append(simulation.system.x["weight:input>hidden"][..., 0])
    return np.stack(path)


def followed(folder: Path, seed: int, moves: int, strides: list[int], steps: list[int], fit: int) -> dict[str, Any]:
    """Tracking errors, means over the path, for W that moves `stride` steps of its path at once."""
    path = path_of(seed, moves)
    start = learn_coordinates({"W": path[0]}, copies=COPIES, dim=DIM, steps=fit, seed=seed)["W"]
    end = learn_coordinates({"W": path[-1]}, copies=COPIES, dim=DIM, steps=fit, seed=seed)["W"]
    save_arrays(folder, f"followed-{seed}", {"path": path[[0, -1]], "a": start.q["a"], "b": start.q["b"]})
    units = path / np.float32(start.std)
    errors = {f"{way}-{s}-{k}": follow(units[::s], start.q, way, k) for way in WAYS for s in strides for k in steps}
    speed = {str(s): float(np.mean([_relative(b, a) for a, b in zip(path[::s], path[s::s])])) for s in strides}
    still = {str(s): float(np.mean([_relative(w, start.matrix()) for w in path[s::s]])) for s in strides}
    return {"errors": errors, "speed": speed, "still": still, "fitted": {"start": start.error, "end": end.error}}


def follow(path: np.ndarray, q: Groups | Any, way: str, steps: int) -> float:
    """Mean |W - phi| / |W| over the path, when particles take `steps` steps after every move of W, (S8)."""
    kernels, adam, errors = load("cpu"), Adam(), []
    count = path[0].size
    curvature = len(q["a"]) * max(path[0].shape) / count  # of the mean square, along the stiffest way
    for target in path[1:]:
        for _ in range(steps):
            _, forces = energy_and_forces(kernels, "l2", target, q, [], 0.0)
            # (S7), downhill: however, as printed it climbs
            moves = forces if way == "flow" else adam.step(forces, PUSH["adam"])
            size = np.float32(PUSH["flow"] / curvature if way == "flow" else 1)
            q = {side: q[side] + size * moves[side] for side in SIDES}
        energy, _ = energy_and_forces(kernels, "l2", target, q, [], 0.0)
        errors.append(float(np.sqrt(2 * energy / np.square(target).mean())))
    return float(np.mean(errors))


def _relative(exact: np.ndarray, approximate: np.ndarray) -> float:
    return float(np.linalg.norm(exact - approximate) / np.linalg.norm(exact))


def table(study: Study, seeds: int, quick: bool) -> Table:
    """Tracking error against steps per move, and against the speed of W."""
    strides, steps = [1, 4, 16], [1, 3] if quick else [1, 3, 10, 30]
    common = {"moves": 32 if quick else MOVES, "strides": strides, "steps": steps}
    units = [Unit(f"followed-{s}", followed, common | {"seed": s, "fit": 30 if quick else 600}) for s in range(seeds)]
    found = list(study.run("particles follow W", units).values())

    def sample(*keys: str) -> Sample:
        values = [f[keys[0]][keys[1]] for f in found]
        return Sample(tuple(values))

    made = Table(
        "s-field",
        f"Particles in the moving potential of a weight matrix, {seeds} seeds",
        "Understanding Deep Neural Networks as Dynamical Systems, (S6)-(S8)",
        f"W, {SIZE} x {SIZE}, learns digits by Adam; the particles (H {COPIES}, d {DIM}) are fitted to the untrained W "
        "and then take some steps after every move of W: downhill by (S7), or by Adam. Mean relative error "
        "along the way; speed: mean change of W a move, relative to its norm; 'still' is that of particles that stay "
        "where they were. A fresh fit has "
        f"{sample('fitted', 'start')} at the start and {sample('fitted', 'end')} at the end.",
        (
            "steps of training a move",
            "speed of W",
            "still",
            "way",
            *(f"error, {k} a move" for k in steps),
        ),
    )
    for s in strides:
        for way in WAYS:
            cells = [sample("errors", f"{way}-{s}-{k}") for k in steps]
            made.rows.append((s, sample("speed", str(s)), sample("still", str(s)), _said(way), *cells))
    made.verdict = _verdict(made, sample("fitted", "end"))
    _draw(study, made, steps)
    return made


def _draw(study: Study, made: Table, steps: list[int]) -> None:
    """Tracking errors, and the potential (S6) of one neuron in the plane of two of its coordinates."""
    curves = {f"W moves by {row[0]}, {row[3]}": list(row[4:]) for row in made.rows}
    labels = ("steps of the particles a move of W", "mean |W - phi| / |W|")
    dashed = tuple(name for name in curves if name.endswith("Adam"))
    title = "Following W that moves 1, 4 or 16 steps of training at once"
    picture.series(study.folder / "s-field.png", list(map(str, steps)), curves, labels, title, dashed=dashed)
    _draw_potential(study)


def _draw_potential(study: Study) -> None:
    """(S6) of one neuron around its place, in two of its coordinates, where W is trained and the others are not."""
    stored = load_arrays(study.folder, "followed-0")
    row, q = stored["path"][1][0] / stored["path"][0].std(), stored["a"][:, [0]].transpose(1, 0, 2)
    side = np.linspace(-1.5, 1.5, 101)
    x, y = np.meshgrid(q[0, 0, 0] + side, q[0, 0, 1] + side)
    places = np.repeat(q, x.size, axis=0)
    places[:, 0, 0], places[:, 0, 1] = x.ravel(), y.ravel()
    values = potential(places, stored["b"], row).reshape(x.shape)
    made, axes = picture.figure(5.6, 4.6)
    levels = np.linspace(values.min(), np.quantile(values, 0.9), 25)
    made.colorbar(axes.contourf(x, y, values, levels=levels, extend="max"), label="potential (S6)", format="%.1f")
    mark = {"color": "white", "markeredgecolor": "black", "linestyle": ""}
    least = np.unravel_index(values.argmin(), values.shape)
    axes.plot(*q[0, 0, :2], marker="o", label="fitted to the untrained W", **mark)
    axes.plot(x[least], y[least], marker="*", markersize=12, label="lowest in this plane", **mark)
    axes.set(xlabel="first coordinate of the first copy", ylabel="second coordinate", aspect="equal")
    axes.set_title("One neuron in the field of the trained W", fontsize=10)
    axes.legend(fontsize=8, loc="upper right")
    picture.save(made, study.folder / "s-field-potential.png")


def _said(way: str) -> str:
    return {"flow": "(S7)", "adam": "Adam"}[way]


def _verdict(made: Table, fresh: Sample) -> list[str]:
    rows = [dict(zip(made.columns, row)) for row in made.rows]
    ends = made.columns[4], made.columns[-1]
    said = []
    for r in rows:
        follows = r[ends[1]].mean < r["still"].mean
        better = r[ends[1]].mean < r[ends[0]].mean
        said.append(
            f"{r['way']}, {r['steps of training a move']} steps of training a move: the particles "
            f"{'follow' if follows else 'do not follow'} ({ends[1]}: {r[ends[1]]}, still {r['still']}); more steps "
            f"{'help' if better else 'do not help'} ({ends[0]}: {r[ends[0]]})."
        )
    best = min(r[ends[1]].mean for r in rows)
    word = "reaches" if best < fresh.mean + 0.01 else "does not reach"
    return [*said, f"Following {word} what a fresh fit of the end has ({fresh})."]

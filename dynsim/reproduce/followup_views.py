"""t-SNE of the particles of networks, Fig. 2, 4 and 5 of the second paper, with numbers for what it shows.

The clouds of different layers are fitted on their own: how they lie to each other is free (a distance knows no common
shift), unless Algorithm 1 ties them together. Hence every view stands beside the coordinates before the fit, and beside
those of the same weights in a random order, for which there is nothing to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.conversion.graph_learning import Fitted, learn_coordinates
from dynsim.backend.discrepancy import shuffled_weights
from dynsim.backend.embedding import embed
from dynsim.commands import Embed
from dynsim.observables.discrepancy import in_a_row
from dynsim.reproduce import lenet, picture, published
from dynsim.reproduce.followup_fits import DIM, LENET, trained_lenet
from dynsim.reproduce.study import Sample, Study, Unit, load_arrays, save_arrays
from dynsim.reproduce.table import Table
from dynsim.reproduce.watched import weights_of
from dynsim.system.graph import Graph, Link, Subsystem, System

SOURCE = "Understanding Deep Neural Networks as Dynamical Systems"
COPIES = 4
KINDS = ("fitted", "constraint", "shuffled", "untrained")
SAID = {
    "fitted": "fitted",
    "constraint": "fitted, Algorithm 1 with its constraint",
    "shuffled": "control: weights in a random order",
    "untrained": "control: before the fit",
}
CLEAR = 0.1  # of a silhouette above its control: less is nothing to see
GROUPS = range(2, 7)  # clusters that are tried


def system_of(clouds: Mapping[str, np.ndarray]) -> System:
    """Clouds (n, k) of points as the subsystems of a state that can be looked at; they are joined in a row."""
    names = list(clouds)
    subsystems = tuple(Subsystem(n, len(clouds[n])) for n in names)
    links = tuple(Link(a, b) for a, b in zip(names, names[1:]))
    graph = Graph(subsystems, links, copies=1, dim=clouds[names[0]].shape[1])
    x = {f"q:{n}": clouds[n][None].astype(np.float64) for n in names}
    return System(graph, x, {}, {}, {k: np.ones((1, 1, 1)) for k in x})


def viewed(folder: Path, name: str, clouds: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Embed clouds, store the points, and say how well the clouds keep apart."""
    system = system_of(clouds)
    count = sum(map(len, clouds.values()))
    seen = embed(system, Embed(perplexity=min(30.0, (count - 1) / 3)))
    group = np.repeat(np.arange(len(clouds)), [len(c) for c in clouds.values()])[seen.particles]
    save_arrays(folder, name, {"points": seen.points, "group": group})
    return {
        "silhouette": seen.silhouette,
        "original": seen.original,
        "chance": seen.shuffled,
        "apart": _apart(np.concatenate(list(clouds.values()))[seen.particles], group),
    }


def _apart(q: np.ndarray, group: np.ndarray) -> float:
    """Mean distance between neurons of different groups over that within a group."""
    from scipy.spatial.distance import cdist

    distances, same = cdist(q, q), np.equal.outer(group, group)
    return float(distances[~same].mean() / distances[same & ~np.eye(len(q), dtype=bool)].mean())


def clusters(q: np.ndarray) -> tuple[int, float]:
    """(how many k-means clusters of points (n, k) keep apart best, their silhouette)."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    counts = [k for k in GROUPS if k < len(q)]
    labels = {k: KMeans(k, n_init=4, random_state=0).fit_predict(q) for k in counts}
    scores = {k: float(silhouette_score(q, labels[k])) for k in counts}
    best = max(scores, key=lambda k: scores[k])
    return best, scores[best]


def cloud(layer: Fitted, side: str) -> np.ndarray:
    """(n, H d) of the receiving, "a", or emitting, "b", neurons of a layer."""
    return in_a_row(layer.q[side], np.ones(len(layer.q[side])))


def coordinates(weights: Mapping[str, np.ndarray], kind: str, steps: int, seed: int) -> dict[str, Fitted]:
    """Particles of a kind of view."""
    given = {k: shuffled_weights(w, k, seed) for k, w in weights.items()} if kind == "shuffled" else weights
    tied: dict[str, Any] = {"dependencies": LENET, "strength": 0.1} if kind == "constraint" else {}
    steps = 0 if kind == "untrained" else steps
    return learn_coordinates(given, copies=COPIES, dim=DIM, steps=steps, seed=seed, **tied)


def layers_of_lenet(folder: Path, seed: int, kind: str, steps: int, settings: dict[str, Any]) -> dict[str, Any]:
    """All layers in one view, both sides of a layer together."""
    fitted = coordinates(weights_of(trained_lenet(folder, seed, settings)), kind, steps, seed)
    clouds = {k.partition(">")[2]: np.concatenate([cloud(f, "a"), cloud(f, "b")]) for k, f in fitted.items()}
    return viewed(folder, f"view-lenet-{kind}-{seed}", clouds) | {"names": list(clouds)}


def one_layer(folder: Path, network: str, layer: str, kind: str, steps: int, seed: int) -> dict[str, Any]:
    """The receiving and the emitting neurons of one layer."""
    fitted = coordinates({layer: published_layers(network)[layer]}, kind, steps, seed)[layer]
    sides = {"receiving": cloud(fitted, "a"), "emitting": cloud(fitted, "b")}
    numbers = viewed(folder, view_name(network, layer, kind, seed), sides) | {"names": list(sides)}
    for side, q in sides.items():
        count, score = clusters(q)
        numbers |= {f"{side}_clusters": count, f"{side}_silhouette": score}
    return numbers


def view_name(network: str, layer: str, kind: str, seed: int) -> str:
    """Of a unit, and of its picture."""
    return f"view-{network}-{layer.replace('>', '-')}-{kind}-{seed}"


def published_layers(network: str) -> dict[str, np.ndarray]:
    """W (M, N), inputs by outputs, of the layers of a network of others."""
    if network == "cnn":
        return weights_of(published.mnist_cnn())
    path = published.published(published.MINILM)
    assert path is not None
    with np.load(path, allow_pickle=False) as tensors:
        return {k.removesuffix(".weight"): tensors[k].T for k in tensors.files if tensors[k].ndim == 2}


def s_fig2(study: Study, seeds: int, quick: bool) -> list[Table]:
    """LeNet-5: are the neurons of a subsystem closer to each other than to those of others?"""
    p = lenet.plan(quick)
    kinds = KINDS[::2] if quick else KINDS
    common = {"settings": p["settings"], "steps": 20 if quick else 400}
    views = [
        Unit(f"view-lenet-{k}-{s}", layers_of_lenet, common | {"seed": s, "kind": k}, (f"baseline-{s}",))
        for s in range(seeds)
        for k in kinds
    ]
    found = study.run("views of LeNet-5", [*lenet.baseline_units(seeds, p), *views])
    table = Table(
        "s-fig2",
        f"t-SNE of the particles of LeNet-5, {seeds} seeds",
        f"{SOURCE}, Fig. 2 (a)",
        f"Subsystems are layers, with their receiving and emitting neurons, points of R^{COPIES * DIM}. Apart: mean "
        "distance between neurons of different layers over that within a layer; silhouettes by layer, of the t-SNE in "
        "three dimensions, of the points themselves, and of shuffled labels.",
        ("coordinates", "apart", "silhouette, t-SNE", "silhouette, R^d", "shuffled labels"),
    )
    cells = {}
    for kind in kinds:
        rows = [found[f"view-lenet-{kind}-{s}"] for s in range(seeds)]
        cells[kind] = [_sample(rows, key) for key in ("apart", "silhouette", "original", "chance")]
        table.rows.append((SAID[kind], *cells[kind]))
        draw(study, f"view-lenet-{kind}-0", rows[0]["names"], f"s-fig2-{kind}.png", f"LeNet-5, {SAID[kind]}")
    ours, null = cells["fitted"], cells["shuffled"]
    word = "holds" if ours[0].mean > 1 + CLEAR else "does not hold"
    more = ours[0].mean - null[0].mean > CLEAR
    table.verdict = [
        f"Neurons of one subsystem are closer to each other than to those of others: {word} (between layers {ours[0]} "
        f"of the distance within); with weights in a random order {null[0]}: it {'is' if more else 'is not'} learned.",
        "How far conv1 is from conv2 and from fc2 is free: layers that are fitted on their own share no origin.",
    ]
    return [table]


def s_fig4(study: Study, seeds: int, quick: bool) -> list[Table]:
    """The layers of a convolutional network of others."""
    layers = ("conv1.in>conv1.out", "conv2.in>conv2.out", "fc1>output")
    return [_layers_table(study, "s-fig4", "cnn", published.MNIST_CNN, layers, seeds, quick)]


def s_fig5(study: Study, seeds: int, quick: bool) -> list[Table]:
    """A transformer's layer."""
    layers = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    return [_layers_table(study, "s-fig5", "minilm", published.MINILM, layers, seeds, quick)]


def _layers_table(
    study: Study, name: str, network: str, file: str, layers: tuple[str, ...], seeds: int, quick: bool
) -> Table:
    here = published.published(file) is not None
    kinds = ("fitted", "shuffled", "untrained")
    shown = (layers[:1] if quick else layers) if here else ()
    units = {
        (layer, kind, s): Unit(
            view_name(network, layer, kind, s),
            one_layer,
            {"network": network, "layer": layer, "kind": kind, "seed": s, "steps": 10 if quick else 300},
        )
        for layer in shown
        for kind in kinds
        for s in range(seeds)
    }
    found = study.run("views of layers", units.values())
    table = Table(
        name,
        f"t-SNE of the layers of {file.partition('_')[0]}, {seeds} seeds of the fit",
        f"{SOURCE}, Fig. {name[-1]}",
        "Receiving and emitting neurons of one layer. Silhouette of the two sides, in t-SNE and in R^d; then of the "
        f"best of {GROUPS.start} to {GROUPS.stop - 1} k-means clusters within each side, in R^d."
        + ("" if here else f" {published.absent(file)}"),
        ("layer", "coordinates", "sides, t-SNE", "sides, R^d", "receiving, clusters", "emitting, clusters"),
    )
    keys = ("silhouette", "original", "receiving_silhouette", "emitting_silhouette")
    for layer in shown:
        cells = {}
        for kind in kinds:
            rows = [found[units[layer, kind, s].name] for s in range(seeds)]
            cells[kind] = [_sample(rows, key) for key in keys]
            table.rows.append((layer, SAID[kind], *cells[kind]))
            if kind == "fitted":
                stem = layer.replace(">", "-")
                draw(study, view_name(network, layer, kind, 0), rows[0]["names"], f"{name}-{stem}.png", layer)
        table.verdict.append(_sides(layer, cells))
    return table


def _sides(layer: str, cells: Mapping[str, list[Sample]]) -> str:
    ours, null = cells["fitted"], cells["shuffled"]
    said = []
    for what, k in (("receiving", 2), ("emitting", 3)):
        clear = ours[k].mean - null[k].mean > CLEAR
        said.append(
            f"{what} neurons {'split' if clear else 'do not split'} into clusters that a random order of the weights "
            f"has not (silhouette {ours[k]} against {null[k]})"
        )
    return f"{layer}: {'; '.join(said)}."


def _sample(rows: list[dict[str, Any]], key: str) -> Sample:
    return Sample(tuple(r[key] for r in rows))


def draw(study: Study, view: str, names: list[str], file: str, title: str) -> None:
    """Two of the three dimensions of a stored view."""
    stored = load_arrays(study.folder, view)
    made, axes = picture.figure(5.4, 4.6)
    for k, name in enumerate(names):
        points = stored["points"][stored["group"] == k]
        axes.scatter(
            points[:, 0], points[:, 1], s=9, alpha=0.75, linewidths=0, color=picture.COLOURS[k % 7], label=name
        )
    axes.set(xticks=[], yticks=[], aspect="equal", xlabel="t-SNE, first axis", ylabel="second axis")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, markerscale=2)
    picture.save(made, study.folder / file)

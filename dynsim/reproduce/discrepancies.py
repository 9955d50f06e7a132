"""Dynamical discrepancy (S11) beside its controls: training, other networks, fine-tuning, width (Theorem 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dynsim.reproduce import lenet, picture, watched, widths
from dynsim.reproduce.courses import RANKED, Course, told, training_units
from dynsim.reproduce.resolution import spearman
from dynsim.reproduce.study import Sample, Study, Unit
from dynsim.reproduce.table import Table

SOURCE = "Understanding Deep Neural Networks as Dynamical Systems"
HOWS = ("plain", "decay", "random")
KEPT_ACCURACY = 0.5  # points: two networks no further apart than this are equally good
TASKS = ("same task", "weight decay", "digits 0-4", "fashion-mnist", "random labels")
# name of the scenario -> (what it is, epochs)
OTHERS = {"mnist_mlp": ("784-512-10 on MNIST", 3), "attention": ("attention on digits", 30)}


def s_fig3(study: Study, seeds: int, quick: bool) -> list[Table]:
    """LeNet-5 while it learns: D of all layers and of each, against validation accuracy."""
    units = training_units("lenet", seeds, quick, HOWS, epochs=4)
    found = study.run("LeNet-5 watched", units)
    courses = {how: Course(found, "lenet", how, seeds) for how in HOWS}
    plain = courses["plain"]
    table = Table(
        "s-fig3",
        f"LeNet-5 on MNIST: rank correlation with validation accuracy, {seeds} seeds",
        f"{SOURCE}, Fig. 3",
        "Spearman's rho over states at evenly spaced log(step), from the untrained network to 4 epochs of Adam, of D "
        "by fixed signs and one seed, g = 1 and by Procrustes, and of its controls: the norm, the stable rank, D of "
        "the same weights in a random order, and D without the scale of the weights. At equal norm: what partial rank "
        "correlation leaves of D. Last: D at the end over D at the start.",
        ("layer", *RANKED, "D at equal norm", "D, end / start"),
    )
    for layer in [*plain.layers, "all"]:
        d = plain.measure("discrepancy", layer)
        ranks = [plain.rank(key, plain.accuracy(), layer) for key in RANKED.values()]
        left = plain.rank_at_equal_norm(plain.accuracy(), layer)
        table.rows.append((layer, *ranks, left, Sample(tuple(d[:, -1] / d[:, 0]))))
    table.verdict = [
        told("D rises with validation accuracy", plain, plain.accuracy()),
        *[told(f"D in {k}", plain, plain.accuracy(), k) for k in plain.layers],
        _dense_rise(plain),
        told(
            "(S13): its coefficients and R are never given, so that it cannot be computed; measured instead, D against "
            "the log error ratio ln eta",
            plain,
            plain.of("log_error_ratio"),
        ),
    ]
    ends = _ends(courses, seeds)
    _draw(study, plain)
    return [table, ends]


def _dense_rise(course: Course) -> str:
    """Print: late in training D of convolutions rises more slowly than that of dense layers."""
    half = len(course.rows[0]) // 2

    def growth(key: str, conv: bool) -> np.ndarray:
        chosen = [k for k in course.layers if k.startswith("conv") == conv]
        rates = [course.measure(key, k)[:, -1] / course.measure(key, k)[:, half] for k in chosen]
        return np.mean(rates, axis=0)

    parts = {}
    for name, key in (("D", "discrepancy"), ("norm of W", "norm")):
        parts[name] = [Sample(tuple(growth(key, conv))) for conv in (True, False)]
    conv, dense = parts["D"]
    word = "holds" if dense.mean > conv.mean else "does not hold"
    return (
        f"In the later half of the states D of dense layers grows faster than that of convolutions: {word} (by factors "
        f"{dense} and {conv}; the norm of W by {parts['norm of W'][1]} and {parts['norm of W'][0]})."
    )


def _ends(courses: Mapping[str, Course], seeds: int) -> Table:
    """The last states of the three ways of training."""
    table = Table(
        "s-fig3-controls",
        f"LeNet-5 at the end of training, three ways, {seeds} seeds",
        f"{SOURCE}, Fig. 3",
        f"The same network and steps with decoupled weight decay ({watched.DECAY}), and with training labels in a "
        "random order, where there is nothing to represent. Accuracies in %.",
        ("training", "test", "of what it was trained on", "D", "D of shuffled weights", "norm of W", "stable rank"),
    )
    names = {"plain": "plain", "decay": "weight decay", "random": "random labels"}
    for how, course in courses.items():
        measures = [course.measure(k) for k in ("discrepancy", "shuffled", "norm", "stable_rank")]
        cells = [course.accuracy("test"), course.accuracy("train"), *measures]
        table.rows.append((names[how], *(Sample(tuple(a[:, -1])) for a in cells)))
    (plain, decay, random) = (dict(zip(table.columns, row)) for row in table.rows)
    apart = abs(plain["test"].mean - decay["test"].mean)
    equal = "at equal accuracy" if apart <= KEPT_ACCURACY else "at another accuracy"
    ratios = {k: random[k].mean / plain[k].mean for k in ("D", "D of shuffled weights", "norm of W")}
    own = abs(random["D"].mean - random["D of shuffled weights"].mean) > random["D"].deviation
    table.verdict = [
        f"Weight decay leaves {decay['D'].mean / plain['D'].mean:.2f} of D {equal} ({apart:.2f} points apart), and "
        f"{decay['norm of W'].mean / plain['norm of W'].mean:.2f} of the norm of W.",
        f"With random labels, at a test accuracy of {random['test']} %, D is {ratios['D']:.2f} of that with true ones, "
        f"D of shuffled weights {ratios['D of shuffled weights']:.2f}, the norm of W {ratios['norm of W']:.2f}: D says "
        f"{'something that' if own else 'no more than'} a random order of the weights {'does not' if own else 'does'}.",
    ]
    return table


def _draw(study: Study, course: Course) -> None:
    accuracy = course.accuracy().mean(axis=0)
    order = np.argsort(accuracy, kind="stable")

    def relative(key: str, layer: str = "all") -> list[Sample | float | None]:
        a = course.measure(key, layer)
        return [Sample(tuple(v)) for v in (a / a[:, :1]).T[order]]

    shown = {name: relative(RANKED[name]) for name in ("D", "norm of W", "D of shuffled weights", "D / std W")}
    labels = ("validation accuracy, %", "relative to the untrained network")
    x = accuracy[order].tolist()
    picture.series(
        study.folder / "s-fig3.png", x, shown, labels, "LeNet-5: D and its controls", dashed=tuple(shown)[1:]
    )
    layers = {layer.partition(">")[2]: relative("discrepancy", layer) for layer in course.layers}
    picture.series(study.folder / "s-fig3-layers.png", x, layers, labels, "LeNet-5: D of each layer")


def s_table2(study: Study, seeds: int, quick: bool) -> list[Table]:
    """D over the training of the other networks that can be had here."""
    units = [u for name, (_, epochs) in OTHERS.items() for u in training_units(name, seeds, quick, ("plain",), epochs)]
    found = study.run("other networks watched", units)
    table = Table(
        "s-table2",
        f"D over training, {seeds} seeds",
        f"{SOURCE}, Table 2",
        "Print has ResNet-50 and ViT-B on ImageNet; here a dense network on MNIST and a transformer block on 8 x 8 "
        "digits, as weights, at a third, two thirds and the end of the states, which are evenly spaced in log(step). "
        "'All' is the mean over layers, as (S11) says; print's is larger than each of its layers, so it is none. "
        "Accuracies in %.",
        ("network", "accuracy", "bottom", "middle", "top", "all", "all, shuffled weights", "norm of W", "stable rank"),
    )
    for name, (title, _) in OTHERS.items():
        course = Course(found, name, "plain", seeds)
        known = course.layers
        layers = known[0], known[len(known) // 2] if len(known) > 2 else None, known[-1]
        count = len(course.rows[0])
        for k in dict.fromkeys((count // 3, 2 * count // 3, count - 1)):
            at = [None if n is None else Sample(tuple(course.measure("discrepancy", n)[:, k])) for n in layers]
            rest = [course.measure(key)[:, k] for key in ("discrepancy", "shuffled", "norm", "stable_rank")]
            table.rows.append(
                (title, Sample(tuple(course.accuracy("test")[:, k])), *at, *(Sample(tuple(a)) for a in rest))
            )
        table.verdict.append(told(f"{title}, D rises with accuracy", course, course.accuracy("test")))
    return [table]


def s_table3(study: Study, seeds: int, quick: bool) -> list[Table]:
    """D before and after fine-tuning a trained LeNet-5 to another task."""
    p = lenet.plan(quick)
    clothes = watched.fashion() is not None
    tasks = [t for t in TASKS[:: 4 if quick else 1] if clothes or t != "fashion-mnist"]
    common = {"epochs": 1 if quick else 2, "settings": p["settings"], "fit": {"steps": 10} if quick else {}}
    tuned = [
        Unit(f"finetuned-{t.replace(' ', '-')}-{s}", watched.tuned, common | {"seed": s, "task": t}, (f"baseline-{s}",))
        for s in range(seeds)
        for t in tasks
    ]
    found = study.run("LeNet-5 fine-tuned", [*lenet.baseline_units(seeds, p), *tuned])
    table = Table(
        "s-table3",
        f"Change of D by fine-tuning a trained LeNet-5, {seeds} seeds",
        f"{SOURCE}, Table 3",
        "In % of what it was: D of the bottom, the top and all layers, its controls, and accuracy in % on the new "
        f"task. Print has LLaMA; here 2 epochs of Adam at {lenet.KEPT}, weight decay that of s-fig3 on the same task."
        + ("" if clothes else " Fashion-MNIST could not be had: its row is missing."),
        ("task", "test", "first layer", "last layer", "all", "all, shuffled weights", "norm of W", "stable rank"),
    )
    changes = {}
    for task in tasks:
        rows = [found[f"finetuned-{task.replace(' ', '-')}-{s}"] for s in range(seeds)]
        first, last = rows[0]["links"][0], rows[0]["links"][-1]
        asked = [(first, "discrepancy"), (last, "discrepancy")]
        asked += [("all", key) for key in ("discrepancy", "shuffled", "norm", "stable_rank")]
        cells = [Sample(tuple(100 * (r["after"][n][k] / r["before"][n][k] - 1) for r in rows)) for n, k in asked]
        table.rows.append((task, Sample(tuple(100 * r["test_accuracy"] for r in rows)), *cells))
        changes[task] = cells
    table.verdict = _tuned_verdict(changes)
    return [table]


def _tuned_verdict(changes: Mapping[str, list[Sample]]) -> list[str]:
    fell = [t for t, c in changes.items() if c[2].mean < -c[2].deviation]
    pairs = [(c[2].mean, c[4].mean) for c in changes.values()]
    rho = spearman(*zip(*pairs)) if len(pairs) > 2 else 0.0
    bottom = [t for t, c in changes.items() if c[0].mean < c[1].mean]
    return [
        f"Fine-tuning lowers D: {'holds' if len(fell) == len(changes) else 'does not hold'} (by more "
        f"than its deviation in {len(fell)} of {len(changes)} tasks: {', '.join(fell) or 'none'}).",
        f"D falls more at the bottom than at the top: for {', '.join(bottom) or 'none'}.",
        f"Over the tasks, rank correlation of the changes of D and of the norm of W: {rho:.2f}.",
    ]


def s_width(study: Study, seeds: int, quick: bool) -> list[Table]:
    """Theorem 3.1, (S12): D against the hidden width of networks that fit their data."""
    hidden = widths.WIDTHS[:3] if quick else widths.WIDTHS
    common = {"steps": 150 if quick else 3000, "fit": {"steps": 30} if quick else {}}
    units = [
        Unit(f"width-{problem}-{h}-{s}", widths.fitted, common | {"problem": problem, "hidden": h, "seed": s})
        for problem in widths.PROBLEMS
        for h in hidden
        for s in range(seeds)
    ]
    found = study.run("networks of many widths", units)
    return [_width_table(study, found, problem, hidden, seeds) for problem in widths.PROBLEMS]


def _width_table(study: Study, found: Mapping[str, Any], problem: str, hidden: Sequence[int], seeds: int) -> Table:
    table = Table(
        f"s-width-{problem}",
        f"D against the hidden width, {widths.PROBLEMS[problem]}, {seeds} seeds",
        f"{SOURCE}, Theorem 3.1, (S12)",
        "One hidden layer of tanh, squared loss, full batches of Adam; relative training error |Y' - Y| / |Y|. A width "
        f"counts as fitting where that is below {widths.FITTING}. D is the sum over pairs of neurons divided by their "
        "number, so that more neurons alone raise it: hence D of the untrained network, of shuffled weights, and D per "
        "neuron.",
        (
            "hidden",
            "training error",
            "D",
            "D per neuron",
            "D untrained",
            "D of shuffled weights",
            "norm of W",
            "stable rank",
        ),
    )
    columns = ("discrepancy", "per_neuron", "untrained", "shuffled", "norm", "stable_rank")
    samples = {}
    for h in hidden:
        rows = [found[f"width-{problem}-{h}-{s}"] for s in range(seeds)]
        samples[h] = {k: Sample(tuple(r[k] for r in rows)) for k in ("training_error", *columns)}
        table.rows.append((h, *samples[h].values()))
    table.verdict = _width_verdict(samples)
    names = {"D": "discrepancy", "D untrained": "untrained", "D of shuffled weights": "shuffled", "norm of W": "norm"}
    curves = {n: [samples[h][k] for h in hidden] for n, k in names.items()}
    path, labels = study.folder / f"s-width-{problem}.png", ("hidden sub-models", "D, and the norm of W")
    picture.series(path, list(map(str, hidden)), curves, labels, table.title, dashed=tuple(names)[1:])
    return table


def _width_verdict(samples: Mapping[int, Mapping[str, Sample]]) -> list[str]:
    fit = [h for h, s in samples.items() if s["training_error"].mean < widths.FITTING]
    if len(fit) < 2:
        return ["Fewer than two widths fit their data: nothing can be said."]

    def rises(key: str) -> str:
        values = [samples[h][key].mean for h in fit]
        steps = np.diff(values)
        one_way = "rises" if (steps > 0).all() else "falls" if (steps < 0).all() else "rises and falls"
        return f"{one_way} ({values[0]:.3g} to {values[-1]:.3g})"

    holds = "holds" if rises("discrepancy").startswith("rises (") else "does not hold"
    return [
        f"dD/dH > 0 over the widths that fit ({', '.join(map(str, fit))}): {holds}: D {rises('discrepancy')}.",
        f"D of the untrained networks {rises('untrained')}, of shuffled weights {rises('shuffled')}, the norm of W "
        f"{rises('norm')}, D per neuron {rises('per_neuron')}.",
    ]

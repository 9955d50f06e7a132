"""What follows from the numbers of a run: statements that are computed, each with its number and a plain note."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.report.record import Record
from dynsim.report.structure import Structures

LEDGER = 1e-2  # of the largest energy: what a balanced ledger may be off
NOTHING = 1e-9  # a LapCurSE of no more than rounding
SETTLED = 0.1  # part of the steps at the end over which a fraction is averaged


@dataclass(frozen=True)
class Verdict:
    """One statement.

    Attributes
    ----------
    statement : what is true. number : that it is computed from. note : what it means, and what it does not.
    holds : whether that is what one hopes for; None where nothing is claimed.
    """

    statement: str
    number: str
    note: str
    holds: bool | None = None


def verdicts(record: Record, structures: Structures | None) -> list[Verdict]:
    """All statements that the record allows."""
    of_run = [v for judge in JUDGES for v in judge(record)]
    return of_run + (list(_entropy(structures)) if structures is not None else [])


def _end(record: Record) -> Iterator[Verdict]:
    words = {"finished": "The run is complete", "failed": "The run was ended by an error"}
    yield Verdict(
        words.get(record.ended, "The run is not complete"),
        record.how,
        "All below is of the last recorded frame." if record.ended != "finished" else "All below is of its end.",
        record.ended == "finished",
    )


def _score(record: Record) -> Iterator[Verdict]:
    final = record.summary.get("final", {})
    accuracy, twin = final.get("test_accuracy"), record.summary.get("twin")
    if accuracy is None:
        yield from _error(final, record.summary.get("rivals", {}))
        return
    counts = record.confusion if record.confusion is not None else np.zeros((1, 1), np.int64)
    samples = int(counts.sum())
    chance = float(counts.sum(axis=1).max() / samples) if samples else math.nan
    error = math.sqrt(accuracy * (1 - accuracy) / samples) if samples else math.nan
    better = accuracy > chance + 2 * error
    yield Verdict(
        f"It classifies {'better' if better else 'no better'} than always the commonest class",
        f"test accuracy {accuracy:.2%} ± {error:.2%}, commonest class {chance:.2%}, {samples:,} samples",
        "± is one standard error of so many samples; two are asked for.",
        better,
    )
    if twin is not None:
        yield _against_twin(accuracy, twin["final"]["test_accuracy"], samples)


def _error(final: Mapping[str, Any], rivals: Mapping[str, Any]) -> Iterator[Verdict]:
    if final.get("relative_error") is not None:
        error = final["relative_error"]
        yield Verdict(
            "How near the path integrals come to the target",
            f"relative error {error:.4g}",
            "|W - target| / |target| in the Frobenius norm: 0 is the target itself, 1 as far away as no weight at all.",
        )
    elif final.get("r2_train") is not None:
        yield from _sequence(final, rivals)
    elif final.get("test_loss") is not None:
        train, test = final["train_loss"], final["test_loss"]
        yield Verdict("Losses of the whole parts", f"train {train:.4g}, test {test:.4g}", "Nothing is classified here.")


def _sequence(final: Mapping[str, Any], rivals: Mapping[str, Any]) -> Iterator[Verdict]:
    part, words = ("r2_train", "trained ticks") if final.get("r2_test") is None else ("r2_test", "held-out ticks")
    others = {name: r["final"][part] for name, r in rivals.items() if r["final"].get(part) is not None}
    number = ", ".join([f"R² {final[part]:.4f} on {words}", *(f"{name} {value:.4f}" for name, value in others.items())])
    note = "R² is 1 for a perfect answer and 0 for always the mean. One seed."
    if not others:
        yield Verdict("How much of the sequence it answers", number, note)
        return
    best = final[part] > max(others.values())
    yield Verdict(
        f"It answers {'better than every rival' if best else 'no better than its best rival'}", number, note, best
    )


def _against_twin(accuracy: float, twin: float, samples: int) -> Verdict:
    spread = math.sqrt((accuracy * (1 - accuracy) + twin * (1 - twin)) / samples) if samples else math.nan
    behind = accuracy < twin - 2 * spread
    ahead = accuracy > twin + 2 * spread
    said = "is behind" if behind else "is ahead of" if ahead else "cannot be told from"
    return Verdict(
        f"In accuracy the particle network {said} its weight-based twin",
        f"{accuracy:.2%} against {twin:.2%}: {100 * (accuracy - twin):+.2f} points, two standard errors are "
        f"{200 * spread:.2f}",
        "Both saw the same batches. One seed: only several tell how much of it is chance.",
        not behind,
    )


def _ledger(record: Record) -> Iterator[Verdict]:
    total = record.series("total_energy")[1]
    if len(total) < 2:
        return
    drift, scale = float(np.abs(total - total[0]).max()), ledger_scale(record)
    number = f"largest change of the total {drift / scale:.2g} of the largest energy ({drift:.3g} of {scale:.3g})"
    if record.scenario.dynamics.integrator != "leapfrog":
        yield Verdict(
            "The energies are no ledger here",
            number,
            f"{record.scenario.dynamics.integrator} pushes before it drifts, and each batch is a potential of its own: "
            "the sum of kinetic, potential and dissipated energy need not stay.",
        )
        return
    balanced = drift / scale < LEDGER
    yield Verdict(
        f"The energy ledger {'balances' if balanced else 'does not balance'}",
        number,
        f"Kinetic, potential and dissipated energy should add up to what they were: within {LEDGER:.0%} it balances.",
        balanced,
    )


def ledger_scale(record: Record) -> float:
    """The largest of all energies, against which a change of their sum is small or not."""
    parts = [record.series(n)[1] for n in ("kinetic", "potential", "dissipated", "total_energy")]
    return max((float(np.abs(p).max()) for p in parts if len(p)), default=1.0) or 1.0


def _workload(record: Record) -> Iterator[Verdict]:
    work, bound = record.final("workload"), record.final("workload_bound")
    if work is None:
        return
    if not _at_the_end(record, "limited"):
        note = "W is the path of all particles (Eq. 59), which no speed limit of Eq. 10 holds back here."
        yield Verdict("The workload, which nothing bounds here", f"W = {work:.4g}", note)
        return
    if not bound or not _at_the_end(record, "workload_bound"):
        note = (
            "W is the path of all particles (Eq. 59) since the start; the speed limit of Eq. 10 has changed since then."
        )
        yield Verdict("The workload, under a limit that was not always the same", f"W = {work:.4g}", note)
        return
    yield Verdict(
        "The workload stays below its bound" if work <= bound else "The workload exceeds its bound",
        f"W = {work:.4g}, bound {bound:.4g}: {work / bound:.1%}",
        "W is the path of all particles (Eq. 59); the bound is what the speed limit of Eq. 10 allows.",
        work <= bound,
    )


def _at_the_end(record: Record, name: str) -> bool:
    """Whether a scalar has a value at the last recorded step."""
    steps = record.series(name)[0]
    return len(steps) > 0 and bool(steps[-1] >= record.last.step)


def _limited(record: Record) -> Iterator[Verdict]:
    values = record.series("limited")[1]
    values = values[np.isfinite(values)]
    if not len(values):
        return
    late = float(values[-max(1, int(SETTLED * len(values))) :].mean())
    words = "Most" if late > 0.5 else "Few" if late < 0.05 else "Some"
    yield Verdict(
        f"{words} particles move at the speed limit in the end",
        f"{late:.1%} over the last {SETTLED:.0%} of the steps, {float(values.mean()):.1%} over all",
        "Where most do, the limit of Eq. 10 and not the forces decides how far particles go.",
    )


def _dead(record: Record) -> Iterator[Verdict]:
    dead = record.final("dead")
    if dead is not None:
        yield Verdict(
            "No hidden sub-model is dead" if dead == 0 else "Some hidden sub-models are dead",
            f"{dead:.1%} emitted nothing",
            "In the last batch; a dead sub-model gets no force from the signals and stays where it is.",
            dead == 0,
        )


def _entropy(s: Structures) -> Iterator[Verdict]:
    low, high = s.range("psi")
    fell = s.after.psi < min(low, s.before.psi)
    yield Verdict(
        f"Structural entropy {'fell' if fell else 'did not fall'} beyond its start",
        f"ψ / log N {s.before.psi:.4f} → {s.after.psi:.4f}; untrained {low:.4f} … {high:.4f}",
        f"Of the 3-D view. It counts as fallen only below all of {len(s.control)} untrained clouds.",
    )
    low, high = s.range("lapcurse")
    if max(high, s.after.lapcurse) < NOTHING:
        note = "Every particle has a cell of its own whatever its size, so the curve is straight."
        yield Verdict("LapCurSE is zero, and so is its null control", f"{s.after.lapcurse:.2g}", note)
        return
    inside = low <= s.after.lapcurse <= high
    yield Verdict(
        f"LapCurSE lies {'within' if inside else 'outside'} the range of its null control",
        f"{s.before.lapcurse:.4g} → {s.after.lapcurse:.4g}; untrained {low:.4g} … {high:.4g}",
        "Within this range the number says nothing about what was learned."
        if inside
        else "One run: only several seeds tell whether that is more than chance.",
    )


JUDGES: tuple[Callable[[Record], Iterator[Verdict]], ...] = (_end, _score, _ledger, _workload, _limited, _dead)

"""Sequences, Eq. (2): what pushes a system whose signals and positions drive each other, tick by tick.

`SequenceField` lets a system answer a sequence and brings its error back through all ticks, to the positions at tick 0,
the matrices, the links and the read-out. `TickField` trains nothing: a step of the run is a tick, and its force is the
velocity that line 3 of Eq. (2) gives every sub-model, for the integrator `eq2`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.errors import DataError, ShapeError
from dynsim.fields.equation2 import Ticks, effective_delay
from dynsim.forces import Response
from dynsim.sequences import Task, r_squared
from dynsim.signals import Weights
from dynsim.system.graph import Graph, Groups, System
from dynsim.system.initialise import random

FIRST_WINDOW = 1 / 16  # of its full length, where windows grow
AT_ONCE = 64  # windows side by side where nothing is trained


@dataclass(frozen=True)
class Window:
    """What a step of training sees of a sequence.

    Attributes
    ----------
    ticks : length, None for the whole training part. washout : first ticks of it that are not scored.
    batch : windows side by side, each from a random start; one from tick 0 where nothing or a clock drives.
    growth : fraction of the run in which windows grow, geometrically, to their full length: frequencies are found one
        octave after the other. 0 for full windows throughout.
    """

    ticks: int | None = None
    washout: int = 0
    batch: int = 1
    growth: float = 0.0


class SequenceField:
    """A task pushes a system through the ticks of its windows.

    Parameters
    ----------
    dt : time of a tick. updates : of `dynsim.fields.equation2.UPDATES`.

    Raises ShapeError where a link is not one that signals can take here, or the inputs are more than sub-models;
    DataError where a window is longer than the training part.
    """

    def __init__(
        self, graph: Graph, task: Task, kernels: Any, *, window: Window, dt: float, updates: str, seed: int = 0
    ) -> None:
        check_sequence(graph, task)
        self.task, self.kernels, self.window, self.dt, self.updates, self.seed = (
            task,
            kernels,
            window,
            dt,
            updates,
            seed,
        )
        self.driven = task.known is not None
        self.ticks = window.ticks if self.driven and window.ticks else task.cut
        if not window.washout < self.ticks <= task.cut:
            allowed = f"more than {window.washout} (washout), up to {task.cut}"
            raise DataError("windows do not fit", where="sequence.ticks", given=self.ticks, allowed=allowed)
        windows = max(1, task.cut // (self.ticks - window.washout)) if self.driven else 1
        self.batch = min(window.batch, windows)
        self.steps_per_epoch = max(1, windows // self.batch)
        self.answering = graph.subsystems[-1].name

    def respond(self, system: System, weights: dict[str, Weights], step: int) -> Response:
        ticks, washout = self._grown(system), self.window.washout
        starts = self._starts(ticks, step)
        run, answer = self._run(system, starts, ticks)
        target = _put(self.kernels, np.stack([self.task.targets[s : s + ticks] for s in starts], axis=1))
        error = (target - answer)[washout:]
        size = error.dtype.type(error.size)
        feedback = np.zeros_like(answer)
        feedback[washout:] = error / size
        return Response(
            loss=0.5 * float(np.square(error, dtype=np.float64).mean()),
            stress={},
            on_groups=self._back(system, run, feedback),
            received={n: _rms(r) for n, r in run.received.items()},
            emitted={n: _rms(e) for n, e in run.emitted.items()},
            r2=r_squared(*(a[washout:].reshape(-1, a.shape[-1]) for a in (target, answer))),
        )

    def answers(self, system: System) -> np.ndarray:
        """(L, K): what a state answers at every tick, NaN where nobody was asked.

        Where its past drives it, the system runs anew through windows as long as those of training, so that every tick
        but the first `washout` of all is answered once; else once through everything, the held-out part too.
        """
        task, washout = self.task, self.window.washout
        if not self.driven:
            (answered,) = self.kernels.to_host([self._run(system, [0], len(task), kept=False)[1][:, 0]])
            answered[:washout] = np.nan
            return answered
        said = system.x[f"readout:{self.answering}"].shape[1]
        result = np.full((len(task), said), np.nan, task.targets.dtype)
        for first, last in ((0, task.cut), (max(0, task.cut - washout), len(task))):
            ticks = min(self.ticks, last - first)
            if ticks <= washout:
                continue
            starts = [*range(first, last - ticks, ticks - washout), last - ticks]
            for some in (starts[k : k + AT_ONCE] for k in range(0, len(starts), AT_ONCE)):
                (answers,) = self.kernels.to_host([self._run(system, some, ticks, kept=False)[1]])
                for s, answer in zip(some, answers.swapaxes(0, 1)):
                    result[s + washout : s + ticks] = answer[washout:]
        return result

    def scores(self, system: System) -> dict[str, float]:
        """R^2 of the training part, "r2_train", and of what was held out, "r2_test" (NaN where nothing was)."""
        return scores(self.task, self.answers(system))

    def numbers(self, graph: Graph, signals: int) -> int:
        """Numbers that a step of training holds at once."""
        pairs = sum(math.prod(graph.shape(k)) for k in graph.links)
        return self.ticks * self.batch * (pairs + 4 * graph.particles * graph.dim + 4 * graph.size * signals)

    def macs(self, system: System) -> int:
        """Multiply-accumulates of a tick, the path integrals of all links included, which it makes anew."""
        graph, s = system.graph, len(system.x[f"A:{self.answering}"])
        sizes = [math.prod(graph.shape(k)) for k in graph.links]
        copies = [graph.copies_of(n.name) for n in graph.subsystems]
        sending = sum(size * (s + graph.copies_of(k.source) * graph.dim) for size, k in zip(sizes, graph.links))
        acting = sum(
            n.size * (s * s + graph.dim * (4 * s + 2 * h * graph.dim)) for n, h in zip(graph.subsystems, copies)
        )
        return sending + acting + system.x[f"readout:{self.answering}"].size

    def _grown(self, system: System) -> int:
        """Length of the windows of a step."""
        rise = self.window.growth * max(system.event_span, 1)
        if system.age >= rise:
            return self.ticks
        scored = (self.ticks - self.window.washout) * FIRST_WINDOW ** (1 - system.age / rise)
        return min(self.ticks, self.window.washout + max(2, math.ceil(scored)))

    def _starts(self, ticks: int, step: int) -> list[int]:
        if not self.driven:
            return [0]
        return random(self.seed, "batch", step).integers(self.task.cut - ticks + 1, size=self.batch).tolist()

    def _run(self, system: System, starts: list[int], ticks: int, kept: bool = True) -> tuple[Ticks, np.ndarray]:
        """The ticks of windows, and the answers (ticks, B, K) to them."""
        run = Ticks(self.kernels, system, len(starts), ticks, self.dt, self.updates, kept)
        inputs = self.task.inputs
        windows = [inputs[s : s + ticks] for s in starts] if inputs is not None else None
        run.run(None if windows is None else _put(self.kernels, np.stack(windows)))
        return run, read(run.emitted[self.answering], system.x[f"readout:{self.answering}"])

    def _back(self, system: System, run: Ticks, feedback: np.ndarray) -> Groups:
        """-dLoss/d(group) of all that moves."""
        key = f"readout:{self.answering}"
        emitted, readout = run.emitted[self.answering], system.x[key]
        on_emitted = (feedback @ readout[:-1].T).reshape(emitted.shape)
        found = run.back({self.answering: on_emitted})
        flat = feedback.reshape(-1, feedback.shape[-1])
        found[key] = np.concatenate([emitted.reshape(len(flat), -1).T @ flat, flat.sum(0, keepdims=True)])
        # A link over which nothing arrived within the window feels nothing.
        return {k: found.get(k, np.zeros_like(system.x[k])).astype(system.x[k].dtype) for k in system.v}


class TickField:
    """Signals run through a system while it moves; nothing is compared with anything.

    Parameters
    ----------
    task : what drives it, over and over; None for a system left to itself.
    """

    steps_per_epoch = 1

    def __init__(self, graph: Graph, task: Task | None, kernels: Any, *, dt: float, updates: str) -> None:
        check_sequence(graph, task)
        self.task, self.kernels, self.dt, self.updates = task, kernels, dt, updates
        self.kept = max(1, *(effective_delay(k, updates) for k in graph.links))

    def respond(self, system: System, weights: dict[str, Weights], step: int) -> Response:
        names = [s.name for s in system.graph.subsystems]
        past = {n: system.memory.get(f"past:{n}", system.x[f"q:{n}"][None][:0]) for n in names}
        now = len(past[names[0]])
        run = Ticks(self.kernels, system, 1, now + 1, self.dt, self.updates, kept=False)
        for n in names:
            run.q[n][:now, 0], run.q[n][now, 0] = past[n], system.x[f"q:{n}"]
            if now:
                run.emitted[n][:now, 0] = system.memory[f"signals:{n}"]
        inputs = self.task.inputs if self.task is not None else None
        said = np.repeat(inputs[None, [step % len(inputs)]], now + 1, axis=1) if inputs is not None else None
        run.run(None if said is None else _put(self.kernels, said), first=now)
        last = slice(max(0, now + 1 - self.kept), now + 1)
        return Response(
            loss=0.0,
            stress={},
            on_groups={k: run.speed[k[2:]][now, 0] if k[:2] == "q:" else np.zeros_like(v) for k, v in system.v.items()},
            received={n: _rms(run.received[n][now:]) for n in names},
            emitted={n: _rms(run.emitted[n][now:]) for n in names},
            carried={f"past:{n}": run.q[n][last, 0] for n in names}
            | {f"signals:{n}": run.emitted[n][last, 0] for n in names},
        )


def _put(kernels: Any, a: np.ndarray) -> np.ndarray:
    """An array of the host where the kernels work."""
    return kernels.to_device([a])[0]


def check_sequence(graph: Graph, task: Task | None) -> None:
    """Raises ShapeError where Eq. (2) cannot run through a graph."""
    for link in graph.links:
        if link.interactive or link.medium is not None or not link.kind.particles:
            raise ShapeError("a sequence needs plain path integrals", where=f"link {link.name}", given=link.metric)
    for s in graph.subsystems:
        if s not in graph.particle_subsystems:
            raise ShapeError("nothing reaches or leaves it", where=f"subsystem {s.name}", hint="give it a link")
    first, inputs = graph.subsystems[0], task.inputs if task is not None else None
    if inputs is not None and inputs.shape[1] > first.size:
        raise ShapeError(
            "more inputs than sub-models that could receive them",
            where="system.layers",
            given=f"{inputs.shape[1]} inputs, {first.size} sub-models in {first.name!r}",
            hint='write "auto" as the first layer',
        )


def read(emitted: np.ndarray, readout: np.ndarray) -> np.ndarray:
    """(ticks, B, N, s) -> (ticks, B, K): a linear read-out (N s + 1, K) whose last row is a constant."""
    return emitted.reshape(*emitted.shape[:2], -1) @ readout[:-1] + readout[-1]


def scores(task: Task, answers: np.ndarray) -> dict[str, float]:
    """R^2 of answers (L, K) on the training part and on what was held out, over the ticks that were answered."""
    result = {}
    for name, part in (("r2_train", slice(task.cut)), ("r2_test", slice(task.cut, None))):
        target, answer = task.targets[part], answers[part]
        known = ~np.isnan(answer).any(axis=1)
        result[name] = r_squared(target[known], answer[known]) if known.any() else math.nan
    return result


def _rms(signal: np.ndarray) -> np.ndarray:
    """(ticks, B, N, s) -> (N,)."""
    return np.sqrt(np.square(signal).mean(axis=(0, 1, 3)))

"""What can be asked of an engine that runs in a process of its own, and what it answers.

A window, a notebook or a test sends these; only `dynsim.session` acts on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.frame import Cast, Frame

# What to open ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class New:
    """A scenario from its beginning: a TOML file or shipped name, with `key=value` settings.

    folder : of the run; None takes runs/NAME, runs/NAME-2, ...
    """

    scenario: str
    settings: tuple[str, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True)
class Text:
    """A scenario given as TOML text, as a form in a window makes it; `beside` is where its relative paths start."""

    toml: str
    name: str = "scenario"
    folder: Path | None = None
    beside: Path | None = None


@dataclass(frozen=True)
class Resume:
    """A run folder from its newest checkpoint."""

    folder: Path


@dataclass(frozen=True)
class Branch:
    """A new run that starts where another was at `step`: nearest earlier checkpoint, then deterministic replay."""

    source: Path
    step: int
    folder: Path | None = None


@dataclass(frozen=True)
class Look:
    """A run folder or trajectory file only to be looked at: nothing moves and nothing is written."""

    path: Path


Plan = New | Text | Resume | Branch | Look


# Commands --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Open:
    """Leave what is open (saved and closed properly) and open another; `play` sets it going at once."""

    plan: Plan
    play: bool = False


@dataclass(frozen=True)
class Play:
    """Go on; after the end of the run, as long again as it was planned (a learning event)."""


@dataclass(frozen=True)
class Pause:
    """Stop after the current step."""


@dataclass(frozen=True)
class Step:
    """Pause, then take `n` steps."""

    n: int = 1


@dataclass(frozen=True)
class Speed:
    """Steps per second at most; None is free."""

    rate: float | None


@dataclass(frozen=True)
class SetParameter:
    """A setting such as dynamics.dt, from the next step on; logged into the run."""

    key: str
    value: Any


@dataclass(frozen=True)
class Kick:
    """A learning event (tau = 0) and, with a strength, a random impulse of that many times the Eq. (10) limit."""

    strength: float = 0.0


@dataclass(frozen=True)
class Move:
    """Put a particle elsewhere; `position` is its new q in R^d (d numbers). `gesture` joins moves undone together."""

    particle: int
    position: tuple[float, ...]
    gesture: int = 0


@dataclass(frozen=True)
class Undo:
    """Take the last gesture of moves back, position and velocity, bit by bit."""


@dataclass(frozen=True)
class Breakpoint:
    """Pause, once, when a condition such as "accuracy > 0.97" comes true; None clears it."""

    condition: str | None


@dataclass(frozen=True)
class Save:
    """Write a checkpoint now."""


@dataclass(frozen=True)
class Watch:
    """What frames on the screen carry beside positions, and how many a second at most."""

    properties: tuple[str, ...] = ()
    rate: float = 60.0


@dataclass(frozen=True)
class Seen:
    """The last report was taken: the next may come."""


@dataclass(frozen=True)
class Ask:
    """A question; its answer carries the same id."""

    id: int
    question: Question


# Questions: `frame` is the recorded frame that is asked about, None the state now --------------------------------


@dataclass(frozen=True)
class Predict:
    """How raw inputs X (n, features) are classified, with the signals on the way -> Prediction."""

    X: np.ndarray
    frame: Frame | None = None


@dataclass(frozen=True)
class Evaluate:
    """A part of the data, its first `samples` -> Evaluated."""

    part: str = "test"
    samples: int | None = None
    frame: Frame | None = None


@dataclass(frozen=True)
class Boundary:
    """Class probabilities on a grid over a 2-D problem's data -> BoundaryMap."""

    resolution: int = 120
    frame: Frame | None = None


@dataclass(frozen=True)
class StrongestLinks:
    """The pairs with the largest |mu_h f| of every link, with the stress on their weight -> tuple[LinkBundle, ...]."""

    count: int = 150
    frame: Frame | None = None


@dataclass(frozen=True)
class Embed:
    """t-SNE of the positions of all particles, or of those of one subsystem -> Embedding.

    It takes seconds (some 20 for 2,000 particles, at most so many are embedded), during which the engine takes no step:
    ask only when a person wants it.

    perplexity : about how many neighbours each particle has, 1 ... a third of the particles (dimensionless).
    """

    subsystem: str | None = None
    perplexity: float = 30.0
    frame: Frame | None = None


Question = Predict | Evaluate | Boundary | StrongestLinks | Embed


# Answers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    """Something is open: who the particles are, where the run is written, where frames come from.

    Attributes
    ----------
    cast : the particles. scenario : resolved, as TOML.
    folder : of the run; trajectory : its file, None where nothing is recorded.
    ring : name of the shared memory of frames, None for Look.
    classes : labels of the output, () for a target. input_shape : of a sample, e.g. (28, 28), () for a target.
    high : the largest value of the raw inputs: what white is in a picture.
    live : whether it can step.
    links : (name, source, target, metric) of every link with particles.
    """

    cast: Cast
    scenario: str
    folder: Path | None
    trajectory: Path | None
    ring: str | None
    classes: tuple
    input_shape: tuple[int, ...]
    live: bool
    links: tuple[tuple[str, str, str, str], ...] = ()
    high: float = 1.0


@dataclass(frozen=True)
class Report:
    """What happened since the last report.

    Attributes
    ----------
    phase : "building", "compiling", "running", "paused", "done", "looking".
    step, total : steps done and planned. rate : steps per second.
    scalars : observables now. history : rows of every step since the last report, as in Frame.
    events : (step, kind, detail) since the last report.
    parameters : live parameters now. note : why it paused or stopped, "" for nothing.
    until : the condition that will pause it, "" for none.
    part : what the particles do in this part of a recipe, "" without one.
    """

    phase: str
    step: int = 0
    total: int = 0
    rate: float = 0.0
    scalars: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, np.ndarray] = field(default_factory=dict)
    events: tuple[tuple[int, str, str], ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    until: str = ""
    part: str = ""


@dataclass(frozen=True)
class Refused:
    """A command or plan that could not be followed; what was open stays as it was."""

    message: str


@dataclass(frozen=True)
class Failed:
    """What was open has ended by an error (a blow-up, a full disk); its last checkpoint is in `folder`."""

    message: str
    folder: Path | None


@dataclass(frozen=True)
class Answer:
    """To the question of that id; `error` instead of a value where it could not be answered; the seconds it took."""

    id: int
    value: Any = None
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """How inputs were classified.

    Attributes
    ----------
    step : of the state that answered.
    probabilities : (n, classes).
    received, emitted : subsystem name -> (n, N), the signals.
    """

    step: int
    probabilities: np.ndarray
    received: Mapping[str, np.ndarray]
    emitted: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Evaluated:
    """A part of the data classified: (n,) predicted and true positions in `classes`, (k, k) confusion, gallery.

    gallery_X : up to 64 raw samples, the wrongly classified first; gallery_true, gallery_predicted, and
    gallery_probability (that of the predicted class) are theirs.
    """

    step: int
    part: str
    samples: int
    loss: float
    accuracy: float
    confusion: np.ndarray
    gallery_X: np.ndarray
    gallery_true: np.ndarray
    gallery_predicted: np.ndarray
    gallery_probability: np.ndarray


@dataclass(frozen=True)
class BoundaryMap:
    """Class probabilities (rows, columns, classes) over x and y (the grid's coordinates), with the test samples."""

    step: int
    x: np.ndarray
    y: np.ndarray
    probabilities: np.ndarray
    points: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class LinkBundle:
    """The strongest pairs of one link.

    Attributes
    ----------
    link : its name.
    source, target : (k,) int32, particles (positions in the cast) of the copy h that contributes most.
    phi : (k,) g mu_h f(v_ijh) of that copy pair. weight : (k,) phi_ij, the sum over copies.
    stress : (k,) F_ij = -dE/dphi_ij. emitted : (k,) signal that the source emits (RMS over the batch).
    """

    link: str
    source: np.ndarray
    target: np.ndarray
    phi: np.ndarray
    weight: np.ndarray
    stress: np.ndarray
    emitted: np.ndarray


@dataclass(frozen=True)
class Embedding:
    """The particles of a state in three dimensions by t-SNE, and how well that keeps groups of them apart.

    Attributes
    ----------
    step : of the state that was embedded.
    particles : (k,) int32, positions in the cast, ascending; where there are too many, small groups whole and equal
        parts of the others.
    points : (k, 3) float32, centred, with the standard deviation of the particles along their principal axes.
    silhouette : mean silhouette of the points by `labels`, -1 ... 1; NaN where there is only one group.
    shuffled : its control, the mean over shuffled labels. original : that of the positions in R^d themselves.
    labels : what the groups are, "subsystem", or "copy" where one subsystem was asked for.
    """

    step: int
    particles: np.ndarray
    points: np.ndarray
    silhouette: float
    shuffled: float
    original: float
    labels: str

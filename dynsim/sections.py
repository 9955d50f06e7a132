"""The tables of a scenario, each with its keys, what they mean, and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dynsim import datasets, sequences
from dynsim.dynamics.damping import LAWS, WITH_POTENTIAL
from dynsim.dynamics.hypergradient import TRAINABLE
from dynsim.dynamics.integrators import INTEGRATORS
from dynsim.dynamics.lagrangian import POTENTIALS
from dynsim.errors import ShapeError, did_you_mean
from dynsim.fields.equation2 import UPDATES
from dynsim.fields.losses import LOSSES
from dynsim.kernels.load import DEVICES
from dynsim.observables import named
from dynsim.signals import ACTIVATIONS
from dynsim.system.graph import RULE, Graph, Link, Subsystem
from dynsim.system.layers import Layers
from dynsim.system.medium import LAWS as MEDIUM_LAWS
from dynsim.system.medium import LENGTHS, POINTS
from dynsim.system.metric import METRICS
from dynsim.validation import fail, one_of

# What a scenario can ask for; free weights are only the twin's.
PATH_INTEGRALS = tuple(name for name, m in METRICS.items() if m.particles)
TRAINED = ("q", "mu", "gain", "eps", "medium", "bias", "weight", "scale", "shift", *RULE)
# The dataset of a program that hands its arrays over.
IN_MEMORY = "memory"


Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=10**9)]
Nested = list[Any]


class Section(BaseModel):
    """A table of a scenario: frozen, and no keys but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InitialSection(Section):
    """How the particles start."""

    speed: NotNegative = Field(0.0, description="standard deviation of the starting velocities")
    positions: dict[str, Nested] = Field(
        {}, description="subsystem -> (H, N, d); others start as Gaussian points on the unit sphere"
    )
    velocities: dict[str, Nested] = Field({}, description="subsystem -> (H, N, d)")
    mu: dict[str, Nested] = Field({}, description="link such as 'input>output' -> (H,)")
    gain: dict[str, Finite] = Field({}, description="link -> gain")


class MediumSection(Section):
    """What signals cross on their way: the density of all particles (Eq. 29-31, docs/deviations.md)."""

    law: Annotated[str, one_of(("none", *MEDIUM_LAWS))] = Field(
        "none", description="none is empty space; length int (1 + n) |dv|; damping exp(-int n |dv|)"
    )
    strength: Finite = Field(1.0, description="W_l at the start, one number a subsystem, which moves (Eq. 31)")
    width: Positive = Field(0.5, description="of the Gaussian that a particle adds to the density, in units of q")
    nodes: Annotated[int, Field(ge=POINTS, le=256, multiple_of=POINTS)] = Field(
        8, description="of the quadrature along a path"
    )

    @model_validator(mode="after")
    def _check(self) -> MediumSection:
        if self.strength == 0:
            fail("a strength of 0 is empty space, and never moves", ("strength",), 0, 'another number, or law = "none"')
        return self


class SystemSection(Section):
    """What exists: subsystems of sub-models, joined by links."""

    layers: list[Count | Literal["auto"]] = Field(
        [], description='sub-models per subsystem; "auto" at the ends takes them from the data (or give network)'
    )
    network: list[Annotated[Layers, Field(discriminator="op")]] = Field(
        [], description='layers in a row, { op = "conv", channels = 6, kernel = 5 } and so on (docs/networks.md)'
    )
    links: list[tuple[int, int]] | None = Field(
        None, description="pairs of subsystem numbers, source first; by default each layer feeds the next"
    )
    delays: list[Annotated[int, Field(ge=0, le=1000)]] | None = Field(
        None, description="ticks that the signals of each of these links are on their way (Appendix J; sequences only)"
    )
    copies: Count | Literal["auto"] = Field("auto", description="H; auto follows Lemma C.2, Eq. (19)")
    dim: Annotated[int, Field(gt=0, le=4096)] = Field(9, description="d of the state space R^d")
    metric: Annotated[str, one_of(PATH_INTEGRALS, hidden=("weights",))] = Field(
        "l2", description="of the path integrals"
    )
    p: Annotated[float, Field(ge=1, le=64)] = Field(3.0, description="exponent of metric lp")
    eps: NotNegative = Field(1e-3, description="softening of l2, plummer and reciprocal")
    interactive: bool = Field(False, description="every copy meets every other copy, Eq. (61): H - 1 times the cost")
    medium: MediumSection = MediumSection()
    activation: Annotated[str, one_of(ACTIVATIONS)] = Field("relu", description="of the hidden subsystems")
    bias: bool = Field(True, description="a bias per receiving sub-model (networks only)")
    trained: list[Annotated[str, one_of(TRAINED)]] = Field(list(TRAINED), description="kinds of groups that move")
    initial: InitialSection = InitialSection()

    @model_validator(mode="after")
    def _check(self) -> SystemSection:
        if bool(self.layers) == bool(self.network):
            fail("give either layers or network", ("layers",), f"layers={self.layers}, network={self.network}")
        if "auto" in self.layers[1:-1]:
            fail("only the first and the last layer can be auto", ("layers",), self.layers)
        if self.metric == "reciprocal" and self.eps == 0:
            fail("reciprocal needs eps > 0", ("eps",), self.eps)
        for pair in self.links or []:
            if not all(0 <= k < len(self.layers) for k in pair):
                fail("a link names a layer that is not there", ("links",), pair, f"0 ... {len(self.layers) - 1}")
        if self.interactive and self.copies == 1:
            fail("an interactive link of one copy carries nothing: mu_h - mu_h' is 0", ("copies",), 1, "2 or more")
        if self.medium.law == "length" and self.metric not in LENGTHS:
            fail("only a length can be an optical one", ("medium", "law"), self.metric, f"metric {', '.join(LENGTHS)}")
        if self.delays is not None and not self.links:
            fail("delays belong to links that are named", ("delays",), self.delays, hint="give system.links too")
        if self.delays is not None and len(self.delays) != len(self.links or []):
            fail("a delay for every link", ("delays",), self.delays, f"{len(self.links or [])} numbers")
        _check_graph(len(self.layers), self.links or [], self.delays)
        for k, layer in enumerate(self.network):
            metric = getattr(layer, "metric", None)
            if metric is not None and metric not in METRICS:
                fail("unknown metric", ("network", str(k), "metric"), metric, ", ".join(METRICS))
        return self


class FieldSection(Section):
    """What pushes: a network with data, a target matrix, or a sequence."""

    kind: Annotated[str, one_of(("network", "target", "sequence"))] = Field(
        "network", description="network, target or sequence"
    )
    dataset: str = Field(
        "",
        description="name of a dataset or sequence, or path of a .npz or .csv",
        examples=[*datasets.NAMES, *sequences.NAMES],
    )
    samples: Count | None = Field(None, description="use only so many training samples")
    validation: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="fraction split off the training part; nothing is ever chosen on test data"
    )
    centre: bool = Field(True, description="inputs minus their mean, divided by their standard deviation")
    per_feature: bool = Field(True, description="a mean for every input; false: one for all, as images need")
    augment: Annotated[int, Field(ge=0, le=16)] = Field(
        0, description="training images are shifted by up to so many pixels, anew at every step"
    )
    reduce: Positive | None = Field(
        None, description="slices of a sample whose distributions are closer than this (nats) share sub-models (Fig. 3)"
    )
    batch: Count = Field(128, description="samples per step; of a sequence, windows")
    loss: Annotated[str, one_of(LOSSES)] = Field("cross-entropy", description="what the network minimises")
    target: str | Nested | None = Field(
        None, description='"normal", a matrix as nested lists, or the path of a .npy, .npz or .csv', examples=["normal"]
    )

    @model_validator(mode="after")
    def _check(self) -> FieldSection:
        known = (*datasets.NAMES, IN_MEMORY)
        if self.kind == "network" and not (self.dataset in known or Path(self.dataset).suffix):
            hint = did_you_mean(self.dataset, datasets.NAMES)
            fail(
                "a network needs a dataset", ("dataset",), self.dataset, f"{', '.join(datasets.NAMES)} or a path", hint
            )
        if self.kind == "sequence" and not (self.dataset in ("", *sequences.NAMES) or Path(self.dataset).suffix):
            hint = did_you_mean(self.dataset, sequences.NAMES)
            fail("no such sequence", ("dataset",), self.dataset, f"{', '.join(sequences.NAMES)} or a path", hint)
        if self.kind != "network" and self.reduce is not None:
            fail("only the samples of a network have slices", ("reduce",), self.reduce)
        if self.kind == "target" and self.dataset:
            fail("a target field takes no dataset", ("dataset",), self.dataset)
        if self.kind == "target" and self.target is None:
            fail("a target field needs a target", ("target",), None, '"normal", nested lists or a path')
        return self


class SequenceSection(Section):
    """Eq. (2), in which signals and positions drive each other tick by tick (field.kind = "sequence")."""

    signals: Annotated[int, Field(gt=0, le=256)] = Field(1, description="s, numbers in a signal")
    dt: Positive = Field(0.1, description="time of a tick in line 3 of Eq. (2); for integrator eq2 it is dynamics.dt")
    updates: Annotated[str, one_of(UPDATES)] = Field(
        "sequential", description="links without delay arrive in the same tick; simultaneous: all take a tick or more"
    )
    spin: NotNegative = Field(1.0, description="fastest rotation by F at the start, radians per unit of time")
    decay: Finite = Field(0.1, description="rate at which F draws positions to the origin at the start")
    push: NotNegative = Field(0.1, description="size of D and E at the start")
    length: Annotated[int, Field(ge=4, le=10**6)] = Field(512, description="ticks of a sequence that is drawn")
    waves: Annotated[int, Field(gt=0, le=1000)] = Field(4, description="sequence sines: how many")
    drive: Annotated[str, one_of(sequences.DRIVES)] = Field(
        "past", description="its own numbers, a clock that turns once, or nothing"
    )
    ahead: Count = Field(1, description="drive past: ticks from an input to the number that is asked for")
    observed: list[Annotated[int, Field(ge=0)]] | None = Field(None, description="columns that drive; default all")
    predicted: list[Annotated[int, Field(ge=0)]] | None = Field(None, description="columns asked for; default all")
    held_out: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="fraction at the end never trained on")
    ticks: Count | None = Field(None, description="of a window of training; default the whole training part")
    washout: Annotated[int, Field(ge=0)] = Field(0, description="first ticks of a window, which are not scored")
    growth: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="fraction of the run in which windows grow from 1/16 of their length"
    )


class HyperSection(Section):
    """What every particle learns beside its place: its eta_i, m_i, U_i of Eq. (10)-(11), by hypergradient."""

    trained: list[Annotated[str, one_of(TRAINABLE)]] = Field(
        [], description="eta: longest move; mass; potential: U of the signal law, Phi of the feedback law"
    )
    rate: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="largest change of ln eta, ln m or |U| in a step"
    )
    conserve: bool = Field(False, description="Eq. (57): the sum of eta over all particles stays")


# Integrators for which these numbers mean something, and whose energy ledger a changing mass does not break.
LEARNED_BY = {
    "eta": ("kick-drift", "flow", "eq10-literal"),
    "mass": ("kick-drift", "flow"),
    "potential": ("kick-drift",),
}


class DynamicsSection(Section):
    """How it moves."""

    integrator: Annotated[str, one_of(INTEGRATORS)] = Field("kick-drift", description="how a step is taken")
    law: Annotated[str, one_of(LAWS)] = Field("friction", description="for Lambda; signal is Eq. (11)")
    dt: Positive = Field(1.0, description="step in units of the particles' own time (see masses)")
    friction: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="velocity kept per step, exp(-order Lambda dt); 0.9 for friction, else 1"
    )
    order: Annotated[float, Field(ge=0.5, le=1)] | None = Field(
        None, description="v <- exp(-order Lambda dt) v: 1/2 in Eq. (54), 1 in Eq. (10)"
    )
    limit: bool = Field(True, description="the Eq. (10) speed limit")
    eta: Positive = Field(0.1, description="Eq. (10): longest move of a particle per step; Adam's rate")
    decay: NotNegative | None = Field(None, description="Lambda_env per step; default ln 100 / steps of the run")
    warmup: Annotated[float, Field(ge=0, le=1)] = Field(0.05, description="fraction of the run in which eta grows")
    coefficients: Positive = Field(0.005, description="longest relative move of mu, gain and eps per step")
    potential: Annotated[str, one_of(POTENTIALS)] | None = Field(
        None, description="U of the signal law, Phi of the feedback law: N(0, 1) for each particle, or 1 for all"
    )
    hyper: HyperSection = HyperSection()
    confinement: NotNegative = Field(0.0, description="k of the well k |q|^2 / 2")
    plain_rate: Positive | None = Field(
        None, description="what is no particle (weights, biases, norms) moves by Adam at this rate; default: mass 1"
    )

    @model_validator(mode="after")
    def _check(self) -> DynamicsSection:
        if self.law == "lagrangian" and self.friction is not None:
            fail("the lagrangian law has no friction beside it", ("friction",), self.friction)
        if self.integrator == "leapfrog" and self.plain_rate is not None:
            fail("leapfrog asks the field twice a step and has no Adam beside it", ("plain_rate",), self.plain_rate)
        if self.potential is not None and self.law not in WITH_POTENTIAL:
            fail("this law has no potential", ("potential",), self.potential, f"law {' or '.join(WITH_POTENTIAL)}")
        self._check_hyper()
        return self

    def _check_hyper(self) -> None:
        trained = self.hyper.trained
        for kind in trained:
            if self.integrator not in LEARNED_BY[kind]:
                allowed = f"integrator {', '.join(LEARNED_BY[kind])}"
                fail(f"{self.integrator} has no {kind} to learn", ("hyper", "trained"), kind, allowed)
        if "eta" in trained and not self.limit and self.integrator != "eq10-literal":
            fail("without the limit nobody feels an eta", ("hyper", "trained"), "eta", "limit = true")
        if "potential" in trained and self.law not in WITH_POTENTIAL:
            fail("this law has no potential", ("hyper", "trained"), self.law, f"law {' or '.join(WITH_POTENTIAL)}")
        if self.hyper.conserve and "eta" not in trained:
            fail("there is no sum to conserve", ("hyper", "conserve"), True, 'trained = ["eta"]')

    @property
    def kept(self) -> float:
        """Fraction of the velocity that constant friction leaves per step."""
        return self.friction if self.friction is not None else (0.9 if self.law == "friction" else 1.0)


class MergeSection(Section):
    """When particles that stay close become one: the remark under Eq. (5). Nothing merges without a radius."""

    radius: Positive | None = Field(
        None, description="particles merge whose mean distance over the window is at most this (in print 0.1 / 6)"
    )
    window: Annotated[int, Field(ge=0, le=1000)] = Field(5, description="steps back over which distances are taken")
    every: Count = Field(50, description="steps between mergings")
    start: Annotated[int, Field(ge=0, le=10**9)] = Field(0, description="step before which nothing merges")
    across: bool = Field(False, description="particles of different subsystems merge too")

    @model_validator(mode="after")
    def _check(self) -> MergeSection:
        if self.every <= self.window:
            fail("the window is longer than the time between mergings", ("every",), self.every, f"above {self.window}")
        return self


class StopSection(Section):
    """When to stop before the last step."""

    stress: Positive | None = Field(None, description="mean stress against the path integrals (Sec. 4.1: 1e-3)")
    accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="on the validation part")
    time: Positive | None = Field(None, description="seconds of wall-clock time")


class RecipeSection(Section):
    """How a network becomes particles, Alg. 1 (docs/networks.md)."""

    name: Annotated[str, one_of(("direct", "alternate", "finetune"))] = Field(
        "direct", description="coordinates from scratch; rounds of weights and fit; weights, fit, then coordinates"
    )
    epochs: Annotated[int, Field(ge=0, le=10**6)] = Field(8, description="on weights before the fit (finetune)")
    rate: Positive = Field(0.003, description="Adam's on weights")
    fit_steps: Count = Field(1500, description="steps of a fit of the coordinates to the weights")
    fit_rate: Positive = Field(0.01, description="Adam's in a fit")


class RunSection(Section):
    """How long, from which seed, on what."""

    # For forms and editors; `_check` says the same with a better message.
    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["epochs"]}, {"required": ["steps"]}]})

    epochs: Count | None = Field(None, description="passes over the training part (or give steps)")
    steps: Count | None = Field(None, description="steps (or give epochs)")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="of everything random")
    dtype: Annotated[str, one_of(("float32", "float64"))] = Field("float32", description="of all arrays")
    device: Annotated[str, one_of(DEVICES)] = Field("auto", description="where the kernels run")
    stop: StopSection = StopSection()
    checkpoint: Positive = Field(30.0, description="seconds between checkpoints")
    checkpoint_steps: Count | None = Field(None, description="steps between checkpoints, where that is sooner")
    twin: Positive | None = Field(
        None, description="train a weight-based network of equal widths beside it, by Adam at this rate"
    )

    @model_validator(mode="after")
    def _check(self) -> RunSection:
        if (self.epochs is None) == (self.steps is None):
            fail("give either epochs or steps", ("epochs",), f"epochs={self.epochs}, steps={self.steps}")
        return self


class RecordSection(Section):
    """What is written."""

    every: Count = Field(50, description="steps between frames")
    observables: list[Annotated[str, one_of(lambda: named("scalar"))]] = Field(
        ["loss", "accuracy", "entropy", "lapcurse", "energy", "workload", "dead"], description="scalars"
    )
    properties: list[Annotated[str, one_of(lambda: named("per_particle"))]] = Field(
        [], description="per-particle arrays beside the positions"
    )
    resolutions: list[Positive] = Field(
        [0.25, 0.5, 1.0, 2.0, 4.0], min_length=1, description="delta of psi(delta), in standard deviations"
    )
    projection: Annotated[str, one_of(("axes", "pca"))] = Field("axes", description="of the 3-D view")
    axes: tuple[int, int, int] = Field((0, 1, 2), description="of R^d shown by projection axes")
    compression: Annotated[str, one_of(("none", "gzip"))] = Field("none", description="of the trajectory")


def _check_graph(layers: int, links: list[tuple[int, int]], delays: list[int] | None) -> None:
    """The links as the graph will see them: no cycle without delay, none twice."""
    subsystems = tuple(Subsystem(str(k), 1) for k in range(layers))
    try:
        delays = delays or [int(a == b) for a, b in links]
        named = (Link(str(a), str(b), delay=k) for (a, b), k in zip(links, delays))
        Graph(subsystems, tuple(named), 1, 1)
    except ShapeError as error:
        fail(error.what, ("links",), error.given, hint="in a sequence a delay of 1 or more opens a cycle")

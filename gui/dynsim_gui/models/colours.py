"""What particles can be coloured by: one registry for the menu, the legend, the engine's frames and the tests.

Beside what the window knows itself there is every per-particle observable that a run's frames can carry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dynsim.errors import unknown
from dynsim.frame import Cast, Frame
from dynsim.kernels import reference
from dynsim.panels import particles_of
from dynsim.system.interaction import expanded

NO_CLASS = -1  # grey
BEYOND = 1.1  # times a limit: not only rounding


@dataclass(frozen=True)
class Scene:
    """What a quantity may look at: a frame, whose particles they are, the classes and the links.

    links : (name, source, target, metric) of every link with particles.
    start : the first frame that was seen, for displacements.
    medium : (law, width) of what signals cross, None for empty space. interactive : whether links are, Eq. (61).
    """

    cast: Cast
    frame: Frame
    classes: tuple = ()
    links: tuple[tuple[str, str, str, str], ...] = ()
    start: Frame | None = None
    medium: tuple[str, float] | None = None
    interactive: bool = False


@dataclass(frozen=True)
class Quantity:
    """Something that every particle has one number of.

    Attributes
    ----------
    label : with its unit, "" means dimensionless.
    kind : "continuous", "signed" (diverging map around 0) or "category".
    needs : properties that a frame must have.
    of : (scene) -> (n,) float32, or int32 categories.
    names : (scene) -> names of the categories.
    unit_range : whether 0 ... 1 is the natural range.
    """

    name: str
    label: str
    kind: str
    needs: tuple[str, ...]
    of: Callable[[Scene], np.ndarray]
    names: Callable[[Scene], tuple[str, ...]] = lambda scene: ()
    unit_range: bool = False

    def missing(self, frame: Frame) -> tuple[str, ...]:
        """Properties that the frame lacks."""
        return tuple(p for p in self.needs if p not in frame.properties)


def _speed(scene: Scene) -> np.ndarray:
    speed = np.linalg.norm(scene.frame.properties["velocity"], axis=1).astype(np.float32)
    limit = scene.frame.scalars.get("speed_limit", np.nan)
    return speed / np.float32(limit) if limit > 0 else speed


def _length(name: str) -> Callable[[Scene], np.ndarray]:
    return lambda scene: np.linalg.norm(scene.frame.properties[name], axis=1).astype(np.float32)


def _number(name: str) -> Callable[[Scene], np.ndarray]:
    return lambda scene: scene.frame.properties[name]


def _displacement(scene: Scene) -> np.ndarray:
    start = scene.start or scene.frame
    return np.linalg.norm(scene.frame.properties["position"] - start.properties["position"], axis=1).astype(np.float32)


def block(cast: Cast, values: np.ndarray, subsystem: str) -> np.ndarray:
    """The values of one subsystem as (H, N, ...)."""
    of = values[cast.subsystem == cast.subsystems.index(subsystem)]
    copies = int(cast.copy.max()) + 1
    return of.reshape(copies, len(of) // copies, *values.shape[1:])


def _classes(scene: Scene) -> np.ndarray:
    """Class of every particle: an output sub-model's own; for one that feeds the output, the class whose path
    integral it has largest, that is, whose signal it raises most; none for the others."""
    cast, frame = scene.cast, scene.frame
    result = np.full(cast.n, NO_CLASS, np.int32)
    if not scene.classes:
        return result
    output = cast.subsystems[-1]
    result[cast.subsystem == len(cast.subsystems) - 1] = cast.index[cast.subsystem == len(cast.subsystems) - 1]
    for name, source, target, metric in scene.links:
        mu = frame.properties.get(f"mu:{name}")
        if target != output or mu is None:
            continue
        q = frame.properties["position"]
        gain = float(np.ravel(frame.properties.get(f"gain:{name}", [1.0]))[0])
        eps = float(np.ravel(frame.properties.get(f"eps:{name}", [1e-3]))[0])
        copies = block(cast, q, source), block(cast, q, target), mu
        ends = expanded(*copies) if scene.interactive else copies
        phi = reference.path_integral(metric, *ends, gain, eps, 2.0)
        of_source = cast.subsystem == cast.subsystems.index(source)
        result[of_source] = phi.argmax(axis=1)[cast.index[of_source]]
    return result


def _sign(scene: Scene) -> np.ndarray:
    """Sign of mu_h of the link over which a particle emits (for the output: receives): 0 negative, 1 positive."""
    cast = scene.cast
    result = np.zeros(cast.n, np.int32)
    for name, source, target, _ in reversed(scene.links):
        mu = scene.frame.properties.get(f"mu:{name}")
        if mu is None:
            continue
        ends = (source, target) if target == cast.subsystems[-1] else (source,)
        for end in ends:
            mine = cast.subsystem == cast.subsystems.index(end)
            result[mine] = (mu[cast.copy[mine]] > 0).astype(np.int32)
    return result


QUANTITIES = {
    q.name: q
    for q in (
        Quantity("speed", "speed / limit of Eq. 10", "continuous", ("velocity",), _speed, unit_range=True),
        Quantity("force", "|F|", "continuous", ("force",), _length("force")),
        Quantity("lambda", "damping Λ", "continuous", ("lambda",), _number("lambda")),
        Quantity("lagrangian", "Lagrangian (Eq. 11 or T − V)", "signed", ("lagrangian",), _number("lagrangian")),
        Quantity("signal", "received signal (RMS)", "continuous", ("signal",), _number("signal")),
        Quantity("emitted", "emitted signal (RMS)", "continuous", ("emitted",), _number("emitted")),
        Quantity("displacement", "way from the start", "continuous", (), _displacement),
        Quantity(
            "subsystem", "subsystem", "category", (), lambda s: s.cast.subsystem, lambda s: tuple(s.cast.subsystems)
        ),
        Quantity(
            "class", "class", "category", (), _classes, lambda s: tuple(str(c) for c in s.classes) or ("no classes",)
        ),
        Quantity("sign", "sign of μ of the copy", "category", (), _sign, lambda s: ("negative", "positive")),
        Quantity(
            "copy",
            "copy h",
            "category",
            (),
            lambda s: s.cast.copy,
            lambda s: tuple(str(h) for h in range(int(s.cast.copy.max()) + 1)),
        ),
    )
}


def quantities(cast: Cast) -> dict[str, Quantity]:
    """Name -> what particles of this cast can be coloured by."""
    described = {p.source: p for p in particles_of(cast.panels, cast.widths)}
    covered = {n for q in QUANTITIES.values() for n in q.needs}
    others = {}
    for name, width in cast.widths.items():
        if name not in covered:
            panel = described[name]
            label = f"{panel.title} ({panel.unit})" if panel.unit else panel.title
            kind = "signed" if panel.signed and not width else "continuous"
            others[name] = Quantity(name, label, kind, (name,), _length(name) if width else _number(name))
    return QUANTITIES | others


def quantity(name: str, cast: Cast | None) -> Quantity:
    """That of a name; one that nobody knows needs a property of this name, which then is said to be missing."""
    known = quantities(cast) if cast is not None else QUANTITIES
    return known.get(name) or Quantity(name, name, "continuous", (name,), _number(name))


def refuse_unknown(name: str, where: str, cast: Cast | None = None) -> None:
    """Raises OptionError for a quantity that neither the window nor the cast, or else this version's engine, knows."""
    if name in QUANTITIES:
        return
    if cast is None:
        from dynsim.observables import named  # which only a rare name is worth waiting for

        known = tuple(dict.fromkeys((*QUANTITIES, *named("per_particle"))))
    else:
        known = tuple(quantities(cast))
    if name not in known:
        raise unknown("quantity", name, known, where=where)


def limits(values: np.ndarray, quantity: Quantity) -> tuple[float, float]:
    """Range of the colour map: 0 ... 1 where natural, symmetric about 0 where signed, else the 1-99 % quantiles.

    A speed is no fraction of a limit that nothing obeys (Adam, Eq. 2): where all are above 1 it has quantiles too.
    """
    finite = values[np.isfinite(values)]
    if not len(finite) or (quantity.unit_range and finite.min() < BEYOND):
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(finite, [0.01, 0.99]))
    if quantity.kind == "signed":
        reach = max(-low, high, np.finfo(np.float32).tiny)
        return -reach, reach
    return (low, high) if high > low else (low, low + (abs(low) or 1.0) * 1e-3)

"""A recorded run for pictures and movies: its frames, and all that is known about them without an engine."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import TracebackType

import numpy as np

from dynsim.errors import DynsimError, FileFormatError, OptionError
from dynsim.feed import trajectory_of
from dynsim.frame import Cast
from dynsim.trajectory.admission import admit
from dynsim.trajectory.reader import Trajectory
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.caption import Caption, caption, changes_until
from dynsim_gui.models.colours import Scene, quantities, refuse_unknown
from dynsim_gui.models.medium import interactive_of, medium_of
from dynsim_gui.models.run import Run

MODEL = "model.safetensors"


class Recorded:
    """A run folder or trajectory file, opened for reading; a context manager.

    Attributes
    ----------
    run : what it is, with its links, and its classes where they are known.
    steps : (n,) int64 of the recorded frames, rising; at least one.

    Raises what `Trajectory` raises, and FileFormatError where there is no frame.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        admit(trajectory_of(path))
        self._trajectory = Trajectory(trajectory_of(path))
        if not len(self._trajectory):
            self.close()
            raise FileFormatError("no frames have been recorded yet", where=str(path))
        cast, scenario = self._trajectory.cast, self._trajectory.scenario
        folder = path if path.is_dir() else path.parent
        self.run = Run(
            path.resolve().name,
            cast,
            scenario,
            folder,
            live=False,
            classes=classes_of(folder, cast, scenario),
            links=links_of(cast, scenario),
        )
        self._start = self._trajectory.frame(0)
        self.steps = self._trajectory.steps

    def index(self, step: int | None) -> int:
        """Number of the frame nearest to a step; None: the last."""
        return len(self.steps) - 1 if step is None else int(np.abs(self.steps - step).argmin())

    def scene(self, i: int) -> Scene:
        """Frame `i` as quantities look at it."""
        run = self.run
        options = medium_of(run.scenario), interactive_of(run.scenario)
        return Scene(run.cast, self._trajectory.frame(i), run.classes, run.links, self._start, *options)

    def caption(self, scene: Scene) -> Caption:
        """What is said about one of the frames; settings changed on the way are as they were then."""
        changes = changes_until(self._trajectory.events, scene.frame.step)
        return caption(self.run.title, self.run.cast, self.run.scenario, scene.frame, changes)

    def choose_colour(self, appearance: Appearance, asked: bool) -> None:
        """Make sure that particles can be coloured as an appearance says.

        Raises OptionError where a person asked for what is unknown or not recorded; what nobody asked for gives way
        to the class, or the subsystem.
        """
        known = quantities(self.run.cast)
        if asked:
            refuse_unknown(appearance.colour_by, "--colour-by", self.run.cast)
        chosen = known.get(appearance.colour_by)
        missing = chosen.missing(self._start) if chosen is not None else (appearance.colour_by,)
        if missing and asked:
            raise OptionError(
                f"not recorded in {self.run.title}: {', '.join(missing)}",
                where="--colour-by",
                given=repr(appearance.colour_by),
                allowed=", ".join(name for name, q in known.items() if not q.missing(self._start)),
                hint=f"add {', '.join(missing)} to record.properties of the next run",
            )
        if missing:
            appearance.colour_by = "class" if self.run.classes else "subsystem"

    def close(self) -> None:
        self._trajectory.close()

    def __enter__(self) -> Recorded:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def links_of(cast: Cast, scenario: str) -> tuple[tuple[str, str, str, str], ...]:
    """(name, source, target, metric) of the links with particles: those whose mu a frame carries, inputs first."""
    metric = tomllib.loads(scenario).get("system", {}).get("metric", "l2")
    ends = [name.removeprefix("mu:").split(">") for name in cast.groups if name.startswith("mu:")]
    pairs = [pair for pair in ends if len(pair) == 2 and set(pair) <= set(cast.subsystems)]
    pairs.sort(key=lambda pair: [cast.subsystems.index(end) for end in pair])
    return tuple((f"{source}>{target}", source, target, metric) for source, target in pairs)


def classes_of(folder: Path, cast: Cast, scenario: str) -> tuple:
    """Labels of the output's sub-models: those of the finished run's model, else their numbers; () without classes."""
    if tomllib.loads(scenario).get("field", {}).get("kind") != "network":
        return ()
    outputs = int(cast.index[cast.subsystem == len(cast.subsystems) - 1].max(initial=0)) + 1
    try:
        from dynsim.backend.formats import load_model

        classes = load_model(folder / MODEL).classes
    except DynsimError:  # still running, or a trajectory without its folder
        classes = ()
    return classes if len(classes) == outputs else tuple(range(outputs))

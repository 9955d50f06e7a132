"""The classifier view and the viewer: drawn digits, accuracy that answers, confusion, boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dynsim import commands as c
from dynsim_gui.models.inquiry import Inquiry

if TYPE_CHECKING:
    from dynsim_gui.window import Window

# Samples that are classified again and again while it learns, or while a particle is dragged.
SAMPLES = 1000
# Seconds of the sweep in which a drawn sample's signals are lit from the input to the class.
SWEEP = 1.2


class Classify:
    """Asks the engine what the visible tab needs, and shows the answers."""

    def __init__(self, window: Window) -> None:
        self._window, self._viewer, self._view = window, window.viewer, window.classifier
        self._sample: np.ndarray | None = None
        self._swept = -1e9
        self._now = 0.0
        # Whether an answer to a drag is owed, and the accuracy before it.
        self._dragging = self._owed = False
        self._before: float | None = None
        self._accuracy: float | None = None
        viewer, view = self._viewer, self._view
        self.evaluation = Inquiry(viewer, self._evaluate, self._evaluated, 0.5)
        self.boundary = Inquiry(viewer, lambda: c.Boundary(), self._boundary_taken, 0.3)
        self.prediction = Inquiry(viewer, self._predict, self._predicted, 0.3)
        viewer.opened.connect(lambda _: self._opened())
        view.drawn.connect(self._drawn)
        view.sample_chosen.connect(lambda x, _: self._drawn(x))
        window.particles.dragged.connect(self._dragged)
        window.particles.drag_ended.connect(self._drag_ended)

    def _opened(self) -> None:
        run = self._viewer.run
        assert run is not None
        self._sample, self._window.particles.stage.prediction = None, None
        self._before = self._accuracy = None
        self._window.particles.say("")
        known = self._view.current_tab
        self._view.configure(run.classes, run.input_shape, run.cast.subsystems, high=run.high)
        if run.input_shape == (2,) and not known:
            self._view.choose_tab("boundary")  # the best picture of a problem in the plane
        for inquiry in (self.evaluation, self.boundary, self.prediction):
            inquiry.again()

    def poll(self, now: float) -> None:
        """Ask for what is visible; light the signals on their way."""
        self._now = now
        run, visible = self._viewer.run, self._view.isVisible()
        has_classes = run is not None and bool(run.classes)
        tab = self._view.current_tab
        self.evaluation.poll(now, has_classes and ((visible and tab != "boundary") or self._owed))
        self.boundary.poll(now, has_classes and visible and tab == "boundary" and run.input_shape == (2,))
        self.prediction.poll(now, has_classes and self._sample is not None)
        if visible and self._sample is not None:
            self._view.signals.progress(min(1.0, (now - self._swept) / SWEEP))

    # Evaluation --------------------------------------------------------------------------------------------------

    def _part(self) -> str:
        return "validation" if "validation_accuracy" in self._names() else "test"

    def _names(self) -> set[str]:
        shown = self._viewer.shown
        return set(shown.scalars) | set(self._viewer.recorded.names) if shown is not None else set()

    def _evaluate(self) -> c.Evaluate:
        return c.Evaluate(self._part(), SAMPLES)

    def _evaluated(self, answer: c.Evaluated | None, error: str) -> None:
        if answer is None:
            return
        self._accuracy = answer.accuracy
        self._view.show_evaluation(answer)
        if self._owed:
            self._say_drag(answer)
            self._owed = self._dragging or not self.evaluation.current

    def _dragged(self) -> None:
        if not self._dragging:
            self._dragging = True
            self._before = self._accuracy
        self._owed = True

    def _drag_ended(self) -> None:
        self._dragging, self._owed = False, True

    def _say_drag(self, answer: c.Evaluated) -> None:
        """How the classifier answers to what was dragged."""
        before = f"{self._before:.1%} → " if self._before is not None else ""
        change = f"accuracy {before}{answer.accuracy:.1%}"
        self._window.particles.say(f"dragged: {change} on {answer.samples:,} {answer.part} samples")

    def undone(self) -> None:
        """The drag is taken back: what it did is no longer so."""
        self._owed = False
        self._window.particles.say("")

    def sweeping(self, now: float) -> bool:
        """Whether a sample's signals are on their way."""
        return self._sample is not None and now - self._swept < 3 * SWEEP

    def take_sample(self, number: int) -> None:
        """Sample `number` of the gallery as if it had been drawn; counted from the end, where the right ones are."""
        self._viewer.ask(c.Evaluate("test", SAMPLES), lambda answer, error: self._show_sample(number, answer))

    def _show_sample(self, number: int, answer: c.Evaluated | None) -> None:
        if answer is not None and len(answer.gallery_X):
            k = -1 - number % len(answer.gallery_X)
            self._view.take_sample(answer.gallery_X[k], int(answer.gallery_true[k]))

    # A sample ----------------------------------------------------------------------------------------------------

    def _drawn(self, sample: np.ndarray) -> None:
        self._sample = np.asarray(sample, np.float32).reshape(1, -1)
        self._swept = self._now
        self.prediction.again()

    def _predict(self) -> c.Predict | None:
        return c.Predict(self._sample) if self._sample is not None else None

    def _predicted(self, answer: c.Prediction | None, error: str) -> None:
        if answer is None:
            self._window.banner.say(error)
            return
        self._view.show_prediction(answer)
        self._window.particles.stage.prediction = answer

    def _boundary_taken(self, answer: c.BoundaryMap | None, error: str) -> None:
        if answer is not None:
            self._view.show_boundary(answer)

"""What the network makes of its data: draw, confusion, boundary, gallery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QLabel, QSplitter, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from dynsim.commands import BoundaryMap, Evaluated, Prediction
from dynsim_gui.models.classifier import accuracy_line, fair_weights
from dynsim_gui.views.boundary import BoundaryView
from dynsim_gui.views.confusion import ConfusionView
from dynsim_gui.views.gallery import GalleryView
from dynsim_gui.views.pad import PadView
from dynsim_gui.views.signals import SignalsView

TABS = ("draw", "confusion", "boundary", "gallery")
NOTHING_OPEN = "Nothing is open. Open a scenario that learns from data to see what its network does."
NO_CLASSES = "This scenario has no classes: nothing is classified."
_NOT_IMAGES = "Click a point of the boundary or a sample of the gallery to see its signals."
_IMAGES = "Draw something, or take a sample of the gallery, to see its signals."


class ClassifierView(QWidget):
    """Tabs over the answers of the engine; asks nothing itself.

    Signals
    -------
    drawn : (1, features) float32, raw: to be predicted.
    sample_chosen : raw (features,), position of its true class: to be predicted.
    tab_changed : one of `TABS`.
    """

    drawn = Signal(object)
    sample_chosen = Signal(object, int)
    tab_changed = Signal(str)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._classes, self._shape, self._subsystems, self._high = (), (), (), 1.0
        self._true: int | None = None
        self._evaluated: Evaluated | None = None
        self._random = np.random.default_rng()
        self.pad, self.signals = PadView(), SignalsView()
        self.confusion, self.boundary, self.gallery = ConfusionView(), BoundaryView(), GalleryView()
        self.header, self._reason = QLabel(), QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        self._tabs, self._pages = QTabWidget(), QStackedWidget()
        self._lay_out()
        self._connect()
        self.configure((), (), (), reason=NOTHING_OPEN)

    @property
    def current_tab(self) -> str:
        """One of `TABS`, "" while there is nothing to show."""
        return TABS[self._tabs.currentIndex()] if self._classes else ""

    def configure(
        self,
        classes: Sequence,
        input_shape: tuple[int, ...],
        subsystems: Sequence[str],
        *,
        high: float = 1.0,
        reason: str = NO_CLASSES,
    ) -> None:
        """Begin anew for what was opened.

        subsystems : names, input first, output last. high : largest natural value of an image.
        reason : shown where there are no classes.
        """
        self._classes, self._shape = tuple(classes), tuple(input_shape)
        self._subsystems, self._high = tuple(subsystems), high
        self._true, self._evaluated = None, None
        image = len(self._shape) == 2
        if image:
            self.pad.configure(self._shape, high)
        self.pad.setVisible(image)
        self.pad.offer_samples(False)
        self._clear_answers()
        self._tabs.setTabText(0, "Draw" if image else "Signals")
        self._tabs.setTabVisible(TABS.index("boundary"), self._shape == (2,))
        self._reason.setText(reason)
        self._pages.setCurrentIndex(1 if self._classes else 0)

    def show_prediction(self, prediction: Prediction) -> None:
        """The first sample of an answer to what was drawn or chosen."""
        self.signals.show_prediction(prediction, self._shape, self._classes, self._subsystems, true=self._true)

    def show_evaluation(self, evaluated: Evaluated) -> None:
        """Header, confusion matrix and gallery."""
        self._evaluated = evaluated
        self.header.setText(accuracy_line(evaluated))
        self.confusion.show_evaluation(evaluated, self._classes)
        self.gallery.show_evaluation(evaluated, self._classes, self._shape, self._high)
        self.pad.offer_samples(len(evaluated.gallery_X) > 0)

    def show_boundary(self, boundary: BoundaryMap) -> None:
        """The decision regions of a 2-D problem."""
        self.boundary.show_boundary(boundary, self._classes)

    def choose_tab(self, name: str) -> None:
        """Bring one of `TABS` to the front."""
        self._tabs.setCurrentIndex(TABS.index(name))

    def _lay_out(self) -> None:
        draw = QSplitter(Qt.Orientation.Vertical, childrenCollapsible=False)
        draw.addWidget(self.pad)
        draw.addWidget(self.signals)
        draw.setStretchFactor(1, 1)
        for page, title in zip((draw, self.confusion, self.boundary, self.gallery), TABS):
            self._tabs.addTab(page, title.capitalize())
        self._tabs.setDocumentMode(True)
        self.header.setWordWrap(True)
        self.header.setMargin(4)
        self._reason.setWordWrap(True)
        self._reason.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        full = QWidget()
        column = QVBoxLayout(full)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.header)
        column.addWidget(self._tabs, 1)
        self._pages.addWidget(self._reason)
        self._pages.addWidget(full)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._pages)

    def _connect(self) -> None:
        self.pad.drawn.connect(self._drawn)
        self.pad.cleared.connect(lambda: self.signals.clear(_IMAGES))
        self.pad.sample_wanted.connect(self._take_random)
        self.boundary.picked.connect(self._drawn)
        self.gallery.sample_chosen.connect(self.take_sample)
        self._tabs.currentChanged.connect(lambda index: self.tab_changed.emit(self.current_tab))

    def _clear_answers(self) -> None:
        self.header.setText("Not evaluated yet.")
        self.confusion.clear()
        self.boundary.clear()
        self.gallery.clear()
        self.signals.clear(_IMAGES if len(self._shape) == 2 else _NOT_IMAGES)

    def _drawn(self, raw: np.ndarray) -> None:
        self._true = None
        self.drawn.emit(raw)

    def take_sample(self, raw: np.ndarray, true: int) -> None:
        """As if a person had drawn the raw sample (features,) of class number `true`."""
        if len(self._shape) == 2:
            self.pad.load(raw)
        self._true = true
        self.choose_tab("draw")
        self.sample_chosen.emit(raw, true)

    def _take_random(self) -> None:
        e = self._evaluated
        number = self._random.choice(len(e.gallery_X), p=fair_weights(e))
        self.take_sample(e.gallery_X[number], int(e.gallery_true[number]))

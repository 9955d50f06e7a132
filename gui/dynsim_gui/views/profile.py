"""A signal on its way between two particles through a medium, as curves over the way (Fig. 2)."""

from __future__ import annotations

import pyqtgraph as pg
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from dynsim_gui.models.medium import Profile
from dynsim_gui.models.palette import ACCENT, DIM, TEXT, WARN
from dynsim_gui.views.plot import Plot

HINT = "Shift-click a second particle to see what a signal between the two meets on its way."


class ProfileView(QWidget):
    """S along the straight path and the bent one, and the density n that they meet."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title, self.told = QLabel(), QLabel(HINT)
        self.told.setWordWrap(True)
        for label in (self.title, self.told):
            label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.plot = Plot("way")
        self.plot.setFixedHeight(130)
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.span(0.0, 1.0)
        self.density = self.plot.plot(pen=pg.mkPen(DIM, width=1), fillLevel=0.0, brush=pg.mkBrush(f"{DIM}40"))
        self.signal = self.plot.plot(pen=pg.mkPen(ACCENT, width=2))
        self.bent = self.plot.plot(pen=pg.mkPen(WARN, width=1.5, style=pg.QtCore.Qt.PenStyle.DashLine))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for item in (self.title, self.plot, self.told):
            column.addWidget(item)
        self.show_profile(None)

    def show_profile(self, profile: Profile | None) -> None:
        """The signal between two particles, or how to ask for one."""
        self.plot.setVisible(profile is not None)
        self.title.setText("a signal through the medium")
        if profile is None:
            self.told.setText(HINT)
            return
        self.density.setData(profile.way, profile.density)
        self.signal.setData(profile.way, profile.signal)
        self.bent.setData(*([], []) if profile.bent is None else (profile.way, profile.bent))
        self.told.setText(
            f"<span style='color:{TEXT}'>{profile.title}</span><br>{profile.told}<br>"
            f"<span style='color:{ACCENT}'>━</span> S, straight "
            + (f"<span style='color:{WARN}'>╍</span> S, bent " if profile.bent is not None else "")
            + f"<span style='color:{DIM}'>▆</span> density n"
        )

"""What a window shows before anything is open: what there is to watch."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QHBoxLayout, QLabel, QListWidget, QListWidgetItem, QToolButton, QVBoxLayout, QWidget

from dynsim_gui.models.palette import CANVAS


class WelcomeView(QWidget):
    """The shipped scenarios, and the ways to open something of one's own.

    `show_scenarios` takes (name, first line) pairs.
    """

    chosen = Signal(str)

    def __init__(self, actions: dict[str, QAction], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setStyleSheet(f"WelcomeView {{ background: {CANVAS}; }}")
        title = QLabel("dynsim")
        title.setStyleSheet("font-size: 22pt; font-weight: 600;")
        line = QLabel("A neural network as a cloud of interacting particles. Choose something to watch:")
        line.setObjectName("dim")
        self.list = QListWidget()
        self.list.setWordWrap(True)
        self.list.setSpacing(3)
        self.list.itemActivated.connect(lambda item: self.chosen.emit(item.data(Qt.ItemDataRole.UserRole)))
        self.list.itemClicked.connect(lambda item: self.chosen.emit(item.data(Qt.ItemDataRole.UserRole)))
        row = QHBoxLayout()
        for name in ("open", "data", "new"):
            button = QToolButton()
            button.setDefaultAction(actions[name])
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            row.addWidget(button)
        row.addStretch(1)
        inner = QVBoxLayout()
        for item in (title, line, self.list):
            inner.addWidget(item)
        inner.addLayout(row)
        outer = QHBoxLayout(self)
        outer.setContentsMargins(40, 32, 40, 32)
        outer.addLayout(inner)

    def show_scenarios(self, scenarios: list[tuple[str, str]]) -> None:
        """What there is."""
        self.list.clear()
        for name, about in scenarios:
            item = QListWidgetItem(f"{name}\n{about}")
            item.setData(Qt.ItemDataRole.UserRole, name)
            self.list.addItem(item)

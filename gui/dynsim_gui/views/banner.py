"""A strip that says what went wrong, and offers what can be done about it."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QHBoxLayout, QLabel, QToolButton, QWidget

from dynsim_gui.models.palette import BORDER, ERROR, RAISED, WARN


class Banner(QWidget):
    """Hidden until there is something to say; the text is the library's own message."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.offer = QToolButton()
        self.offer.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        away = QToolButton()
        away.setText("×")
        away.setToolTip("Close")
        away.clicked.connect(self.hide)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 6, 8, 6)
        row.addWidget(self.text, 1)
        row.addWidget(self.offer)
        row.addWidget(away)
        self.hide()

    def say(self, message: str, offer: QAction | None = None, grave: bool = False) -> None:
        """Show a message, with an action that helps."""
        self.text.setText(message)
        self.setStyleSheet(
            f"Banner {{ background: {RAISED}; border-left: 4px solid {ERROR if grave else WARN};"
            f" border-bottom: 1px solid {BORDER}; }}"
        )
        self.offer.setVisible(offer is not None)
        if offer is not None:
            self.offer.setDefaultAction(offer)
        self.show()

"""The menu of panels: those that can be shown, histograms apart, and at the end why there are no others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from qtpy.QtCore import Signal
from qtpy.QtGui import QAction, QMouseEvent
from qtpy.QtWidgets import QMenu, QWidget


class StayingMenu(QMenu):
    """It stays open while boxes are ticked: whoever chooses one panel often chooses two."""

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        action = self.activeAction()
        if action is not None and action.isEnabled() and action.isCheckable():
            action.trigger()
        else:
            super().mouseReleaseEvent(event)


class PanelMenu(StayingMenu):
    """`toggled` tells the title that was ticked or unticked."""

    toggled = Signal(str, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._listed: tuple | None = None
        self._submenus: list[QMenu] = []
        self.actions_of: dict[str, QAction] = {}

    def offer(self, curves: Iterable[str], histograms: Iterable[str], reasons: Mapping[str, str]) -> None:
        """Titles of what can be shown, and of what cannot with the reasons."""
        listed = tuple(curves), tuple(histograms), tuple(reasons.items())
        if listed == self._listed:
            return
        self._listed = listed
        self.clear()
        for menu in self._submenus:  # which `clear` leaves alive
            menu.deleteLater()
        self._submenus = []
        self.actions_of = {title: self._entry(self, title) for title in listed[0]}
        if listed[1]:
            particles = self._submenu("Histograms of particles")
            self.actions_of |= {title: self._entry(particles, title) for title in listed[1]}
        if reasons:
            missing = self._submenu(f"Without numbers here ({len(reasons)})")
            for title, reason in reasons.items():
                missing.addAction(f"{title}: {reason}").setEnabled(False)

    def tick(self, titles: Collection[str]) -> None:
        """Exactly these are shown."""
        for title, action in self.actions_of.items():
            action.setChecked(title in titles)

    def _submenu(self, title: str) -> StayingMenu:
        self.addSeparator()
        menu = StayingMenu(title, self)
        self.addMenu(menu)
        self._submenus.append(menu)
        return menu

    def _entry(self, menu: QMenu, title: str) -> QAction:
        action = menu.addAction(title)
        action.setCheckable(True)
        action.triggered.connect(lambda on: self.toggled.emit(title, on))
        return action

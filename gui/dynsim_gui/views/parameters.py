"""Sliders with typed values for what can be changed while the engine runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from dynsim_gui.models import palette
from dynsim_gui.models.parameters import BY_KEY, PARAMETERS, friction_rate, inapplicable, kept
from dynsim_gui.views.parameter_rows import parameter_row
from dynsim_gui.views.widgets import Complaint, NumberBox, Throttle

# How long an answer of the engine may take before its reports count again for a value that was just sent.
_PATIENCE = 1.0


class ParametersView(QWidget):
    """The live parameters of a run.

    Signals
    -------
    parameter_changed(key, value) : a person set it; at most 10 times a second while sliding, the final value always.
    kick_requested(strength) : in units of the Eq. (10) limit.
    """

    parameter_changed = Signal(str, object)
    kick_requested = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = {p.key: parameter_row(p) for p in PARAMETERS}
        self.reason, self.strength, self.kick = QLabel(wordWrap=True), NumberBox(False), QPushButton("Kick")
        self.kick_complaint = Complaint()
        self._live, self._why = False, "nothing is running"
        self._values: dict[str, Any] = {}
        self._scenario: dict[str, Any] = {}
        self._sent: dict[str, tuple[Any, float]] = {}
        self._throttle = Throttle(self)
        self._lay_out()
        self._connect()
        self._refresh()

    def show(self, values: Mapping[str, Any] | None = None) -> None:
        """Show the engine's values (dotted keys, None: by default) and tell nobody; without values, QWidget.show."""
        if values is None:
            super().show()
            return
        self._values = dict(values)
        for key, row in self.rows.items():
            if key in values and not self._awaits(key, values[key]):
                row.show_value(kept(values) if key == "dynamics.friction" else values[key])
        self._refresh()

    def remember(self, values: Mapping[str, Any]) -> None:
        """The scenario's values (see `models.parameters.scenario_values`), which the reset buttons bring back."""
        self._scenario = dict(values)
        for key, row in self.rows.items():
            row.remember(kept(values) if key == "dynamics.friction" else values.get(key))
        self._sent.clear()
        self._refresh()

    def enable(self, live: bool, reason: str = "") -> None:
        """Whether the engine takes parameters now, and if not, why."""
        self._live, self._why = live, reason
        if not live:
            self._sent.clear()
            for row in self.rows.values():
                row.say("")
        self._refresh()

    def refuse(self, key: str, message: str) -> None:
        """The engine did not take a value: its message stays there until somebody enters another."""
        self._sent.pop(key, None)
        if key in self.rows:
            self.rows[key].say(message)

    def _awaits(self, key: str, value: Any) -> bool:
        """Whether a report is older than what was just sent, so that the slider must not jump back."""
        sent, when = self._sent.get(key, (value, 0.0))
        waiting = sent != value and time.monotonic() - when < _PATIENCE
        if not waiting:
            self._sent.pop(key, None)
        return waiting

    def _known(self) -> dict[str, Any]:
        """The engine's values with what only the scenario says; its order holds as long as its law does."""
        fixed = {"field.kind": self._scenario.get("field.kind")}
        if self._scenario.get("dynamics.law") == self._values.get("dynamics.law"):
            fixed["dynamics.order"] = self._scenario.get("dynamics.order")
        return fixed | self._values

    def _refresh(self) -> None:
        values = self._known()
        reasons = inapplicable(values)
        for key, row in self.rows.items():
            row.permit(self._live and key not in reasons, reasons.get(key, self._why))
            row.remark(reasons.get(key, "") if self._live and self._values else "")
        if "dynamics.friction" not in reasons and values.get("dynamics.dt"):
            self.rows["dynamics.friction"].remark(f"Λ = {friction_rate(values):.3g} per unit of time")
        self.kick.setEnabled(self._live)
        self.strength.setEnabled(self._live)
        self.reason.setText(f'<span style="color:{palette.WARN}">{escape(self._why)}</span>')
        self.reason.setVisible(not self._live and bool(self._why))

    def _lay_out(self) -> None:
        page, scroll, box = QWidget(), QScrollArea(widgetResizable=True), QVBoxLayout(self)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        column, kick = QVBoxLayout(page), QHBoxLayout()
        column.setSpacing(4)
        column.addWidget(self.reason)
        for row in self.rows.values():
            column.addWidget(row)
        for widget in (QLabel("Kick strength"), self.strength, self.kick):
            kick.addWidget(widget)
        self.strength.lineEdit().setText("1")
        self.strength.setToolTip("In units of the Eq. (10) limit; 0 only begins a learning event anew")
        self.kick.setToolTip("Begin a learning event anew (τ = 0) with a random impulse on every particle")
        column.addLayout(kick)
        column.addWidget(self.kick_complaint)
        column.addStretch(1)
        scroll.setWidget(page)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(scroll)

    def _connect(self) -> None:
        for row in self.rows.values():
            row.slid.connect(self._throttle.put)
            row.released.connect(self._throttle.flush)
            row.settled.connect(self._settled)
        self._throttle.passed.connect(self._send)
        self.kick.clicked.connect(self._kick)

    def _settled(self, key: str, value: Any) -> None:
        self._throttle.put(key, value)
        self._throttle.flush()

    def _send(self, key: str, value: Any) -> None:
        self._sent[key] = value, time.monotonic()
        self.parameter_changed.emit(key, value)

    def _kick(self) -> None:
        strength = BY_KEY["dynamics.dt"].read(self.strength.lineEdit().text())
        self.kick_complaint.say("" if strength is not None else "not a number")
        if strength is not None:
            self.kick_requested.emit(strength)

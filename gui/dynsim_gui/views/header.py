"""The line above everything: what is open, what the engine does, how well it learns."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

from dynsim_gui.models.palette import ACCENT, CANVAS, DIM, ERROR, GOOD, RAISED, TEXT, WARN
from dynsim_gui.models.run import Status

# Word and colour of every phase.
PHASES = {
    "empty": ("nothing open", DIM),
    "starting": ("starting engine", WARN),
    "building": ("building", WARN),
    "compiling": ("compiling kernels", WARN),
    "running": ("running", GOOD),
    "paused": ("paused", ACCENT),
    "done": ("finished", ACCENT),
    "evaluating": ("evaluating", WARN),
    "looking": ("replay", DIM),
    "failed": ("stopped by an error", ERROR),
    "crashed": ("engine lost", ERROR),
}
NUMBERS = (
    ("loss", "loss", "{:.4g}"),
    ("accuracy", "batch", "{:.1%}"),
    ("validation_accuracy", "validation", "{:.1%}"),
    ("entropy", "ψ/log N", "{:.3f}"),
)


class Header(QWidget):
    """Title, phase, step, speed, remaining time and the latest numbers."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title, self.phase, self.progress, self.numbers = QLabel(), QLabel(), QLabel(), QLabel()
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 5, 10, 5)
        row.setSpacing(12)
        self.title.setStyleSheet("font-weight: 600; font-size: 11pt;")
        for label in (self.title, self.phase, self.progress):
            row.addWidget(label)
        row.addStretch(1)
        row.addWidget(self.numbers)
        self.numbers.setTextFormat(Qt.TextFormat.RichText)
        self.progress.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.progress.setMinimumWidth(120)
        row.setStretchFactor(self.progress, 2)

    def show_status(self, title: str, status: Status, growing: bool = False) -> None:
        """What is open and what happens to it."""
        self.title.setText(title)
        word, colour = PHASES[status.phase]
        if growing and status.phase == "looking":
            word, colour = "following a running file", GOOD
        self.phase.setText(word)
        self.phase.setStyleSheet(
            f"background: {colour}; color: {CANVAS}; border-radius: 8px; padding: 2px 9px; font-weight: 600;"
        )
        self.progress.setText(progress_text(status))
        self.progress.setToolTip(status.note)

    def show_numbers(self, scalars: Mapping[str, float]) -> None:
        """The latest observables."""
        parts = [
            f'<span style="color:{DIM}">{label}</span> <b style="color:{TEXT}">{form.format(scalars[name])}</b>'
            for name, label, form in NUMBERS
            if name in scalars and scalars[name] == scalars[name]
        ]
        self.numbers.setText(f'<span style="background:{RAISED}">' + "&nbsp;&nbsp; ".join(parts) + "</span>")


def progress_text(status: Status) -> str:
    """Step of total, rate and the time that is left; or why it stands still."""
    parts = []
    if status.total:
        parts.append(f"step {status.step:,} / {status.total:,}")
    elif status.step:
        parts.append(f"step {status.step:,}")
    if status.phase == "running" and status.rate > 0:
        parts.append(f"{status.rate:.3g} steps/s")
        parts.append(f"{_clock((status.total - status.step) / status.rate)} left")
    if status.part and status.phase in ("running", "paused"):
        parts.append(status.part)
    if status.until and status.phase in ("running", "paused"):
        parts.append(f"until {status.until}")
    if status.note and status.phase != "running":
        parts.append(status.note)
    return "   ".join(parts)


def _clock(seconds: float) -> str:
    minutes, s = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"

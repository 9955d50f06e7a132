"""The scenario form: a tab per table, every field with its editor, and the library's complaints where they belong."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor, QFontDatabase, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from dynsim.errors import DynsimError
from dynsim.shipped import shipped_scenarios
from dynsim_gui.models import palette
from dynsim_gui.models.scenario_form import FormGroup, ScenarioDraft, form_fields, form_groups
from dynsim_gui.views.field_row import LABEL_WIDTH, FieldRow, explained
from dynsim_gui.views.widgets import Complaint

_DEBOUNCE_MS = 200


class ScenarioForm(QWidget):
    """Edit a scenario; see `edit`.

    Signals
    -------
    run_requested(toml, folder) : Run was pressed; relative paths of the TOML text start in the folder (or None).
    saved(path) : it was written to a file. cancelled : Cancel was pressed.
    """

    run_requested = Signal(str, object)
    saved = Signal(object)
    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.draft = ScenarioDraft.blank()
        self.rows = {path: FieldRow(spec) for path, spec in form_fields().items()}
        self.notes = {group.path: Complaint() for group in form_groups()}
        self.headings: dict[str, QLabel] = {}
        self.start, self.tabs, self.preview = QComboBox(), QTabWidget(), QPlainTextEdit(readOnly=True)
        self.about, self.count = QLabel(wordWrap=True), QLabel()
        self.show_all = QCheckBox("Show all", toolTip="Also the fields that are rarely set")
        self.run_button, self.save_button, self.cancel_button, self.open_button = (
            QPushButton(name) for name in ("Run", "Save as…", "Cancel", "Open file…")
        )
        self._timer = QTimer(self, singleShot=True, interval=_DEBOUNCE_MS)
        self._lay_out()
        self._connect()
        self.edit(self.draft)

    def edit(self, draft: ScenarioDraft) -> None:
        """Show this draft; it is changed in place from now on."""
        self.draft = draft
        self.start.setCurrentIndex(max(0, self.start.findData(draft.origin)))
        self.check()

    def load(self, source: str | Path) -> None:
        """Start from a shipped scenario, a file, or "" for a blank form; says so where it cannot be read."""
        try:
            self.edit(ScenarioDraft.load(source) if source else ScenarioDraft.blank())
        except DynsimError as error:
            self.edit(self.draft)
            QMessageBox.warning(self, "Not a scenario", str(error))

    def check(self) -> None:
        """Ask the library at once, without the pause for typing."""
        self._timer.stop()
        problems = self.draft.problems()
        for path, row in self.rows.items():
            row.show_value(self.draft.value(path))
            row.say(problems.get(path, ""))
            row.setVisible(self._is_wanted(row, problems))
        for group in form_groups()[1:]:
            self.headings[group.path].setVisible(any(not self.rows[s.path].isHidden() for s in group.fields))
        for path, note in self.notes.items():
            strangers = [k for k in self.draft.unknown_keys() if k.rpartition(".")[0] == path]
            note.say(problems.get(path, ""), strangers)
        self._say_count(problems)
        self.preview.setPlainText(self.draft.toml())

    def _is_wanted(self, row: FieldRow, problems: dict[str, str]) -> bool:
        path = row.spec.path
        special = path in problems or self.draft.value(path) is not None
        return special or self.show_all.isChecked() or not row.spec.advanced

    def _say_count(self, problems: dict[str, str]) -> None:
        n = len(problems)
        text = f"{n} problem{'s' if n > 1 else ''} to mend" if n else "Ready to run"
        self.count.setText(f'<span style="color:{palette.ERROR if n else palette.GOOD}">{text}</span>')
        self.run_button.setEnabled(n == 0)
        self.run_button.setToolTip("\n".join(problems.values()))
        for index, group in enumerate(_tops()):
            here = sum(p.split(".")[0] == group.path for p in problems)
            self.tabs.setTabText(index, f"{group.title} ({here})" if here else group.title)
            self.tabs.setTabIcon(index, _dot() if here else QIcon())

    # Building ---------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.start.addItem("A blank form", "blank")
        for name, line in shipped_scenarios():
            self.start.addItem(f"{name}: {line}", name)
        self.start.setMinimumContentsLength(20)
        self.start.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        label = QLabel("start from")
        label.setFixedWidth(LABEL_WIDTH)
        for group in _tops():
            self.tabs.addTab(self._page(group), group.title)
        self.preview.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.tabs.addTab(self.preview, "TOML")
        box = QVBoxLayout(self)
        box.addLayout(_line(label, (self.start, 1), self.open_button))
        box.addWidget(self.rows["name"])
        box.addWidget(self.notes[""])
        box.addWidget(self.tabs, 1)
        box.addWidget(self.about)
        box.addLayout(
            _line(self.show_all, (self.count, 1), self.cancel_button, self.save_button, self.run_button),
        )
        self.count.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.about.setMinimumHeight(2 * self.fontMetrics().lineSpacing())
        for button in (self.open_button, self.cancel_button, self.save_button, self.run_button):
            button.setAutoDefault(False)  # Return in a field must not start a run

    def _page(self, group: FormGroup) -> QScrollArea:
        """The rows of a table and, under a heading each, of the tables inside it."""
        page, scroll = QWidget(), QScrollArea(widgetResizable=True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        box = QVBoxLayout(page)
        for part in form_groups():
            if part.path == group.path or part.path.startswith(f"{group.path}."):
                name = "" if part is group else f"<b>{part.title}</b> "
                about = f'{name}<span style="color:{palette.DIM}">{escape(part.description)}</span>'
                self.headings[part.path] = QLabel(about)
                box.addWidget(self.headings[part.path])
                box.addWidget(self.notes[part.path])
                for spec in part.fields:
                    box.addWidget(self.rows[spec.path])
        box.addStretch(1)
        scroll.setWidget(page)
        return scroll

    def _connect(self) -> None:
        for row in self.rows.values():
            row.edited.connect(self._edited)
        for note in self.notes.values():
            note.remove.connect(lambda key: self._edited(key, None))
        self._timer.timeout.connect(self.check)
        self.start.activated.connect(self._start_from)
        self.open_button.clicked.connect(self._open)
        self.show_all.toggled.connect(self.check)
        self.run_button.clicked.connect(self._run)
        self.save_button.clicked.connect(self._save)
        self.cancel_button.clicked.connect(self.cancelled)
        QApplication.instance().focusChanged.connect(self._focused)

    # What a person does --------------------------------------------------------------------------------------------

    def _edited(self, path: str, value: Any) -> None:
        self.draft.set(path, value)
        self.run_button.setEnabled(False)  # until it is checked
        self._timer.start()

    def _start_from(self, index: int) -> None:
        name = self.start.itemData(index)
        if self._may_leave():
            self.load("" if name == "blank" else name)
        else:
            self.edit(self.draft)

    def _open(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Open a scenario", "", "Scenarios (*.toml)")
        if file and self._may_leave():
            self.load(Path(file))

    def _may_leave(self) -> bool:
        changed = self.draft.changed_paths()
        if not changed:
            return True
        question = f"Leave {len(changed)} changed field{'s' if len(changed) > 1 else ''}?"
        return QMessageBox.question(self, "Start anew", question) == QMessageBox.StandardButton.Yes

    def _run(self) -> None:
        self.check()
        if self.run_button.isEnabled():
            self.run_requested.emit(self.draft.toml(), self.draft.folder)

    def _save(self) -> None:
        name = f"{self.draft.value('name') or 'scenario'}.toml"
        file, _ = QFileDialog.getSaveFileName(self, "Save the scenario", name, "Scenarios (*.toml)")
        if not file:
            return
        try:
            self.draft.save(Path(file))
        except OSError as error:
            QMessageBox.warning(self, "Not saved", str(error))
            return
        self.saved.emit(Path(file))

    def _focused(self, _old: QWidget | None, now: QWidget | None) -> None:
        while now is not None and not isinstance(now, FieldRow):
            now = now.parentWidget()
        if now is not None and self.isAncestorOf(now):
            self.about.setText(f'<span style="color:{palette.DIM}">{escape(explained(now.spec))}</span>')


class ScenarioDialog(QDialog):
    """The form in a window of its own; closes after Run and Cancel."""

    def __init__(self, draft: ScenarioDraft | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Scenario")
        self.resize(760, 640)
        self.form = ScenarioForm()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.form)
        self.form.run_requested.connect(self.accept)
        self.form.cancelled.connect(self.reject)
        if draft is not None:
            self.form.edit(draft)


def _tops() -> list[FormGroup]:
    return [group for group in form_groups() if group.path and "." not in group.path]


def _dot() -> QIcon:
    pixmap = QPixmap(16, 16)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(palette.ERROR))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.drawEllipse(3, 3, 10, 10)
    painter.end()
    return QIcon(pixmap)


def _line(*widgets: Any) -> QHBoxLayout:
    """Widgets beside each other; (widget, stretch) takes the room that is left."""
    row = QHBoxLayout()
    for item in widgets:
        widget, stretch = item if isinstance(item, tuple) else (item, 0)
        row.addWidget(widget, stretch)
    return row

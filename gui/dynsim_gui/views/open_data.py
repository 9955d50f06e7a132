"""Open a data file of one's own: look at it, choose the size of a network, learn it."""

from __future__ import annotations

import threading
from html import escape
from pathlib import Path

from qtpy.QtCore import QMimeData, QObject, Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QImage, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from dynsim.errors import DynsimError
from dynsim_gui.models import palette
from dynsim_gui.models.datafile import PRESETS, DataFile, examine, first_scenario
from dynsim_gui.models.scenario_form import ScenarioDraft
from dynsim_gui.views.widgets import Complaint

_COLUMNS = 12  # features shown
_THUMBNAIL, _SIDE_WIDTH = 56, 280
_EPOCHS = 30


class Examination(QObject):
    """Reads a file in a thread of its own, so that big ones do not hold up the window."""

    done = Signal(object)
    failed = Signal(str)

    def start(self, path: Path) -> None:
        # A daemon: closing the window need not wait for somebody's gigabytes.
        threading.Thread(target=self._work, args=(path,), daemon=True).start()

    def _work(self, path: Path) -> None:
        try:
            file = examine(path)
        except (DynsimError, MemoryError) as error:
            self.failed.emit(str(error) or "not enough memory for this file")
        else:
            self.done.emit(file)


class OpenDataDialog(QDialog):
    """Choose a .npz or .csv and a first network for it.

    Signals
    -------
    run_requested(toml, folder) : as `ScenarioForm.run_requested`.
    form_requested(draft) : the ScenarioDraft shall be opened in the form.
    """

    run_requested = Signal(str, object)
    form_requested = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Own data")
        self.setAcceptDrops(True)
        self.resize(700, 560)
        self.file: DataFile | None = None
        self._examination: Examination | None = None
        self.path, self.browse = QLineEdit(placeholderText="a .npz or .csv file"), QPushButton("Browse…")
        self.complaint, self.busy = Complaint(), QProgressBar(maximum=0, textVisible=False, maximumHeight=6)
        self.facts, self.rows, self.classes = QLabel(wordWrap=True), QTableWidget(), QTableWidget()
        self.pictures = QCheckBox("As images", toolTip="Samples as grey pictures, each from its least to its largest")
        self.preset, self.epochs = QComboBox(), QSpinBox(minimum=1, maximum=100_000, value=_EPOCHS)
        self.cancel_button, self.form_button, self.run_button = map(QPushButton, ("Cancel", "Open in the form", "Run"))
        self._lay_out()
        self._connect()
        self._show(None)

    def open(self, path: str | Path | None = None) -> None:
        """Examine a file; without one, QDialog.open."""
        if path is None:
            super().open()
            return
        self.path.setText(str(path))
        self.complaint.say("")
        self._show(None)
        self.busy.show()
        self._examination = Examination()
        self._examination.done.connect(self._done)
        self._examination.failed.connect(self._failed)
        self._examination.start(Path(path))

    def draft(self) -> ScenarioDraft:
        """The scenario as chosen; only once a file is shown."""
        assert self.file is not None
        return first_scenario(self.file, PRESETS[self.preset.currentIndex()], self.epochs.value())

    # Events -----------------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if _dropped(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        self.open(_dropped(event.mimeData()))

    def _done(self, file: DataFile) -> None:
        if self.sender() is self._examination:  # an older one may come late
            self.busy.hide()
            self._show(file)

    def _failed(self, message: str) -> None:
        if self.sender() is self._examination:
            self.busy.hide()
            self.complaint.say(message)

    def _browse(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Own data", self.path.text(), "Data (*.npz *.csv)")
        if file:
            self.open(file)

    def _type(self) -> None:
        if self.path.isModified() and self.path.text():
            self.path.setModified(False)
            self.open(self.path.text())

    def _run(self) -> None:
        draft = self.draft()
        problems = draft.problems()
        self.complaint.say("\n".join(problems.values()))
        if not problems:
            self.run_requested.emit(draft.toml(), draft.folder)
            self.accept()

    def _open_form(self) -> None:
        self.form_requested.emit(self.draft())
        self.accept()

    # What is shown --------------------------------------------------------------------------------------------------

    def _show(self, file: DataFile | None) -> None:
        self.file = file
        self.busy.setVisible(False)
        for widget in (self.form_button, self.run_button, self.preset, self.epochs):
            widget.setEnabled(file is not None)
        self.pictures.setVisible(file is not None and file.image is not None)
        self.pictures.setChecked(file is not None and file.image is not None)
        self._show_facts(file)
        self._fill_rows()
        self._fill_classes()

    def _show_facts(self, file: DataFile | None) -> None:
        text = "Choose a file, or drop one here: .npz with X and y, or .csv with a sample a row and a column of labels."
        if file is not None:
            shape = f" ({' × '.join(map(str, file.shape))})" if len(file.shape) > 1 else ""
            text = (
                f"{file.train:,} training and {file.test:,} test samples, "
                f"{file.features:,} features{shape}, {len(file.classes)} classes"
            )
        self.facts.setText(f'<span style="color:{palette.DIM if file is None else palette.TEXT}">{escape(text)}</span>')

    def _fill_rows(self) -> None:
        """The first samples: pictures, or numbers with the label in front."""
        file, table = self.file, self.rows
        table.clear()
        table.horizontalHeader().setVisible(not self.pictures.isChecked())
        table.setRowCount(0 if file is None else len(file.head))
        if file is None:
            table.setColumnCount(0)
        elif self.pictures.isChecked():
            self._fill_pictures(file)
        else:
            self._fill_numbers(file)

    def _fill_numbers(self, file: DataFile) -> None:
        table, shown = self.rows, min(file.features, _COLUMNS)
        more = file.features > shown
        table.setColumnCount(1 + shown + more)
        table.setHorizontalHeaderLabels(["label", *map(str, range(1, shown + 1)), *(["…"] if more else [])])
        for k, sample in enumerate(file.head):
            cells = [file.labels[k], *(f"{x:.4g}" for x in sample[:shown]), *(["…"] if more else [])]
            for column, cell in enumerate(cells):
                table.setItem(k, column, QTableWidgetItem(cell))
        table.verticalHeader().setDefaultSectionSize(24)
        table.resizeColumnsToContents()

    def _fill_pictures(self, file: DataFile) -> None:
        """A grid of five pictures a row, each above its label."""
        table, across = self.rows, 5
        table.setColumnCount(across)
        table.setRowCount(-(-len(file.head) // across))
        for k in range(len(file.head)):
            cell = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
            cell.setPixmap(_thumbnail(file, k))
            cell.setToolTip(file.labels[k])
            table.setCellWidget(*divmod(k, across), _above(cell, file.labels[k]))
        table.verticalHeader().setDefaultSectionSize(_THUMBNAIL + 24)
        for column in range(across):
            table.setColumnWidth(column, _THUMBNAIL + 20)

    def _fill_classes(self) -> None:
        classes = self.file.classes if self.file else ()
        self.classes.setRowCount(len(classes))
        for row, (label, count) in enumerate(classes):
            number = QTableWidgetItem(f"{count:,}")
            number.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.classes.setItem(row, 0, QTableWidgetItem(label))
            self.classes.setItem(row, 1, number)

    # Building -------------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        box, top, middle, bottom = QVBoxLayout(self), QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.path, 1)
        top.addWidget(self.browse)
        middle.addWidget(self.rows, 1)
        middle.addWidget(self._side())
        bottom.addStretch(1)
        for button in (self.cancel_button, self.form_button, self.run_button):
            bottom.addWidget(button)
        for button in (self.browse, self.cancel_button, self.form_button, self.run_button):
            button.setAutoDefault(False)  # Return in the path must not start a run
        box.addLayout(top)
        for widget in (self.busy, self.complaint, self.facts):
            box.addWidget(widget)
        box.addLayout(middle, 1)
        box.addLayout(bottom)

    def _side(self) -> QWidget:
        """Classes with their counts, above what is to be chosen."""
        panel = QWidget()
        side, form = QVBoxLayout(panel), QFormLayout()
        side.setContentsMargins(0, 0, 0, 0)
        panel.setFixedWidth(_SIDE_WIDTH)
        for table in (self.rows, self.classes):
            table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
            table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
            table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            table.verticalHeader().hide()
        self.classes.setColumnCount(2)
        self.classes.setHorizontalHeaderLabels(["class", "samples"])
        self.classes.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        for preset in PRESETS:
            self.preset.addItem(f"{preset.name}: {preset.hidden} hidden, {preset.copies} copies")
        form.addRow("network", self.preset)
        form.addRow("epochs", self.epochs)
        side.addWidget(self.pictures)
        side.addWidget(self.classes, 1)
        side.addLayout(form)
        return panel

    def _connect(self) -> None:
        self.browse.clicked.connect(self._browse)
        self.path.editingFinished.connect(self._type)
        self.pictures.clicked.connect(self._fill_rows)
        self.cancel_button.clicked.connect(self.reject)
        self.form_button.clicked.connect(self._open_form)
        self.run_button.clicked.connect(self._run)


def _dropped(mime: QMimeData) -> Path | None:
    files = [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]
    return files[0] if files else None


def _thumbnail(file: DataFile, k: int) -> QPixmap:
    grey = file.picture(k)
    height, width = grey.shape
    image = QImage(grey.tobytes(), width, height, width, QImage.Format.Format_Grayscale8)
    return QPixmap.fromImage(image).scaled(_THUMBNAIL, _THUMBNAIL, Qt.AspectRatioMode.KeepAspectRatio)


def _above(picture: QLabel, label: str) -> QWidget:
    cell = QWidget()
    box = QVBoxLayout(cell)
    box.setContentsMargins(2, 2, 2, 2)
    box.setSpacing(0)
    box.addWidget(picture, 1)
    box.addWidget(QLabel(f'<span style="color:{palette.DIM}">{escape(label)}</span>'), 0, Qt.AlignmentFlag.AlignCenter)
    return cell

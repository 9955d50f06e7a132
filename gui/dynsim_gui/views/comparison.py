"""Runs compared: a table to sort, a button to open a run, and two of them side by side."""

from __future__ import annotations

from html import escape
from pathlib import Path

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QMenu,
    QPushButton,
    QStackedWidget,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from dynsim.errors import DynsimError
from dynsim_gui.models.comparison import ComparisonModel, TableRow, TaskTable
from dynsim_gui.models.palette import WARN
from dynsim_gui.views.side_by_side import SideBySide

PERIOD = 50  # ms between two looks at what has been read
WELCOME = "Add a run, a batch, a sweep, or any folder of runs. Runs that differ only in the seed become one row."


def _side(right: bool) -> Qt.AlignmentFlag:
    aligned = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
    return aligned | Qt.AlignmentFlag.AlignVCenter


class _Cell(QTableWidgetItem):
    """Sorted by its number where it has one; cells without one come last either way."""

    def __init__(self, text: str, key: object) -> None:
        super().__init__(text)
        number = isinstance(key, int | float)
        self.key = (0, float(key), "") if number else (1, 0.0, "" if key is None else str(key))
        self.setTextAlignment(_side(number or key is None))
        self.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        return self.key < other.key if isinstance(other, _Cell) else super().__lt__(other)


class GroupTable(QTableWidget):
    """The groups of one task; `opened` asks for a run."""

    opened = Signal(Path)

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[TableRow, ...] = ()
        self.verticalHeader().hide()
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setStyleSheet("QTableWidget::item { padding: 0 8px; } QHeaderView::section { padding: 4px 8px; }")

    def show_table(self, table: TaskTable) -> None:
        """Its rows in their order; a click on a head sorts them by that column."""
        self.setSortingEnabled(False)
        self._rows = table.rows
        self.clear()
        self.setColumnCount(len(table.columns) + 1)
        self.setRowCount(len(table.rows))
        for column, name in enumerate((*table.columns, "")):
            head = QTableWidgetItem(name)
            head.setTextAlignment(_side(column > 0))
            self.setHorizontalHeaderItem(column, head)
        for k, row in enumerate(table.rows):
            for column, (text, key) in enumerate(zip(row.texts, row.keys)):
                self.setItem(k, column, _Cell(text, key))
            self.item(k, 0).setData(Qt.ItemDataRole.UserRole, k)
            self.setCellWidget(k, len(table.columns), self._button(row))
        self.resizeColumnsToContents()
        widest = max(self.cellWidget(k, len(table.columns)).sizeHint().width() for k in range(len(table.rows)))
        self.setColumnWidth(len(table.columns), widest + 16)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.DescendingOrder)

    def _button(self, row: TableRow) -> QToolButton:
        """Opens the run, or lets a person choose its seed."""
        button = QToolButton(text="Open" if len(row.runs) == 1 else "Open…")
        if len(row.runs) == 1:
            button.clicked.connect(lambda: self.opened.emit(row.runs[0]))
            return button
        menu = QMenu(button)
        for seed, path in zip(row.seeds, row.runs):
            menu.addAction(f"seed {seed}", lambda path=path: self.opened.emit(path))
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return button

    def chosen(self) -> list[TableRow]:
        """The rows that are selected, from above."""
        numbers = sorted({item.row() for item in self.selectedItems()})
        return [self._rows[self.item(k, 0).data(Qt.ItemDataRole.UserRole)] for k in numbers]


class ComparisonDialog(QDialog):
    """The table of all runs that a person has gathered, and two of them side by side; `opened` asks for a run."""

    opened = Signal(Path)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Compare runs")
        self.resize(1080, 640)
        self.model = ComparisonModel()
        self.table, self.tasks = GroupTable(), QComboBox()
        self.notes, self.said = QLabel(), QLabel(WELCOME)
        self.add_button, self.clear_button = QPushButton("Add folder…"), QPushButton("Clear")
        self.pair_button = QPushButton("Side by side")
        self.pair_button.setToolTip("Select two rows (Ctrl and a click), or one with two seeds")
        self.pages = QStackedWidget()
        self.pair: SideBySide | None = None
        self._lay_out()
        self._connect()
        self._update()

    def _lay_out(self) -> None:
        for label in (self.notes, self.said):
            label.setWordWrap(True)
        self.notes.setObjectName("dim")
        self.tasks.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.tasks.hide()
        row = QHBoxLayout()
        for widget in (self.add_button, self.clear_button, self.pair_button):
            row.addWidget(widget)
        row.addStretch(1)
        row.addWidget(self.tasks)
        page = QWidget()
        column = QVBoxLayout(page)
        column.addLayout(row)
        column.addWidget(self.said)
        column.addWidget(self.table, 1)
        column.addWidget(self.notes)
        self.pages.addWidget(page)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.pages)

    def _connect(self) -> None:
        self.add_button.clicked.connect(self.ask_folder)
        self.clear_button.clicked.connect(self._clear)
        self.pair_button.clicked.connect(self.show_pair)
        self.tasks.currentIndexChanged.connect(self._show_task)
        self.table.itemSelectionChanged.connect(self._update)
        self.table.opened.connect(self.opened)
        self._timer = QTimer(self, interval=PERIOD)
        self._timer.timeout.connect(self._poll)
        self._timer.start()

    # Gathering --------------------------------------------------------------------------------------------------

    def ask_folder(self) -> None:
        """A folder of runs."""
        folder = QFileDialog.getExistingDirectory(self, "Add a folder of runs", "runs")
        if folder:
            self.add(Path(folder))

    def add(self, folder: Path) -> None:
        """Read one more folder."""
        self.model.add(folder)
        self.said.setText("reading…")

    def _clear(self) -> None:
        self.model.clear()
        self._show_all()

    def _poll(self) -> None:
        if self.model.poll():
            self._show_all()

    # Showing ----------------------------------------------------------------------------------------------------

    def _show_all(self) -> None:
        self.tasks.blockSignals(True)
        self.tasks.clear()
        self.tasks.addItems([table.title for table in self.model.tables])
        self.tasks.blockSignals(False)
        self.tasks.setVisible(len(self.model.tables) > 1)
        self.said.setText(self._told())
        self.said.setVisible(bool(self.said.text()))
        self._show_task(0)

    def _told(self) -> str:
        if self.model.error:
            return f"<span style='color:{WARN}'>{escape(self.model.error).replace(chr(10), '<br>')}</span>"
        if not self.model.tables:
            return WELCOME
        left, shown = self.model.left_out, 4
        more = [f"and {len(left) - shown} more"] if len(left) > shown else []
        return "<br>".join(["Not compared:", *map(escape, left[:shown]), *more]) if left else ""

    def _show_task(self, index: int) -> None:
        tables = self.model.tables
        if not tables:
            self.table.setRowCount(0)
            self.table.setColumnCount(0)
        else:
            self.table.show_table(tables[index])
            self.table.setSortingEnabled(True)
        self.notes.setText("<br>".join(tables[index].notes) if tables else "")
        self._update()

    def _update(self) -> None:
        self.pair_button.setEnabled(len(self._pair()) == 2)
        self.clear_button.setEnabled(bool(self.model.folders))

    def _pair(self) -> list[Path]:
        """The first seeds of two rows, or the first two of one."""
        chosen = self.table.chosen()
        runs = chosen[0].runs[:2] if len(chosen) == 1 else [row.runs[0] for row in chosen]
        return list(runs) if len(runs) == 2 else []

    def show_pair(self) -> None:
        """Two runs beside each other, in place of the table."""
        try:
            self.pair = SideBySide(*self._pair())
        except DynsimError as error:
            self.said.setText(str(error))
            self.said.show()
            return
        self.pair.left.connect(self.leave_pair)
        self.pages.addWidget(self.pair)
        self.pages.setCurrentWidget(self.pair)

    def leave_pair(self) -> None:
        """Back to the table."""
        if self.pair is not None:
            self.pages.removeWidget(self.pair)
            self.pair.end()
            self.pair.deleteLater()
            self.pair = None

    def closeEvent(self, event: QCloseEvent) -> None:
        self._timer.stop()
        self.leave_pair()
        self.model.close()
        super().closeEvent(event)

"""What the window asks in dialogs: files, scenarios, data, pictures, movies, conditions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QFileDialog, QInputDialog, QTableWidget, QTableWidgetItem, QVBoxLayout

from dynsim import commands as c
from dynsim_gui import memory
from dynsim_gui.actions import shortcut_table
from dynsim_gui.models.viewer import attempt

if TYPE_CHECKING:
    from dynsim_gui.models.scenario_form import ScenarioDraft
    from dynsim_gui.window import Window

DATA, SCENARIO = (".npz", ".csv"), (".toml",)


class Dialogs:
    """Dialogs of one window; none of them stops the engine or the drawing."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._open: QDialog | None = None

    # Opening ---------------------------------------------------------------------------------------------------

    def open_path(self, path: Path) -> None:
        """Whatever it is: a run folder, a trajectory, a scenario, data."""
        if path.suffix.lower() in DATA:
            self.open_data(path)
        elif path.suffix.lower() in SCENARIO:
            self._window.open(c.New(str(path)))
        else:
            self._window.open(c.Look(path))

    def new_scenario(self, draft: ScenarioDraft | None = None) -> None:
        """The form; what it needs is imported only now, as for the other dialogs, to keep the start short."""
        from dynsim_gui.views.scenario_form import ScenarioDialog

        dialog = ScenarioDialog(draft, parent=self._window)
        dialog.form.run_requested.connect(self._run)
        self._show(dialog)

    def open_data(self, path: Path | None = None) -> None:
        """One's own data."""
        from dynsim_gui.views.open_data import OpenDataDialog

        dialog = OpenDataDialog(parent=self._window)
        dialog.run_requested.connect(self._run)
        dialog.form_requested.connect(self.new_scenario)
        self._show(dialog)
        if path is not None:
            dialog.open(path)

    def _run(self, toml: str, beside: Path | None) -> None:
        draft_name = next((line.split('"')[1] for line in toml.splitlines() if line.startswith("name = ")), "scenario")
        self._window.open(c.Text(toml, name=draft_name, beside=beside), play=True)

    def open_run(self) -> None:
        """A run folder."""
        folder = QFileDialog.getExistingDirectory(self._window, "Open a run folder", "runs")
        if folder:
            self.open_path(Path(folder))

    def open_file(self) -> None:
        """A trajectory, a scenario or data."""
        kinds = "Trajectories, scenarios and data (*.h5 *.toml *.npz *.csv)"
        file, _ = QFileDialog.getOpenFileName(self._window, "Open", "", kinds)
        if file:
            self.open_path(Path(file))

    def compare(self) -> None:
        """Runs beside each other."""
        from dynsim_gui.views.comparison import ComparisonDialog

        dialog = ComparisonDialog(self._window)
        dialog.opened.connect(self.open_path)
        self._show(dialog)

    # Leaving something behind -----------------------------------------------------------------------------------

    def screenshot(self) -> None:
        """A picture of the window, or of the particles alone."""
        from dynsim_gui.capture import save_window

        file = self._ask_file("Screenshot", self._stem("png"), "Pictures (*.png)")
        if file is not None:
            attempt(lambda: save_window(self._window, file), self._window.banner.say)

    def movie(self) -> None:
        """A movie of the recorded frames as they look now, made by a process of its own."""
        from dynsim_gui.capture import MovieDialog

        file = self._ask_file("Movie", self._stem("mp4"), "Movies (*.mp4 *.gif)")
        if file is not None:
            self._show(MovieDialog(self._window, file))

    def export(self) -> None:
        """The curves as a table."""
        file = self._ask_file("Export the curves", self._stem("csv"), "Tables (*.csv)")
        if file is not None:
            attempt(lambda: self._window.curves.export_csv(file), self._window.banner.say)

    def _stem(self, ending: str) -> str:
        run, shown = self._window.viewer.run, self._window.viewer.shown
        return f"{run.title if run else 'dynsim'}-{shown.step if shown else 0}.{ending}"

    def _ask_file(self, title: str, name: str, kinds: str) -> Path | None:
        file, _ = QFileDialog.getSaveFileName(self._window, title, name, kinds)
        return Path(file) if file else None

    # Asking -------------------------------------------------------------------------------------------------------

    def breakpoint(self) -> None:
        """A condition on the observables."""
        text, given = QInputDialog.getText(
            self._window, "Stop when", "Pause when this comes true (empty: never):", text="accuracy > 0.97"
        )
        if given:
            self._window.viewer.stop_when(text)

    def shortcuts(self) -> None:
        """Every action with its keys, from the one table."""
        rows = shortcut_table() + [
            ("View", d.windowTitle(), d.toggleViewAction().shortcut().toString()) for d in self._window.docks.values()
        ]
        rows += [
            ("Mouse", "Select a particle (Shift: one more)", "click"),
            ("Mouse", "Drag a selected particle", "drag"),
            ("Mouse", "Turn, zoom, shift the view", "drag, wheel, Shift+drag"),
        ]
        table = QTableWidget(len(rows), 3)
        table.setHorizontalHeaderLabels(["Menu", "What", "Keys"])
        table.verticalHeader().hide()
        table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        for k, row in enumerate(rows):
            for column, text in enumerate(row):
                table.setItem(k, column, QTableWidgetItem(text))
        table.resizeColumnsToContents()
        table.horizontalHeader().setStretchLastSection(True)
        dialog = QDialog(self._window)
        dialog.setWindowTitle("Shortcuts")
        dialog.resize(560, 640)
        QVBoxLayout(dialog).addWidget(table)
        self._show(dialog)

    def _show(self, dialog: QDialog) -> None:
        """Beside the window, which goes on."""
        if self._open is not None:
            self._open.close()
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._open = dialog
        dialog.destroyed.connect(lambda _=None, d=dialog: self._closed(d))
        dialog.show()

    def _closed(self, dialog: QDialog) -> None:
        if self._open is dialog:
            self._open = None

    def remember(self) -> None:
        """The window as it is, for the next time."""
        memory.write(self._window)

"""The window: its parts, and who tells whom. State is in the viewer, drawing in the views."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QDockWidget, QMainWindow, QStackedWidget, QVBoxLayout, QWidget

from dynsim import commands as c
from dynsim.errors import unknown
from dynsim_gui import actions as table
from dynsim_gui.classify import Classify
from dynsim_gui.dialogs import Dialogs
from dynsim_gui.embed import Embed
from dynsim_gui.models.colours import QUANTITIES, quantities
from dynsim_gui.models.inquiry import Inquiry
from dynsim_gui.models.viewer import Viewer, attempt
from dynsim_gui.refresh import Refresh
from dynsim_gui.timing import Timing
from dynsim_gui.views.banner import Banner
from dynsim_gui.views.classifier import ClassifierView
from dynsim_gui.views.curves import CurvesView
from dynsim_gui.views.density import DensityView
from dynsim_gui.views.header import Header
from dynsim_gui.views.inspector import InspectorView
from dynsim_gui.views.look import LookView
from dynsim_gui.views.parameters import ParametersView
from dynsim_gui.views.particles import ParticlesView
from dynsim_gui.views.timeline import Timeline
from dynsim_gui.views.welcome import WelcomeView
from dynsim_gui.watching import Watching

# Pixels that a window manager takes above a window.
TITLE_BAR = 34
LEFT, RIGHT = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea


class Window(QMainWindow):
    """Everything around one `Viewer`.

    The parts that tell the viewer's state to their views, and the views' wishes to the viewer, are objects of their
    own: `timing` (timeline, speed), `watching` (header, curves, inspector, parameters), `classify`, `embed`, `dialogs`.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.setWindowTitle("dynsim")
        self.setAcceptDrops(True)
        self.actions_ = table.build(self)
        self._build_views()
        self._build_docks()
        self._build_menus()
        self.dialogs = Dialogs(self)
        self.timing = Timing(self)
        self.watching = Watching(self)
        self.classify = Classify(self)
        self.embed = Embed(self)
        self.links = Inquiry(viewer, self._link_question, self._links_taken, 0.25)
        viewer.refused.connect(self._refused)
        viewer.failed.connect(lambda message: self.banner.say(message, self.actions_["recover"], grave=True))
        viewer.opened.connect(self._opened)
        self.refresh = Refresh(viewer, self)
        self._build_refresh()
        self._fit_screen(1280, 800)
        self.update_actions()

    # Building --------------------------------------------------------------------------------------------------

    def _build_views(self) -> None:
        self.header, self.banner = Header(), Banner()
        self.welcome = WelcomeView(self.actions_)
        self.welcome.chosen.connect(lambda name: self.open(c.New(name), play=True))
        self.particles = ParticlesView(self.viewer)
        names = ("reset", "back", "play", "forward", "loop", "branch", "screenshot", "movie")
        self.timeline = Timeline({n: self.actions_[n] for n in names} | {"live": self.actions_["last"]})
        self.pages = QStackedWidget()
        self.pages.addWidget(self.welcome)
        self.pages.addWidget(self.particles)
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for part in (self.banner, self.pages, self.timeline):
            column.addWidget(part)
        column.setStretchFactor(self.pages, 1)
        self.setCentralWidget(centre)
        bar = self.addToolBar("State")
        bar.setObjectName("state")
        bar.setMovable(False)
        bar.toggleViewAction().setEnabled(False)
        bar.addWidget(self.header)
        self.look = LookView(self.viewer.appearance, self.actions_)
        self.parameters, self.inspector = ParametersView(), InspectorView()
        self.curves, self.classifier = CurvesView(), ClassifierView()
        self.density = DensityView(
            self.viewer.appearance, lambda: self.particles.positions, lambda: self.particles.stage.view.labels
        )

    def _build_docks(self) -> None:
        self.docks: dict[str, QDockWidget] = {}
        parts = (
            ("look", "Look", self.look, LEFT),
            ("touch", "Touch", self.parameters, LEFT),
            ("particle", "Particle", self.inspector, LEFT),
            ("curves", "Curves", self.curves, RIGHT),
            ("classifier", "Classifier", self.classifier, RIGHT),
            ("density", "Density", self.density, RIGHT),
        )
        for k, (name, title, view, area) in enumerate(parts):
            dock = QDockWidget(title, self)
            dock.setObjectName(name)
            dock.setWidget(view)
            dock.toggleViewAction().setShortcut(f"Ctrl+{k + 1}")
            self.addDockWidget(area, dock)
            self.docks[name] = dock
        self.tabifyDockWidget(self.docks["touch"], self.docks["particle"])
        self.tabifyDockWidget(self.docks["classifier"], self.docks["density"])
        self.docks["touch"].raise_()
        self.docks["classifier"].raise_()
        self.resizeDocks([self.docks["look"], self.docks["curves"]], [270, 400], Qt.Orientation.Horizontal)
        self.resizeDocks([self.docks["curves"], self.docks["classifier"]], [340, 380], Qt.Orientation.Vertical)
        self.resizeDocks([self.docks["look"], self.docks["touch"]], [250, 470], Qt.Orientation.Vertical)

    def _build_menus(self) -> None:
        menus = {name: self.menuBar().addMenu(name) for name in table.MENUS}
        for action in table.ACTIONS:
            menus[action.menu].addAction(self.actions_[action.id])
        menus["View"].addSeparator()
        for dock in self.docks.values():
            menus["View"].addAction(dock.toggleViewAction())

    def _build_refresh(self) -> None:
        r, viewer = self.refresh, self.viewer
        r.always(self._tick)
        r.add(self.particles, self.particles.draw, 0.03, lambda: self.particles.version)
        r.add(self.density, self.density.draw, 0.05, lambda: (self.particles.version, self.density.changes))
        r.add(self.curves, self.watching.draw_curves, 0.1, lambda: self.watching.curves_version)
        r.add(self.inspector, self.watching.draw_inspector, 0.1, lambda: (viewer.revision, viewer.selected))
        r.add(self.header, self.watching.draw_header, 0.1, lambda: self.watching.header_version)
        r.add(self.timeline, self.timing.draw, 0.03, lambda: self.timing.version)
        r.start()

    def _tick(self, now: float) -> None:
        self.particles.animate(now, self.refresh.pace, self.viewer.playing or self.classify.sweeping(now))
        self.links.poll(now, self.particles.isVisible() and self._wants_links())
        self.classify.poll(now)

    def _fit_screen(self, width: int, height: int) -> None:
        """As large as wished, or as the screen has room for with a title bar."""
        room = self.screen().availableGeometry()
        self.resize(min(width, room.width()), min(height, room.height() - TITLE_BAR))

    # Doing -------------------------------------------------------------------------------------------------------

    def perform(self, action: table.Action) -> None:
        """What a menu, a key or a button asks for; what is wrong with it is said in the banner."""
        attempt(lambda: action.run(self), self._refused)
        self.update_actions()

    def update_actions(self) -> None:
        """What can be done now."""
        table.update(self.actions_, self.viewer)

    def open(self, plan: c.Plan, play: bool = False) -> None:
        """Open something; errors are said in the banner."""
        attempt(lambda: self.viewer.open(plan, play), self._refused)

    def show_welcome(self) -> None:
        """What there is to watch."""
        from dynsim.shipped import shipped_scenarios

        self.welcome.show_scenarios(shipped_scenarios())
        self.pages.setCurrentWidget(self.welcome)

    def bring(self, panel: str) -> None:
        """A panel to the front; raises OptionError for an unknown one."""
        if panel not in self.docks:
            raise unknown("panel", panel, tuple(self.docks), where="--panel")
        self.docks[panel].show()
        self.docks[panel].raise_()

    def _opened(self, _: object) -> None:
        self.pages.setCurrentWidget(self.particles)
        self.banner.hide()
        self.links.again()
        assert self.viewer.run is not None
        self.look.show_dimension(self.viewer.run.cast.dim)
        self.setWindowTitle(f"{self.viewer.run.title} - dynsim")
        self.update_actions()

    def _refused(self, message: str) -> None:
        self.banner.say(message)
        if self.viewer.run is None:
            self.show_welcome()

    def _wants_links(self) -> bool:
        a = self.viewer.appearance
        return (a.links or a.packets) and a.link_count > 0

    def _link_question(self) -> c.StrongestLinks | None:
        return c.StrongestLinks(self.viewer.appearance.link_count)

    def _links_taken(self, bundles: tuple[c.LinkBundle, ...] | None, error: str) -> None:
        self.particles.stage.bundles = bundles or ()

    def new_scenario(self) -> None:
        self.dialogs.new_scenario()

    def open_data(self) -> None:
        self.dialogs.open_data()

    def open_run(self) -> None:
        self.dialogs.open_run()

    def open_file(self) -> None:
        self.dialogs.open_file()

    def ask_screenshot(self) -> None:
        self.dialogs.screenshot()

    def ask_movie(self) -> None:
        self.dialogs.movie()

    def ask_export(self) -> None:
        self.dialogs.export()

    def ask_breakpoint(self) -> None:
        self.dialogs.breakpoint()

    def show_shortcuts(self) -> None:
        self.dialogs.shortcuts()

    def kick(self) -> None:
        """As strong as the box beside the button says."""
        self.parameters.kick.click()

    def undo(self) -> None:
        self.viewer.undo()
        self.classify.undone()

    def toggle_loop(self) -> None:
        self.viewer.playback.loop = not self.viewer.playback.loop

    def change_speed(self, factor: float | None) -> None:
        self.timing.change_speed(factor)

    def fit(self) -> None:
        self.particles.fit()

    def next_colour(self, way: int) -> None:
        """The next quantity of the list."""
        a, run = self.viewer.appearance, self.viewer.run
        names = list(quantities(run.cast) if run is not None else QUANTITIES)
        place = names.index(a.colour_by) if a.colour_by in names else 0
        a.colour_by = names[(place + way) % len(names)]

    def toggle_pca(self) -> None:
        a = self.viewer.appearance
        a.projection = "axes" if a.projection == "pca" else "pca"

    def next_axes(self) -> None:
        """Three axes further on in R^d."""
        a, dim = self.viewer.appearance, self.viewer.run.cast.dim if self.viewer.run else 3
        a.axes = tuple((axis + 3) % max(dim, 3) for axis in a.axes)
        a.projection = "axes"

    def toggle_full_screen(self) -> None:
        self.showNormal() if self.isFullScreen() else self.showFullScreen()

    # Qt's events ---------------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        for url in event.mimeData().urls():
            self.dialogs.open_path(Path(url.toLocalFile()))

    def closeEvent(self, event: QCloseEvent) -> None:
        self.refresh.stop()
        self.dialogs.remember()
        self.viewer.close()
        super().closeEvent(event)

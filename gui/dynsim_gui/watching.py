"""The numbers and the viewer: header, curves, inspector and live parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynsim_gui.models.colours import QUANTITIES, Quantity, quantities
from dynsim_gui.models.inspector import describe, numbers_of
from dynsim_gui.models.medium import medium_of, profile
from dynsim_gui.models.parameters import scenario_values

if TYPE_CHECKING:
    from dynsim_gui.window import Window


class Watching:
    """Tells views what the viewer knows, and the viewer what their controls ask for."""

    def __init__(self, window: Window) -> None:
        self._window, self._viewer = window, window.viewer
        self._news = 0
        viewer = self._viewer
        viewer.history_changed.connect(self._count)
        viewer.opened.connect(lambda _: self._opened())
        viewer.parameters_changed.connect(self._show_parameters)
        viewer.selection_changed.connect(self._selected)
        viewer.status.events.phase.connect(lambda _: self._phase_changed())
        viewer.refused.connect(self._refused)
        window.curves.seek_requested.connect(viewer.seek_step)
        window.inspector.particle_requested.connect(viewer.select)
        window.inspector.trace_requested.connect(self._trace)
        window.parameters.parameter_changed.connect(self._set_parameter)
        window.parameters.kick_requested.connect(viewer.kick)
        self._asked_key, self._traced = "", ""
        self._phase_changed()
        window.curves.panels_changed.connect(self._panels_chosen)
        self._panels_chosen()

    def _panels_chosen(self) -> None:
        """The engine's frames must carry what histograms are drawn of."""
        self._viewer.watched_too = self._window.curves.watched()
        self._viewer.watch()

    def _count(self) -> None:
        self._news += 1

    def _opened(self) -> None:
        self._count()
        run = self._viewer.run
        if run is not None:
            self._window.curves.offer(run.cast.panels, run.cast.widths)
            self._window.look.offer(quantities(run.cast))
            self._panels_chosen()
            values = scenario_values(run.scenario)
            self._window.parameters.remember(values)
            if not run.live:
                self._window.parameters.show(values)
        self._phase_changed()

    # Header ------------------------------------------------------------------------------------------------------

    @property
    def header_version(self) -> tuple:
        s = self._viewer.status
        return (s.phase, s.step, s.total, s.rate, s.note, s.until, s.part, self._viewer.revision, self._viewer.growing)

    def draw_header(self) -> None:
        viewer = self._viewer
        title = viewer.run.title if viewer.run is not None else "dynsim"
        self._window.header.show_status(title, viewer.status, viewer.growing)
        self._window.header.show_numbers(self._numbers())

    def _numbers(self) -> dict[str, float]:
        """Observables at the step shown."""
        viewer = self._viewer
        if viewer.shown is None:
            return {}
        step, numbers = viewer.shown.step, dict(viewer.shown.scalars)
        for table in (viewer.recorded, viewer.history):
            for name in ("loss", "accuracy", "validation_accuracy", "entropy"):
                value = table.value_at(name, step)
                # a step of its own that has no number has none; of a frame's the newest number stands
                if value is not None and (value == value or table is viewer.history):
                    numbers[name] = value
        return numbers

    # Curves ------------------------------------------------------------------------------------------------------

    @property
    def curves_version(self) -> tuple:
        step = self._viewer.shown.step if self._viewer.shown is not None else 0
        return (self._news, step)

    def draw_curves(self) -> None:
        viewer, curves = self._viewer, self._window.curves
        curves.refresh(viewer.history, viewer.recorded)
        if viewer.shown is not None:
            curves.cursor(viewer.shown.step)
            curves.histograms(viewer.shown.properties)

    # Particle ----------------------------------------------------------------------------------------------------

    def _selected(self) -> None:
        if self._viewer.selected:
            self._window.bring("particle")
        self.draw_inspector()
        self._trace(self._traced)

    def draw_inspector(self) -> None:
        viewer, inspector = self._viewer, self._window.inspector
        if viewer.shown is None or viewer.run is None or not viewer.selected:
            inspector.show_particle(None)
            return
        inspector.show_particle(describe(viewer.run.cast, viewer.shown, viewer.selected[-1]))
        inspector.cursor(viewer.shown.step)
        self._draw_profile()

    def _draw_profile(self) -> None:
        """The signal between the two particles selected last, where a medium is in its way."""
        viewer, inspector = self._viewer, self._window.inspector
        assert viewer.run is not None
        assert viewer.shown is not None
        medium = medium_of(viewer.run.scenario)
        inspector.profile.setVisible(medium is not None)
        inspector.profile.show_profile(profile(viewer.run.cast, viewer.shown, medium, viewer.selected))

    def _trace(self, name: str) -> None:
        """A quantity of the selected particle over the recorded frames."""
        viewer, inspector = self._viewer, self._window.inspector
        if not viewer.selected or viewer.feed is None:
            return
        traced = {q.name: q for q in self._traceable()}
        offered = [(q.name, q.label) for q in traced.values()]
        self._traced = name if name in dict(offered) else offered[0][0] if offered else ""
        inspector.show_quantities(offered, self._traced)
        if self._traced:
            inspector.show_trace(*viewer.trace(traced[self._traced], viewer.selected[-1]))

    def _traceable(self) -> list[Quantity]:
        """What the inspector offers curves of."""
        viewer = self._viewer
        numbers = numbers_of(viewer.run.cast) if viewer.run is not None else ()
        return [q for q in (QUANTITIES["displacement"], *numbers) if viewer.traceable(q)]

    # Parameters --------------------------------------------------------------------------------------------------

    def _show_parameters(self) -> None:
        self._window.parameters.show(self._viewer.parameters)

    def _phase_changed(self) -> None:
        viewer = self._viewer
        live = viewer.live and viewer.status.phase not in ("failed", "crashed")
        reason = "" if live else "Nothing runs here: continue from a frame (B), or open a scenario"
        self._window.parameters.enable(live, reason)
        self._window.update_actions()

    def _set_parameter(self, key: str, value: object) -> None:
        self._asked_key = key
        self._viewer.set_parameter(key, value)

    def _refused(self, message: str) -> None:
        """The library's message stands at the control that it is about."""
        if self._asked_key and self._asked_key.split(".")[-1] in message:
            self._window.parameters.refuse(self._asked_key, message)

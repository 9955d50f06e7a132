"""Recording on a device: a frame is asked for at its step and written after the next, with the same numbers."""

import numpy as np
import pytest

from dynsim import Scenario, Trajectory, resume, runs, simulation
from dynsim.errors import DivergenceError
from dynsim.kernels.host_copies import Copies
from dynsim.runfolder import TRAJECTORY
from dynsim.runs import start
from tests import strict_device

SETTINGS = ["run.device=reference", "record.every=2", "run.steps=6"]


class Slow(Copies):
    """Copies that arrive when somebody waits for them, into memory of their own; and say so."""

    def __init__(self, told, arrays):
        super().__init__([], None)
        self.told, self.asked = told, list(arrays)

    def arrays(self):
        self.told.append("taken")
        return strict_device.to_host(self.asked)


@pytest.fixture
def told(monkeypatch):
    """What happens, in order, to simulations on the strict device."""
    told = []

    def asked(arrays):
        told.append("asked")
        return Slow(told, arrays)

    def step(self):
        told.append(f"step {self.system.step + 1}")
        stepped(self)

    stepped = simulation.Simulation.step
    monkeypatch.setattr(simulation, "load", lambda _: strict_device)
    monkeypatch.setattr(strict_device, "to_host_later", asked)
    monkeypatch.setattr(simulation.Simulation, "step", step)
    return told


def recorded(folder):
    """Everything that the trajectory of a run holds."""
    with Trajectory(folder / TRAJECTORY) as run:
        frames = [run.frame(i) for i in range(len(run))]
        return [f.step for f in frames], frames, dict(run.history), list(run.events)


def assert_same(mine, theirs):
    steps, frames, history, events = recorded(mine)
    wanted = recorded(theirs)
    assert steps == wanted[0]
    assert events == wanted[3]
    for key, values in wanted[2].items():
        np.testing.assert_allclose(history[key], values, rtol=1e-5, atol=1e-7, err_msg=key)
    for frame, right in zip(frames, wanted[1], strict=True):
        for key, values in right.properties.items():
            np.testing.assert_allclose(frame.properties[key], values, rtol=1e-5, atol=1e-7, err_msg=key)
        for key, value in right.scalars.items():
            np.testing.assert_allclose(frame.scalars[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.fixture
def on_host(tmp_path):
    """The same run on the host, recorded before anything is patched."""
    return runs.run(Scenario.load("quickstart", SETTINGS), tmp_path / "host").path


def test_a_frame_is_taken_after_the_next_step(on_host, told, tmp_path):
    folder = tmp_path / "device"
    with start(Scenario.load("quickstart", SETTINGS), folder) as recording:
        told.clear()
        written = [recording.step() for _ in range(4)]
        assert told == ["step 1", "step 2", "asked", "step 3", "taken", "step 4", "asked"]
        assert [f.step if f is not None else None for f in written] == [None, None, 2, None]
        recording.save()
        assert told[-1] == "taken"
    with Trajectory(folder / TRAJECTORY) as run:
        assert list(run.steps) == [0, 2, 4]


def test_frames_are_those_of_a_run_on_the_host(on_host, told, tmp_path):
    assert_same(runs.run(Scenario.load("quickstart", SETTINGS), tmp_path / "device").path, on_host)


def test_a_run_that_is_left_in_between_goes_on_without_a_gap(on_host, told, tmp_path):
    folder = tmp_path / "device"
    with start(Scenario.load("quickstart", SETTINGS), folder) as recording:
        for _ in range(4):
            recording.step()
        recording.save()
    resume(folder)
    assert_same(folder, on_host)


def test_what_is_done_to_a_run_is_written_after_the_frame_that_waits(told, tmp_path):
    with start(Scenario.load("quickstart", SETTINGS), tmp_path / "device") as recording:
        recording.step()
        recording.step()
        recording.simulation.kick(0.1)
        recording.note()
        recording.step()
    with Trajectory(tmp_path / "device" / TRAJECTORY) as run:
        assert list(run.steps)[:2] == [0, 2]
        assert [(step, kind) for step, kind, _ in run.events] == [(2, "kick")]


def test_a_frame_that_waits_is_written_when_the_next_step_blows_up(told, tmp_path):
    scenario = Scenario.load("quickstart", [*SETTINGS, "run.steps=100"])
    with pytest.raises(DivergenceError), start(scenario, tmp_path / "device") as recording:  # noqa: PT012
        recording.step()
        recording.step()
        x = recording.simulation.system.x
        broken = {k: a * np.float32(np.nan) if k.startswith("q:") else a for k, a in x.items()}
        recording.simulation.system = recording.simulation.system.replace(x=broken)
        recording.step()
    with Trajectory(tmp_path / "device" / TRAJECTORY) as run:
        assert list(run.steps) == [0, 2]
        assert np.isfinite(run.frame(-1).properties["position"]).all()

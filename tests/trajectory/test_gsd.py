"""Trajectories for OVITO: what was recorded is what gsd reads."""

import builtins

import numpy as np
import pytest
from typer.testing import CliRunner

from dynsim import Scenario, Trajectory, run
from dynsim.backend.gsd_export import export_gsd
from dynsim.cli import app
from dynsim.errors import DeviceError, OptionError, RunFolderError

TEXT = """
[system]
layers = ["auto", 8, "auto"]
copies = 2
[field]
dataset = "moons"
batch = 16
[run]
steps = 12
device = "reference"
[record]
every = 4
properties = ["velocity", "lambda"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return run(Scenario.from_text(TEXT), tmp_path_factory.mktemp("gsd") / "r")


def test_gsd_reads_back_what_was_recorded(folder, tmp_path):
    gsd = pytest.importorskip("gsd.hoomd", reason="gsd is not installed")
    out = tmp_path / "r.gsd"
    shown = CliRunner().invoke(app, ["export", str(folder.path), "--to", "gsd", "--out", str(out)])
    assert "4 frames of 24 particles" in shown.output
    with gsd.open(str(out), "r") as theirs, Trajectory(folder / "trajectory.h5") as ours:
        assert [frame.configuration.step for frame in theirs] == ours.steps.tolist()
        for i, frame in enumerate(theirs):
            mine, cast = ours.frame(i), ours.cast
            assert np.array_equal(frame.particles.position, mine.positions)
            assert np.array_equal(frame.log["particles/position"], mine.properties["position"])
            assert np.array_equal(frame.log["particles/lambda"], mine.properties["lambda"])
            assert np.array_equal(frame.log["groups/mu:input>hidden"], mine.properties["mu:input>hidden"])
            assert np.allclose(frame.particles.velocity, mine.properties["velocity"] @ cast.projection.T)
            assert frame.particles.types == ["input", "hidden", "output"]
            assert np.array_equal(frame.particles.typeid, cast.subsystem)
            assert np.array_equal(frame.log["observables/loss"], [mine.scalars["loss"]], equal_nan=True)
            assert (2 * np.abs(frame.particles.position) < frame.configuration.box[0]).all()
    assert [p.name for p in tmp_path.iterdir()] == ["r.gsd"]


def test_what_cannot_be_written_is_said(folder, tmp_path, monkeypatch):
    pytest.importorskip("gsd.hoomd", reason="gsd is not installed")
    with pytest.raises(OptionError, match=r"\*\.gsd"):
        export_gsd(folder.path, tmp_path / "r.h5")
    with pytest.raises(RunFolderError, match="cannot be written"):
        export_gsd(folder.path, tmp_path / "nowhere" / "r.gsd")


def test_a_missing_package_is_named(folder, tmp_path, monkeypatch):
    original = builtins.__import__

    def without_gsd(name, *arguments, **named):
        if name.startswith("gsd"):
            raise ImportError(name)
        return original(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_gsd)
    with pytest.raises(DeviceError, match=r"dynsim\[gsd\]"):
        export_gsd(folder.path, tmp_path / "r.gsd")

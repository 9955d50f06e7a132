"""The diffs of docs/extending.md apply to the code as it is, and what they add works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "extending.md"
# What the page promises of every part; each line that is printed is one that held.
TRIED = """
import numpy as np
from dynsim import Scenario, Simulation
from dynsim.kernels import cpu, reference

rng = np.random.default_rng(0)
link = rng.normal(size=(2, 5, 9)), rng.normal(size=(2, 40, 9)), rng.normal(size=2), 0.7, 0.3, 2.0
stress = rng.normal(size=(5, 40))
ours = cpu.path_integral_forces("inverse-square", *link, stress)
truth = reference.path_integral_forces("inverse-square", *link, stress)
assert all(np.allclose(a, b, rtol=1e-9) for a, b in zip(ours, truth))
energy = lambda q: -(stress * reference.path_integral("inverse-square", q, *link[1:])).sum()
turned = rng.normal(size=link[0].shape)
slope = (energy(link[0] + 1e-6 * turned) - energy(link[0] - 1e-6 * turned)) / 2e-6
assert np.isclose(-slope, (truth[0] * turned).sum(), rtol=1e-6)
print("metric")


def run(name, *settings):
    simulation = Simulation(Scenario.load(name, ["run.device=reference", *settings]))
    return simulation, list(simulation)


# Nothing but drag: 1 / |v| grows by order Lambda dt a step, and |q| stays what a field without force leaves it.
from dynsim.dynamics.damping import Drag

simulation, _ = run("two_particles", "dynamics.law=drag", "run.steps=2")
v = {k: np.full_like(a, 2.0) for k, a in simulation.system.v.items() if k.startswith("q:")}
turn, _ = Drag(rate=0.5).exponents(simulation.system.replace(v=v), {}, 0.1)
for key, a in v.items():
    fast, slow = (np.linalg.norm(b, axis=-1) for b in (a, a * np.exp(-turn[key])))
    assert np.allclose(1 / slow - 1 / fast, 0.05)
print("law")

# Its energy ripples but does not drift, as that of a symplectic method.
_, frames = run("two_particles", "dynamics.integrator=drift-kick", "run.steps=1500", "record.every=1")
energies = np.array([f.scalars["kinetic"] + f.scalars["potential"] for f in frames])
assert np.ptp(energies) < 0.03 * energies.mean()
assert abs(energies[:300].mean() - energies[-300:].mean()) < 0.005 * energies.mean()  # Euler's method: 0.15
print("integrator")

simulation, frames = run("fit_matrix", "run.steps=20", 'record.observables=["loss", "gyration"]')
q = simulation.system.x["q:input"].reshape(-1, 9)
expected = np.sqrt(((q - q.mean(0)) ** 2).sum(-1).mean())
assert np.isclose(frames[-1].scalars["gyration_input"], expected)
print("observable")

_, frames = run("fit_matrix", "field.kind=orthogonal", "field.target=", "system.layers=[12, 4]", "run.steps=100")
assert frames[0].scalars["loss"] > 0.1
assert frames[-1].scalars["loss"] < 1e-3
print("field")
"""
SEEN = """
from types import SimpleNamespace

import numpy as np
from qtpy.QtWidgets import QApplication

app = QApplication([])
from dynsim_gui.views.spread import SpreadView

view = SpreadView(SimpleNamespace(shown=SimpleNamespace(positions=np.array([[0, 0, 0], [2, 4, 6.0]]))))
view.draw()
assert list(view.bars.opts["height"]) == [1, 2, 3]
import dynsim_gui.window
print("view")
"""


def diffs():
    return re.findall(r"^```diff\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the code with all diffs of the page."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("dynsim", "gui", "scenarios"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "data").symlink_to(ROOT / "data")
    for text in diffs():
        done = subprocess.run(["git", "apply", "-"], input=text, text=True, cwd=folder, capture_output=True)
        assert done.returncode == 0, f"{text.splitlines()[0]}\n{done.stderr}"
    return folder


def tried(folder, code):
    """What a program prints that sees the extended code."""
    paths = os.pathsep.join(str(p) for p in (folder, folder / "gui"))
    settings = {"PYTHONPATH": paths, "QT_QPA_PLATFORM": "offscreen", "NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | settings, text=True, capture_output=True
    )
    return done.stdout.split(), done.stderr


def test_diffs_are_short():
    lines = {text.splitlines()[0]: len(re.findall(r"^[+-](?![+-])", text, re.MULTILINE)) for text in diffs()}
    assert len(lines) == 6
    assert max(lines.values()) <= 48, lines


def test_what_they_add_works(extended):
    found, errors = tried(extended, TRIED)
    assert found == ["metric", "law", "integrator", "observable", "field"], errors


def test_the_view_shows_the_frame(extended):
    found, errors = tried(extended, SEEN)
    if "ImportError" in errors and ".so" in errors:
        pytest.skip("Qt's libraries are not installed")
    assert found == ["view"], errors

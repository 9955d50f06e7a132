"""Numbers that go wrong, scenarios that cannot fit, an engine that is killed: said, not suffered."""

import os
import signal
import time

import numpy as np
import pytest
from faults import FULL, Child
from faults_runs import SCENARIO

from dynsim import commands as c
from dynsim import runs
from dynsim.errors import DivergenceError
from dynsim.scenario import Scenario
from dynsim_gui.models.viewer import Viewer

BAD = (np.nan, np.inf, -np.inf, 1e30)


def break_particle(simulation, rng, bad):
    """A coordinate or velocity of one particle; how it has to be named."""
    # a velocity that is only too large is bounded by Eq. (10), and does no harm
    part, name = (
        "x" if np.isfinite(bad) else str(rng.choice(["x", "v"])),
        str(rng.choice(["input", "hidden", "output"])),
    )
    groups = getattr(simulation.system, part)
    a = groups[f"q:{name}"].copy()
    where = tuple(int(rng.integers(n)) for n in a.shape)
    a[where] = bad
    simulation.system = simulation.system.replace(**{part: groups | {f"q:{name}": a}})
    return f"sub-model {where[1]}, copy {where[0]} of {name!r}"


def break_weight(simulation, rng, bad):
    """One of what carries weights: mu, gain, bias."""
    x = simulation.system.x
    key = str(rng.choice(sorted(k for k in x if not k.startswith("q:"))))
    a = x[key].copy()
    where = tuple(int(rng.integers(n)) for n in a.shape)
    a[where] = bad
    simulation.system = simulation.system.replace(x=x | {key: a})
    return f"{key.split(':', 1)[0]}{list(where[:-1])} of {key.split(':', 1)[1]!r}"


def break_datum(simulation, rng, bad):
    """One input of a sample that the next step sees; a large one is only a strong signal."""
    bad = np.inf if np.isfinite(bad) else bad
    field = simulation.field
    field.x = field.x.copy()
    column = int(rng.integers(field.x.shape[1]))
    field.x[rng.choice(field.batch_indices(simulation.system.step)), column] = bad
    return f"sub-model {column} of 'input'"


@pytest.mark.counts(6, 20)
def test_a_bad_number_stops_the_run_at_its_step_by_its_name(tmp_path, count, rng, tally):
    scenario = Scenario.from_text(SCENARIO.format(steps=200, device="reference"))
    held = 0
    for k in range(count):
        out, last = tmp_path / f"run-{k}", int(rng.integers(1, 30))
        bad = float(BAD[k % len(BAD)])
        damage = (break_particle, break_weight, break_datum)[k % 3]
        with runs.start(scenario, out) as recording:
            for _ in range(last):
                recording.step()
            recording.save()
            named = damage(recording.simulation, rng, bad)
            with pytest.raises(DivergenceError) as caught:
                recording.step()
        assert named in caught.value.given, f"{damage.__name__} {bad}: {named} expected, but {caught.value}"
        assert "links " in caught.value.given
        assert f"step {last + 1}" in caught.value.where
        with runs.reopen(out) as again:
            system = again.simulation.system
            assert system.step == last
            held += all(np.isfinite(a).all() for groups in (system.x, system.v) for a in groups.values())
    tally("bad numbers stopped at their step, named, last good checkpoint kept", held, count)


def test_running_away_is_stopped(tmp_path, tally):
    """A step far too long blows the cloud up by itself; the last checkpoint is of before."""
    settings = ["dynamics.limit=false", "dynamics.dt=100.0", "dynamics.hyper.trained=[]"]
    scenario = Scenario.from_text(SCENARIO.format(steps=100000, device="reference"), settings)
    with pytest.raises(DivergenceError, match=r"running away|infinite|NaN"):
        runs.run(scenario, tmp_path / "run")
    with runs.reopen(tmp_path / "run") as again:
        system = again.simulation.system
        tally("run that blows up by itself", int(all(np.isfinite(a).all() for a in system.x.values())), 1)


LARGE = [
    ["system.layers=[100000, 100000, 10]"],
    ["system.layers=[1000000000, 2]"],
    ["system.layers=['auto', 500000, 500000, 'auto']"],
    ["system.layers=['auto', 1000000000, 'auto']"],
    ["system.copies=100000000"],
    ["system.copies=1000000000"],
    ["system.dim=4096", "system.copies=200000"],
    ["system.layers=['auto', 2000, 'auto']", "system.copies=200000", "system.interactive=true"],
    ["system.layers=['auto', 60000, 60000, 'auto']", "run.dtype='float64'"],
    ["system.layers=['auto', 8, 100000000, 8, 'auto']", "system.metric='l1'"],
]


def test_what_cannot_fit_is_refused_before_it_is_made(tmp_path, tally):
    refused = 0
    with Child() as child:
        for settings in LARGE:
            scenario = tmp_path / "large.toml"
            scenario.write_text(SCENARIO.format(steps=10, device="reference"))
            fate, words, seconds = child.open("build", scenario, settings)
            assert fate == "refused", f"{settings}: {fate} {words}"
            assert "GiB needed" in words
            assert not FULL or seconds < 1, f"{settings}: {seconds} s"
            refused += 1
    tally("oversized scenarios refused before allocation", refused, len(LARGE))


def test_a_killed_engine_leaves_the_window_alive_and_its_run_to_be_resumed(tmp_path, tally):
    """The window's model without a display: it says what happened, shows what was recorded, and goes on."""
    viewer, said = Viewer(), []
    viewer.failed.connect(said.append)

    def until(done):
        end = time.monotonic() + 180
        while not done():
            assert time.monotonic() < end, (viewer.status, said)
            viewer.poll(0.01)
            time.sleep(0.01)

    try:
        settings = ("system.layers=['auto', 8, 'auto']", "system.copies=2", "record.every=5", "run.steps=100000")
        viewer.open(c.New("moons", settings, tmp_path / "run"), play=True)
        until(lambda: (tmp_path / "run" / "checkpoints" / "latest.safetensors").exists() or save(viewer))
        until(lambda: len(viewer.feed.steps))
        os.kill(viewer.engine.pid, signal.SIGKILL)
        until(lambda: said)
        assert "killed by signal 9" in said[0]
        assert "the last checkpoint is of step" in said[0]
        assert viewer.status.phase in ("crashed", "looking")
        assert len(viewer.feed.steps)
        viewer.open(c.Resume(tmp_path / "run"))
        until(lambda: viewer.status.phase == "paused" and viewer.status.step > 0)
        tally("engine killed under the window: said, shown, resumed", 1, 1)
    finally:
        viewer.close()


def save(viewer):
    """Ask for a checkpoint once something runs."""
    if viewer.engine is not None and viewer.status.step > 5:
        viewer.engine.send(c.Save())
    return False

"""Sweeps: what they leave, how they end and go on, what they refuse; the workers that do them, here and on Dask."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jobs
import numpy as np
import psutil
import pytest

from dynsim.backend.conversion.convert import convert
from dynsim.backend.report import describe
from dynsim.cli import main
from dynsim.errors import FileFormatError, OptionError, ResourceError, RunFolderError, ScenarioError
from dynsim.files import unwritable
from dynsim.lock import NAME, Lock
from dynsim.preparing import absolute
from dynsim.progress import Progress
from dynsim.reproduce.study import Study, Unit
from dynsim.runfolder import RunFolder
from dynsim.scenario import Scenario
from dynsim.stopping import Interrupted
from dynsim.sweep.conduct import sweep
from dynsim.sweep.journal import JOURNAL, Journal
from dynsim.sweep.parameters import parsed, rehearsed
from dynsim.sweep.plan import Plan, asked_for
from dynsim.sweep.record import SWEEP, Outcome, read_sweep
from dynsim.sweep.trial import Task, work_out
from dynsim.workers import Workers, workers

# As quick as a run can be: 2 hidden particles, a few steps.
TINY = {
    "system.layers": ["auto", 2, "auto"],
    "system.copies": 2,
    "run.steps": 4,
    "record.every": 4,
    "record.properties": [],
    "record.observables": ["loss", "accuracy"],
}
XOR = Scenario.load("xor").changed(**TINY)
VARIED = ("dynamics.eta=log:0.01:0.5", "system.copies=2,4")


# Workers ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_job_whose_worker_is_killed_is_repeated_once_and_its_neighbours_are_not(tmp_path):
    once, twice, neighbour, sign = (str(tmp_path / name) for name in ("once", "twice", "neighbour", "sign"))
    with workers(2) as pool:
        waiting = pool.submit(jobs.until, neighbour, sign)
        pool.submit(jobs.fatal, once, 1).result()
        with pytest.raises(ResourceError, match="killed twice"):
            pool.submit(jobs.fatal, twice, 2).result()
        Path(sign).touch()
        assert waiting.result() == 1
        told = [pool.submit(jobs.process_and_threads) for _ in range(8)]
        pids, threads = zip(*(future.result() for future in told))
    assert len(set(pids)) <= 2
    assert set(threads) == {"1"}
    assert [len(Path(trace).read_text()) for trace in (once, twice)] == [2, 2]


def test_no_more_workers_of_a_cluster_are_used_than_jobs():
    assert [Workers(SimpleNamespace(slots=n), 2).slots for n in (1, 5)] == [1, 2]


def test_an_error_ends_the_workers_at_once(tmp_path):
    trace, before = tmp_path / "trace", _spawned()

    def broken_off():
        with workers(1) as pool:
            pool.submit(jobs.until, str(trace), str(tmp_path / "never"))
            while not trace.exists():
                time.sleep(0.01)
            raise KeyError

    with pytest.raises(KeyError):
        broken_off()
    assert _spawned() <= before


def _command(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _spawned():
    return {p.pid for p in psutil.Process().children() if "spawn_main" in " ".join(_command(p))}


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL"
    ) as found:
        yield found


# What is left ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweeps") / "done"
    return sweep(XOR, VARIED, out, trials=5, jobs=1, objective="final.train_loss")


def test_a_sweep_leaves_a_run_folder_for_every_trial_and_a_table_of_them(done):
    assert [(t.number, t.state, t.folder) for t in done.trials] == [
        (k, "complete", f"trials/{k:04d}") for k in range(5)
    ]
    for trial in done.trials:
        run = RunFolder.open(done.folder(trial))
        assert run.scenario.dynamics.eta == trial.settings["dynamics.eta"]
        assert run.scenario.system.copies == trial.settings["system.copies"]
        assert trial.value == run.summary["final"]["train_loss"]
        assert (run.summary["threads"], run.writer) == (1, "")
    assert done.best == min(done.trials, key=lambda t: t.value)
    assert read_sweep(done.path) == done
    told = json.loads((done.path / SWEEP).read_text())
    assert (told["best"], told["direction"], told["asked"]) == (done.best.number, "minimise", 5)
    assert not list(done.path.glob(".session*"))


def test_other_commands_read_a_trial(done):
    assert describe(done.folder(done.best))["scenario"] == "xor"


def test_the_same_seed_chooses_the_same_and_another_does_not(done, tmp_path):
    def chosen(folder, seed):
        folder.mkdir()
        journal = Journal(folder, replace(_plan(objective="final.train_loss"), seed=seed), 3)
        journal.begin()
        return [journal.next()[1] for _ in range(3)]

    assert chosen(tmp_path / "a", 0) == [t.settings for t in done.trials[:3]]
    assert chosen(tmp_path / "b", 1) != chosen(tmp_path / "c", 0)


def test_a_finished_sweep_is_only_read_and_goes_on_where_more_is_asked(done, cluster):
    written = _written(done)
    again = sweep(XOR, VARIED, done.path, trials=5, jobs=1, objective="final.train_loss")
    assert again == done
    there = cluster.scheduler_address
    longer = sweep(XOR, VARIED, done.path, trials=6, dask=there, objective="final.train_loss")
    assert (longer.trials[:5], longer.trials[5].state) == (done.trials, "complete")
    assert _written(done) == written


def _written(found):
    return [(found.folder(t) / "summary.json").stat().st_mtime_ns for t in found.trials]


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"schema": "dynsim-sweep/1", "trials": [{"number": 0}]}'])
def test_a_damaged_table_is_refused(damage, tmp_path):
    with pytest.raises(RunFolderError):
        read_sweep(tmp_path)
    (tmp_path / SWEEP).write_bytes(damage)
    with pytest.raises(FileFormatError):
        read_sweep(tmp_path)


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("param", "told"),
    [
        ("dynamics.dtt=1,2", "did you mean 'dt'"),
        ("dynamics.dt=small,large", "number"),
        ("dynamics.dt=-1:2", "greater than 0"),
        ("system.copies=2:8", "system.copies=int:LOW:HIGH"),
        ("system.copies=int:0:8", "system.copies"),
        ("dynamics.dt=2:2", "empty range"),
        ("dynamics.dt=log:0:2", "logarithm"),
        ("dynamics.dt=log:1", "two numbers"),
        ("system.copies=int:1.5:8", "whole"),
        ("dynamics.dt=1:inf", "not finite"),
        ("dynamics.dt=1,1", "twice"),
        ("dynamics.dt", "KEY="),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_before_anything_starts(param, told, tmp_path):
    with pytest.raises((OptionError, ScenarioError)) as refused:
        sweep(XOR, [param], tmp_path / "out")
    assert told in str(refused.value)
    assert param.split("=")[0] in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"objective": "observables.entropy"}, "--minimise"),
        ({"prune": True}, "field.validation"),
        ({"prune": True, "objective": "bytes"}, "--prune"),
        ({"grid": True}, "a grid needs a list"),
        ({"trials": 0}, "--trials"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_starts(options, told, tmp_path):
    with pytest.raises(OptionError) as refused:
        sweep(XOR, VARIED, tmp_path / "out", **options)
    assert told in str(refused.value)
    assert not (tmp_path / "out" / JOURNAL).exists()


@pytest.mark.parametrize(
    ("scenario", "varied", "options", "told"),
    [
        ({"dynamics.dt": 0.5}, VARIED, {}, "scenario.dynamics.dt: 1.0 before, 0.5 now"),
        ({}, ("dynamics.eta=log:0.01:0.6", VARIED[1]), {}, "parameters.dynamics.eta.high: 0.5 before, 0.6 now"),
        ({}, VARIED[:1], {}, "parameters.system.copies"),
        ({}, VARIED, {"objective": "final.test_loss"}, "objective: final.train_loss before, final.test_loss now"),
        ({}, VARIED, {"seed": 3}, "seed: 0 before, 3 now"),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused_with_what_differs(scenario, varied, options, told, done):
    with pytest.raises(OptionError, match="another sweep") as refused:
        sweep(XOR.changed(**scenario), varied, done.path, **{"objective": "final.train_loss"} | options)
    assert told in str(refused.value)
    assert "note" not in str(refused.value)  # it follows from the objective


def test_a_refused_folder_is_named_as_it_was_given(done, monkeypatch):
    monkeypatch.chdir(done.path.parent)
    with pytest.raises(OptionError) as refused:
        sweep(XOR, VARIED[:1], done.path.name, objective="final.train_loss")
    assert refused.value.where == done.path.name


def test_an_unknown_key_is_told_before_all_else():
    varied = parsed(["system.copies=2:8", "dynamics.etta=log:0.1:1"])
    with pytest.raises(ScenarioError, match="did you mean 'eta'") as refused:
        rehearsed(XOR, varied)
    assert "int:LOW:HIGH" not in str(refused.value)
    assert "system.copies" not in str(refused.value)


def test_folders_in_use_or_of_something_else_are_refused(done, tmp_path):
    with Lock(done.path / NAME, create=True, what="this sweep"), pytest.raises(RunFolderError, match="in use"):
        sweep(XOR, VARIED, done.path, objective="final.train_loss")
    (tmp_path / "mine.txt").touch()
    with pytest.raises(RunFolderError, match="something else"):
        sweep(XOR, VARIED, tmp_path)


def test_values_that_only_fit_together_are_taken():
    varied = parsed(["run.stop.accuracy=0.9,0.95", "field.validation=0.1,0.2"])
    assert rehearsed(XOR, varied).field.validation == 0.1


def test_the_objective_says_which_way_is_better_and_whether_test_data_chose():
    kinds = {"final.test_accuracy": "maximise", "final.train_loss": "minimise", "bytes": "minimise"}
    for objective, direction in kinds.items():
        plan = asked_for(XOR, parsed(VARIED), objective, None)
        assert (plan.direction, bool(plan.note)) == (direction, "test" in objective)
    assert asked_for(XOR.changed(**{"field.validation": 0.1}), (), None, None).objective == "final.validation_accuracy"
    assert asked_for(XOR, (), "observables.entropy", True).direction == "minimise"
    ways = {"final.r2_test": "maximise", "steps_per_s": "maximise", "steps": "minimise"}
    assert {name: asked_for(XOR, (), name, None).direction for name in ways} == ways


# The journal -----------------------------------------------------------------------------------------------------


def _plan(*varied, **options):
    return Plan(XOR, parsed(varied or VARIED), **{"objective": "bytes", "direction": "minimise"} | options)


def test_a_grid_tries_every_combination_once_across_kills(tmp_path):
    plan = _plan("system.copies=int:2:4", 'system.layers=["auto", 2, "auto"],["auto", 3, "auto"]', grid=True)
    journal, tried = Journal(tmp_path, plan, 0), []
    journal.begin()
    while (found := journal.next()) is not None:
        number, settings = found
        if number == 3 and len(tried) == 3:  # killed: the journal is opened anew, with half a line at its end
            with open(tmp_path / JOURNAL, "ab") as file:
                file.write(b'{"op_code": 5, "tri')
            journal = Journal(tmp_path, plan, 0)
            assert journal.record().trials[3].state == "running"
            assert journal.next() == (3, settings)
        tried.append(settings)
        journal.tell(number, Outcome("complete", float(number), 0.1))
    layers = (["auto", 2, "auto"], ["auto", 3, "auto"])
    assert tried == [{"system.copies": c, "system.layers": x} for c, x in itertools.product((2, 3, 4), layers)]
    assert [t.settings for t in journal.record().trials] == tried


def test_a_damaged_journal_is_told(tmp_path):
    (tmp_path / JOURNAL).write_bytes(b"nonsense\n{}\n")
    with pytest.raises(FileFormatError, match="journal"):
        Journal(tmp_path, _plan(), 3)


# Trials ----------------------------------------------------------------------------------------------------------


def _task(folder, settings, **options):
    (folder / "session").touch()
    return Task(0, XOR, settings, folder, "final.train_loss", folder / "session", **options)


def test_a_broken_trial_goes_on_and_one_that_was_finished_is_kept(tmp_path):
    task = _task(tmp_path, {"run.checkpoint_steps": 2})
    first = work_out(task)
    (task.folder / "summary.json").unlink()
    for checkpoint in (task.folder / "checkpoints").iterdir():
        checkpoint.write_bytes(b"damaged")
    assert work_out(task).value == first.value
    written = (task.folder / "summary.json").stat().st_mtime_ns
    assert (work_out(task).value, first.state) == (first.value, "complete")
    assert (task.folder / "summary.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dynamics.limit": False, "dynamics.dt": 1e30, "dynamics.friction": 1.0}, "step"),
        ({"field.dataset": "nowhere.npz"}, "nowhere.npz"),
        ({"system.layers": ["auto", 10**7, "auto"], "system.copies": 10**5}, "memory"),
        ({"dynamics.law": "lagrangian", "dynamics.friction": 0.9}, "friction"),
    ],
)
def test_a_failure_is_told_with_its_reason(settings, told, tmp_path):
    outcome = work_out(_task(tmp_path, settings))
    assert (outcome.state, outcome.value) == ("failed", None)
    assert told in outcome.reason


def test_a_trial_of_a_sweep_that_has_ended_stops(tmp_path):
    task = _task(tmp_path, {})
    task.session.unlink()
    assert "not seen" in work_out(task).reason
    assert not task.folder.exists()


def test_pruning_sees_the_validation_accuracy_and_breaks_off_the_poor(tmp_path):
    learning = {"field.validation": 0.3, "run.steps": 40, "record.every": 2, "dynamics.eta": 0.2}
    scenario = XOR.changed(**learning)
    plan = asked_for(scenario, parsed(["dynamics.coefficients=0.005,1e-9"]), "final.train_loss", None, prune=True)
    journal = Journal(tmp_path, plan, 8)
    journal.begin()
    (tmp_path / "session").touch()
    outcomes = []
    for k in range(7):
        number, _ = journal.next()
        settings = {"dynamics.eta": 0.2 if k < 5 else 1e-7, "run.seed": 3}
        task = Task(number, scenario, settings, tmp_path, plan.objective, tmp_path / "session", prune=True)
        outcomes.append(work_out(task))
        journal.tell(number, outcomes[-1])
    assert [o.state for o in outcomes] == ["complete"] * 5 + ["pruned"] * 2
    assert "validation accuracy" in outcomes[-1].reason
    assert not (tmp_path / "trials/0006/summary.json").exists()
    assert journal.record().left == 1


# Ends ------------------------------------------------------------------------------------------------------------


class _Sends(Progress):
    """Sends a process a signal at the first trial that ends; hears what is noted."""

    def __init__(self, number=None, pid=os.getpid):
        super().__init__(quiet=True)
        self._number, self._pid = number, pid
        self.notes = []

    def update(self, step, total, numbers):
        if self._number is not None:
            os.kill(self._pid(), self._number)
            self._number = None

    def note(self, text):
        self.notes.append(text)


def test_failures_do_not_stop_a_sweep(cluster, tmp_path):
    varied, progress = ["field.dataset=xor,nowhere.npz", "run.seed=1,2"], _Sends()
    found = sweep(XOR, varied, tmp_path, grid=True, dask=cluster.scheduler_address, progress=progress)
    assert [t.state for t in found.trials] == ["complete"] * 2 + ["failed"] * 2
    assert all("nowhere.npz" in t.reason and t.folder is None for t in found.trials[2:])
    assert [note.partition(":")[0] for note in progress.notes] == ["trial 2 failed", "trial 3 failed"]
    assert read_sweep(tmp_path) == found


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_signal_ends_a_sweep_between_two_trials(cluster, tmp_path):
    options = {"trials": 4, "objective": "final.train_loss", "dask": cluster.scheduler_address}
    with pytest.raises(Interrupted, match="SIGTERM") as told:
        sweep(XOR, VARIED, tmp_path, progress=_Sends(signal.SIGTERM), **options)
    assert "the same command again" in str(told.value)
    assert "complete" in {t.state for t in read_sweep(tmp_path).trials}
    assert not list(tmp_path.glob(".session-*"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_signal_ends_a_sweep_before_its_trials_and_after_a_kill_it_goes_on(tmp_path, done, cluster):
    (tmp_path / "tiny.toml").write_text(XOR.to_toml())
    given = ["sweep", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "out"), "--objective", "final.train_loss"]
    given += [a for p in VARIED for a in ("--param", p)] + ["--trials", "5", "--quiet"]
    for number, finished in ((signal.SIGINT, 0), (signal.SIGKILL, 2)):
        call = [sys.executable, "-m", "dynsim", *given, "--jobs", "1"]
        process = subprocess.Popen(call, stderr=subprocess.PIPE, text=True)
        while not list((tmp_path / "out").glob(".session-*")) or _complete(tmp_path / "out") < finished:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(number)
        told = process.communicate(timeout=60)[1]
        assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
        assert ("the same command again" in told) == (number != signal.SIGKILL)
    kept = {t.number: t for t in read_sweep(tmp_path / "out").trials if t.state == "complete"}
    assert _main([*given, "--dask", cluster.scheduler_address]) == 0
    found = read_sweep(tmp_path / "out")
    assert [(t.number, t.state) for t in found.trials] == [(k, "complete") for k in range(5)]
    assert all(found.trials[k] == t for k, t in kept.items())
    assert [(t.settings, t.value) for t in found.trials] == [(t.settings, t.value) for t in done.trials[:5]]


def _complete(folder):
    return sum(t.state == "complete" for t in read_sweep(folder).trials) if (folder / SWEEP).is_file() else 0


def _main(given):
    before, sys.argv = sys.argv, ["dynsim", *given]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = before
    return 0


# Dask ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_sweep_on_dask_survives_a_killed_worker(cluster, tmp_path, done):
    progress = _Sends(signal.SIGKILL, lambda: next(w.pid for w in cluster.workers.values()))
    options = {"trials": 4, "objective": "final.train_loss", "dask": cluster.scheduler_address}
    found = sweep(XOR, VARIED, tmp_path, progress=progress, **options)
    assert [(t.settings, t.value) for t in found.trials] == [(t.settings, t.value) for t in done.trials[:4]]
    assert RunFolder(found.folder(found.best)).summary["threads"] == 1


def test_an_unknown_objective_is_told_what_there_is_before_a_trial_starts(cluster, tmp_path):
    with pytest.raises(OptionError) as refused:
        sweep(XOR, VARIED, tmp_path, objective="final.accuracy", dask=cluster.scheduler_address)
    assert "final.test_accuracy" in refused.value.allowed
    assert "'final.accuracy'" in refused.value.given
    assert not list(tmp_path.glob("trials/*"))
    assert not (tmp_path / JOURNAL).exists()


def test_where_every_trial_fails_the_command_does_too(cluster, tmp_path, capsys):
    given = ["sweep", "xor", "--param", "field.dataset=nowhere.npz,nobody.npz", "--grid"]
    given += ["--dask", cluster.scheduler_address]
    assert _main([*given, "--out", str(tmp_path), "--quiet", "--json"]) == 1
    said = capsys.readouterr()
    assert [t["state"] for t in json.loads(said.out)["trials"]] == ["failed", "failed"]
    assert "every trial has failed" in said.err
    assert "nowhere.npz" in said.err


def test_a_full_disk_is_told_with_the_way_on(cluster, tmp_path, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / JOURNAL))

    monkeypatch.setattr(Journal, "begin", full)
    with pytest.raises(RunFolderError, match="the same command again") as told:
        sweep(XOR, VARIED, tmp_path, dask=cluster.scheduler_address)
    assert "No space left" in str(told.value)


def test_a_study_takes_the_same_workers(cluster, tmp_path):
    found = Study(tmp_path, quiet=True, dask=cluster.scheduler_address).run("some", [Unit("n", jobs.doubled, {"n": 4})])
    assert found["n"]["twice"] == 8
    assert found["n"]["pid"] in {w.pid for w in cluster.workers.values()}


def test_a_conversion_takes_the_same_workers(cluster, tmp_path):
    net = {"fc.weight": np.random.default_rng(1).standard_normal((24, 16)).astype(np.float32)}
    np.savez(tmp_path / "net.npz", **net)
    made = {}
    for place, how in {"here": {"jobs": 1}, "there": {"dask": cluster.scheduler_address}}.items():
        convert(tmp_path / "net.npz", tmp_path / place, budget_ratio=0.5, only=["rounding"], **how)
        made[place] = (tmp_path / place / "model.dynsim.safetensors").read_bytes()
    assert made["here"] == made["there"]


def test_workers_that_do_not_see_the_folder_are_refused(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("dynsim.workers._sees", lambda token: False)
    with pytest.raises(RunFolderError, match="do not see this folder"):
        sweep(XOR, VARIED, tmp_path, dask=cluster.scheduler_address)
    monkeypatch.setattr("dynsim.workers._sees", lambda token: ImportError("No module named 'dynsim'"))
    with pytest.raises(OptionError, match="cannot load dynsim"):
        sweep(XOR, VARIED, tmp_path, dask=cluster.scheduler_address)
    assert not (tmp_path / JOURNAL).exists()
    assert not list(tmp_path.glob(".s*"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense"])
def test_a_scheduler_that_is_not_reached_is_told(address, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("dynsim.workers.CONNECT", 0.5)
    with pytest.raises(OptionError, match="no Dask scheduler"):
        sweep(XOR, VARIED, tmp_path, dask=address)


def test_a_full_disk_stops_the_sweep_and_costs_no_trial(tmp_path, monkeypatch):
    def full(*given):
        raise unwritable(tmp_path / "trajectory.h5", OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr("dynsim.runs.run", full)
    with pytest.raises(RunFolderError, match="No space left"):
        work_out(_task(tmp_path, {}))


def test_a_grid_of_a_huge_range_takes_no_memory():
    (seeds,) = parsed(["run.seed=int:0:2000000000"])
    assert seeds.listed[1_999_999_999] == 1_999_999_999


def test_swept_data_files_are_found_from_everywhere(tmp_path):
    (tmp_path / "own.csv").write_text("x,y\n")
    (tmp_path / "own.toml").write_text(XOR.to_toml())
    swept = absolute(Scenario.load(tmp_path / "own.toml"), {"field.dataset": "own.csv", "dynamics.dt": 0.1})
    assert swept == {"field.dataset": str(tmp_path / "own.csv"), "dynamics.dt": 0.1}

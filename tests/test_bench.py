"""`dynsim bench`: what is timed, what is said about it, and that a rival computes the same."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from dynsim.bench import BENCHMARKS, Case, Context, Rival, cases, timing
from dynsim.bench.run import run, text, warning
from dynsim.bench.timing import Row, rows
from dynsim.cli import app
from dynsim.errors import OptionError
from dynsim.kernels import load, reference
from dynsim.progress import Progress

QUIET = Progress(quiet=True)
cpu = load.load("cpu")
MANDATORY = ("name", "shape", "threads", "ours_ms", "rival", "rival_ms", "ratio", "goal", "holds")


def waiting(seconds, result=0.0):
    """Work of a known time."""
    from time import sleep

    return lambda: lambda: (sleep(seconds), np.float64(result))[1]


@pytest.fixture
def quick(monkeypatch):
    for name in ("WHOLE", "CHOSEN"):
        monkeypatch.setattr(f"dynsim.bench.run.{name}", 0.0)


@pytest.fixture
def only(monkeypatch, quick):
    """A registry with the machine's limits and one case beside the rivals given."""

    def register(*rivals, **settings):
        case = Case("waiting", "1 x 1", waiting(0.004, 1.0), rivals, **settings)
        monkeypatch.setattr("dynsim.bench.limits.BYTES", 1 << 20)
        for name in [n for n in BENCHMARKS if n != "limits"]:
            monkeypatch.delitem(BENCHMARKS, name)
        monkeypatch.setitem(BENCHMARKS, "waiting", lambda context: [case])
        return next(rows(case, Context(cpu, 1), seconds=0.0))

    return register


def test_ratio_says_how_much_longer_the_rival_takes(only):
    row = only(Rival("slow", waiting(0.02), goal=2.0))
    assert row.ratio == row.rival_ms / row.ours_ms > 1
    assert row.holds is (row.ratio >= 2.0)


def test_goal_that_is_not_reached_does_not_hold(only):
    assert only(Rival("equal", waiting(0.0), goal=50.0)).holds is False


def test_rival_without_a_goal_is_only_shown(only):
    row = only(Rival("other", waiting(0.001)))
    assert row.ratio is not None
    assert row.holds is None


def test_time_allowed_is_a_rival_that_is_not_run(only):
    row = only(Rival("allowed", 1000.0, goal=1.0))
    assert row.rival_ms == 1000.0
    assert row.ratio == 1000.0 / row.ours_ms
    assert row.holds is True


def test_missing_rival_is_named_with_what_to_install(only):
    row = only(Rival("other", waiting(0.0), goal=1.0, requires="no_such_package"))
    assert (row.rival_ms, row.ratio, row.holds, row.missing) == (None, None, None, "no_such_package")
    assert "pip install no_such_package" in "\n".join(text("waiting", [row]))


def test_results_are_compared_before_a_goal_holds(only):
    right = only(Rival("same", waiting(0.004, 1.0), goal=1e-6), tolerance=1e-9)
    wrong = only(Rival("other", waiting(0.004, 2.0), goal=1e-6), tolerance=1e-9)
    assert (right.difference, right.holds) == (0.0, True)
    assert (wrong.difference, wrong.holds) == (0.5, False)
    assert "results differ by 5e-01" in "\n".join(text("waiting", [wrong]))


def test_tuples_and_tensors_with_gradients_are_compared():
    ours = np.array([1.0, 2.0]), np.array([4.0])
    tensors = [SimpleNamespace(detach=lambda x=x: np.array(x)) for x in ([1.0, 2.0], [4.4])]
    assert timing._difference(ours, tuple(tensors)) == pytest.approx(0.4 / 4.4)


def test_works_run_with_the_threads_of_their_row():
    before = cpu.thread_count()
    with timing.ours_alone(1):
        assert cpu.thread_count() == 1
    assert cpu.thread_count() == before


def test_command_prints_the_table_and_the_limits_above_it(only):
    only(Rival("slow", waiting(0.02), goal=2.0))
    lines = CliRunner().invoke(app, ["bench", "waiting", "--threads", "1"], catch_exceptions=False).stdout.splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith(("limits", "waiting  "))]
    assert len(heads) == 2
    assert any("GFLOP/s" in line for line in lines[: heads[1]])
    assert any("GB/s" in line for line in lines[: heads[1]])
    assert "slow" in lines[heads[1] + 2]
    assert max(map(len, lines)) <= 80


def test_command_writes_a_list_of_rows(only):
    only(Rival("slow", waiting(0.02), goal=2.0), Rival("other", waiting(0.0), requires="no_such_package"))
    found = json.loads(CliRunner().invoke(app, ["bench", "--threads", "1", "--json"], catch_exceptions=False).stdout)
    assert [set(MANDATORY) - set(row) for row in found] == [set()] * len(found)
    assert [row["rival"] for row in found if row["name"] == "waiting"] == ["slow", "other"]
    assert {row["unit"] for row in found if row["rival"] is None} == {"GFLOP/s", "GB/s"}


def test_progress_is_told_apart_from_the_result(only):
    only()
    result = CliRunner().invoke(app, ["bench", "--threads", "1", "--json"], catch_exceptions=False)
    assert "timing waiting, 1 thread (2 of 2)" in result.stderr
    assert json.loads(result.stdout)


@pytest.mark.parametrize("threads", ["0", "1,", "one", "1000000"])
def test_impossible_threads_are_refused(threads):
    with pytest.raises(OptionError, match="not numbers of threads"):
        list(run([], threads, QUIET))


def test_unknown_benchmark_lists_the_names():
    with pytest.raises(OptionError) as error:
        list(run(["path-integrals"], "1", QUIET))
    assert ", ".join(sorted(BENCHMARKS)) in str(error.value)
    assert "did you mean 'path-integral'?" in str(error.value)


def test_busy_machine_is_told():
    assert warning([Row("a", "b", 1, 1.0, at_work=0.97), Row("a", "b", 2, 1.0, at_work=0.5)]) is None
    assert "60% of a core" in warning([Row("a", "b", 1, 1.0, at_work=0.6)])


def test_every_benchmark_yields_cases_with_distinct_names():
    for name in BENCHMARKS:
        found = [(case.name, case.shape) for case in cases(name, Context(cpu, 1))]
        assert found
        assert len(set(found)) == len(found), name


def test_where_all_is_timed_a_slow_rival_is_run_once(monkeypatch):
    monkeypatch.setattr(timing, "LONG", 0.0)
    for brief, times in ((True, 1), (False, 1 + timing.LEAST)):
        calls = []
        rival = Rival("slow", lambda calls=calls: lambda: calls.append(None))
        case = Case("waiting", "1 x 1", waiting(0.0), (rival,))
        row = next(rows(case, Context(cpu, 1, brief), seconds=0.0))
        assert len(calls) == times
        assert row.rival_ms > 0


@pytest.mark.parametrize("name", ["forms", "growth"])
def test_where_all_is_timed_many_sizes_are_some_of_those(name):
    some, every = ([c.shape for c in cases(name, Context(cpu, 1, brief))] for brief in (True, False))
    assert len(some) < len(every)
    assert set(some) < set(every)


def test_rows_of_a_smaller_grid_say_so():
    names = [c.name for c in cases("forms", Context(cpu, 1, brief=True))]
    assert names == ["dense or sorted (3 of 18 cases)"] * 3 + ["dense or factored (3 of 18 cases)"] * 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_multiply_adds_agree_with_reference(dtype):
    x = np.random.default_rng().standard_normal(2500).astype(dtype)
    for times in (0, 5, 19):
        got, want = (k.multiply_adds(x, 0.7, -0.2, times) for k in (cpu, reference))
        assert got.dtype == dtype
        assert np.abs(got - want).max() <= 20 * np.finfo(dtype).eps


def loaded_by(code, *arguments):
    """Packages that a fresh interpreter has imported after some code."""
    done = f"{code}\nimport sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", done, *arguments], capture_output=True, text=True, check=True)
    return set(out.stdout.splitlines()[-1].split())


HELP = """
from dynsim.cli import app
try:
    app(["{}"])
except SystemExit:
    pass
"""


@pytest.mark.parametrize("command", ["--help", "scenarios"])
def test_commands_that_compute_nothing_import_nothing_numerical(command):
    loaded = loaded_by(HELP.format(command))
    assert "dynsim.cli" in loaded
    assert not loaded & {"numpy", "scipy", "numba", "h5py", "torch", "sklearn", "dynsim.sections"}


FIRST_STEP = """
import sys
from dynsim import Scenario
from dynsim.runs import start
with start(Scenario.load("xor"), sys.argv[1]) as recording:
    recording.step()
"""


def test_run_imports_only_what_it_needs(tmp_path):
    loaded = loaded_by(FIRST_STEP, str(tmp_path / "run"))
    assert "numba" in loaded
    slow = {"sklearn", "torch", "matplotlib", "pandas", "onnx", "onnxruntime", "rich", "pooch", "numpy.f2py"}
    slow |= {f"scipy.{part}" for part in ("linalg", "special", "spatial", "fft", "ndimage", "sparse")}
    assert not loaded & slow


def test_kernels_of_others_find_blas_although_ours_spare_it():
    code = """
import numpy as np
from dynsim.kernels.load import load
load("cpu")
import numba
a = np.arange(4.0).reshape(2, 2) + np.eye(2)
assert np.array_equal(numba.njit(lambda x: np.dot(x, x))(a), a @ a)
"""
    assert "scipy.linalg" in loaded_by(code)

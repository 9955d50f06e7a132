"""`dynsim bench --device cuda`: on numba's simulator here, where times mean nothing; on a card where there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_json import agree
from typer.testing import CliRunner

from dynsim.bench import device, device_rivals, timing
from dynsim.bench.device import DeviceRow, Found, text
from dynsim.bench.device_cases import DEVICE_BENCHMARKS, DeviceCase
from dynsim.bench.device_costs import Cost, cost
from dynsim.bench.timing import Row
from dynsim.cli import app
from dynsim.errors import DeviceError, OptionError
from dynsim.kernels import cards, checks, reference
from dynsim.kernels.load import load
from dynsim.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
NO_CARD = bool(cards.why_not())


def bench(*names, simulated):
    """Exit code, what JSON says, and stderr of the command in a process of its own."""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1" if simulated else "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dynsim", "bench", *names, "--device", "cuda", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def test_results_are_checked_and_timed_on_the_simulator():
    code, found, said = bench("psi", "steps", simulated=True)
    assert code == 0, said
    assert found["hardware"] == {"device": "cuda", "name": "CUDA simulator"}
    assert {"matmul", "sums"} <= set(found["checks"])
    assert not any(check["error"] for check in found["checks"].values())
    assert found["failed"] == {}
    psi, step = found["rows"]
    assert (psi["rival"], psi["agrees"], step["agrees"]) == ("NumPy", True, True)
    assert psi["gb_s"] > 0
    assert psi["of_copy"] == pytest.approx(psi["gb_s"] / found["copy_gb_s"])
    assert step["name"] == "step of two_particles"
    assert step["gb_s"] is None
    assert "checking every kernel against the reference" in said
    agree("bench --device cuda", found)


@pytest.mark.gpu
def test_everything_agrees_on_a_card():
    code, found, said = bench(simulated=False)
    assert code == 0, said
    assert not any(check["error"] for check in found["checks"].values())
    assert len(found["rows"]) > len(DEVICE_BENCHMARKS)


@pytest.mark.skipif(not NO_CARD, reason="there is a CUDA device")
def test_without_a_card_the_reason_is_told():
    done = CliRunner().invoke(app, ["bench", "--device", "cuda"])
    assert isinstance(done.exception, DeviceError)
    assert 'device = "cuda"' in str(done.exception)


def test_unknown_devices_and_benchmarks_list_what_there_is():
    done = CliRunner().invoke(app, ["bench", "--device", "gpu"])
    assert isinstance(done.exception, OptionError)
    assert "cpu, cuda" in str(done.exception)
    done = CliRunner().invoke(app, ["bench", "lenets", "--device", "cuda"])
    assert isinstance(done.exception, OptionError)
    assert ", ".join(DEVICE_BENCHMARKS) in str(done.exception)


@pytest.fixture
def found():
    """A run in which everything is right."""
    row = DeviceRow(Row("psi", "-", 1, 2.0, "NumPy", 6.0, 3.0, agrees=True), 100.0, 2.0, 0.05, 0.04)
    missing = DeviceRow(Row("forces", "-", 1, 2.0, "torch", missing="torch for CUDA"))
    sound = checks.Check("sums", "rows", 1e-7)
    return Found({"name": "NVIDIA H100"}, {"sums": sound}, 2000.0, 50.0, {"psi": [row], "forces": [missing]})


def test_table_shows_rates_beside_the_limits(found):
    lines = list(text(found))
    assert lines[0] == "name NVIDIA H100"
    assert "ok, differs by 1e-07" in lines[1]
    assert "copy 2000 GB/s, product of matrices 50.0 TFLOP/s" in lines[2]
    assert lines[4].split() == ["psi", "2", "100", "5%", "2", "4%", "NumPy:", "6", "ms,", "3x"]
    assert "torch: missing (torch for CUDA)" in lines[5]
    assert found.agrees


def test_what_differs_is_no_success(found):
    wrong = Row("psi", "-", 1, 2.0, "NumPy", 6.0, 3.0, difference=0.5, agrees=False)
    differs = Found(found.hardware, found.checked, 1.0, 1.0, {"psi": [DeviceRow(wrong)]})
    assert not differs.agrees
    assert "DIFFER by 5e-01" in list(text(differs))[-1]
    broken = checks.Check("sums", "rows", 1.0, "rows: DIFFERS by 1e+00, allowed 2e-05")
    assert not Found(found.hardware, {"sums": broken}, 1.0, 1.0, found.rows).agrees


def test_what_raises_an_error_leaves_the_rest(monkeypatch):
    def cases(_):
        yield DeviceCase("broken", "-", lambda: 1 / 0)
        yield DeviceCase("sound", "-", lambda: lambda: None)
        raise RuntimeError("no third case")

    monkeypatch.setattr(device, "load", lambda _: load("cpu"))  # which has no arrays of a card: no limit is measured
    monkeypatch.setattr(device, "DEVICE_BENCHMARKS", {"first": cases})
    monkeypatch.setattr(checks, "check", lambda *_: iter(()))
    found = device.run((), Progress(quiet=True))
    assert [r.row.name for r in found.rows["first"]] == ["sound"]
    assert list(found.failed) == ["copy", "product", "broken -", "first"]
    assert "ZeroDivisionError" in found.failed["broken -"]
    assert np.isnan([found.copy_gb_s, found.product_tflop_s]).all()
    assert not found.agrees
    assert "no third case" in "\n".join(text(found))


# Costs --------------------------------------------------------------------------------------------------------


def link(copies, m, n, d):
    return np.ones((copies, m, d), np.float32), np.ones((copies, n, d), np.float32), np.ones(copies, np.float32)


def of_link(metric, copies, m, n, d):
    arguments = metric, *link(copies, m, n, d), 1.0, 0.1, 2.0
    return cost("path_integral", arguments, np.ones((m, n), np.float32))


def test_bytes_are_every_argument_and_result_once():
    assert of_link("l2", 2, 3, 5, 7).bytes == 4 * (2 * 3 * 7 + 2 * 5 * 7 + 2 + 3 * 5)


def test_dot_links_cost_what_their_product_costs():
    a, b = np.ones((30, 40), np.float32), np.ones((40, 50), np.float32)
    whole = cost("matmul", (a, b), np.ones((30, 50), np.float32))
    assert whole.operations == 2 * 30 * 40 * 50
    assert whole.bytes == 4 * (30 * 40 + 40 * 50 + 30 * 50)
    link = of_link("dot", 1, 30, 50, 40).operations
    assert link == whole.operations + 2 * 30 * 50  # mu


@pytest.mark.parametrize("metric", reference.METRICS)
def test_operations_grow_with_pairs_copies_and_dimension(metric):
    base = of_link(metric, 2, 30, 40, 8).operations
    assert of_link(metric, 2, 60, 40, 8).operations == 2 * base
    assert of_link(metric, 6, 30, 40, 8).operations == 3 * base
    assert base < of_link(metric, 2, 30, 40, 16).operations <= 2 * base
    arguments = metric, *link(2, 30, 40, 8), 1.0, 0.1, 2.0, np.ones((30, 40), np.float32)
    assert cost("path_integral_forces", arguments, ()).operations > 2 * base


def test_memory_and_arithmetic_work_at_the_same_time():
    assert Cost(10.0, 4.0).seconds(bandwidth=5.0, rate=1.0) == 4.0
    assert Cost(30.0, 4.0).seconds(bandwidth=5.0, rate=1.0) == 6.0
    assert Cost(1.0, 2.0) + Cost(3.0, 4.0) == Cost(4.0, 6.0)


def test_every_kernel_has_a_cost():
    for name, cases in checks.CASES.items():
        for _, arguments in cases(np.random.default_rng(0), 3):
            price = cost(name, arguments, getattr(reference, name)(*arguments))
            assert price.bytes > 0, name
            assert price.operations > 0, name


# Rivals: torch's CPU plays the card -----------------------------------------------------------------------------


@pytest.fixture
def played(monkeypatch):
    """torch, whose CPU passes for a card."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda module: module)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(device_rivals, "without", lambda: None)
    return torch


def close(ours, theirs):
    assert timing._difference(ours, theirs) < 1e-4


@pytest.mark.parametrize("metric", ["l1", "l2", "reciprocal"])
def test_rivals_of_a_link_compute_the_same(played, metric):
    rng = np.random.default_rng()
    q_a, q_b, mu, stress = (rng.standard_normal(s, np.float32) for s in ((2, 5, 3), (2, 7, 3), (2,), (5, 7)))
    w = device_rivals.torch_path_integral(metric, 0.3, q_a, q_b, mu).prepare()()
    close(reference.path_integral(metric, q_a, q_b, mu, 1.0, 0.3, 2.0), w)
    pulls = device_rivals.torch_forces(metric, 0.3, stress, q_a, q_b, mu).prepare()()
    close(reference.path_integral_forces(metric, q_a, q_b, mu, 1.0, 0.3, 2.0, stress)[:3], pulls)


def test_rival_of_a_convolution_computes_the_same(played):
    rng = np.random.default_rng()
    x, kernel = rng.standard_normal((2, 6, 5, 3), np.float32), rng.standard_normal((5, 5, 3, 4), np.float32)
    close(reference.convolve(x, kernel, 1, 2), device_rivals.torch_convolution(x, kernel).prepare()())
    assert not played.backends.cudnn.allow_tf32


def test_torch_without_cuda_is_missing():
    device_rivals.without.cache_clear()
    rival = device_rivals.torch_step("mnist_mlp")
    assert rival.installed is (device_rivals.without() is None)

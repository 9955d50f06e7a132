"""Every kernel of a device is compared with the reference, and what is wrong with one is told."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from dynsim import doctor
from dynsim.doctor import CHECKS, examine, healthy, text
from dynsim.errors import DeviceError
from dynsim.kernels import checks, reference
from dynsim.kernels.load import load

NOT_KERNELS = {"metric_value", "metric_gradient", "thread_count", "to_device", "to_host", "to_host_later"}


def device(**kernels):
    """The reference with other kernels in place of some."""
    return SimpleNamespace(**{**vars(reference), **kernels})


def only(kernels, name):
    """The worst check of a kernel."""
    return checks.worst(checks.check(kernels, 5, [name]))[name]


def test_every_kernel_of_the_reference_is_checked():
    public = {n for n, f in vars(reference).items() if inspect.isfunction(f) and not n.startswith("_")}
    assert set(checks.CASES) == public - NOT_KERNELS


def test_kernels_of_every_device_agree(kernels):
    found = checks.worst(checks.check(kernels, 7))
    assert {name: it.error for name, it in found.items() if it.error} == {}
    assert set(found) == set(checks.CASES)
    assert found["path_integral_forces"].difference > 0  # float32 against float64


@pytest.mark.gpu
def test_kernels_of_a_card_agree():
    from dynsim.kernels.load import load

    found = checks.worst(checks.check(load("cuda")))
    assert {name: it.error for name, it in found.items() if it.error} == {}


def test_numbers_that_are_not_written_are_seen():
    def halves(rows):
        out = np.empty(rows.shape[1], rows.dtype)
        out[::2] = reference.sums(rows)[::2]
        return out

    for _ in range(3):  # whatever lies in memory by chance
        found = only(device(sums=halves), "sums")
        assert "DIFFERS" in found.error


def test_numbers_that_are_not_written_are_seen_where_memory_happens_to_be_right():
    right = []

    def stale(rows):
        out = np.empty(rows.shape[1], rows.dtype)
        if not right:
            out[:] = right.append(1) or reference.sums(rows)
        return out

    assert "unwritten" in only(device(sums=stale), "sums").error


def test_a_kernel_that_is_a_little_wrong_differs():
    found = only(device(matmul=lambda a, b: (a @ b) * np.float32(1.0001)), "matmul")
    assert "DIFFERS by 1e-04, allowed 2e-05" in found.error
    assert found.difference == pytest.approx(1e-4, rel=0.1)


def test_a_kernel_with_other_bits_each_time_differs():
    rng = np.random.default_rng(0)
    noisy = lambda a, b: (a @ b) * (1 + 1e-6 * rng.random(dtype=np.float32))  # noqa: E731
    assert "from call to call" in only(device(matmul=noisy), "matmul").error


def test_nan_differs():
    assert "DIFFERS by nan" in only(device(scaled=lambda rows, *_: rows * np.float32(np.nan)), "scaled").error


def test_a_kernel_that_raises_or_is_missing_is_named():
    def broken(rows):
        raise RuntimeError("no shared memory left")

    lacking = device(sums=broken)
    del lacking.matmul
    assert "RuntimeError: no shared memory left" in only(lacking, "sums").error
    assert "no attribute 'matmul'" in only(lacking, "matmul").error


def test_poison_is_taken_away_again():
    with checks.poisoned(np):
        assert np.isnan(np.empty(3)).all()
        assert np.empty(2, np.int32).tolist() == [2**31 - 1] * 2
        assert np.isnan(np.empty_like(np.ones(2))).all()
    assert np.empty is not None
    assert np.empty.__module__ == "numpy"


def test_doctor_tells_a_sound_kernel_from_one_that_is_not():
    sound = {"kernel": "sums", "case": "rows", "difference": 1e-7, "error": ""}
    broken = sound | {"error": "rows: DIFFERS by 1e-02, allowed 2e-05", "difference": 1e-2}
    found = {"devices": {"cpu": "yes"}, CHECKS + "cpu": {"sums": sound}}
    assert healthy(found)
    assert "ok, differs by 1e-07" in "\n".join(text(found))
    worse = found | {CHECKS + "cuda": {"sums": broken}}
    assert not healthy(worse)
    assert "DIFFERS by 1e-02" in "\n".join(text(worse))


def test_doctor_tells_the_versions_of_packages_that_do_not_work(monkeypatch):
    def failing(device):
        if device == "cuda":
            raise DeviceError("CUDA's packages do not work", given="ImportError: libnvrtc.so.12")
        return load(device)

    monkeypatch.setattr(doctor, "load", failing)
    monkeypatch.setattr(doctor, "available", lambda: {"cpu": "no", "cuda": "yes"})
    found = examine()
    assert not healthy(found)
    assert "libnvrtc.so.12" in found[CHECKS + "cuda"]["packages"]["error"]
    assert found["versions"]["numba"] in "\n".join(text(found))

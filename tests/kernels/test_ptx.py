"""Every GPU kernel compiles for the cards that are in use, without a driver, and keeps its numbers in registers.

What is compiled are the launches that the functions make, recorded. Needs the extra `gpu-proof`. As a program it prints
what each kernel takes, as a table in Markdown.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_cases import METRICS, arguments, as_type, modules

from dynsim import kernels as package
from dynsim.kernels.cards import SIMULATED

CARDS = ((8, 0), (9, 0))
DTYPES = ("float32", "float64")
SHARED = 48 * 1024  # bytes that any block may have
REGISTERS = 65536  # of a multiprocessor
POWER = 32  # bytes of stack that pow() of float64 takes for itself, whatever the kernel
# Functions whose kernels there are, with sizes of real work
SIZES = {
    "path_integral": [*((m, 784, 1200, 20, 9) for m in METRICS), ("l2", 2304, 768, 8, 32)],
    "path_integral_forces": [*((m, 784, 1200, 20, 9) for m in METRICS), ("l2", 2304, 768, 8, 32)],
    "mean_field": [(256, 256, 2000, 3), (256, 256, 2000, 9)],
    "mean_field_forces": [(256, 256, 2000, 3), (256, 256, 2000, 9)],
    "kick_drift": [(50_000, 3, False, 0), (50_000, 9, True, 9), (5000, 32, True, 32)],
    "convolve": [(64, 28, 28, 1, 5, 6, 1, 2), (64, 14, 14, 6, 5, 16, 2, 0)],
    "convolve_back": [(64, 14, 14, 6, 5, 16, 1, 0)],
    "pool": [(64, 28, 28, 6, 2, True), (64, 28, 28, 6, 2, False)],
    "pool_back": [(64, 28, 28, 6, 2, True), (64, 28, 28, 6, 2, False)],
    "sums": [(4096, 1024)],
    "squares": [(4096, 1024)],
    "products": [(4096, 1024)],
    "scaled": [(4096, 1024)],
    "norm_back": [(4096, 1024)],
    "project_points": [(100_000,)],
    "multiply_adds": [(1 << 20,)],
}
CASES = [(f, s, t) for f, sizes in SIZES.items() for s in sizes for t in DTYPES]


def _assembler():
    """NVIDIA's ptxas of the wheel, or None: a toolkit of the system would hide that the wheel is missing."""
    spec = find_spec("nvidia")
    found = [p for root in (spec.submodule_search_locations if spec else ()) for p in Path(root).rglob("ptxas")]
    return found[0] if found else None


ABLE = not SIMULATED and _assembler() is not None and all(map(find_spec, ("cupy", "numba_cuda")))
needed = pytest.mark.skipif(not ABLE, reason="needs pip install 'dynsim[gpu-proof]', and no simulator")


@dataclass(frozen=True)
class Launch:
    """A kernel as a function launches it.

    Attributes
    ----------
    kernel : "forces_cuda._pulled". code : its Python function. given : its arguments. blocks, threads : how many.
    """

    kernel: str
    code: Any
    given: tuple[Any, ...]
    blocks: int
    threads: int

    @property
    def moved(self) -> int:
        """Bytes that must move at least: each array once."""
        return sum({a.ctypes.data: a.nbytes for a in self.given if isinstance(a, np.ndarray)}.values())


@dataclass(frozen=True)
class Resources:
    """What a kernel takes: registers of a thread, bytes of stack and of spills, shared memory of a block."""

    registers: int
    stack: int
    spilled: int
    shared: int


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Functions work on NumPy arrays, and what they launch is kept instead."""
    from numba.cuda.dispatcher import CUDADispatcher

    launches: list[Launch] = []

    def ready(dispatcher, dimensions):
        blocks, threads = (int(np.prod(n)) for n in dimensions[:2])
        code = dispatcher.py_func
        name = f"{code.__module__.rsplit('.', 1)[1]}.{code.__qualname__.split('.', 1)[0]}"
        return lambda *given: launches.append(Launch(name, code, given, blocks, threads))

    xp = SimpleNamespace(**{**vars(np), "empty": np.zeros, "empty_like": np.zeros_like})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CUDADispatcher, "__getitem__", ready)
        for module in modules():
            if hasattr(module, "xp"):
                patch.setattr(module, "xp", xp)
        yield launches


def launches_of(function, sizes, dtype) -> list[Launch]:
    """What a function launches, each kernel with its types once."""
    from numba import typeof

    from dynsim.kernels import cuda

    with recorded() as launches:
        getattr(cuda, function)(*as_type(dtype, arguments(function, *sizes)))
    return [*{(a.code, tuple(map(typeof, a.given))): a for a in launches}.values()]


def compiled(launch, card, folder) -> Resources:
    """Resources of a kernel, compiled to PTX and then to machine code."""
    from numba import cuda, typeof

    signature = tuple(map(typeof, launch.given))
    options = {"device": False, "abi": "numba", "output": "ptx", "fastmath": True}
    ptx, _ = cuda.compile(launch.code, signature, cc=card, **options)
    source = folder / "kernel.ptx"
    source.write_text(ptx)
    command = [_assembler(), "-v", f"-arch=sm_{card[0]}{card[1]}", source, "-o", folder / "kernel.cubin"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    stack, *spills = map(int, re.search(r"(\d+) bytes stack frame, (\d+) .*? stores, (\d+) .*? loads", said).groups())
    shared = re.search(r"(\d+) bytes smem", said)
    registers = int(re.search(r"Used (\d+) registers", said)[1])
    return Resources(registers, stack, sum(spills), int(shared[1]) if shared else 0)


@needed
@pytest.mark.parametrize("card", CARDS, ids=lambda c: f"sm_{c[0]}{c[1]}")
@pytest.mark.parametrize(("function", "sizes", "dtype"), CASES, ids=str)
def test_ptx_stays_in_registers(function, sizes, dtype, card, tmp_path):
    launches = launches_of(function, sizes, dtype)
    assert launches
    for launch in launches:
        found = compiled(launch, card, tmp_path)
        assert found.spilled == 0, launch.kernel
        assert found.stack <= (POWER if "lp" in sizes and dtype == "float64" else 0), launch.kernel
        assert found.shared <= SHARED, launch.kernel
        assert found.registers * launch.threads <= REGISTERS, launch.kernel


@needed
def test_ptx_is_made_of_every_kernel():
    from dynsim.kernels.device import KERNELS

    launched = {a.kernel for function, sizes, dtype in CASES for a in launches_of(function, sizes, dtype)}
    assert launched == set(KERNELS)


def test_kernels_are_made_in_one_place():
    """So that `device.KERNELS` has them all: what else `cuda.jit` makes is called by kernels."""
    made = re.compile(r"cuda\.jit\((?!device=True)")
    sources = {p.name: len(made.findall(p.read_text())) for p in Path(package.__path__[0]).glob("*.py")}
    assert {name: n for name, n in sources.items() if n} == {"device.py": 1}


def table() -> Iterator[str]:
    """Lines of a table of everything, for docs/gpu.md."""
    yield "| kernel | of | type | blocks x threads | registers, sm_80 / 90 | shared | stack | spills | bytes moved |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for function, sizes, dtype in CASES:
        for launch in launches_of(function, sizes, dtype):
            with TemporaryDirectory() as folder:
                first, last = (compiled(launch, card, Path(folder)) for card in CARDS)
            of = f"{function} {' '.join(map(str, sizes))}"
            registers = f"{first.registers} / {last.registers}"
            rest = f"{last.shared} | {max(first.stack, last.stack)} | {max(first.spilled, last.spilled)}"
            size = f"{launch.blocks} x {launch.threads}"
            yield f"| {launch.kernel} | {of} | {dtype} | {size} | {registers} | {rest} | {launch.moved:,} |"


if __name__ == "__main__":
    for line in table() if ABLE else ["needs pip install 'dynsim[gpu-proof]'"]:
        print(line, flush=True)  # noqa: T201
    sys.exit(not ABLE)

"""Counts, the table and the sound files that the tests of reliability share.

`make test` runs a short form of each row, `make soak` (DYNSIM_SOAK=1) the full one, whose table it leaves behind.
"""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from faults import FULL, write_trajectory

TABLE = Path(os.environ.get("DYNSIM_SOAK_TABLE", "runs/soak.md"))
_rows = []


def pytest_configure(config):
    config.addinivalue_line("markers", "counts(short, full): how many cases of a row")


@pytest.fixture
def count(request):
    """How many cases this form of the test has."""
    short, full = request.node.get_closest_marker("counts").args
    return full if FULL else short


@pytest.fixture
def tally(request):
    """Adds a row to the table: what was done, how often, how often it held, a figure; fails where it did not hold."""
    begun = time.monotonic()

    def add(what, held, of, figure=""):
        _rows.append((what, f"{int(held)}/{of}", figure, f"{time.monotonic() - begun:.0f}"))
        assert held == of, f"{what}: {held} of {of}"

    return add


def pytest_terminal_summary(terminalreporter):
    for row in _rows:
        terminalreporter.write_line("  ".join(filter(None, row[:3])))
    if FULL and _rows:
        lines = ["| fault | held | figures | seconds |", "|---|---|---|---|", *(f"| {' | '.join(r)} |" for r in _rows)]
        with TABLE.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


@pytest.fixture
def rng():
    return np.random.default_rng(np.random.Philox(7))


@pytest.fixture
def sound(tmp_path):
    """A sound trajectory file."""
    return write_trajectory(tmp_path / "sound.h5")

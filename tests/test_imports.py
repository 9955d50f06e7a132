"""The floors of the house, and what a bare `dynsim --help` may cost."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from dynsim.importing import uncollected

ROOT = Path(__file__).parents[1]


def test_import_contracts(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == 0, capsys.readouterr().out


def test_help_imports_no_numerics():
    code = (
        "import sys, dynsim.cli; "
        "sys.exit(sorted({'numpy', 'numba', 'scipy', 'sklearn', 'torch', 'h5py'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_can_be_imported():
    import dynsim

    for name in dynsim.__all__:
        assert getattr(dynsim, name) is not None


def test_cycles_are_collected_again_after_an_import_that_fails():
    with pytest.raises(ModuleNotFoundError), uncollected():
        import no_such_module  # noqa: F401
    assert gc.isenabled()


def test_no_cycles_are_collected_within():
    with uncollected():
        assert not gc.isenabled()


def test_whoever_collects_no_cycles_is_left_alone():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()

"""The floors of the house, and what a bare `dynsim --help` may cost."""

import subprocess
import sys
from pathlib import Path

from importlinter.cli import lint_imports

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

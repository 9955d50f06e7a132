"""The wheel holds everything: installed elsewhere, run outside the clone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_runs_outside_the_clone(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    wheel = next(tmp_path.glob("*.whl"))
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "dynsim/_shipped/scenarios/quickstart.toml" in names
    assert "dynsim/_shipped/data/mnist/train-images-idx3-ubyte.gz" in names
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    assert subprocess.run(install, capture_output=True, check=False).returncode == 0
    environment = os.environ | {"PYTHONPATH": str(site)}
    where = tmp_path / "elsewhere"
    where.mkdir()
    run = [str(site / "bin" / "dynsim"), "run", "mnist_mlp", "--smoke", "--quiet", "--set", "run.steps=3"]
    done = subprocess.run(run, cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (where / "runs" / "mnist_mlp" / "summary.json").is_file()
    home = "import dynsim, sys; sys.exit(0 if dynsim.__file__.startswith(sys.argv[1]) else 1)"
    assert (
        subprocess.run([sys.executable, "-c", home, str(site)], cwd=where, env=environment, check=False).returncode == 0
    )

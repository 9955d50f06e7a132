"""docs/json.md is held to what the commands print: every key they print is in its tables, and the other way round."""

import json
import re
import sys
from concurrent.futures import Future
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from typer.main import get_command

from dynsim.cli import app, main
from dynsim.compare.importance import Importance

PAGE = Path(__file__).resolve().parents[1] / "docs" / "json.md"
ROW = re.compile(r"\| `([^`]+)` \| ([^|]+) \|")
KINDS = {"text": str, "integer": int, "number": (int, float), "true or false": bool}


def printed(*arguments):
    """What `dynsim ... --json` prints; stdout holds nothing else, and every number is finite."""
    out, err = StringIO(), StringIO()
    called, code = mock.patch.object(sys, "argv", ["dynsim", *map(str, arguments), "--json", "-q"]), 0
    with called, redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert (code, err.getvalue()) in ((0, ""), (None, ""))
    return json.loads(out.getvalue(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@cache
def tables():
    """Command -> key -> (kinds, whether it may be absent), of the page."""
    found = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        if rows := ROW.findall(text):
            found[title.replace("`", "").strip()] = {pattern(key): kinds(said) for key, said in rows}
    return found


def pattern(key):
    """`groups[].numbers.*.mean` as its parts."""
    return tuple(part for part in re.split(r"\.|(\[\])", key) if part)


def kinds(said):
    words = re.split(r" or |, ", said.replace("true or false", "true-or-false").strip())
    names = [w.replace("true-or-false", "true or false") for w in words if w != "optional"]
    return {"null" if name == "null" else name for name in names}, "optional" in words


def leaves(value, path=()):
    """(path, value) of everything in a JSON value that holds nothing else; a key is one part, whatever is in it."""
    inside = value.items() if isinstance(value, dict) else [("[]", v) for v in value] if isinstance(value, list) else []
    if not inside:
        yield path, value
    for key, one in inside:
        yield from leaves(one, (*path, key))


def matches(documented, path):
    """`*` is any key, `**` whatever follows."""
    if documented[-1] == "**":
        documented = (*documented[:-1], *["*"] * (len(path) - len(documented) + 1))
    return len(documented) == len(path) and all(d in ("*", p) for d, p in zip(documented, path))


def is_of(value, names):
    if "anything" in names:
        return True
    if value is None:
        return "null" in names
    if isinstance(value, bool):
        return "true or false" in names
    return any(isinstance(value, KINDS[name]) for name in names if name != "null")


def agree(command, *values):
    """Compare what a command printed with its table, in both directions."""
    table, met = tables()[command], set()
    for path, value in (leaf for one in values for leaf in leaves(one)):
        known = [d for d in table if matches(d, path)]
        if value in ([], {}):  # of what it holds nothing can be seen
            assert known or any(d[: len(path)] == path for d in table), f"{command}: {path} is not on the page"
            met |= {d for d in table if d[: len(path)] == path}
            continue
        assert known, f"{command}: {'.'.join(path)} is not on the page"
        assert any(is_of(value, table[d][0]) for d in known), f"{command}: {'.'.join(path)} is {value!r}"
        met |= set(known)
    missing = [".".join(d) for d, (_, optional) in table.items() if d not in met and not optional]
    assert not missing, f"{command} does not print {missing}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run with a twin, made without `--json`."""
    tiny = ("run.steps=4", "system.copies=2", "record.every=2", "run.twin=0.01", "field.validation=0.1")
    out = tmp_path_factory.mktemp("json") / "run"
    assert printed("run", "moons", "--out", out, *(part for s in tiny for part in ("--set", s)))["steps"] == 4
    return out


@pytest.fixture
def here(monkeypatch):
    """What worker processes do is done in this one."""

    class Here:
        slots = 1

        def __init__(self, *given, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def submit(self, work, *given):
            future = Future()
            try:
                future.set_result(work(*given))
            except Exception as error:
                future.set_exception(error)
            return future

    return lambda module: monkeypatch.setattr(f"{module}.workers", Here)


def test_run_and_resume(folder, tmp_path):
    again = printed("resume", folder)
    assert again.pop("moved") is False
    assert again.keys() == printed("run", "moons", "--smoke", "--out", tmp_path / "r").keys() | {"twin"}
    agree("run", again)
    agree("resume", {"moved": False})


def test_what_is_said_of_a_run(folder):
    agree("evaluate", printed("evaluate", folder))
    agree("info", *(printed("info", folder / name) for name in ("", "trajectory.h5", "model.safetensors")))
    agree("info --follow", printed("info", "--follow", folder))
    agree("repair", printed("repair", folder))


def test_what_is_made_of_a_run(folder, tmp_path, monkeypatch):
    agree("merge", printed("merge", folder, "--radius", "0.1", "--out", tmp_path / "m.safetensors"))
    agree("export", printed("export", folder, "--to", "npz", "--out", tmp_path / "m.npz"))
    pytest.importorskip("gsd")
    agree("export --to gsd", printed("export", folder, "--to", "gsd", "--out", tmp_path / "m.gsd"))
    monkeypatch.setattr("dynsim.report.write._page", lambda record, writer: SimpleNamespace(html=""))  # paints long
    agree("report", printed("report", folder))


def test_a_sequence(tmp_path):
    settings = ("--set", "run.steps=3", "--out", tmp_path / "s")
    agree("run", printed("run", "sine_bank", *settings))
    agree("evaluate of a sequence", printed("evaluate", tmp_path / "s"))


def test_many_runs(folder, tmp_path, here):
    here("dynsim.batch")
    file = tmp_path / "b.toml"
    set_ = "set = { run.steps = 3, system.copies = 2, "
    file.write_text(
        f'[[run]]\nscenario = "moons"\nseeds = 2\n{set_} dynamics.eta = 0.1 }}\n'
        f'[[run]]\nscenario = "moons"\nname = "other"\nseeds = 2\n{set_} dynamics.eta = 0.3 }}\n'
    )
    agree("batch", printed("batch", file, "--out", tmp_path / "out"))
    (tmp_path / "out" / "other-seed1" / "summary.json").unlink()
    shares = {"dynamics.eta": 1.0}  # of more runs than are made here
    with mock.patch("dynsim.compare.comparison.importance", return_value=Importance(shares)):
        found = printed("compare", tmp_path / "out")
    agree("compare", found, printed("compare", folder))


def test_a_sweep(tmp_path, here):
    pytest.importorskip("optuna")
    here("dynsim.sweep.conduct")
    what = ("--param", "dynamics.eta=log:0.05:0.5", "--param", "system.copies=2,3", "--trials", "2")
    agree("sweep", printed("sweep", "moons", *what, "--set", "run.steps=3", "--out", tmp_path / "out"))
    found = printed("compare", tmp_path / "out")
    assert len(found["tasks"][0]["groups"]) + len(found["left_out"]) == 2


def test_a_conversion(tmp_path, here):
    here("dynsim.backend.conversion.jobs")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "n.npz", **{"fc.weight": rng.standard_normal((20, 16)).astype(np.float32)})
    options = ("--budget-ratio", "0.5", "--only", "rounding", "--only", "svd")
    agree("convert", printed("convert", tmp_path / "n.npz", "--out", tmp_path / "c", *options))


def test_tables_and_machines(tmp_path, monkeypatch):
    agree("reproduce", printed("reproduce", "table1", "--out", tmp_path))
    monkeypatch.setattr("dynsim.bench.run.CHOSEN", 0.01)
    agree("bench", printed("bench", "limits", "--threads", "1"))
    agree("scenarios", printed("scenarios"))
    agree("doctor", printed("doctor"))


def test_every_command_with_json_is_on_the_page():
    commands = get_command(app).commands
    with_json = {name for name, c in commands.items() if any("--json" in p.opts for p in c.params)}
    assert with_json == {title.split()[0] for title in tables()}
    assert set(commands) - with_json == {"cite"}  # BibTeX

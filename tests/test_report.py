"""The report: whole in one file, true to the numbers, and possible for every run, ended well or not."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from dynsim import Scenario, cli, runs
from dynsim.backend.report import final_table
from dynsim.errors import DivergenceError, OptionError, RunFolderError
from dynsim.report.curves import thinned
from dynsim.report.page import paragraphs
from dynsim.report.record import read
from dynsim.report.structure import structures
from dynsim.report.verdicts import verdicts
from dynsim.report.write import write_report
from dynsim.runfolder import RunFolder

pytest.importorskip("matplotlib", reason="reports need the extra 'figures'")
PNG = b"\x89PNG\r\n\x1a\n"


class Reader(HTMLParser):
    """What a page holds: its tags, its words, the rows of its tables, the cards of its verdicts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.rows, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)

    @property
    def text(self):
        return " ".join(self.words)


def run_of(tmp_path, scenario, *settings, **record):
    return runs.run(Scenario.load(scenario, settings).changed(**record), tmp_path / "run")


@pytest.fixture
def unpainted(monkeypatch):
    """Painting takes longest, and one page shows that it can be done."""
    monkeypatch.setattr("dynsim.report.write.png", lambda picture, look: PNG)


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    """A classifier with a twin, and its page."""
    folder = run_of(
        tmp_path_factory.mktemp("moons"),
        "moons",
        "run.epochs=12",
        "run.twin=0.01",
        **{"record.observables": ["loss", "accuracy", "lapcurse", "energy"]},
        **{"record.properties": ["velocity"], "name": "moons <&> co"},
    )
    page = write_report(folder)
    return SimpleNamespace(folder=folder, page=page, record=read(folder), html=Reader(page.read_text(encoding="utf-8")))


def test_nothing_outside_is_asked_for(moons):
    source = moons.page.read_text(encoding="utf-8")
    assert not moons.html.open
    assert not re.search(r"https?:|url\(|@import", source)
    for tag, attributes in moons.html.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "data:").startswith(("data:image/png;base64,", "data:", "#"))


def test_every_picture_is_embedded_light_and_dark_with_words_and_lies_beside(moons):
    images = [a for tag, a in moons.html.tags if tag == "img"]
    dark = [a for tag, a in moons.html.tags if tag == "source"]
    files = list(moons.page.parent.glob("*.png"))
    assert len(images) == len(dark) == len(files) == 13
    embedded = {base64.b64decode(a["src"].partition(",")[2]) for a in images}
    assert embedded == {f.read_bytes() for f in files}
    assert all(data.startswith(PNG) for data in embedded)
    assert all(len(a["alt"]) > 30 for a in images)
    assert all("prefers-color-scheme: dark" in a["media"] for a in dark)
    assert not embedded & {base64.b64decode(a["srcset"].partition(",")[2]) for a in dark}


def test_numbers_are_those_of_the_summary(moons):
    summary, twin = moons.folder.summary, moons.folder.summary["twin"]
    rows = {row[0]: row[1:] for row in moons.html.rows if row}
    assert rows["test accuracy"] == [f"{of['final']['test_accuracy']:.2%}" for of in (summary, twin)]
    assert rows["test loss"] == [f"{of['final']['test_loss']:.4g}" for of in (summary, twin)]
    for name, label in (("parameters", "trained numbers"), ("bytes", "stored, bytes")):
        assert rows[label] == [f"{of[name]:,}" for of in (summary, twin)]
    assert "relative error" not in rows
    counts = moons.record.confusion
    assert np.trace(counts) / counts.sum() == pytest.approx(summary["final"]["test_accuracy"])
    for k, name in enumerate(moons.record.classes):
        assert rows[name][:3] == [f"{counts[k].sum():,}", f"{counts[k, k]:,}", f"{counts[k, k] / counts[k].sum():.2%}"]


def test_verdicts_are_computed_from_the_numbers(tmp_path, unpainted):
    folder = run_of(tmp_path, "moons", "run.epochs=8")
    summary, observed, record = folder.summary, folder.summary["observables"], read(folder)
    html = Reader(write_report(folder).read_text(encoding="utf-8"))
    found = structures(record)
    said = {v.statement: v for v in verdicts(record, found)}
    work, bound = observed["workload"], observed["workload_bound"]
    below = said["The workload stays below its bound"]
    assert below.holds
    assert below.number == f"W = {work:.4g}, bound {bound:.4g}: {work / bound:.1%}"
    assert said["The run is complete"].holds
    assert any(f"test accuracy {summary['final']['test_accuracy']:.2%}" in v.number for v in said.values())
    assert found.after.psi == pytest.approx(observed["entropy"], abs=1e-12)
    assert found.after.lapcurse == pytest.approx(observed["lapcurse"], rel=1e-9)
    assert found.before.lapcurse == pytest.approx(observed["lapcurse_null"], rel=1e-9)
    assert found.control[0].lapcurse == pytest.approx(observed["lapcurse_null"], rel=1e-9)
    for verdict in said.values():
        assert verdict.statement in html.text
        assert verdict.number in html.text


def test_every_recorded_number_is_on_the_page(moons):
    files = {f.stem for f in moons.page.parent.glob("*.png")}
    clouds = {f"{kind}-{word}" for kind in ("particles", "density") for word in ("before", "after")}
    curves = {"loss", "accuracy", "lapcurse", "energy", "speed-limit", "histogram-velocity", "confusion"}
    assert files == clouds | curves | {"structure-curve", "structure-curvature"}
    assert "moons <&> co, seed 0" in moons.html.text
    assert "Two interleaved half moons" in moons.html.text
    assert 'name = "moons <&> co"' in moons.html.text


def test_the_twin_is_judged_beside_its_error(moons):
    summary = moons.folder.summary
    ours, twin = (s["final"]["test_accuracy"] for s in (summary, summary["twin"]))
    (said,) = (v for v in verdicts(moons.record, None) if "twin" in v.statement)
    assert said.number.startswith(f"{ours:.2%} against {twin:.2%}: {100 * (ours - twin):+.2f} points")
    error = ((ours * (1 - ours) + twin * (1 - twin)) / moons.record.confusion.sum()) ** 0.5
    assert said.holds == (ours >= twin - 2 * error)


def test_a_ledger_balances_or_does_not(tmp_path, unpainted):
    folder = run_of(tmp_path, "gas", "run.steps=20")
    record = read(folder)
    total = record.series("total_energy")[1]
    (ledger,) = (v for v in verdicts(record, None) if "ledger" in v.statement)
    assert ledger.holds
    assert f"({np.abs(total - total[0]).max():.3g} of" in ledger.number
    record.history["total_energy"][-1] *= 2
    (ledger,) = (v for v in verdicts(record, None) if "ledger" in v.statement)
    assert (ledger.statement, ledger.holds) == ("The energy ledger does not balance", False)
    html = Reader(write_report(folder, tmp_path / "gas.html").read_text(encoding="utf-8"))
    assert "confusion" not in {f.stem for f in (tmp_path / "gas").glob("*.png")}
    assert f"relative error {folder.summary['final']['relative_error']:.4g}" in html.text
    assert ["relative error", f"{folder.summary['final']['relative_error']:.4g}"] in html.rows


def test_a_run_that_blew_up_says_so(tmp_path, unpainted):
    with pytest.raises(DivergenceError):
        run_of(tmp_path, "xor", "run.steps=200", "dynamics.dt=1e20", "dynamics.limit=false", "record.every=1")
    folder = RunFolder.open(tmp_path / "run")
    record = read(folder)
    assert record.ended == "failed"
    assert f"the last recorded step is {record.last.step}" in record.how
    html = Reader(write_report(folder).read_text(encoding="utf-8"))
    assert "The run was ended by an error" in html.text


def test_a_run_that_goes_on_is_reported_as_far_as_it_is(tmp_path):
    with runs.start(Scenario.load("xor", ["record.every=2"]), tmp_path / "run") as recording:
        for _ in range(6):
            recording.step()
        recording.save()
        record = read(recording.folder)
    assert (record.ended, record.last.step) == ("unfinished", 6)
    assert record.summary["final"]["test_accuracy"] == recording.simulation.evaluate("test").accuracy
    assert record.confusion.sum() > 0
    assert not verdicts(record, None)[0].holds


def test_errors_say_what_is_wrong(moons, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["dynsim", "report", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert "no such folder" in capsys.readouterr().err
    with pytest.raises(OptionError, match="html"):
        write_report(moons.folder, tmp_path / "report.pdf")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(Exception, match=r"dynsim\[figures\]"):
        write_report(moons.folder, tmp_path / "report.html")


def test_a_folder_without_frames_is_refused(moons, tmp_path):
    (tmp_path / "scenario.toml").write_bytes((moons.folder / "scenario.toml").read_bytes())
    with pytest.raises(RunFolderError, match="trajectory"):
        write_report(RunFolder.open(tmp_path))


def test_thinned_lines_keep_their_peaks():
    y = np.zeros(100_000)
    y[[7, 99_999]] = 3, -2
    x, thin = thinned(np.arange(100_000.0), y, most=1000)
    assert len(x) == len(thin) <= 1000
    assert (thin.max(), thin.min()) == (3, -2)


@pytest.mark.parametrize("setting", ["dynamics.limit=false", "dynamics.integrator=adam"])
def test_nothing_is_said_of_a_bound_where_nothing_limits(tmp_path, setting):
    free = run_of(tmp_path / "free", "xor", "run.steps=3", setting)
    (said,) = (v for v in verdicts(read(free), None) if "orkload" in v.statement)
    assert (said.statement, said.holds) == ("The workload, which nothing bounds here", None)
    assert free.summary["observables"].get("workload_bound") is None


def test_no_bound_is_claimed_once_the_limit_has_been_opened_again(tmp_path, capsys):
    folder = run_of(tmp_path, "xor", "run.steps=6")
    assert folder.summary["observables"]["workload"] <= folder.summary["observables"]["workload_bound"]
    longer, _ = runs.resume(folder.path, ["run.steps=12"])
    assert longer.summary["observables"]["workload_bound"] is None
    (said,) = (v for v in verdicts(read(longer), None) if "orkload" in v.statement)
    assert (said.statement, said.holds) == ("The workload, under a limit that was not always the same", None)
    final_table(longer)
    assert " bound" not in capsys.readouterr().out


def test_a_comment_is_read_as_paragraphs():
    about = "What it is.\nSource: a paper.\nExpected: 0.5, and 21 %\nat the end.\nHowever, not always."
    expected = ["What it is.", "Source: a paper.", "Expected: 0.5, and 21 % at the end.", "However, not always."]
    assert paragraphs(about) == expected


@pytest.mark.parametrize(("rival", "holds"), [(0.9, False), (0.1, True)])
def test_a_sequence_is_judged_beside_its_rivals(moons, rival, holds):
    final = {"test_accuracy": None, "r2_train": 0.99, "r2_test": 0.5}
    rivals = {"persistence": {"final": {"r2_train": 1.0, "r2_test": rival}}}
    record = replace(moons.record, summary={"final": final, "rivals": rivals})
    (said,) = (v for v in verdicts(record, None) if "rival" in v.statement)
    assert said.holds == holds
    assert said.number == f"R² 0.5000 on held-out ticks, persistence {rival:.4f}"

"""Conversion of networks of others: what is left behind, what it promises, and how it goes on after a kill."""

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from dynsim import datasets
from dynsim.backend.conversion.convert import MODEL, REPORT, WORK, ConversionStopped, convert
from dynsim.backend.conversion.converted import load_converted
from dynsim.backend.conversion.reading import read_network
from dynsim.cli_convert import convert as command
from dynsim.errors import DataError, FileFormatError, OptionError, RunFolderError
from dynsim.progress import Progress

QUICK = ("rounding", "svd")


def structured(rng, rows, columns):
    """Weights with something to find: few directions, and noise."""
    low_rank = rng.normal(size=(rows, 3)) @ rng.normal(size=(3, columns))
    return (low_rank + 0.3 * rng.normal(size=(rows, columns))).astype(np.float32)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A network as an .npz in the manner of torch: two dense layers, a convolution, biases, an index."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("nets") / "net.npz"
    tensors = {
        "fc1.weight": structured(rng, 48, 64),
        "fc1.bias": rng.normal(size=48).astype(np.float32),
        "conv.weight": structured(rng, 16, 72).reshape(16, 8, 3, 3).astype(np.float16),
        "fc2.weight": structured(rng, 10, 48).astype(np.float64),
        "steps": np.array(7, np.int64),
    }
    np.savez(path, **tensors)
    return path


def answers(tensors, seed=1):
    x = np.random.default_rng(seed).normal(size=(50, 64))
    hidden = np.maximum(x @ tensors["fc1.weight"].T.astype(np.float64) + tensors["fc1.bias"], 0)
    return hidden @ tensors["fc2.weight"].T


def loudness(tensors):
    return {"mean square": float(np.square(answers(tensors)).mean())}


@pytest.fixture(scope="module")
def budgeted(net, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "budgeted"
    report = convert(net, out, budget_ratio=0.25, only=QUICK, jobs=2, evaluate=loudness)
    return out, report


@pytest.fixture(scope="module")
def particles(net, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "particles"
    return out, convert(net, out, metric="l2", copies=2, dim=3, steps=60, jobs=1)


@pytest.fixture(params=["budgeted", "particles"])
def done(request):
    return request.getfixturevalue(request.param)


def payload(path):
    """Bytes of a safetensors file without its header."""
    raw = path.read_bytes()
    return len(raw) - 8 - int.from_bytes(raw[:8], "little")


def test_bytes_are_those_of_the_file(done, net):
    out, report = done
    original = sum(a.nbytes for a in np.load(net).values())
    assert report["bytes"] == payload(out / MODEL) == load_converted(out / MODEL).nbytes
    assert report["bytes"] == report["kept"]["bytes"] + sum(x["bytes"] for x in report["layers"])
    assert report["bytes_original"] == original == payload_of_layers(report) + report["kept"]["bytes"]
    assert report["bytes"] < report["bytes_original"]


def payload_of_layers(report):
    return sum(x["bytes_original"] for x in report["layers"])


def test_the_recovered_weights_have_their_names_shapes_and_types(done, net):
    out, report = done
    before, after = np.load(net), np.load(out / "recovered.npz")
    ours = load_converted(out / MODEL).tensors()
    assert list(after) == list(before) == list(ours)
    errors = {x["name"]: x["relative_error"] for x in report["layers"]}
    for name, w in before.items():
        assert (after[name].shape, after[name].dtype) == (w.shape, w.dtype)
        np.testing.assert_array_equal(ours[name], after[name])
        off = np.linalg.norm((after[name] - w).astype(np.float64)) / np.linalg.norm(w.astype(np.float64))
        assert off == pytest.approx(errors.get(name, 0), rel=1e-2)


def test_without_a_budget_every_layer_becomes_particles(particles):
    _, report = particles
    assert set(report["who_won"]) <= {"dyn", "keep"}
    assert "fc1.weight" in report["who_won"]["dyn"]
    layer = next(x for x in report["layers"] if x["name"] == "fc1.weight")
    assert layer["relative_error"] < 0.9
    assert layer["settings"]["metric"] == "l2"
    assert layer["bits"] == 32


def test_a_budget_is_kept_and_no_single_method_beats_the_choice(budgeted):
    _, report = budgeted
    assert report["bytes"] <= report["budget"] == report["bytes_original"] // 4
    assert set(report["rivals"]) == set(QUICK)
    fitting = [alone for alone in report["rivals"].values() if alone["fits"]]
    assert fitting
    for alone in fitting:
        assert alone["bytes"] <= report["budget"]
        assert report["total_error"] <= alone["total_error"]
    assert report["total_error"] == pytest.approx(sum(x["error"] for x in report["layers"]))
    assert sorted(n for names in report["who_won"].values() for n in names) == sorted(
        x["name"] for x in report["layers"]
    )


def test_the_callers_own_code_judges(budgeted, net):
    out, report = budgeted
    assert report["evaluation"]["before"] == loudness(np.load(net))
    assert report["evaluation"]["after"] == loudness(np.load(out / "recovered.npz"))


def test_more_bytes_give_a_better_network(budgeted, net, tmp_path):
    out, report = budgeted
    richer = convert(net, tmp_path / "richer", budget_ratio=0.5, only=QUICK, jobs=1)
    assert richer["total_error"] < report["total_error"]
    exact = answers(np.load(net))
    off = [np.abs(answers(np.load(f / "recovered.npz")) - exact).mean() for f in (out, tmp_path / "richer")]
    assert off[1] < off[0]


def test_the_result_does_not_depend_on_how_many_work(budgeted, net, tmp_path):
    out, _ = budgeted
    convert(net, tmp_path / "one", budget_ratio=0.25, only=QUICK, jobs=1)
    for name in (MODEL, "recovered.npz"):
        assert (tmp_path / "one" / name).read_bytes() == (out / name).read_bytes()


def test_nothing_is_left_but_the_results_and_no_path_of_the_machine(done, net):
    out, _ = done
    assert sorted(p.name for p in out.iterdir()) == sorted([MODEL, "recovered.npz", REPORT, "report.md"])
    for name in (MODEL, REPORT, "report.md"):
        assert str(net.parent).encode() not in (out / name).read_bytes()


def test_a_finished_conversion_is_not_done_again(budgeted, net):
    out, report = budgeted
    before = {p: p.stat().st_mtime_ns for p in out.iterdir()}
    assert convert(net, out, budget_ratio=0.25, only=QUICK) == json.loads(json.dumps(report))
    assert {p: p.stat().st_mtime_ns for p in out.iterdir()} == before


def test_other_settings_do_not_go_into_the_same_folder(budgeted, net):
    with pytest.raises(RunFolderError, match=r"another conversion(.|\n)*budget_ratio 0\.3(.|\n)*budget_ratio 0\.25"):
        convert(net, budgeted[0], budget_ratio=0.3, only=QUICK)


class CtrlC(Progress):
    """Somebody who presses it when the first job is done."""

    def __init__(self):
        super().__init__(quiet=True)

    def update(self, step, total, scalars):
        if step:
            raise KeyboardInterrupt


class Listening(Progress):
    """Remembers where the first phase began."""

    def __init__(self):
        super().__init__(quiet=True)
        self.began = []

    def phase(self, name, total=0, done=0):
        self.began.append((total, done))


def test_ctrl_c_leaves_what_was_done_and_the_same_command_goes_on(budgeted, net, tmp_path):
    out = tmp_path / "stopped"
    settings = {"budget_ratio": 0.25, "only": QUICK, "jobs": 1}
    with pytest.raises(ConversionStopped, match="same command again"):
        convert(net, out, progress=CtrlC(), **settings)
    assert not (out / MODEL).exists()
    assert list((out / WORK).glob("*.safetensors"))
    with pytest.raises(RunFolderError, match=r"unfinished(.|\n)*seed 1(.|\n)*seed 0"):
        convert(net, out, **settings, seed=1)
    listening = Listening()
    convert(net, out, progress=listening, **settings)
    total, done = listening.began[0]
    assert 0 < done < total
    for name in (MODEL, "recovered.npz"):
        assert (out / name).read_bytes() == (budgeted[0] / name).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_conversion_goes_on_and_leaves_no_processes(budgeted, net, tmp_path):
    out = tmp_path / "killed"
    code = f"""
from dynsim import datasets
from dynsim.backend.conversion.convert import convert
if __name__ == "__main__":
    convert({str(net)!r}, {str(out)!r}, budget_ratio=0.25, only={QUICK!r}, jobs=1)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, script], cwd=Path(__file__).parents[2], start_new_session=True)
    while not list(out.glob(f"{WORK}/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    convert(net, out, budget_ratio=0.25, only=QUICK, jobs=1)
    assert (out / MODEL).read_bytes() == (budgeted[0] / MODEL).read_bytes()
    assert not multiprocessing.active_children()
    assert eventually_nobody(process.pid)


def eventually_nobody(session, seconds=60):
    """Whether the last process of a session ends by itself: a busy machine may take its time."""
    for _ in range(10 * seconds):
        listed = subprocess.run(["ps", "-s", str(session), "-o", "pid="], capture_output=True, text=True)
        if not listed.stdout.split():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget_ratio": 0.0}, ["(0, 1]"]),
        ({"budget_ratio": 1.5}, ["(0, 1]"]),
        ({"budget_bytes": 0}, ["--budget-bytes"]),
        ({"budget_bytes": 100, "budget_ratio": 0.5}, ["one of them"]),
        ({"budget_ratio": 0.5, "metric": "l2"}, ["--metric", "either a budget"]),
        ({"only": ["svd"]}, ["--budget-ratio"]),
        ({"budget_ratio": 0.5, "only": ["svdd"]}, ["did you mean 'svd'"]),
        ({"layers": ["fc3*"]}, ["fc1.weight", "--layers"]),
        ({"axes": "tf"}, ["keras"]),
        ({"seed": -1}, ["--seed"]),
        ({"budget_ratio": 0.001}, ["at least", "net.npz"]),
        ({"budget_bytes": 1000, "only": ["rounding"]}, ["too small", "at least", "% of the original"]),
        ({"metric": "l3"}, ["l3", "l2"]),
    ],
    ids=lambda v: " ".join(map(str, v)) if isinstance(v, dict) else "",
)
def test_bad_settings_are_refused_and_leave_nothing(net, tmp_path, settings, words):
    with pytest.raises(OptionError) as caught:
        convert(net, tmp_path / "out", **settings)
    for word in words:
        assert word in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_least_budget_that_is_named_is_enough(net, tmp_path):
    with pytest.raises(OptionError) as caught:
        convert(net, tmp_path / "out", budget_bytes=1000, only=["rounding"], jobs=1)
    least = int(caught.value.allowed.split()[2].replace(",", ""))
    assert convert(net, tmp_path / "out", budget_bytes=least, only=["rounding"], jobs=1)["bytes"] == least


def test_folders_with_other_things_are_left_alone(net, tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="other files"):
        convert(net, tmp_path, budget_ratio=0.5)
    with pytest.raises(RunFolderError, match="a file"):
        convert(net, tmp_path / "diary.txt", budget_ratio=0.5)
    with pytest.raises(RunFolderError, match="cannot be written"):
        convert(net, tmp_path / "diary.txt" / "out", budget_ratio=0.5)
    assert [p.name for p in tmp_path.iterdir()] == ["diary.txt"]


def test_patterns_leave_the_other_layers_as_they_are(net, tmp_path):
    report = convert(net, tmp_path / "out", budget_ratio=0.7, only=["rounding"], layers=["fc*"], jobs=1)
    assert [x["name"] for x in report["layers"]] == ["fc1.weight", "fc2.weight"]
    kept = np.load(tmp_path / "out" / "recovered.npz")["conv.weight"]
    np.testing.assert_array_equal(kept, np.load(net)["conv.weight"])


def test_data_for_a_file_without_a_graph_are_not_used_and_it_says_so(net, tmp_path):
    report = convert(net, tmp_path / "out", budget_ratio=0.5, only=["rounding"], data="digits", jobs=1)
    assert "digits was not used" in report["notes"][0]
    assert "digits was not used" in (tmp_path / "out" / "report.md").read_text()


def test_damaged_model_files_are_refused(budgeted, tmp_path):
    raw = (budgeted[0] / MODEL).read_bytes()
    for name, content in {
        "cut": raw[:2000],
        "version": raw.replace(b"dynsim-converted/1", b"dynsim-converted/9"),
        "layer": raw.replace(b"layer:fc1", b"layer:fc9", 1),
        "method": raw.replace(b'\\"method\\": \\"', b'\\"method\\": \\"x', 1).replace(b'\\"bits', b'\\"bit', 1),
    }.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=r"fc1\.weight|safetensors"):
            load_converted(path).tensors()


# --- the command line


def run(*arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_shows_a_table_or_json(budgeted, net):
    out, report = budgeted
    same = [net, "--out", out, "--budget-ratio", "0.25", "--only", "rounding", "--only", "svd"]
    shown = run(*same)
    assert shown.exit_code == 0
    for word in ("was finished before", "fc1.weight", "svd alone", f"{report['bytes']:,}"):
        assert word in shown.output
    assert json.loads(run(*same, "--json").stdout) == json.loads((out / REPORT).read_text())


def test_the_command_imports_nothing_numerical_before_it_runs():
    code = "import dynsim.cli_convert, sys; print({'numpy', 'numba', 'rich'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" not in shown.stdout
    assert "numba" not in shown.stdout


# --- graphs


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """x (n, 40) -> ReLU(x A + b) B -> (n, 6), as an ONNX."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(3)
    helper, from_array = onnx.helper, onnx.numpy_helper.from_array
    tensors = {"A": rng.normal(size=(40, 64)), "b": rng.normal(size=64), "B": rng.normal(size=(64, 6))}
    nodes = [
        helper.make_node("Gemm", ["x", "A", "b"], ["h"], "hidden"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "B"], ["y"], "out"),
    ]
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        nodes,
        "net",
        [value("x", 1, ["n", 40])],
        [value("y", 1, ["n", 6])],
        [from_array(a.astype(np.float32), k) for k, a in tensors.items()],
    )
    path = tmp_path_factory.mktemp("graphs") / "net.onnx"
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def samples(graph, tmp_path_factory):
    """Inputs of which only a quarter are loud, with the network's own answers as labels."""
    import onnxruntime

    rng = np.random.default_rng(4)
    x = rng.normal(size=(600, 40)).astype(np.float32) * np.where(np.arange(40) < 10, 1, 0.02).astype(np.float32)
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    path = tmp_path_factory.mktemp("data") / "samples.npz"
    np.savez(path, x=x, y=session.run(None, {"x": x})[0].argmax(axis=1))
    return path


@pytest.fixture(scope="module")
def weighted(graph, samples, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "weighted"
    return out, convert(graph, out, budget_ratio=0.12, only=QUICK, data=str(samples), jobs=1)


def test_the_recovered_graph_runs_and_answers_as_the_model_file(weighted, graph):
    import onnxruntime

    out, report = weighted
    assert report["parity"] < 1e-5
    session = onnxruntime.InferenceSession(str(out / "recovered.onnx"), providers=["CPUExecutionProvider"])
    t = load_converted(out / MODEL).tensors()
    x = np.random.default_rng(5).normal(size=(20, 40)).astype(np.float32)
    expected = np.maximum(x @ t["A"] + t["b"], 0) @ t["B"]
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-4, atol=1e-4)
    assert str(graph.parent) not in (out / REPORT).read_text()


def test_data_judge_both_networks(weighted, samples):
    _, report = weighted
    data = report["data"]
    assert data["name"] == samples.name
    assert data["samples"] == 120
    assert data["accuracy_before"] == 1
    assert data["accuracy_after"] == data["agreement"] > 0.5
    assert 0.5 < data["logit_cosine"] < 1
    assert report["wall_clock"]["decode_and_dense_s"] > report["wall_clock"]["dense_s"] > 0


def test_errors_weighted_by_what_flows_leave_a_better_network(weighted, graph, samples, tmp_path):
    """At equal bytes: silent inputs may be wrong."""
    _, report = weighted
    convert(graph, tmp_path / "blind", budget_ratio=0.12, only=QUICK, jobs=1)
    x, t = np.load(samples)["x"], load_converted(tmp_path / "blind" / MODEL).tensors()
    w = read_network(graph).tensors
    exact, off = (np.maximum(x @ v["A"] + v["b"], 0) @ v["B"] for v in (w, t))
    cosine = (exact * off).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(off, axis=1)
    assert report["data"]["logit_cosine"] > cosine.mean()


def test_data_that_do_not_fit_the_network_are_refused(graph, tmp_path):
    with pytest.raises(ValueError, match=r"\(n, 40\)"):
        convert(graph, tmp_path / "out", budget_ratio=0.5, data="digits")
    np.savez(tmp_path / "empty.npz", z=np.zeros(3))
    with pytest.raises(DataError, match="keys z"):
        convert(graph, tmp_path / "out", budget_ratio=0.5, data=str(tmp_path / "empty.npz"))
    assert not (tmp_path / "out").exists()


# --- networks that others published

MODELS = Path(__file__).parents[3] / "shared" / "models"


def published(name):
    if not (MODELS / name).is_file():
        pytest.skip(f"{name} is not in {MODELS}: it is not ours to ship")
    return MODELS / name


def mnist_logits(tensors, x):
    """conv 3x3, ReLU, pool, conv 3x3, ReLU, pool, 3136-128, ReLU, 128-10."""
    torch = pytest.importorskip("torch")
    f, t = torch.nn.functional, {k: torch.tensor(np.asarray(a)) for k, a in tensors.items()}
    h = torch.tensor((x.reshape(-1, 1, 28, 28) - 0.1307) / 0.3081)
    for name in ("features.0", "features.3"):
        h = f.max_pool2d(f.relu(f.conv2d(h, t[f"{name}.weight"], t[f"{name}.bias"], padding=1)), 2)
    h = f.relu(f.linear(h.flatten(1), t["classifier.0.weight"], t["classifier.0.bias"]))
    return f.linear(h, t["classifier.2.weight"], t["classifier.2.bias"]).numpy()


def test_an_mnist_network_of_others_keeps_its_accuracy(tmp_path):
    """Without data; the quick rivals only. All methods reach more at 10 %: docs/conversion.md."""
    path = published("ccexam_mnist.npz")
    digits = datasets.load("mnist")
    x, y = digits.X_test[:1000], digits.y_test[:1000]
    exact = mnist_logits(np.load(path), x)

    def judged(tensors):
        off = mnist_logits(tensors, x)
        cosine = (exact * off).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(off, axis=1)
        return {"accuracy": float((off.argmax(axis=1) == y).mean()), "cosine": float(cosine.mean())}

    report = convert(path, tmp_path / "out", budget_ratio=0.14, only=["keep", "rounding"], evaluate=judged, jobs=2)
    before, after = report["evaluation"]["before"], report["evaluation"]["after"]
    assert report["ratio"] <= 0.14
    assert before["cosine"] == pytest.approx(1)
    assert after["cosine"] > 0.995
    assert after["accuracy"] > before["accuracy"] - 0.003


def features(path):
    """A file as the network wants it: 1024 bytes from its start, 1024 to its end, 256 where there are none."""
    raw = path.read_bytes()
    start, end = raw[:4096].lstrip()[:1024], raw[-4096:].rstrip()[-1024:]
    return [*start] + [256] * (1024 - len(start)) + [256] * (1024 - len(end)) + [*end]


def test_a_classifier_of_files_still_knows_them(tmp_path):
    path = published("magika_standard_v3_3.onnx")
    pytest.importorskip("onnxruntime")
    root = Path(__file__).parents[2]
    files = sorted(f for kind in ("py", "md", "toml") for f in root.glob(f"*/**/*.{kind}"))[::4]
    np.savez(tmp_path / "files.npz", x=np.array([features(f) for f in files], np.int32))
    samples = str(tmp_path / "files.npz")
    report = convert(path, tmp_path / "out", budget_ratio=0.88, only=["rounding"], layers=["*Const*"], data=samples)
    assert report["parity"] < 1e-4
    assert report["data"]["agreement"] > 0.95
    assert sum(x["bytes"] for x in report["layers"]) < 0.27 * payload_of_layers(report)

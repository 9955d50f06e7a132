"""Files that people bring, damaged at random: every loader answers with an error of ours, soon and in little memory."""

import gzip
import struct
from collections import Counter

import numpy as np
import pytest
from faults import FULL, Child, damaged
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from dynsim import datasets, runs
from dynsim.datafiles import read_matrix
from dynsim.errors import DataError, ScenarioError, ShapeError
from dynsim.scenario import Scenario, find
from dynsim_gui.models.pad import Pad

X, Y = np.arange(60, dtype="f4").reshape(12, 5), np.arange(12) % 3
WEIGHTS = {"fc.weight": np.random.default_rng(0).standard_normal((20, 30)).astype("f4"), "fc.bias": np.ones(20, "f4")}
RUN = """
[system]
layers = ["auto", 4, "auto"]
copies = 2
dim = 3
[field]
dataset = "xor"
samples = 40
batch = 40
[run]
steps = 4
device = "reference"
[record]
every = 2
"""


def csv(path):
    path.write_text("a,b,label\n" + "".join(f"{i},{i * i / 7:.3f},{'cat' if i % 2 else 'dog'}\n" for i in range(12)))


def matrix_csv(path):
    np.savetxt(path, X, delimiter=",")


def onnx(path):
    onnx = pytest.importorskip("onnx")
    tensors = [onnx.numpy_helper.from_array(WEIGHTS["fc.weight"].T.copy(), "w")]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")
    ends = [onnx.helper.make_tensor_value_info(n, 1, [None, k]) for n, k in (("x", 30), ("y", 20))]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], tensors)
    opset = [onnx.helper.make_opsetid("", 17)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())


def idx(path):
    data = struct.pack(">4B3I", 0, 0, 8, 3, 4, 3, 3) + bytes(range(36))
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


# kind of loader, name of the file, what writes it
FILES = [
    ("data", "own.csv", csv),
    ("data", "stored.npz", lambda p: np.savez(p, X=X, y=np.where(Y, "dog", "cat"))),
    ("data", "packed.npz", lambda p: np.savez_compressed(p, X=X, y=Y, X_test=X, y_test=Y)),
    ("idx", "plain-idx3", idx),
    ("idx", "packed-idx3.gz", idx),
    ("matrix", "m.npy", lambda p: np.save(p, X)),
    ("matrix", "m.npz", lambda p: np.savez(p, X)),
    ("matrix", "m.csv", matrix_csv),
    ("samples", "samples.npz", lambda p: np.savez(p, x=X, y=Y)),
    ("network", "net.npz", lambda p: np.savez(p, **WEIGHTS)),
    ("network", "net.onnx", onnx),
    ("network", "net.safetensors", lambda p: save_file(WEIGHTS, p)),
    ("scenario", "own.toml", lambda p: p.write_bytes(find("moons").read_bytes())),
]
OF_RUNS = [
    ("model", "model.safetensors"),
    ("info", "model.safetensors"),
    ("checkpoint", "checkpoints/latest.safetensors"),
    ("peek", "checkpoints/latest.safetensors"),
    ("run", "summary.json"),
    ("run", "scenario.toml"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run folder."""
    return runs.run(Scenario.from_text(RUN), tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture(scope="module")
def child():
    with Child() as child:
        yield child


def break_often(child, kind, path, count, rng, tally):
    sound, fates, slowest = path.read_bytes(), Counter(), 0.0
    assert child.open(kind, path)[0] == "read"
    for k in range(count):
        path.write_bytes(broken := damaged(sound, rng))
        fate, words, seconds = child.open(kind, path)
        if fate not in ("read", "refused"):
            (path.parent / f"bad-{k}{path.suffix}").write_bytes(broken)
        assert fate in ("read", "refused"), f"case {k}: {fate}\n{words}"
        assert fate == "read" or path.name in words or kind == "run", words
        fates[fate] += 1
        slowest = max(slowest, seconds)
    if FULL:
        assert slowest < 1
    tally(f"damaged {path.name}, read as {kind}", sum(fates.values()), count, f"{fates['refused']} refused")


@pytest.mark.counts(25, 500)
@pytest.mark.parametrize(("kind", "name", "write"), FILES, ids=[f[1] for f in FILES])
def test_damaged_files_give_errors_of_ours(tmp_path, child, kind, name, write, count, rng, tally):
    write(tmp_path / name)
    break_often(child, kind, tmp_path / name, count, rng, tally)


@pytest.mark.counts(25, 500)
@pytest.mark.parametrize(("kind", "name"), OF_RUNS, ids=[" ".join(f) for f in OF_RUNS])
def test_damaged_files_of_a_run_give_errors_of_ours(finished, child, kind, name, count, rng, tally):
    path = finished / name
    if kind == "checkpoint":  # which is read for the scenario beside it
        (path.parent / "scenario.toml").write_bytes((finished / "scenario.toml").read_bytes())
    sound = path.read_bytes()
    try:
        break_often(child, kind, path, count, rng, tally)
    finally:
        path.write_bytes(sound)


# By hypothesis ------------------------------------------------------------------------------------------------------

MANY = settings(
    max_examples=500 if FULL else 40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just([]) | st.just({})
values = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3))


def error_of(kind, load, *arguments):
    """The error that a loader raises, if it is of this kind; any other goes its way."""
    try:
        load(*arguments)
    except kind as error:
        return error
    return None


def keys_of(table, path=()):
    for key, value in table.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from keys_of(value, (*path, key))


SOUND = Scenario.load("moons").model_dump(mode="json")
KEYS = list(keys_of(SOUND))


@MANY
@given(st.lists(st.tuples(st.sampled_from(KEYS), values), min_size=1, max_size=3))
def test_any_value_of_any_key_gives_a_scenario_or_its_error(changes):
    raw = Scenario.load("moons").model_dump(mode="json")
    for path, value in changes:
        table = raw
        for key in path[:-1]:
            table = table[key] if isinstance(table.get(key), dict) else table.setdefault(f"_{key}", {})
        table[path[-1]] = value
    error = error_of(ScenarioError, Scenario.from_dict, raw)
    for problem in error.problems if error else ():
        assert problem.where
        assert problem.allowed or problem.hint, str(problem)


@MANY
@given(st.text(max_size=200) | st.binary(max_size=200))
@example("a." * 3000 + "b = 1")
@example("x = " + "[" * 3000)
@example('name = "a"\n[system]\nlayers = ' + "9" * 5000)
def test_any_text_gives_a_scenario_error(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    with pytest.raises(ScenarioError):
        Scenario.load(path)


@MANY
@given(st.lists(st.lists(st.text(max_size=6) | st.floats().map(str) | st.just("1"), max_size=4), max_size=6))
@example([["\0", "a"], ["1", "2"]])
def test_any_table_gives_data_or_a_data_error(tmp_path, table):
    path = tmp_path / "own.csv"
    path.write_text("\n".join(",".join(row) for row in table), encoding="utf-8", errors="replace")
    for load in (datasets.load, read_matrix):
        error = error_of(DataError, load, path)
        assert error is None or str(path) in str(error)


@MANY
@given(st.text(min_size=1, max_size=30))
@example("dynamics.dt=")
@example("system.layers.x=1")
@example("system=3")
@example("a" + ".a" * 2000 + "=1")
def test_any_setting_gives_a_scenario_or_its_error(setting):
    error = error_of(ScenarioError, Scenario.load, "moons", [setting])
    assert error is None or error.problems or error.given


anything = st.floats(allow_nan=True, width=32)


@MANY
@given(st.lists(st.tuples(*[anything] * 5), max_size=4), st.booleans())
def test_any_drawing_is_a_sample(strokes, normalise):
    pad = Pad((8, 8), high=16.0)
    with np.errstate(all="ignore"):
        for stroke in strokes:
            pad.stroke(*stroke)
        sample = pad.as_input(normalise)
    assert sample.shape == (1, 64)
    assert np.isfinite(sample).all()
    assert 0 <= sample.min() <= sample.max() <= 16 * 1.001


@pytest.mark.parametrize("image", [np.zeros(63), np.full(64, np.nan), np.full(64, "a"), np.full(64, None), "picture"])
def test_what_is_no_picture_is_not_loaded(image):
    pad = Pad((8, 8))
    with pytest.raises(ShapeError):
        pad.load(image)
    assert pad.empty

"""Nothing that is loaded is ever executed: one test reads the source, the others try."""

import ast
import io
import json
import pickle
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from dynsim import datasets
from dynsim.backend.conversion.data import load_samples
from dynsim.backend.conversion.reading import read_network
from dynsim.backend.export import load_sklearn
from dynsim.backend.formats import load_model
from dynsim.datafiles import read_matrix
from dynsim.errors import DataError, DynsimError, FileFormatError, ScenarioError
from dynsim.scenario import Scenario

SOURCE = Path(__file__).parents[2]
MODULES = [*(SOURCE / "dynsim").rglob("*.py"), *(SOURCE / "gui").rglob("*.py")]
# What runs code that it reads, by any of its names.
FORBIDDEN_MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "tarfile",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {"extractall", "extract", "unpack_archive", "unsafe_load", "full_load"}


def name_of(node):
    """A dotted name as it is written."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def sins(tree):
    """(line, what) of every use of something that may execute what it loads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            yield from ((node.lineno, n) for n in names if n.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.Call):
            called, last = name_of(node.func), name_of(node.func).rsplit(".", 1)[-1]
            keywords = {k.arg: k.value for k in node.keywords}
            if called in FORBIDDEN_CALLS or last in FORBIDDEN_METHODS or called == "torch.load":
                yield node.lineno, called
            if called in ("np.load", "numpy.load"):
                allowed = keywords.get("allow_pickle")
                if not isinstance(allowed, ast.Constant) or allowed.value is not False:
                    yield node.lineno, "np.load without allow_pickle=False"
            if "allow_pickle" in keywords and getattr(keywords["allow_pickle"], "value", True) is not False:
                yield node.lineno, "allow_pickle"
            if isinstance(getattr(keywords.get("shell"), "value", None), bool) and keywords["shell"].value:
                yield node.lineno, "shell=True"


def test_no_module_uses_what_executes_what_it_loads():
    assert len(MODULES) > 200
    found = [
        f"{path.relative_to(SOURCE)}:{line} {what}"
        for path in MODULES
        for line, what in sins(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from yaml import load", "eval(x)", "np.load(p)", "np.load(p, allow_pickle=flag)",
     "torch.load(p)", "archive.extractall()", "np.lib.format.read_array(f, allow_pickle=True)", "run(x, shell=True)"],
)  # fmt: skip
def test_the_reader_of_the_source_sees_it(code):
    assert list(sins(ast.parse(code)))


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return Path.touch, (Path(self.mark),)


@pytest.fixture
def mark(tmp_path):
    """The file that no loader may make; that it can be made is checked first."""
    path = tmp_path / "executed"
    pickle.loads(pickle.dumps(Evil(path)))
    assert path.exists()
    path.unlink()
    yield path
    assert not path.exists()


def evil_array(mark):
    return np.array([Evil(mark)] * 300, object).reshape(15, 20)


@pytest.mark.parametrize("load", [datasets.load, load_samples, read_network, lambda p: read_matrix(Path(p))])
def test_a_pickle_in_an_npz_is_not_opened(tmp_path, mark, load):
    path = tmp_path / "evil.npz"
    np.savez(path, X=evil_array(mark), y=evil_array(mark)[:, 0], x=evil_array(mark))
    with pytest.raises(DynsimError, match=r"pickle|not exactly one array"):
        load(path if load is not load_samples else str(path))


@pytest.mark.parametrize("name", ["evil.npy", "evil.npz"])
def test_a_pickled_matrix_is_not_opened(tmp_path, mark, name):
    path = tmp_path / name
    (np.save if name.endswith("npy") else np.savez)(path, evil_array(mark))
    with pytest.raises(DataError):
        read_matrix(path)


@pytest.mark.parametrize("name", ["evil.npz", "evil.npy", "evil.csv", "evil.onnx", "evil.safetensors", "evil.toml"])
def test_a_pickle_under_any_name_is_not_opened(tmp_path, mark, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Evil(mark)))
    for load in (datasets.load, load_samples, read_network, read_matrix, load_model, load_sklearn, Scenario.load):
        with pytest.raises(DynsimError):
            load(path if load is not load_samples else str(path))


@pytest.mark.parametrize("location", ["/etc/passwd", "../../../../etc/passwd", "beside.bin"])
def test_an_onnx_does_not_open_another_file(tmp_path, location):
    onnx = pytest.importorskip("onnx")
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[20, 20], data_location=onnx.TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(n, 1, [None, 20]) for n in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [tensor]))
    path = tmp_path / "evil.onnx"
    path.write_bytes(model.SerializeToString())
    (tmp_path / "beside.bin").write_bytes(bytes(1600))
    with pytest.raises(FileFormatError, match="in another file, which is not opened"):
        read_network(path)


@pytest.mark.parametrize("name", ["../escaped.npy", "/tmp/escaped.npy", "..\\escaped.npy", "a/../../escaped.npy"])
def test_a_member_of_an_archive_has_no_say_where_it_goes(tmp_path, name):
    """Members are read into memory by their names, which are no paths: nothing is unpacked."""
    folder = tmp_path / "in"
    folder.mkdir()
    member = io.BytesIO()
    np.save(member, np.zeros((20, 20), "f4"))
    with zipfile.ZipFile(folder / "evil.npz", "w") as archive:
        archive.writestr(name, member.getvalue())
        archive.writestr("X.npy", member.getvalue())
        archive.writestr("y.npy", member.getvalue())
    before = sorted(tmp_path.rglob("*"))
    for load in (datasets.load, read_matrix, read_network):
        with suppress(DynsimError):
            load(folder / "evil.npz")
    assert sorted(tmp_path.rglob("*")) == before


def lying_safetensors(header):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack("<Q", 2**62) + b"{}",
        lying_safetensors({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        lying_safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}),
        save({"a": np.zeros(4, "f4")}, {"dynsim": "[" * 5000}),
        save({"a": np.zeros(4, "f4")}, {"dynsim": '{"schema": "dynsim-model/3"}'}),
        save({"a": np.zeros(4, "f4")}, {"dynsim": '{"schema": ["dynsim-model/3"]}'}),
        save({"a": np.zeros(4, "f4")}, {"dynsim": "7"}),
    ],
    ids=["header", "shape", "offsets", "nesting", "card", "schema", "number"],
)
def test_a_safetensors_that_lies_is_refused(tmp_path, raw):
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"model\.safetensors"):
        load_model(path)


def test_a_bomb_of_zeros_is_refused_by_what_it_would_unpack_to(tmp_path):
    """Ten members of 1 GiB, a few kilobytes packed: their directory says it, and nothing is unpacked."""
    path = tmp_path / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**30, 1)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("X.npy", "x.npy", "y.npy"):
            archive.writestr(name, header.getvalue() + bytes(2**12))
    data = path.read_bytes()
    real = len(header.getvalue()) + 2**12
    claimed = struct.pack("<I", 2**31)
    path.write_bytes(data.replace(struct.pack("<I", real), claimed))
    for load in (datasets.load, read_matrix, read_network, load_samples):
        with pytest.raises(DynsimError, match=r"too large|another size|not exactly one|cannot be read"):
            load(path if load is not load_samples else str(path))


def test_toml_is_data(tmp_path, mark):
    path = tmp_path / "evil.toml"
    path.write_text(f"[system]\nlayers = __import__('pathlib').Path({str(mark)!r}).touch()\n")
    with pytest.raises(ScenarioError, match="not valid TOML"):
        Scenario.load(path)

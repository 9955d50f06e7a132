"""ONNX files: their layers, what flows through them, the graph with other weights, and what is refused."""

import numpy as np
import pytest

from dynsim.backend.conversion.onnx_io import with_tensors
from dynsim.backend.conversion.onnx_run import Runner, difference, made_up, mean_squares
from dynsim.backend.conversion.reading import read_network
from dynsim.errors import DataError, FileFormatError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def graph(nodes, tensors, shape, out="out"):
    return helper.make_model(
        helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("in", TensorProto.FLOAT, ["n", *shape])],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(a, k) for k, a in tensors.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def dense_net():
    """Gemm both ways, MatMul, a stack of matrices, a Constant node, and weights that two nodes share."""
    tensors = {
        "gemm.t": normal(32, 20),
        "gemm": normal(32, 32),
        "bias": normal(32),
        "matmul": normal(32, 32),
        "left": normal(24, 32),
        "stack": normal(2, 24, 16),
        "axes": np.array([0, 1], np.int64),
    }
    nodes = [
        helper.make_node("Gemm", ["in", "gemm.t", "bias"], ["a"], "first", transB=1),
        helper.make_node("Gemm", ["a", "gemm"], ["b"], "second", alpha=0.5),
        helper.make_node("MatMul", ["b", "matmul"], ["c"], "third"),
        helper.make_node("MatMul", ["c", "matmul"], ["d"], "again"),
        helper.make_node("Identity", ["matmul"], ["alias"]),
        helper.make_node("MatMul", ["d", "alias"], ["e"], "by another name"),
        helper.make_node("Constant", [], ["constant"], value=numpy_helper.from_array(normal(32, 32), "constant")),
        helper.make_node("MatMul", ["e", "constant"], ["f"], "fourth"),
        helper.make_node("Transpose", ["f"], ["g"], perm=[1, 0]),
        helper.make_node("MatMul", ["left", "g"], ["h"], "weights on the left"),
        helper.make_node("Transpose", ["h"], ["i"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["i", "axes"], ["j"]),
        helper.make_node("MatMul", ["j", "stack"], ["k"], "heads"),
    ]
    return graph(nodes, tensors, [20], "k")


def conv_net():
    """A convolution, a grouped one, a depthwise one, and one over time."""
    tensors = {
        "conv": normal(16, 3, 3, 3),
        "grouped": normal(16, 8, 3, 3),
        "depthwise": normal(32, 1, 3, 3),
        "conv1d": normal(12, 32, 5),
        "shape": np.array([0, 32, -1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["in", "conv"], ["a"], "plain", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "grouped"], ["c"], "in groups", group=2),
        helper.make_node("Conv", ["c", "depthwise"], ["d"], "each channel", group=16),
        helper.make_node("Reshape", ["d", "shape"], ["e"]),
        helper.make_node("Conv", ["e", "conv1d"], ["out"], "over time"),
    ]
    return graph(nodes, tensors, [3, 10, 10])


@pytest.fixture
def written(tmp_path):
    def write(model):
        path = tmp_path / "net.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def test_layers_of_dense_operators(written):
    network = read_network(written(dense_net()))
    assert {x.name: x.layouts[0].matrix_shape for x in network.layers} == {
        "gemm.t": (20, 32),
        "gemm": (32, 32),
        "matmul": (32, 32),
        "constant": (32, 32),
        "left": (32, 24),
        "stack": (48, 16),
    }
    shared = next(x for x in network.layers if x.name == "matmul")
    assert shared.nodes == ("third", "again", "by another name")
    assert [x.name for x in network.matching(["again"])] == ["matmul"]


def test_layers_of_convolutions(written):
    network = read_network(written(conv_net()))
    assert {x.name: {o.name: o.matrix_shape for o in x.layouts} for x in network.layers} == {
        "conv": {"im2col": (27, 16), "2k": (9, 48)},
        "grouped": {"im2col": (2 * 9 * 8, 8), "2k": (2 * 3 * 8, 3 * 8)},
        "depthwise": {"depthwise": (16, 2 * 9)},
        "conv1d": {"im2col": (5 * 32, 12)},
    }


@pytest.mark.parametrize("build", [dense_net, conv_net])
def test_the_graph_with_other_weights_answers_as_if_they_were_fed(written, build):
    network = read_network(written(build()))
    other = {x.name: normal(*network.tensors[x.name].shape) for x in network.layers}
    changed = with_tensors(network.graph, other)
    values = made_up(network.graph, "net")
    before, after = (Runner(m, "net").feed(values)[0] for m in (network.graph, changed))
    assert not np.allclose(before, after)
    assert difference(network.graph, changed, other, values, "net") < 1e-5
    assert difference(network.graph, network.graph, other, values, "net") > 1e-2


def test_weights_keep_their_type(written):
    model = dense_net()
    network = read_network(written(model))
    wide = with_tensors(network.graph, {"gemm": np.ones((32, 32), np.float64)})
    stored = {t.name: numpy_helper.to_array(t) for t in wide.graph.initializer}
    assert stored["gemm"].dtype == np.float32
    assert (stored["gemm"] == 1).all()
    np.testing.assert_array_equal(stored["matmul"], network.tensors["matmul"])


def test_mean_squares_are_those_of_what_flows_in(written):
    network = read_network(written(dense_net()))
    x = normal(100, 20)
    found = mean_squares(network.graph, network.layers, x, "net")
    t = network.tensors
    np.testing.assert_allclose(found["gemm.t"], np.square(x).mean(axis=0), rtol=1e-4)
    a = x @ t["gemm.t"].T + t["bias"]
    np.testing.assert_allclose(found["gemm"], np.square(a).mean(axis=0), rtol=1e-4)
    flows = [0.5 * a @ t["gemm"]]
    for _ in range(3):
        flows.append(flows[-1] @ t["matmul"])
    np.testing.assert_allclose(
        found["matmul"], np.mean([np.square(f).mean(axis=0) for f in flows[:3]], axis=0), rtol=1e-4
    )
    np.testing.assert_allclose(found["left"], np.square(flows[3] @ t["constant"]).mean(axis=0), rtol=1e-4)
    assert found["stack"].shape == (24,)


def test_mean_squares_of_convolutions_are_per_channel(written):
    network = read_network(written(conv_net()))
    x = normal(64, 3, 10, 10) * np.array([1, 2, 3], np.float32)[:, None, None]
    found = mean_squares(network.graph, network.layers, x, "net")
    np.testing.assert_allclose(found["conv"], np.square(x).mean(axis=(0, 2, 3)), rtol=1e-4)
    assert {k: v.shape for k, v in found.items()} == {
        "conv": (3,),
        "grouped": (16,),
        "depthwise": (16,),
        "conv1d": (32,),
    }


def refused(path, *words, error=FileFormatError):
    with pytest.raises(error) as caught:
        read_network(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_external_data_is_not_opened(written):
    model = dense_net()
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../../secret")
    refused(written(model), "gemm.t", "another file", "save_as_external_data=False")


def test_external_data_in_a_constant_is_not_opened(written):
    model = dense_net()
    tensor = next(n for n in model.graph.node if n.op_type == "Constant").attribute[0].t
    tensor.external_data.add(key="location", value="/etc/passwd")
    refused(written(model), "constant", "another file")


def test_unknown_operators_are_refused_by_node(written):
    model = dense_net()
    model.graph.node[2].op_type = "MatMull"
    refused(written(model), "third", "MatMull")


def test_operators_of_others_are_left_to_the_runtime(written):
    model = dense_net()
    model.graph.node[2].domain = "some.vendor"
    network = read_network(written(model))
    with pytest.raises(FileFormatError, match="cannot be run"):
        Runner(network.graph, "net")


@pytest.mark.parametrize("content", [b"", b"hello, world", None], ids=["empty", "other", "cut"])
def test_what_is_no_onnx_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(dense_net().SerializeToString()[:3000] if content is None else content)
    refused(path)


def test_weights_that_are_not_finite_are_refused_by_name(written):
    model = dense_net()
    bad = normal(32, 32)
    bad[3, 4] = np.inf
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(bad, "gemm"))
    refused(written(model), "gemm", "[3, 4]", error=DataError)


def test_an_onnx_without_layers_is_refused(written):
    refused(written(graph([helper.make_node("Relu", ["in"], ["out"])], {}, [3])), "no layer", error=DataError)

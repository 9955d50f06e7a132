"""Networks of others: which tensors are layers, how each is a matrix, and which files are refused."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from dynsim.backend.conversion.layouts import channels_last, channels_last_depthwise, convolution, dense
from dynsim.backend.conversion.reading import read_network
from dynsim.errors import DataError, FileFormatError, OptionError

RNG = np.random.default_rng(0)

LAYOUTS = {
    "linear": dense((5, 7), outputs_first=True),
    "matmul": dense((7, 5), outputs_first=False),
    "stacked": dense((3, 7, 5), outputs_first=False),
    "conv1d": convolution((6, 4, 3)),
    "conv2d": convolution((6, 4, 3, 2)),
    "grouped": convolution((6, 2, 3, 3), groups=2),
    "depthwise": convolution((8, 1, 3, 3), groups=4),
    "keras": channels_last((3, 2, 4, 6)),
    "keras depthwise": channels_last_depthwise((3, 3, 4, 2)),
}


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def save(path, **tensors):
    np.savez(path, **tensors)
    return path


@pytest.mark.parametrize("layouts", LAYOUTS.values(), ids=LAYOUTS)
def test_a_tensor_comes_back_from_its_matrix(layouts):
    for layout in layouts:
        tensor = normal(*layout.shape)
        matrix = layout.matrix(tensor)
        assert matrix.shape == layout.matrix_shape
        np.testing.assert_array_equal(layout.tensor(matrix), tensor)


def test_a_linear_layer_is_inputs_by_outputs():
    w = normal(5, 7)
    np.testing.assert_array_equal(LAYOUTS["linear"][0].matrix(w), w.T)


def test_the_2k_policy_is_that_of_table_1():
    """phi(q^in,i_c, q^out,j_l) = W[i, c, j, l]: k inputs' subsystems of c, k outputs' of l."""
    w = normal(3, 2, 4, 6)  # i, j, c, l
    layout = LAYOUTS["keras"][1]
    assert (layout.name, layout.matrix_shape) == ("2k", (3 * 4, 2 * 6))
    matrix = layout.matrix(w)
    for i, c, j, l in ((0, 0, 0, 0), (2, 1, 1, 5), (1, 3, 0, 2)):
        assert matrix[i * 4 + c, j * 6 + l] == w[i, j, c, l]


def test_both_orders_of_axes_give_the_same_matrices():
    w = normal(6, 4, 3, 2)
    for ours, theirs in zip(convolution(w.shape), channels_last((3, 2, 4, 6))):
        np.testing.assert_array_equal(ours.matrix(w), theirs.matrix(w.transpose(2, 3, 1, 0)))


def test_im2col_multiplies_windows_as_the_convolution_does():
    x, w = normal(4, 3, 2), normal(6, 4, 3, 2)  # one window
    window = x.transpose(1, 2, 0).ravel()
    convolved = np.einsum("chw,ochw->o", x, w)
    np.testing.assert_allclose(window @ convolution(w.shape)[0].matrix(w), convolved, rtol=1e-5)


@pytest.mark.parametrize("name", ["conv2d", "grouped", "depthwise", "keras", "linear", "conv1d"])
def test_importance_weighs_what_each_channel_multiplies(name):
    """Scaling the weights of a channel by sqrt(s) is the same as weighing its rows by s."""
    for layout in LAYOUTS[name]:
        split = [layout.split[a] for a in layout.channels]
        s = RNG.uniform(0.5, 2, int(np.prod(split)))
        spread = s.reshape([layout.split[a] if a in layout.channels else 1 for a in range(len(layout.split))])
        w = normal(*layout.shape)
        scaled = (w.reshape(layout.split) * np.sqrt(spread)).reshape(w.shape)
        expected = np.square(layout.matrix(scaled)).sum()
        assert layout.importance(s) @ np.square(layout.matrix(w)).sum(axis=1) == pytest.approx(expected, rel=1e-5)


def kinds(network):
    return {x.name: (x.kind, x.layouts[0].matrix_shape) for x in network.layers}


def test_names_of_torch_and_keras_say_the_order_of_axes(tmp_path):
    torch = save(
        tmp_path / "torch.npz",
        **{"conv.weight": normal(16, 4, 3, 3), "fc.weight": normal(10, 64), "fc.bias": normal(10)},
    )
    keras = save(
        tmp_path / "keras.npz",
        **{
            "conv/kernel:0": normal(3, 3, 4, 16),
            "dw/depthwise_kernel": normal(3, 3, 64, 1),
            "fc/kernel": normal(64, 10),
        },
    )
    assert kinds(read_network(torch)) == {"conv.weight": ("conv", (36, 16)), "fc.weight": ("dense", (64, 10))}
    assert kinds(read_network(keras)) == {
        "conv/kernel:0": ("conv", (36, 16)),
        "dw/depthwise_kernel": ("depthwise", (64, 9)),
        "fc/kernel": ("dense", (64, 10)),
    }


def test_shapes_say_it_where_names_do_not(tmp_path):
    path = save(tmp_path / "own.npz", a=normal(16, 8, 3, 3), b=normal(3, 3, 8, 16), w=normal(64, 10))
    found = kinds(read_network(path))
    assert found["a"] == found["b"] == ("conv", (72, 16))
    assert found["w"][1] == (64, 10)
    assert kinds(read_network(path, axes="torch"))["b"][1] == (3 * 8 * 16, 3)


def test_small_tensors_and_vectors_are_no_layers(tmp_path):
    path = save(
        tmp_path / "n.npz", w=normal(64, 10), tiny=normal(4, 4), norm=normal(1, 512), ids=np.arange(600).reshape(60, 10)
    )
    assert list(kinds(read_network(path))) == ["w"]


def test_safetensors_are_read_like_npz(tmp_path):
    tensors = {"fc.weight": normal(10, 64).astype(np.float16), "fc.bias": normal(10)}
    save_file(tensors, tmp_path / "n.safetensors")
    network = read_network(tmp_path / "n.safetensors")
    assert kinds(network) == {"fc.weight": ("dense", (64, 10))}
    assert network.nbytes == 2 * 640 + 40


def refused(path, error, *words, **options):
    with pytest.raises(error) as caught:
        read_network(path, **options)
    for word in (path.name, *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (np.zeros((0, 8), np.float32), ("fc.weight", "no numbers", "(0, 8)")),
        (np.where(np.eye(32) > 0, np.nan, 1).astype(np.float32), ("fc.weight", "not finite", "32 of 1024")),
        (np.full((32, 32), 1e300), ("fc.weight", "not finite", "float32")),
        (np.array([["a", 1]] * 200, object), ("fc.weight", "object array")),
    ],
    ids=["empty", "nan", "beyond float32", "object"],
)
def test_weights_that_mean_nothing_are_refused_by_name(tmp_path, tensor, words):
    refused(save(tmp_path / "n.npz", **{"ok.weight": normal(32, 32), "fc.weight": tensor}), DataError, *words)


def test_a_file_without_layers_says_what_it_has(tmp_path):
    refused(save(tmp_path / "n.npz", bias=normal(10)), DataError, "no layer", "bias (10,)")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a file of weights", None], ids=["empty", "other", "cut"])
def test_damaged_files_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"n{suffix}"
    if content is None:
        whole = tmp_path / f"whole{suffix}"
        save(whole, w=normal(64, 10)) if suffix == ".npz" else save_file({"w": normal(64, 10)}, whole)
        content = whole.read_bytes()[:1000]
    path.write_bytes(content)
    refused(path, FileFormatError)


def test_a_header_that_claims_more_than_there_is_allocates_nothing(tmp_path):
    path = save(tmp_path / "n.npz", w=np.zeros((64, 10), np.float32))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"(64, 10)", b"(9999, )"))
    refused(path, (DataError, FileFormatError))


def test_unknown_files_and_axes_are_refused(tmp_path):
    refused(tmp_path / "net.pt", FileFormatError, ".onnx, .safetensors, .npz")
    refused(tmp_path / "absent.npz", FileFormatError, "no such file")
    path = save(tmp_path / "n.npz", w=normal(64, 10))
    with pytest.raises(OptionError, match="torch"):
        read_network(path, axes="tf")


def test_patterns_choose_layers(tmp_path):
    path = save(tmp_path / "n.npz", **{"a.weight": normal(32, 32), "b.weight": normal(32, 32)})
    network = read_network(path)
    assert [x.name for x in network.matching(["b*"])] == ["b.weight"]
    assert len(network.matching([])) == 2
    with pytest.raises(OptionError, match=r"a\.weight, b\.weight(.|\n)*did you mean 'a\.weight'"):
        network.matching(["a*", "a.weigth"])

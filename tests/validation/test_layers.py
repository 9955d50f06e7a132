"""Layers: their values against torch, and their forces against central finite differences, on every device."""

import numpy as np
import pytest

from dynsim.datasets import Dataset
from dynsim.fields.network import forward
from dynsim.scenario import Scenario
from dynsim.signals import all_weights
from dynsim.simulation import Simulation
from dynsim.system.graph import group_kind
from dynsim.system.layout import kernel_of

STEP = 1e-5
IMAGE, TOKENS, FLAT = (6, 7, 2), (5, 4), (6,)


def layer(op, **keys):
    return {"op": op, **keys}


OUT = [layer("flatten"), layer("dense", size="auto")]


def data_of(shape, samples=6, classes=3, seed=0):
    """Labelled normal samples of a shape."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, int(np.prod(shape)))).astype(np.float32)
    y = np.arange(samples, dtype=np.int64) % classes
    return Dataset("memory", x, y, x[:0], y[:0], tuple(range(classes)), shape, "", "")


def simulation_of(network, shape, device="reference", **settings):
    """A simulation of layers in a row, float64, every group away from where it starts."""
    raw = {
        "system": {"network": network, "copies": 2, "dim": 3, "eps": 0.1},
        "field": {"dataset": "memory", "centre": False},
        "run": {"steps": 5, "dtype": "float64", "device": device},
    }
    simulation = Simulation(Scenario.from_dict(raw).changed(**settings), dataset=data_of(shape))
    rng = np.random.default_rng(1)
    x = {k: a + 0.2 * rng.standard_normal(a.shape) for k, a in simulation.system.x.items()}
    x |= {k: np.abs(a) + 0.1 for k, a in x.items() if group_kind(k) == "variance"}
    simulation.system = simulation.system.replace(x=x)
    return simulation


def directional_error(simulation, key, direction):
    """|F.n + (E(x + s n) - E(x - s n)) / 2s| over the length of F, for a direction n in the space of one group."""
    system, losses = simulation.system, []
    for step in (STEP, -STEP):
        moved = system.replace(x=system.x | {key: system.x[key] + step * direction})
        losses.append(simulation.push(moved, 0)[1].loss)
    force = simulation.push(system, 0)[0][key]
    slope = (losses[0] - losses[1]) / (2 * STEP)
    return abs((force * direction).sum() + slope) / max(np.linalg.norm(force), 1e-3)


STACKS = {
    # what stands before a layer has weights of its own, so that the feedback of its input is seen too
    "conv 2k": (IMAGE, [layer("conv", channels=3, kernel=3), layer("tanh"), layer("conv", channels=2, kernel=2), *OUT]),
    "conv k2": (
        IMAGE,
        [layer("conv", channels=3, kernel=2), layer("tanh"), layer("conv", channels=2, kernel=2, policy="k2"), *OUT],
    ),
    "stride and padding": (
        IMAGE,
        [
            layer("conv", channels=3, kernel=2, padding=1),
            layer("conv", channels=2, kernel=3, stride=2, padding=2, bias=False),
            *OUT,
        ],
    ),
    "kept weights": (IMAGE, [layer("conv", channels=2, kernel=3, metric="weights"), layer("tanh"), *OUT]),
    "maxpool": (IMAGE, [layer("conv", channels=3, kernel=2), layer("maxpool", size=2), *OUT]),
    "averagepool": (IMAGE, [layer("conv", channels=3, kernel=2), layer("averagepool", size=3), *OUT]),
    "batchnorm of images": (IMAGE, [layer("conv", channels=3, kernel=2), layer("batchnorm"), layer("tanh"), *OUT]),
    "batchnorm": (FLAT, [layer("dense", size=5), layer("batchnorm"), layer("tanh"), *OUT]),
    "layernorm of images": (IMAGE, [layer("conv", channels=3, kernel=2), layer("layernorm"), layer("tanh"), *OUT]),
    "layernorm": (TOKENS, [layer("dense", size=5), layer("layernorm", eps=0.1), layer("tanh"), *OUT]),
    **{op: (FLAT, [layer("dense", size=5), layer(op), *OUT]) for op in ("relu", "gelu", "tanh", "sigmoid", "identity")},
    "attention": (
        TOKENS,
        [layer("dense", size=4), layer("attention", heads=2, key=4, value=6), layer("mean"), *OUT[1:]],
    ),
    "mix": (TOKENS, [layer("dense", size=7), layer("mix", heads=1, key=2, value=3), *OUT]),
    "add": (
        TOKENS,
        [
            layer("dense", size=4, name="a"),
            layer("dense", size=4),
            layer("add", of="a"),
            layer("add", of="input"),
            layer("gelu"),
            layer("mean"),
            *OUT[1:],
        ],
    ),
    "mean": (IMAGE, [layer("conv", channels=3, kernel=2), layer("tanh"), layer("mean"), *OUT[1:]]),
    "reshape": (
        TOKENS,
        [layer("dense", size=6), layer("reshape", shape=[2, -1]), layer("dense", size=2), layer("tanh"), *OUT],
    ),
    "shared sub-models": (FLAT, [layer("dense", size=5), layer("tanh"), layer("dense", size=4), *OUT[1:]]),
}


@pytest.mark.parametrize("name", STACKS)
def test_forces_are_gradients(name, device):
    shape, network = STACKS[name]
    simulation = simulation_of(network, shape, device)
    force, _ = simulation.push(simulation.system, 0)
    assert force.keys() == {k for k in simulation.system.x if group_kind(k) not in ("mean", "variance")}
    rng = np.random.default_rng(2)
    for key, a in force.items():
        n = rng.standard_normal(a.shape)
        assert directional_error(simulation, key, n / np.linalg.norm(n)) < 1e-6, key


def test_real_targets_have_the_squared_loss(device):
    """0.5 |T - R|^2, the mean over samples, and its force."""
    simulation = simulation_of([layer("dense", size=5), layer("tanh"), layer("dense", size="auto")], FLAT, device)
    target = np.random.default_rng(3).standard_normal((6, 3))
    simulation.field.y = target
    _, response = simulation.push(simulation.system, 0)
    answer = simulation.logits(simulation.field.x)
    assert response.loss == pytest.approx(0.5 * np.sum((target - answer) ** 2) / 6, rel=1e-12)
    assert response.accuracy is None
    rng = np.random.default_rng(4)
    for key, a in simulation.system.x.items():
        n = rng.standard_normal(a.shape)
        assert directional_error(simulation, key, n / np.linalg.norm(n)) < 1e-6, key


def test_a_window_of_equal_values_feeds_back_once(kernels):
    """The largest value of a window is its first one, so that no feedback is counted twice; the rest is left out."""
    x = np.zeros((2, 5, 4, 3))
    feedback = np.arange(1.0, 25.0).reshape(2, 2, 2, 3)
    back = kernels.pool_back(feedback, kernels.pool(x, 2, True)[1], x.shape, 2)
    assert np.array_equal(back[:, 0:4:2, 0:4:2], feedback)
    assert back.sum() == feedback.sum()
    assert not back[:, 4].any()
    spread = kernels.pool_back(feedback, kernels.pool(x, 2, False)[1], x.shape, 2)
    assert np.array_equal(spread[:, :4], np.repeat(np.repeat(feedback, 2, axis=1), 2, axis=2) / 4)


# Values -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def given(torch, simulation):
    """The samples as torch has images, (B, channels, height, width), or as they are."""
    x = torch.from_numpy(simulation.field.x.reshape(-1, *simulation.network.input_shape))
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def values_of(simulation):
    weights = all_weights(simulation.kernels, simulation.system)
    return forward(simulation.network, weights, simulation.system.x, simulation.field.x, simulation.kernels)


def bias_of(simulation, name):
    return simulation.system.x[f"bias:{name}"][:, 0]


def matrices(simulation, name):
    """Path integrals of a node's links."""
    weights = all_weights(simulation.kernels, simulation.system)
    return [weights[k].matrix() for k in simulation.network.by_name(name).links]


def same(ours, theirs):
    theirs = theirs.permute(0, 2, 3, 1) if theirs.ndim == 4 else theirs
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-12)


@pytest.mark.parametrize("policy", ["2k", "k2"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (3, 2, 0), (2, 3, 2)])
def test_convolution(torch, device, kernel, stride, padding, policy):
    conv = layer("conv", name="c", channels=4, kernel=kernel, stride=stride, padding=padding, policy=policy)
    simulation = simulation_of([conv, *OUT], IMAGE, device)
    w = kernel_of(simulation.network.by_name("c").layer, matrices(simulation, "c"))
    assert w.shape == (kernel, kernel, 2, 4)
    like_torch = torch.from_numpy(np.ascontiguousarray(w.transpose(3, 2, 0, 1)))
    bias = torch.from_numpy(bias_of(simulation, "c").copy())
    theirs = torch.nn.functional.conv2d(given(torch, simulation), like_torch, bias, stride, padding)
    same(values_of(simulation)["c"], theirs)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("op", "name"), [("maxpool", "max_pool2d"), ("averagepool", "avg_pool2d")])
def test_pooling(torch, device, op, name, size):
    simulation = simulation_of([layer(op, size=size, name="p"), *OUT], IMAGE, device)
    same(values_of(simulation)["p"], getattr(torch.nn.functional, name)(given(torch, simulation), size))


def vectors(torch, simulation, name, *kinds):
    return [torch.from_numpy(simulation.system.x[f"{kind}:{name}"][:, 0].copy()) for kind in kinds]


def test_layer_norm(torch, device):
    simulation = simulation_of([layer("layernorm", name="n", eps=1e-2), *OUT], TOKENS, device)
    scale, shift = vectors(torch, simulation, "n", "scale", "shift")
    theirs = torch.nn.functional.layer_norm(given(torch, simulation), (4,), scale, shift, eps=1e-2)
    same(values_of(simulation)["n"], theirs)


@pytest.mark.parametrize("shape", [IMAGE, FLAT])
def test_batch_norm(torch, device, shape):
    """Prediction uses the running statistics; training the batch's, which the running ones follow."""
    norm = layer("batchnorm", name="n", momentum=0.3)
    simulation = simulation_of([norm, layer("flatten"), layer("dense", size="auto")], shape, device)
    scale, shift, mean, variance = vectors(torch, simulation, "n", "scale", "shift", "mean", "variance")
    x = given(torch, simulation)
    same(values_of(simulation)["n"], torch.nn.functional.batch_norm(x, mean, variance, scale, shift))
    trained = torch.nn.functional.batch_norm(x, mean, variance, scale, shift, training=True, momentum=0.3)
    statistics = simulation.push(simulation.system, 0)[1].statistics
    same(statistics["mean:n"][:, 0], mean)
    same(statistics["variance:n"][:, 0], variance)
    w, bias = matrices(simulation, "dense1")[0], bias_of(simulation, "dense1")
    channels_last = trained.permute(0, 2, 3, 1) if trained.ndim == 4 else trained
    logits = channels_last.reshape(len(x), -1) @ torch.from_numpy(w) + torch.from_numpy(bias)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(simulation.field.y))
    assert simulation.push(simulation.system, 0)[1].loss == pytest.approx(loss.item(), rel=1e-12)


def test_a_step_takes_over_the_running_statistics(device):
    simulation = simulation_of([layer("batchnorm", name="n"), *OUT], IMAGE, device)
    before, statistics = simulation.system.x, simulation.push(simulation.system, 0)[1].statistics
    simulation.step()
    for key, new in statistics.items():
        np.testing.assert_array_equal(simulation.system.x[key], new)
        assert not np.array_equal(new, before[key])


def test_attention(torch, device):
    attention = layer("attention", name="a", heads=2, key=4, value=6)
    simulation = simulation_of([attention, layer("mean"), layer("dense", size="auto")], TOKENS, device)
    (qkv,), (out,) = (matrices(simulation, n) for n in ("a.qkv", "a"))
    assert (qkv.shape, out.shape) == ((4, 14), (6, 4))
    received = given(torch, simulation) @ torch.from_numpy(qkv) + torch.from_numpy(bias_of(simulation, "a.qkv"))
    q, k, v = (
        part.reshape(6, 5, 2, -1).transpose(1, 2) for part in torch.split(received, [4, 4, 6], dim=-1)
    )  # (B, heads, T, n)
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(6, 5, 6)
    theirs = mixed @ torch.from_numpy(out) + torch.from_numpy(bias_of(simulation, "a"))
    same(values_of(simulation)["a"], theirs)


@pytest.mark.parametrize("op", ["relu", "gelu", "tanh", "sigmoid"])
def test_activations(torch, device, op):
    simulation = simulation_of([layer(op, name="e"), *OUT], FLAT, device)
    same(values_of(simulation)["e"], getattr(torch.nn.functional, op)(given(torch, simulation)))


def test_residual_sum_mean_and_reshape(device):
    network = [layer("gelu", name="g"), layer("add", of="input", name="s"), layer("mean", name="m"), *OUT[1:]]
    values = values_of(simulation_of(network, IMAGE, device))
    x = values["input"]
    assert x.shape == (6, *IMAGE)
    np.testing.assert_allclose(values["s"], values["g"] + x, atol=1e-15)
    np.testing.assert_allclose(values["m"], values["s"].mean(axis=(1, 2)), atol=1e-14)
    turned = values_of(simulation_of([layer("reshape", shape=[-1, 3], name="r"), *OUT], FLAT, device))
    np.testing.assert_array_equal(turned["r"], turned["input"].reshape(6, 2, 3))

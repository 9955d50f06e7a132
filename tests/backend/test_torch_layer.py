"""Layers of torch made of particles: the same path integrals, all that torch does with layers, and back to weights."""

import copy
import io
import subprocess
import sys
import warnings
from importlib import import_module

import numpy as np
import pytest

from dynsim.errors import DataError, OptionError, ShapeError
from dynsim.kernels import reference

torch = pytest.importorskip("torch")
nn, F, parametrize = torch.nn, torch.nn.functional, torch.nn.utils.parametrize
torch_integral = import_module("dynsim.backend.torch_integral")
METRICS, path_integral = torch_integral.METRICS, torch_integral.path_integral
torch_layer = import_module("dynsim.backend.torch_layer")
bake, convert, particles_of = torch_layer.bake, torch_layer.convert, torch_layer.particles_of


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def coordinates(copies=3, inputs=5, outputs=4, dim=2, meet=True):
    """Random coordinates at double precision; one pair of particles is at the same place."""
    rng = np.random.default_rng(1)
    q_in, q_out = rng.standard_normal((copies, inputs, dim)), rng.standard_normal((copies, outputs, dim))
    if meet:
        q_out[0, 1] = q_in[0, 2]
    return q_in, q_out, rng.standard_normal(copies), np.array(0.7), np.array(1e-3)


def tensors(arrays):
    return [torch.tensor(a, requires_grad=True) for a in arrays]


def small_net():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def relative_error(weight, exact):
    return float((weight.detach() - exact).norm() / exact.norm())


def representable(layer, **settings):
    """A weight that is some path integrals of the layer's own shape."""
    made = copy.deepcopy(layer)
    convert(made, steps=0, seed=7, **settings)
    return made.weight.detach()


@pytest.mark.parametrize("largest", [2**24, 40])
@pytest.mark.parametrize("metric", METRICS)
def test_values_and_gradients_are_the_references(metric, largest, monkeypatch):
    monkeypatch.setattr(torch_integral, "LARGEST", largest)
    arrays = coordinates()
    leaves = tensors(arrays)
    phi = path_integral(metric, *leaves)
    stress = np.random.default_rng(2).standard_normal(phi.shape)
    assert phi.detach().numpy() == pytest.approx(reference.path_integral(metric, *arrays, 2.0), abs=1e-10)
    forces = reference.path_integral_forces(metric, *arrays, 2.0, stress)
    slopes = torch.autograd.grad(phi, leaves, torch.tensor(stress), materialize_grads=True)
    for force, slope in zip(forces, slopes):
        # One pair is at a distance of eps = 1e-3, where 1/f^3 is 1e9.
        assert slope.numpy() == pytest.approx(force, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_are_slopes(metric):
    leaves = tensors(coordinates(meet=False))
    assert torch.autograd.gradcheck(lambda *a: path_integral(metric, *a), leaves)


def test_distances_far_from_the_origin_keep_their_digits():
    q_in, q_out, mu, gain, eps = (torch.tensor(a, dtype=torch.float32) for a in coordinates(meet=False))
    near, far = (path_integral("l2", q_in + c, q_out + c, mu, gain, eps) for c in (0, 256))
    assert far.numpy() == pytest.approx(near.numpy(), abs=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(4, 3),
        nn.Conv1d(4, 6, 3, groups=2, padding=1),
        nn.Conv2d(4, 6, (3, 2), stride=2),
        nn.Conv2d(4, 8, 3, groups=4, padding=1, dilation=2),
    ],
)
def test_layers_give_what_their_recovered_weight_gives(layer):
    x = torch.randn(2, 4, *(8,) * (layer.weight.ndim - 2))
    made = copy.deepcopy(layer)
    (report,) = convert(made, copies=2, dim=3, steps=0)
    ((_, found),) = particles_of(made).values()
    phi = reference.path_integral(
        "l2", *(found[n].detach().numpy() for n in ("q_in", "q_out", "mu", "gain")), 1e-3, 2.0
    )
    assert report.shape == phi.shape
    kernel = layer.weight.shape[2:]
    rows, columns = (*kernel, 1, 1)[:2]
    # Table 1, the 2k policy, written out: phi(q^in,i_c, q^out,j_l) = W[i, j, c, l]
    weight = np.array(phi).reshape(rows, layer.weight.shape[1], columns, -1)
    weight = np.einsum("icjl->lcij", weight).reshape(layer.weight.shape)
    call = {2: F.linear, 3: F.conv1d, 4: F.conv2d}[layer.weight.ndim]
    settings = {n: getattr(layer, n) for n in ("stride", "padding", "dilation", "groups") if kernel}
    exact = call(x, torch.tensor(weight, dtype=torch.float32), layer.bias, **settings)
    assert made(x).detach().numpy() == pytest.approx(exact.detach().numpy(), abs=1e-5)


def test_a_weight_is_its_matrix_and_back():
    for shape in [(3, 4), (6, 2, 3), (6, 2, 3, 5)]:
        weight = torch.randn(shape)
        assert torch.equal(torch_integral.weight_of(torch_integral.matrix_of(weight), shape), weight)


def test_assigning_a_weight_converts_it():
    layer = nn.Linear(7, 6)
    settings = {"copies": 2, "dim": 2}
    target = representable(layer, **settings)
    convert(layer, steps=600, **settings)
    parameters = list(layer.parameters())
    layer.weight = target
    assert relative_error(layer.weight, target) < 0.1
    assert all(a is b for a, b in zip(parameters, layer.parameters())), "an optimiser would have lost them"


def test_a_weight_that_does_not_fit_is_refused_and_the_old_one_stays():
    layer = nn.Linear(4, 3)
    convert(layer, copies=2, dim=2, steps=0)
    before = layer.weight
    for wrong, error in ((torch.zeros(4, 3), ShapeError), (torch.full((3, 4), torch.nan), DataError)):
        with pytest.raises(error):
            layer.weight = wrong
    assert torch.equal(layer.weight, before)


def test_report_tells_the_error_that_was_made():
    net = small_net()
    before = net[0].weight.detach().clone()
    reports = convert(net, copies=2, dim=2, steps=50)
    assert [r.name for r in reports] == ["0", "2"]
    assert reports[0].relative_error == pytest.approx(relative_error(net[0].weight, before), rel=1e-5)
    assert reports[0].numbers == 2 * 2 * (6 + 5) + 2 + 1 == sum(p.numel() for p in net[0].parameters()) - 5


def test_more_copies_fit_better():
    errors = []
    for copies in (1, 4):
        torch.manual_seed(0)
        errors.append(convert(nn.Linear(12, 10), copies=copies, dim=2, steps=200)[0].relative_error)
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("metric", ["l1", "reciprocal"])
def test_trains_with_an_optimiser(metric):
    net = small_net()
    convert(net, metric=metric, copies=3, dim=2, steps=20)
    x, y = torch.randn(40, 6), torch.randint(3, (40,))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        losses.append(F.cross_entropy(net(x), y))
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.8 * losses[0]


def test_state_dict_and_deepcopy_keep_the_weights():
    net, other, x = small_net(), small_net(), torch.randn(3, 6)
    convert(net, metric="plummer", copies=2, dim=3, steps=20)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    convert(other, metric="plummer", copies=2, dim=3, steps=0, seed=1)
    assert not torch.equal(other(x), net(x))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), net(x))
    double = copy.deepcopy(net)
    assert torch.equal(double(x), net(x))
    with torch.no_grad():
        double[0].parametrizations.weight.original0.zero_()
    assert not torch.equal(double(x), net(x))


def test_state_of_another_metric_is_refused():
    one, other = nn.Linear(4, 3), nn.Linear(4, 3)
    convert(one, metric="l1", copies=2, dim=2, steps=0)
    convert(other, metric="l2", copies=2, dim=2, steps=0)
    with pytest.raises(DataError, match="metric='l1'"):
        other.load_state_dict(one.state_dict())


def test_torch_refuses_to_pickle_the_module_itself():
    layer = nn.Linear(4, 3)
    convert(layer, copies=2, dim=2, steps=0)
    with pytest.raises(RuntimeError, match="state_dict"):
        torch.save(layer, io.BytesIO())


def test_bake_gives_the_same_outputs_and_the_classes_back():
    net, x = small_net(), torch.randn(3, 6)
    convert(net, copies=2, dim=2, steps=20)
    y = net(x)
    assert bake(net) is net
    assert torch.equal(net(x), y)
    assert type(net[0]) is nn.Linear
    assert list(net.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    torch.save(net, io.BytesIO())
    small_net().load_state_dict(net.state_dict())


def test_frozen_layers_stay_frozen():
    net = small_net()
    net[0].weight.requires_grad_(False)
    convert(net, copies=2, dim=2, steps=0)
    assert not any(p.requires_grad for p in net[0].parametrizations.parameters())
    with torch.no_grad():
        bake(net)
    assert not net[0].weight.requires_grad
    assert net[2].weight.requires_grad
    assert "weight" in dict(net[0].named_parameters())


def test_tied_weights_stay_tied():
    net = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    net[1].weight = net[0].weight
    convert(net, copies=2, dim=2, steps=0)
    assert len(particles_of(net)) == 1
    net[0].weight = torch.eye(5)
    twin = copy.deepcopy(net)
    for tied in (net, twin):
        assert torch.equal(tied[0].weight, tied[1].weight)
        assert tied[0].parametrizations["weight"] is tied[1].parametrizations["weight"]
        bake(tied)
        assert tied[0].weight is tied[1].weight


def test_a_deep_copy_is_on_its_own():
    attention = nn.MultiheadAttention(4, 2, kdim=3)
    convert(attention, layers="q_proj", copies=2, dim=2, steps=0)
    double = copy.deepcopy(attention)
    convert(double, layers="k_proj", copies=2, dim=2, steps=0)
    assert attention.k_proj_weight is not None
    bake(attention)
    assert list(particles_of(double)) == ["q_proj", "k_proj"]
    assert double.q_proj_weight.shape == attention.q_proj_weight.shape


def test_a_weight_tied_to_what_stays_a_weight_is_refused():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5))
    net[1].weight = net[0].weight
    with pytest.raises(DataError, match=r"0\.weight"):
        convert(net)


@pytest.mark.parametrize("sizes", [{}, {"kdim": 6, "vdim": 10}])
@pytest.mark.parametrize("training", [True, False])
def test_attention(sizes, training):
    attention = nn.MultiheadAttention(8, 2, batch_first=True, **sizes).train(training)
    names = [r.name for r in convert(attention, copies=2, dim=3, steps=20)]
    assert names == (["q_proj", "k_proj", "v_proj", "out_proj"] if sizes else ["in_proj", "out_proj"])
    x = torch.randn(3, 4, 8), torch.randn(3, 5, sizes.get("kdim", 8)), torch.randn(3, 5, sizes.get("vdim", 8))
    x = x if sizes else (x[0],) * 3
    with torch.set_grad_enabled(training):
        y, _ = attention(*x)
    if training:
        y.sum().backward()
        assert all(p.grad is not None for p in attention.out_proj.parametrizations.parameters())
    assert bake(attention)(*x)[0].detach().numpy() == pytest.approx(y.detach().numpy(), abs=1e-6)


def test_the_fast_path_of_an_encoder_layer_sees_the_path_integrals():
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0).eval()
    names = [r.name for r in convert(layer, copies=2, dim=3, steps=20)]
    assert names == ["self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2"]
    x = torch.randn(3, 4, 8)
    slow = layer(x).detach()
    with torch.no_grad():
        fast = layer(x)
    assert fast.numpy() == pytest.approx(slow.numpy(), abs=1e-5)


def test_mixed_precision_keeps_the_digits_of_distances():
    layer = nn.Linear(6, 5)
    convert(layer, copies=2, dim=2, steps=0)
    exact = layer.weight
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, exact)
        assert layer(torch.randn(2, 6)).dtype == torch.bfloat16


def test_the_computed_weight_can_be_cached():
    layer, x = nn.Linear(6, 5), torch.randn(2, 6)
    convert(layer, copies=2, dim=2, steps=0)
    with parametrize.cached():
        assert layer.weight is layer.weight
        y = layer(x)
    assert torch.equal(y, layer(x))


def test_double_precision_stays_double():
    layer = nn.Linear(4, 3).double()
    convert(layer, copies=2, dim=2, steps=20)
    assert {p.dtype for p in layer.parameters()} == {torch.float64}
    assert layer.float().weight.dtype == torch.float32


def test_patterns_choose_layers():
    net = nn.ModuleDict({"body": small_net(), "head": nn.Linear(3, 2)})
    assert [r.name for r in convert(net, layers=["head", "body.2"], copies=2, dim=2, steps=0)] == ["body.2", "head"]
    assert not parametrize.is_parametrized(net["body"][0])
    with pytest.raises(OptionError, match="converted already"):
        convert(net, steps=0)
    convert(net, layers="body.0", copies=2, dim=2, steps=0)
    assert len(particles_of(net)) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metric": "l3"}, "did you mean 'l"),
        ({"layers": "fc*"}, "no layer matches"),
        ({"copies": 0}, "copies: too few"),
        ({"dim": 0}, "dim: too few"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, said):
    net = small_net()
    with pytest.raises(OptionError, match=said):
        convert(net, **settings)
    assert not particles_of(net)


def test_weights_that_cannot_be_converted_are_refused_and_nothing_is_done():
    def refused(layer):
        net = nn.Sequential(nn.Linear(3, 3), layer)
        with pytest.raises(DataError, match=r"^1: "):
            convert(net, steps=0)
        assert not parametrize.is_parametrized(net[0])

    broken = nn.Linear(3, 2)
    broken.weight.data[0, 0] = torch.nan
    refused(broken)
    refused(nn.Linear(3, 2).half())
    refused(nn.LazyLinear(2))
    refused(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    with pytest.raises(OptionError, match="no Linear"):
        convert(nn.Sequential(nn.ReLU()))


def test_same_seed_same_bits():
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        net = small_net()
        convert(net, copies=2, dim=2, steps=30, seed=3)
        states.append(net.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


@pytest.mark.parametrize(("form", "metric"), [("dense", "l2"), *(("dyn", m) for m in METRICS)])
def test_export_to_onnx(form, metric, tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    net, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 3)).eval(), torch.randn(2, 1, 5, 5)
    convert(net, metric=metric, copies=2, dim=3, steps=0)
    y = net(x).detach().numpy()
    net = bake(net) if form == "dense" else net
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates this exporter; the new one needs onnxscript
        torch.onnx.export(net, (x,), tmp_path / "net.onnx", dynamo=False)
    held = {tuple(a.dims) for a in onnx.load(tmp_path / "net.onnx").graph.initializer}
    assert ((3, 18) in held) == (form == "dense"), "the weight is stored only where it was baked"
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    assert session.run(None, {session.get_inputs()[0].name: x.numpy()})[0] == pytest.approx(y, abs=1e-5)


@pytest.mark.parametrize("name", ["dynsim.backend.torch_layer", "dynsim.fields.torch_module"])
def test_without_torch_the_extra_is_named(name):
    code = f"import sys; sys.modules['torch'] = None; import dynsim; import {name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "DeviceError: torch is not installed" in done.stderr
    assert "pip install dynsim[torch]" in done.stderr

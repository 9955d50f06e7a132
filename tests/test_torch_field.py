"""The loss of a torch module as a potential field: its forces, and its particles under dynsim's own integrators."""

import copy
from importlib import import_module

import numpy as np
import pytest

from dynsim.dynamics.damping import SignalDamping
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.errors import DivergenceError, OptionError, ShapeError
from dynsim.kernels.load import load
from dynsim.signals import all_weights

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
convert, particles_of = (getattr(import_module("dynsim.backend.torch_layer"), n) for n in ("convert", "particles_of"))
TorchMotion = import_module("dynsim.backend.torch_motion").TorchMotion
BatchLoss = import_module("dynsim.fields.torch_module").BatchLoss

STEPS = 50


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def digits():
    """Images (n, 1, 4, 4) of three kinds that differ by where they are bright."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=90)
    x = 0.4 * rng.standard_normal((90, 1, 4, 4))
    x[np.arange(90), 0, y] += 1
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def network(dropout=0.0, **settings):
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(64, 3))
    convert(net, **({"copies": 3, "dim": 3, "steps": 0} | settings))
    return net


def motion_of(net, **settings):
    loss = BatchLoss(net, F.cross_entropy, *digits(), batch=30)
    return TorchMotion(net, loss, **({"steps": STEPS, "dt": 1.0, "device": "reference"} | settings))


def whole_loss(net):
    x, y = digits()
    with torch.no_grad():
        return float(F.cross_entropy(net(x), y))


def test_stress_is_minus_the_slope_of_the_loss():
    net = network(metric="reciprocal").double()
    x, y = digits()
    x = x.double()
    motion = TorchMotion(net, lambda step: F.cross_entropy(net(x), y), steps=1, device="reference")
    response = motion.field.respond(motion.system, all_weights(load("reference"), motion.system), 0)
    plain = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    for here, there in ((0, 0), (3, 4)):
        plain[here].load_state_dict({"weight": net[there].weight.detach(), "bias": net[there].bias.detach()})
    loss = F.cross_entropy(plain(x), y)
    on_kernel, on_weight = torch.autograd.grad(loss, [plain[0].weight, plain[3].weight])
    assert response.loss == pytest.approx(loss.item(), rel=1e-12)
    assert response.stress["4.in>4.out"].matrix == pytest.approx(-on_weight.T.numpy(), abs=1e-12)
    kernel = np.einsum("lcij->icjl", -on_kernel.numpy()).reshape(3, 12)
    assert response.stress["0.in>0.out"].matrix == pytest.approx(kernel, abs=1e-12)


def test_forces_are_what_torch_finds_for_the_coordinates():
    net = network(metric="plummer").double()
    x, y = digits()
    motion = TorchMotion(net, lambda step: F.cross_entropy(net(x.double()), y), steps=1, device="reference")
    force, _ = motion.push(motion.system, 0)
    F.cross_entropy(net(x.double()), y).backward()
    for key, parameter in motion.parameters.items():
        assert force[key].ravel() == pytest.approx(-parameter.grad.numpy().ravel(), rel=1e-7, abs=1e-10), key


@pytest.mark.parametrize("name", ["kick-drift", "leapfrog"])
def test_particles_descend_under_the_limit(name):
    net = network()
    before, started = whole_loss(net), {k: p.detach().clone() for k, p in net.state_dict(keep_vars=True).items()}
    motion = motion_of(net, integrator_name=name, limit=SpeedLimit(eta=0.05))
    losses = [motion.step() for _ in range(STEPS)]
    assert losses[0] == pytest.approx(before, rel=0.5)
    assert whole_loss(net) < 0.5 * before
    assert torch.equal(net[0].bias, started["0.bias"]), "biases have no optimiser here"
    assert net[0].bias.grad is None


def test_no_particle_is_faster_than_eq_10_allows():
    net = network()
    motion = motion_of(net, limit=SpeedLimit(eta=0.02, warmup=0))
    before = motion.system.x["q:4.in"].copy()
    motion.step()
    moves = np.linalg.norm(motion.system.x["q:4.in"] - before, axis=-1)
    assert moves.max() == pytest.approx(0.02, rel=1e-3)


def test_module_has_the_positions_of_the_system():
    net = network(metric="plummer")
    motion = motion_of(net)
    motion.step()
    w = all_weights(load("reference"), motion.system)
    phi = w["4.in>4.out"].matrix()
    assert phi == pytest.approx(net[4].weight.detach().numpy().T, abs=1e-5)


def test_same_bits_twice_with_dropout():
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        net = network(dropout=0.3)
        torch.manual_seed(len(states))  # the motion has its own random numbers
        motion = motion_of(net, law=SignalDamping(), seed=4)
        losses = [motion.step() for _ in range(10)]
        states.append((losses, net.state_dict()))
    assert states[0][0] == states[1][0]
    assert all(torch.equal(states[0][1][k], states[1][1][k]) for k in states[0][1])


def test_the_rest_of_the_module_moves_by_its_optimiser():
    net = network()
    biases = [net[0].bias, net[4].bias]
    before = [b.detach().clone() for b in biases]
    motion = motion_of(net, optimiser=torch.optim.Adam(biases, 1e-2))
    for _ in range(3):
        motion.step()
    for bias, was in zip(biases, before):
        assert (bias.detach() - was).abs().max() == pytest.approx(0.03, rel=0.2)


def test_what_is_frozen_or_not_trained_stays():
    net = network()
    net[0].parametrizations.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    motion = motion_of(net, trained=("q",))
    for _ in range(3):
        motion.step()
    moved = {k for k, a in net.state_dict().items() if not torch.equal(a, before[k])}
    assert moved == {f"4.parametrizations.weight.original{k}" for k in (0, 1)}


def test_tied_layers_feel_the_sum_of_their_forces():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.tanh(self.a(x)))

    net, x = Twice(), torch.randn(5, 4)
    convert(net, copies=2, dim=2, steps=0)
    motion = TorchMotion(net, lambda step: net(x).square().mean(), steps=1)
    force, _ = motion.push(motion.system, 0)
    net(x).square().mean().backward()
    assert len(motion.system.graph.links) == 1
    assert force["q:a.in"] == pytest.approx(-motion.parameters["q:a.in"].grad.numpy(), rel=1e-3, abs=1e-6)


def test_a_layer_that_the_loss_does_not_see_feels_nothing():
    net = nn.ModuleDict({"seen": nn.Linear(3, 2), "unseen": nn.Linear(3, 2)})
    convert(net, copies=2, dim=2, steps=0)
    x = torch.randn(5, 3)
    motion = TorchMotion(net, lambda step: net["seen"](x).square().mean(), steps=1)
    force, _ = motion.push(motion.system, 0)
    assert np.abs(force["q:seen.in"]).max() > 0
    assert np.abs(force["q:unseen.in"]).max() == 0


def test_batches_are_seeded_permutations():
    x = torch.arange(10.0)
    seen = []
    loss = BatchLoss(lambda a: a, lambda a, b: seen.append(a) or a.sum(), x, x, batch=4, seed=2)
    assert loss.steps_per_epoch == 2
    for step in (0, 1, 0, 2):
        loss(step)
    assert len(set(torch.cat(seen[:2]).tolist())) == 8
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[3])


def test_what_cannot_move_is_refused():
    with pytest.raises(OptionError, match="no particles"):
        TorchMotion(nn.Linear(3, 2), lambda step: torch.zeros(()), steps=1)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    convert(net, layers="0", copies=2, dim=2, steps=0)
    convert(net, layers="1", copies=2, dim=3, steps=0)
    with pytest.raises(ShapeError, match="different dimensions"):
        TorchMotion(net, lambda step: torch.zeros(()), steps=1)
    with pytest.raises(ShapeError, match="as many inputs"):
        BatchLoss(net, F.cross_entropy, torch.zeros(3, 3), torch.zeros(2))


def test_a_loss_that_is_no_number_is_refused_and_leaves_the_module():
    net, x = network(), digits()[0]
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ShapeError, match="no scalar"):
        TorchMotion(net, lambda step: net(x), steps=1).step()
    with pytest.raises(DivergenceError):
        TorchMotion(net, lambda step: net(x).sum() * torch.nan, steps=1).step()
    assert all(torch.equal(a, before[k]) for k, a in net.state_dict().items())
    assert all(layer.given is None for layer, _ in particles_of(net).values())

"""Vector signals, s > 1: Eq. (2)-(4) component by component, mixed by A, and the feedback Phi_j = T_j - |E_j|_p."""

import numpy as np
import pytest
from test_layers import directional_error, layer, matrices, simulation_of, values_of

from dynsim import Model, Scenario, Simulation
from dynsim.backend.cost import cost
from dynsim.backend.dense import dense_arrays, from_dense_arrays
from dynsim.backend.formats import load_model, save_model
from dynsim.backend.onnx_export import onnx_model
from dynsim.errors import DynsimError
from dynsim.fields.losses import one_hot
from dynsim.fields.operations import Place, Pushed
from dynsim.fields.vectors import magnitude, magnitude_back
from dynsim.system.graph import group_kind
from dynsim.system.layers import Node, rotation
from dynsim.system.vectors import Magnitude

TENSOR = (4, 3)
NORMS = (1.0, 1.5, 2.0, 3.0)
STACKS = {
    "positions": [layer("positions"), layer("dense", size=4), layer("tanh"), layer("flatten")],
    "layer and grid": [layer("dense", size=3), layer("positions", layer=0.5, trained=False), layer("flatten")],
    "components": [layer("dense", size=5), layer("components", size=3), layer("tanh"), layer("flatten")],
    "hold and read": [
        layer("dense", size=3, name="a"),
        layer("hold", size=5),
        layer("dense", size=7),
        layer("hold", size=7, of="a"),
        layer("read", size=5),
        layer("flatten"),
    ],
    "reduce": [layer("dense", size=5), layer("reduce", groups=[[0, 1, 0, 1], [0, 1, 1, 2, 0]]), layer("flatten")],
}
VECTORS = [
    layer("positions", name="p"),
    layer("dense", size=6, name="f"),
    layer("components", size=4, name="a"),
    layer("tanh"),
    layer("dense", size="auto", name="g"),
    layer("components", size=2, name="b"),
    layer("magnitude", name="length"),
]


def check_forces(simulation, bound=1e-6):
    """Every group's force is the slope of the loss, by central differences."""
    force, _ = simulation.push(simulation.system, 0)
    assert force.keys() == simulation.system.x.keys()
    rng = np.random.default_rng(2)
    for key, a in force.items():
        n = rng.standard_normal(a.shape)
        assert directional_error(simulation, key, n / np.linalg.norm(n)) < bound, key


@pytest.mark.parametrize("name", STACKS)
def test_forces_are_gradients(name, device):
    check_forces(simulation_of([*STACKS[name], layer("dense", size="auto")], TENSOR, device))


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
@pytest.mark.parametrize("p", NORMS)
def test_forces_of_vector_signals_are_gradients(p, loss):
    network = [*VECTORS[:-1], layer("magnitude", p=p)]
    check_forces(simulation_of(network, TENSOR, **{"field.loss": loss}))


# Eq. (2)-(4) --------------------------------------------------------------------------------------------------------


def test_every_component_is_received_alike(device):
    """R_jc = sum_i E_ic phi_ij + b_j, Eq. (4); E_j = A R_j, Eq. (2)."""
    simulation = simulation_of(VECTORS, TENSOR, device)
    values, x = values_of(simulation), simulation.system.x
    (phi,) = matrices(simulation, "f")
    assert values["p"].shape == (6, 3, 12)
    received = np.einsum("bci,ij->bcj", values["p"], phi) + x["bias:f"][:, 0]
    np.testing.assert_allclose(values["f"], received, atol=1e-12)
    emitted = np.einsum("kc,bcj->bkj", x["weight:a"][..., 0], received)
    np.testing.assert_allclose(values["a"], emitted, atol=1e-12)


def test_the_feedback_is_the_target_less_the_length():
    """Phi_j = T_j - |E_j|_p, over the batch: what the squared loss sends to the lengths."""
    simulation = simulation_of(VECTORS, TENSOR, **{"field.loss": "squared"})
    values, y = values_of(simulation), simulation.field.y
    lengths = np.linalg.norm(values["b"], axis=1)
    np.testing.assert_allclose(values["length"], lengths, atol=1e-12)
    phi = one_hot(y, lengths) - lengths
    _, response = simulation.push(simulation.system, 0)
    assert response.loss == pytest.approx(0.5 * (phi**2).sum() / len(y), rel=1e-12)


def back(p, e, phi):
    """Phi on |E|_p to what it is on E (B, s, N)."""
    place = Place(Node("m", Magnitude("magnitude", p), ("e",), e.shape[2:]), {}, {})
    length, *kept = magnitude(place, e)
    return length, magnitude_back(place, phi, kept, Pushed())[0]


@pytest.mark.parametrize("p", NORMS)
def test_the_norm_and_its_slope(p):
    """|E|_p is that of NumPy; it is homogeneous, so that sum_c E_c d|E|/dE_c = |E| (Euler)."""
    e = np.random.default_rng(0).normal(size=(3, 4, 5)) * 1e3
    phi = np.random.default_rng(1).normal(size=(3, 5))
    length, on_e = back(p, e, phi)
    np.testing.assert_allclose(length, np.linalg.norm(e, ord=p, axis=1), rtol=1e-12)
    np.testing.assert_allclose((e * on_e).sum(axis=1), phi * length, rtol=1e-12)


@pytest.mark.parametrize("p", NORMS)
def test_a_silent_sub_model_is_not_pushed(p):
    length, on_e = back(p, np.zeros((2, 3, 4), np.float32), np.ones((2, 4), np.float32))
    assert (length == 0).all()
    assert (on_e == 0).all()


def test_a_large_signal_does_not_overflow():
    e = np.full((1, 2, 1), 1e30, np.float32)
    length, on_e = back(3.0, e, np.ones((1, 1), np.float32))
    assert length[0, 0] == pytest.approx(1e30 * 2 ** (1 / 3), rel=1e-5)
    assert np.isfinite(on_e).all()


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (3, 3), (2, 4), (4, 2)])
def test_mixing_starts_as_a_rotation(rows, columns):
    a = rotation(rows, columns)
    assert a.shape == (rows, columns)
    small = a @ a.T if rows <= columns else a.T @ a
    np.testing.assert_allclose(small, np.eye(min(rows, columns)), atol=1e-12)


def test_positions_that_are_appended_are_biases():
    """However: Psi_R of Eq. (4) is linear in E, so that appended positions reach a receiver as constants of its own,
    sum_i x_i phi_ij, whatever the sample; they tell no signal from another. Only phi(q_i, q_j) can."""
    simulation = simulation_of(VECTORS, TENSOR)
    values = values_of(simulation)
    (phi,) = matrices(simulation, "f")
    constant = simulation.system.x["bias:p"].T @ phi + simulation.system.x["bias:f"][:, 0]
    np.testing.assert_allclose(values["f"][:, 1:], np.broadcast_to(constant, values["f"][:, 1:].shape), atol=1e-12)
    assert np.ptp(values["f"][:, 0], axis=0).min() > 0.1


# As a model ---------------------------------------------------------------------------------------------------------


def learned(network=VECTORS, steps=80, **settings):
    raw = {
        "system": {"network": network, "copies": 4},
        "field": {"dataset": "digits", "loss": "squared", "per_feature": False},
        "dynamics": {"plain_rate": 0.01},
        "run": {"steps": steps},
    }
    simulation = Simulation(Scenario.from_dict(raw).changed(**settings))
    while not simulation.done:
        simulation.step()
    return simulation


@pytest.fixture(scope="module")
def trained():
    return learned([{**one, "size": 24} if one.get("name") == "f" else one for one in VECTORS])


def test_vector_signals_learn_digits(trained):
    test = trained.data.test
    assert (trained.logits(test.x).argmax(1) == test.y).mean() > 0.8


def test_the_scenario():
    """vectors.toml, cut short."""
    simulation = Simulation(Scenario.load("vectors", ["run.steps=150"]))
    while not simulation.done:
        simulation.step()
    test = simulation.data.test
    assert (simulation.logits(test.x).argmax(1) == test.y).mean() > 0.5


def test_a_stored_model_answers_alike(trained, tmp_path):
    model = Model.of(trained)
    save_model(model, tmp_path / "model.dynsim")
    loaded = load_model(tmp_path / "model.dynsim")
    assert loaded.network == model.network
    X = np.random.default_rng(0).uniform(size=(5, 64))
    np.testing.assert_array_equal(loaded.logits(X), model.logits(X))
    plain = from_dense_arrays(model, dense_arrays(model))
    np.testing.assert_allclose(plain.logits(X), model.logits(X), atol=1e-5)
    assert not any(group_kind(k) == "q" for k in plain.x)


def test_products_with_components_are_counted(trained):
    s, places = 3, 64 * 24
    by_hand = s * places + 4 * 24 * s + 4 * 24 * 10 + 2 * 10 * 4
    assert cost(Model.of(trained)).macs == by_hand


@pytest.mark.parametrize("form", ["dense", "dyn"])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_onnx(form, p):
    runtime = pytest.importorskip("onnxruntime")
    first = [layer("reduce", groups=[[0, 1, 2, 3, 4, 5, 6, 0], [0, 1, 1, 2, 3, 4, 5, 0]]), layer("positions", layer=1)]
    model = Model.of(learned([*first, *VECTORS[1:-1], layer("magnitude", p=p)], steps=2))
    X = np.random.default_rng(0).uniform(size=(5, 64)).astype(np.float32)
    session = runtime.InferenceSession(onnx_model(model, form).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"inputs": X})[0], model.logits(X), atol=1e-5)


@pytest.mark.parametrize(
    ("network", "word"),
    [
        ([layer("flatten"), layer("components"), layer("dense", size="auto")], "components, sub-models"),
        ([layer("dense", size=3), layer("flatten"), layer("magnitude")], "components, sub-models"),
        ([layer("positions"), layer("dense", size="auto")], "labels do not fit"),
        ([layer("flatten"), layer("hold", size=2), layer("dense", size="auto")], "do not fit"),
        ([layer("reduce", groups=[[0, 1, 3, 1], [0, 0, 1]]), layer("flatten"), layer("dense", size="auto")], "gaps"),
        ([layer("flatten"), layer("hold", size=20, of="nothing"), layer("dense", size="auto")], "nothing"),
        ([layer("flatten"), layer("dense", size=4), layer("read", size=5)], "not there"),
    ],
)
def test_what_does_not_fit_is_refused(network, word):
    with pytest.raises(DynsimError) as error:
        simulation_of(network, TENSOR)
    assert word in str(error.value)

"""Eq. (29)-(31): path integrals through the density of all particles, by quadrature along the way of a signal."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import erf
from test_gradients import assert_forces_are_gradients
from worlds import moving, network_world, order_of, pair_graph, target_world

from dynsim import Scenario, Simulation, optics
from dynsim.backend.choice import forms_of
from dynsim.backend.cost import cost
from dynsim.backend.formats import load_model, save_model
from dynsim.backend.inference import Model
from dynsim.backend.onnx_export import onnx_model
from dynsim.backend.sorted import SortedLink
from dynsim.errors import OptionError, ResourceError, ScenarioError
from dynsim.forces import Stress, link_forces
from dynsim.kernels import reference
from dynsim.signals import link_weights, signal_profile
from dynsim.system.crossing import GlobalField, crossing, global_field, quadrature
from dynsim.system.graph import System
from dynsim.system.initialise import initial_positions, masses
from dynsim.system.medium import LENGTHS, Medium

MEDIA = {law: Medium(law, width=0.8, nodes=8, strength=0.9) for law in ("length", "damping")}
EVERYTHING = ("q", "mu", "gain", "eps", "medium", "bias")


def through(system: System, medium: Medium, strengths=None, **options) -> System:
    """The system with its links in a medium, whose strengths differ from subsystem to subsystem."""
    graph = replace(system.graph, links=tuple(replace(k, medium=medium, **options) for k in system.graph.links))
    names = [s.name for s in graph.particle_subsystems]
    given = strengths or {name: 0.9 - 0.5 * k for k, name in enumerate(names)}
    groups = {f"medium:{name}": np.full((1, 1), given[name]) for name in names}
    v = {k: np.zeros_like(a) for k, a in groups.items()}
    return system.replace(graph=graph, x=system.x | groups, v=system.v | v)


def matrix(system, kernels=reference):
    return link_weights(kernels, system, system.graph.links[0]).matrix()


# Forces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("law", "metric"), [("length", m) for m in LENGTHS] + [("damping", "l2"), ("damping", "dot")])
def test_forces_are_the_gradient(kernels, law, metric):
    """On both ends, on all particles of the medium, on mu, gain, eps and on W_l."""
    system, field = target_world(metric, kinds=EVERYTHING, m=3, n=4)
    assert_forces_are_gradients(kernels, through(system, MEDIA[law]), field)


@pytest.mark.parametrize("law", MEDIA)
def test_forces_are_the_gradient_in_a_network(kernels, law):
    """Every subsystem is on the way of the links of the others."""
    system, field = network_world("l2")
    assert_forces_are_gradients(kernels, through(system, MEDIA[law]), field)


def test_forces_are_the_gradient_of_interactive_links(kernels):
    """Eq. (31) and Eq. (61) together."""
    system, field = target_world("reciprocal", kinds=EVERYTHING, m=3, n=3, copies=3)
    assert_forces_are_gradients(kernels, through(system, MEDIA["damping"], interactive=True), field)


def test_particles_far_from_both_ends_feel_the_signals_that_cross_them(kernels):
    """Third parties: a subsystem without a part in a link is pushed by it."""
    system, _ = network_world("l2")
    system = through(system, MEDIA["length"])
    first = system.graph.links[0]
    force = link_forces(kernels, system, first, Stress(matrix=np.ones(system.graph.shape(first))))
    assert first.name == "in>hid"
    assert np.abs(force["q:out"]).max() > 1e-3


@pytest.mark.parametrize("interactive", [False, True])
def test_devices_agree(kernels, interactive):
    rng = np.random.default_rng(0)
    q_a, q_b = rng.standard_normal((3, 7, 4)), rng.standard_normal((3, 5, 4))
    field = rng.standard_normal((11, 4)), rng.standard_normal(11), 0.7, *quadrature(12)
    stress = rng.standard_normal((3, 7, 5))
    np.testing.assert_allclose(kernels.mean_field(q_a, q_b, *field), reference.mean_field(q_a, q_b, *field), atol=1e-13)
    ours, truth = (k.mean_field_forces(q_a, q_b, *field, stress) for k in (kernels, reference))
    for a, b in zip(ours, truth):
        np.testing.assert_allclose(a, b, atol=1e-12)


# Quadrature ------------------------------------------------------------------------------------------------------


def gauss_integral(start, end, sources, amplitudes, width):
    """int_0^1 n(v(t)) dt of Gaussians along a segment, in closed form by erf."""
    length = np.linalg.norm(end - start)
    along = (end - start) / length
    ahead = (sources - start) @ along
    aside = ((sources - start) ** 2).sum(1) - ahead**2
    root = np.sqrt(2) * width
    part = np.sqrt(np.pi) / 2 * root * (erf((length - ahead) / root) + erf(ahead / root))
    return (amplitudes * np.exp(-aside / root**2) * part).sum() / length


def test_quadrature_has_order_eight(kernels):
    """Against the closed form: the error falls as nodes^-8."""
    rng = np.random.default_rng(1)
    starts, ends = rng.standard_normal((2, 1, 8, 3))
    sources, amplitudes = rng.random((6, 3)), rng.random(6)
    exact = np.array([[gauss_integral(a, b, sources, amplitudes, 0.7) for b in ends[0]] for a in starts[0]])
    errors = []
    for nodes in (24, 48, 96):
        found = kernels.mean_field(starts, ends, sources, amplitudes, 0.7, *quadrature(nodes))[0]
        errors.append(np.sqrt(((found - exact) ** 2).mean()))
    assert errors[-1] < 1e-11
    assert order_of(errors) == pytest.approx([8, 8], abs=0.4)


def test_quadrature_is_refused_with_other_numbers_of_nodes():
    with pytest.raises(OptionError, match="multiples of 4"):
        quadrature(6)
    with pytest.raises(OptionError, match="multiples of 4"):
        Medium(nodes=6)
    with pytest.raises(OptionError, match="length"):
        Medium("refraction")


# Closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", LENGTHS)
def test_empty_space_is_eq_5(kernels, metric):
    system = moving(pair_graph(metric), 0)
    for medium in MEDIA.values():
        empty = through(system, medium, {"a": 0.0, "b": 0.0})
        np.testing.assert_allclose(matrix(empty, kernels), matrix(system, kernels), atol=1e-12)


def test_constant_field_is_a_closed_form(kernels):
    """A kernel far wider than the cloud has the same density everywhere: n0 = sum of W_l, to O((size / width)^2)."""
    system, (n_a, n_b) = moving(pair_graph("l2", eps=0.0), 0), (0.4, 0.3)
    empty = matrix(system)
    q_a, q_b, mu = system["a"].q, system["b"].q, system.x["mu:a>b"][:, 0]
    r = np.linalg.norm(q_a[:, :, None] - q_b[:, None], axis=-1)
    damped = system.x["gain:a>b"][0, 0] * np.einsum("h,hij->ij", mu, r * np.exp(-(n_a + n_b) * r))
    for law, wanted in {"length": (1 + n_a + n_b) * empty, "damping": damped}.items():
        errors = []
        for width in (100.0, 200.0, 400.0):
            filled = through(system, Medium(law, width=width), {"a": n_a, "b": n_b})
            errors.append(np.abs(matrix(filled, kernels) - wanted).max())
        assert errors[-1] < 1e-4
        assert order_of(errors) == pytest.approx([2, 2], abs=0.05)


def test_optical_lengths_of_one_copy_are_lengths():
    """mu_h = gain = 1, l2: phi is int (1 + n) |dv|, whoever computes it."""
    system = through(moving(pair_graph("l2", 2, 2, copies=1, eps=0.0), 0), Medium("length", 0.6, nodes=32))
    ones = {"mu:a>b": np.ones((1, 1)), "gain:a>b": np.ones((1, 1))}
    field = global_field(system, 0.6)
    path = optics.straight_path(system["a"].q[0, 1], system["b"].q[0, 0], corners=65)
    phi = matrix(system.replace(x=system.x | ones))[1, 0]
    assert optics.optical_length(field, path) == pytest.approx(phi, rel=1e-8)


def test_masses_and_spread_at_the_start():
    """W_l has the mass of a unit well under every weight; weights start with the spread that was asked for."""
    system = through(moving(pair_graph("l2", 6, 5), 0), MEDIA["length"])
    x = initial_positions(system.graph, reference, 0, "float64", {"a>b": 0.2})
    assert x["medium:a"].item() == 0.9
    system = system.replace(x=x)
    assert matrix(system).std() == pytest.approx(0.2, rel=1e-9)
    moved = system.replace(x=x | {"medium:a": x["medium:a"] + 1e-6})
    slope = (matrix(moved) - matrix(system)) / 1e-6
    assert masses(system.graph, reference, x)["medium:a"].item() == pytest.approx((slope**2).sum(), rel=1e-4)


# Signals on their way --------------------------------------------------------------------------------------------

LINES = np.random.default_rng(3).standard_normal((2, 4, 3))
CORNERS = 0.25 * np.arange(5)


def test_printed_profiles_are_special_fields():
    """Eq. (30): Psi = -1/|q_j - q_i| is the linear profile; Psi = -S s/(s^2 + c^2), s the way done, is the decay."""
    start, end = LINES
    emitted, length = np.array([1.0, 0.5, 2.0, -1.0]), np.linalg.norm(end - start, axis=1)
    path = start + CORNERS[:, None, None] * (end - start)
    points = path.swapaxes(0, 1)
    linear = optics.carried(lambda s, v: -1 / length, emitted, path)
    np.testing.assert_allclose(linear, signal_profile(emitted, start, end, points, "l2"), atol=1e-12)

    def decay(s, v):
        way = np.linalg.norm(v - start, axis=1)
        return -s * way / (way**2 + 0.3**2)

    exact = signal_profile(emitted, start, end, points, "l2", "reciprocal", c=0.3)
    errors = [np.abs(optics.carried(decay, emitted, path, steps) - exact).max() for steps in (8, 16, 32)]
    assert errors[-1] < 1e-6
    assert min(order_of(errors)) > 3.7


def test_profiles_end_where_the_weights_do():
    """What arrives step by step is what the quadrature says."""
    system = through(moving(pair_graph("l2", 3, 3, copies=1, eps=0.0), 0), Medium("damping", 0.6, nodes=32))
    (link,) = system.graph.links
    field, met = global_field(system, 0.6), crossing(reference, system, link)
    path = np.stack([optics.straight_path(a, b, 33) for a, b in zip(system["a"].q[0], system["b"].q[0])], axis=1)
    damped = optics.profile_through(field, "damping", np.ones(3), path)
    np.testing.assert_allclose(damped[:, -1], np.diagonal(met.factor[0]), rtol=1e-6)
    long = optics.profile_through(field, "length", np.ones(3), path)
    np.testing.assert_allclose(long[:, -1], np.diagonal((met.f * (1 + met.field))[0]), rtol=1e-6)
    assert (long[:, 0] == 0).all()
    assert (np.diff(long) > 0).all()


# Paths that bend -------------------------------------------------------------------------------------------------

CLOUD = GlobalField(np.array([[0.0, 0.15]]), np.array([2.0]), 0.3)
LEFT, RIGHT = np.array([-1.0, 0.0]), np.array([1.0, 0.0])


def test_the_shortest_path_goes_round_a_dense_region():
    straight, bent = optics.straight_path(LEFT, RIGHT), optics.bent_path(CLOUD, LEFT, RIGHT)
    np.testing.assert_array_equal(bent[[0, -1]], [LEFT, RIGHT])
    assert bent[:, 1].min() < -0.2
    assert bent[:, 1].max() < 1e-9  # away from the particle above
    assert optics.optical_length(CLOUD, bent) < 0.85 * optics.optical_length(CLOUD, straight)


def test_the_shortest_path_is_attracted_where_signals_run_faster():
    bent = optics.bent_path(replace(CLOUD, amplitudes=-0.5 * np.ones(1)), LEFT, RIGHT)
    assert bent[:, 1].max() > 0.05


def test_paths_are_straight_in_a_constant_field():
    field = GlobalField(CLOUD.sources, CLOUD.amplitudes, 1e4)
    np.testing.assert_allclose(optics.bent_path(field, LEFT, RIGHT), optics.straight_path(LEFT, RIGHT), atol=1e-6)


def test_snells_law():
    """Across a layered medium n sin(angle) is the same on the whole path: many particles make n depend on x alone."""
    column = np.stack([np.zeros(401), np.linspace(-20, 20, 401)], axis=1)
    field = GlobalField(column, np.full(401, 0.1), 0.5)
    path = optics.bent_path(field, np.array([-1.5, -1.0]), np.array([1.5, 1.0]), corners=129)
    pieces = np.diff(path, axis=0)
    invariant = (1 + field.at((path[1:] + path[:-1]) / 2)) * pieces[:, 1] / np.linalg.norm(pieces, axis=1)
    assert np.ptp(invariant) < 0.02 * invariant.mean()
    assert np.ptp(pieces[:, 1] / np.linalg.norm(pieces, axis=1)) > 0.2  # it does bend


def test_straight_paths_are_longer_in_second_order_only():
    """Why weights may take the straight path: a weaker medium by half makes a quarter of the difference."""
    gains = []
    for strength in (0.2, 0.1, 0.05):
        field = replace(CLOUD, amplitudes=np.full(1, strength))
        straight = optics.optical_length(field, optics.straight_path(LEFT, RIGHT, 65))
        gains.append(straight - optics.optical_length(field, optics.bent_path(field, LEFT, RIGHT, 65)))
    assert order_of(gains) == pytest.approx([2, 2], abs=0.25)


# The scenario ----------------------------------------------------------------------------------------------------


def skip_links(simulation):
    """Mean over the skip link of how far its shortest paths run aside, and how much shorter they are."""
    field = global_field(simulation.system, 0.25)
    starts, ends = (simulation.system[name].q.astype(float) for name in ("input", "output"))
    aside, shorter = [], []
    for h in range(2):
        for start, end in [(a, b) for a in starts[h] for b in ends[h]]:
            straight, bent = optics.straight_path(start, end), optics.bent_path(field, start, end)
            along = (end - start) / np.linalg.norm(end - start)
            off = bent - start - ((bent - start) @ along)[:, None] * along
            aside.append(np.linalg.norm(off, axis=1).max())
            shorter.append(1 - optics.optical_length(field, bent) / optics.optical_length(field, straight))
    return np.mean(aside), np.mean(shorter)


def scenario(law, steps=0):
    simulation = Simulation(Scenario.load("medium", [f"system.medium.law={law!r}", "run.device='cpu'"]))
    while simulation.system.step < steps:
        simulation.step()
    return simulation


def test_dense_region_of_the_scenario_bends_signals():
    simulation = scenario("length")
    assert skip_links(simulation) == pytest.approx((0.52, 0.21), abs=0.01)
    while simulation.system.step < 60:
        simulation.step()
    assert simulation.evaluate().accuracy > 0.9
    aside, shorter = skip_links(simulation)
    assert aside > 0.3
    assert shorter > 0.1


def test_dense_region_of_the_scenario_damps_signals():
    """Signals across the cloud are damped most; the network opens a way for them."""
    simulation = scenario("damping")
    before = simulation.scalars()
    assert before["crossing_input>output"] < 0.12 < 0.25 < before["crossing_input>hidden"]
    while simulation.system.step < 60:
        simulation.step()
    after = simulation.scalars()
    assert after["crossing_input>output"] > 2 * before["crossing_input>output"]
    assert simulation.evaluate().accuracy > 0.9


def test_strengths_move_and_keep_their_sign():
    simulation = scenario("damping", steps=20)
    strengths = [simulation.system.x[f"medium:{s}"].item() for s in ("input", "hidden", "output")]
    assert all(w > 0 for w in strengths)
    assert all(w != 3.0 for w in strengths)


# Where it goes from there ----------------------------------------------------------------------------------------


def test_model_file_keeps_the_medium(tmp_path):
    model = Model.of(scenario("damping", steps=3))
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert again.graph == model.graph
    points = np.random.default_rng(0).standard_normal((5, 2))
    np.testing.assert_array_equal(again.logits(points), model.logits(points))


def test_cost_counts_what_lies_on_the_way():
    empty, filled = (cost(Model.of(scenario(law))) for law in ("none", "length"))
    assert filled.parameters == empty.parameters + 3  # W_l
    assert filled.macs == empty.macs
    assert filled.build_macs == empty.build_macs * (1 + 8 * 32)  # 8 nodes, 32 particles


def test_forms_that_a_medium_has_not_are_refused():
    model = Model.of(Simulation(Scenario.load("medium", ["system.metric='l1'", "run.device='cpu'"])))
    (link, *_) = model.graph.links
    assert forms_of(model, link) == ("dense",)
    with pytest.raises(OptionError, match="no sorted form"):
        SortedLink.of(reference, System(model.graph, model.x, {}, {}, {}), link)
    pytest.importorskip("onnx")
    with pytest.raises(OptionError, match="no ONNX form"):
        onnx_model(model, "dyn")


def test_a_medium_that_takes_hours_is_refused_before_anything_runs():
    with pytest.raises(ResourceError, match="too long"):
        Simulation(Scenario.load("mnist_mlp", ["system.medium.law='damping'", "field.samples=256"]))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["system.metric='squared'"], "only a length can be an optical one"),
        (["system.medium.strength=0"], "empty space"),
        (["system.medium.nodes=6"], "multiple of 4"),
        (["system.medium.width=-1"], "greater than 0"),
        (["system.medium.law='refraction'"], "length"),
    ],
)
def test_bad_media_are_refused(settings, why):
    with pytest.raises(ScenarioError, match=why):
        Scenario.load("medium", settings)

"""Steps of the paper's proofs that numbers can check: the chain rule of Appendix F, linear rules of Appendix C."""

import numpy as np
import pytest
from scipy.special import expit
from worlds import DIM, moving, network_world

from dynsim.fields.network import predict_logits
from dynsim.kernels import reference
from dynsim.signals import all_weights
from dynsim.system.graph import Graph, Link, Subsystem
from dynsim.system.layers import network_of

STEP = 1e-6


def slope(energy, x):
    """Gradient by central differences."""
    gradient = np.zeros_like(x)
    for k in np.ndindex(x.shape):
        ahead, behind = x.copy(), x.copy()
        ahead[k] += STEP
        behind[k] -= STEP
        gradient[k] = (energy(ahead) - energy(behind)) / (2 * STEP)
    return gradient


# Appendix F: a target matrix, Eq. (34)-(36) -----------------------------------------------------------------------


def test_eq35_is_printed_without_its_minus_and_eq36_without_the_two():
    """L_ij = (A_ij - phi_ij)^2, phi = mu |q_i - q_j|: dL/dq_i is -2 F mu v/|v|, (35) with the other sign."""
    rng = np.random.default_rng(0)
    a, b, target, mu = rng.standard_normal((4, DIM)), rng.standard_normal((5, DIM)), rng.standard_normal((4, 5)), 0.7

    def stress(q):
        return target - mu * np.linalg.norm(q[:, None] - b, axis=-1)

    v = a[:, None] - b
    unit = v / np.linalg.norm(v, axis=-1, keepdims=True)
    gradient = slope(lambda q: (stress(q) ** 2).sum(), a)
    printed_35 = 2 * (stress(a)[..., None] * mu * unit).sum(1)
    printed_36 = -mu * (stress(a)[..., None] * unit).sum(1)
    np.testing.assert_allclose(printed_35, -gradient, atol=1e-6)
    np.testing.assert_allclose(printed_36, gradient / 2, atol=1e-6)  # along it L climbs


# Appendix F: two layers, Eq. (38)-(44) ----------------------------------------------------------------------------


class TwoLayers:
    """Eq. (37)-(40), one sample, one copy with mu = 1: coordinates in, hidden, out and logistic sigma."""

    def __init__(self, seed=2):
        rng = np.random.default_rng(seed)
        self.q = {name: rng.standard_normal((n, 2)) for name, n in (("in", 3), ("h", 4), ("out", 2))}
        self.sent, self.target = expit(rng.standard_normal(3)), rng.standard_normal(2)

    @staticmethod
    def integrals(a, b):
        v = a[:, None] - b
        return 0.5 * (v * v).sum(-1)  # (37)

    def received(self, q):
        hidden = self.sent @ self.integrals(q["in"], q["h"])  # (38), line 1
        return hidden, expit(hidden) @ self.integrals(q["h"], q["out"])  # (38), line 2

    def gradient(self, name):
        def energy(x):
            return 0.5 * ((self.received(self.q | {name: x})[1] - self.target) ** 2).sum()  # (39)

        return slope(energy, self.q[name])


@pytest.fixture
def two():
    return TwoLayers()


def test_the_two_wrong_signs_of_eq41_cancel_so_that_q_climbs(two):
    """Line 2 has the wrong sign of dI/dq_k = -v; line 3 puts Phi = T - S for eps = R - T, and is the gradient again.

    With dq/dt proportional to it, as printed, and a positive constant, the loss climbs.
    """
    hidden, out = two.received(two.q)
    error = out - two.target
    v = two.q["h"][:, None] - two.q["out"]
    line_2 = error[:, None] * np.einsum("j,jkd->kd", expit(hidden), v)
    line_3 = (two.target - out)[:, None] * np.einsum("j,jkd->kd", expit(hidden), v)
    gradient = two.gradient("out")
    np.testing.assert_allclose(line_2, -gradient, atol=1e-7)
    np.testing.assert_allclose(line_3, gradient, atol=1e-7)


def test_eq43_is_the_chain_rule_until_its_last_line(two):
    """Line 3 is the gradient; in line 5 v_ji = -v_ij turns its sign, unless Phi^(out;h) is read with T - R."""
    hidden, out = two.received(two.q)
    error = out - two.target
    v = two.q["in"][:, None] - two.q["h"]
    fed_back = two.integrals(two.q["h"], two.q["out"]) @ error
    on_hidden = expit(hidden) * (1 - expit(hidden)) * fed_back
    line_3 = two.sent[:, None] * np.einsum("ijd,j->id", v, on_hidden)
    line_5 = two.sent[:, None] * np.einsum("ijd,j->id", -v, on_hidden)
    gradient = two.gradient("in")
    np.testing.assert_allclose(line_3, gradient, atol=1e-7)
    np.testing.assert_allclose(line_5, -gradient, atol=1e-7)


def test_eq44_is_left_without_the_sign_of_the_gradient():
    """(1 - sigma) Phi^(out;h), which (44) takes for a constant, differs between sub-models, and has either sign."""
    cosines = []
    for two in map(TwoLayers, range(20)):
        hidden, _ = two.received(two.q)
        v = two.q["in"][:, None] - two.q["h"]
        simplified = two.sent[:, None] * np.einsum("ijd,j->id", v, expit(hidden))
        gradient = two.gradient("in")
        cosines.append((simplified * gradient).sum() / np.linalg.norm(simplified) / np.linalg.norm(gradient))
    assert min(cosines) < -0.4
    assert max(cosines) > 0.9


# Appendix C: universal rules, Eq. (24)-(28) and Lemma C.4 ----------------------------------------------------------


def test_rules_that_fulfil_eq24_to_27_need_not_be_linear():
    """Psi = Psi_i + b' has the derivatives that (27) asks for, whatever Psi is; (28) says it must be linear."""

    def rule(q, r, offset=0.0):
        return np.tanh(q + 0.5 * r) + offset

    q, r = np.random.default_rng(0).standard_normal((2, 50))
    for on_q, on_r in ((STEP, 0.0), (0.0, STEP)):
        ends = [(q + s * on_q, r + s * on_r) for s in (1, -1)]
        own, universal = ([rule(*end, offset) for end in ends] for offset in (0.0, 0.3))
        np.testing.assert_allclose(own[0] - own[1], universal[0] - universal[1], atol=1e-15)
    assert np.abs(rule(q, r) + rule(0, 0) - rule(q, 0) - rule(0, r)).max() > 0.1


@pytest.mark.parametrize("metric", ["l2", "reciprocal"])
def test_linear_rules_and_particles_at_rest_make_a_linear_map(metric):
    """Lemma C.4 says that linear rules suffice: at rest the system is linear in its signals."""
    names = ("in", "hid", "out")
    subsystems = tuple(Subsystem(n, k, "identity", bias=n != "in") for n, k in zip(names, (4, 30, 2)))
    graph = Graph(subsystems, (Link("in", "hid", metric), Link("hid", "out", metric)), 3, DIM)
    system = moving(graph, 0)
    x, y = np.random.default_rng(1).standard_normal((2, 9, 4))

    def answer(of, signals):
        return predict_logits(network_of(of.graph), all_weights(reference, of), of.x, signals)

    zero = answer(system, 0 * x)
    np.testing.assert_allclose(answer(system, x + y), answer(system, x) + answer(system, y) - zero, atol=1e-10)
    curved, _ = network_world(metric, "tanh")
    bent = answer(curved, x + y) - answer(curved, x) - answer(curved, y) + answer(curved, 0 * x)
    assert np.abs(bent).max() > 1e-2

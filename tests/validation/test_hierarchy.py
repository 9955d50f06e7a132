"""Eq. (32)-(33): a tree of systems equals the flat graph of its subsystems, in its signals and in its forces."""

from dataclasses import replace

import numpy as np
import pytest
from test_gradients import directional_error
from worlds import motion, moving

from dynsim.errors import ShapeError
from dynsim.fields.network import NetworkField, predict_logits
from dynsim.kernels import reference
from dynsim.signals import ACTIVATIONS, all_weights
from dynsim.system.graph import Link, Subsystem
from dynsim.system.hierarchy import Block, evaluated, flattened, nested
from dynsim.system.layers import network_of


def subsystem(name, size):
    return Subsystem(name, size, "tanh", bias=True)


# system > organ > tissue > cells, with a way past the organ
TISSUE = Block("tissue", (subsystem("outer", 4), subsystem("inner", 3)))
ORGAN = Block("organ", (subsystem("gate", 5), TISSUE, subsystem("exit", 4)), (
    Link("gate", "tissue"), Link("tissue", "exit", "l1"), Link("gate", "exit", "squared"),
))  # fmt: skip
TREE = Block("", (Subsystem("input", 6), ORGAN, Subsystem("output", 3, bias=True)), (
    Link("input", "organ"), Link("organ", "output"), Link("input", "output", "reciprocal"),
))  # fmt: skip
INPUTS = np.random.default_rng(0).standard_normal((7, 6))


def state():
    return moving(flattened(TREE, copies=2, dim=3), 0, ("q", "mu", "gain", "bias"))


def through_the_tree(system, weights):
    """Signals of every subsystem by recursion through the blocks."""
    of = system.graph.by_name

    def emit(name, received):
        bias = system.x[f"bias:{name}"][:, 0] if of[name].bias else 0
        return ACTIVATIONS[of[name].activation].emit(received + bias)

    return evaluated(TREE, INPUTS, lambda link, emitted: weights[link.name].receive(emitted), emit)


def test_a_tree_becomes_a_graph_of_its_leaves():
    graph = flattened(TREE, 2, 3)
    inside = ["organ/gate", "organ/tissue/outer", "organ/tissue/inner", "organ/exit"]
    assert [s.name for s in graph.subsystems] == ["input", *inside, "output"]
    ways = {(k.source, k.target): k.metric for k in graph.links}
    assert ways[("organ/gate", "organ/tissue/outer")] == "l2"
    assert ways[("organ/tissue/inner", "organ/exit")] == "l1"
    assert ways[("organ/exit", "output")] == "l2"
    assert len(ways) == 7


def test_signals_of_the_tree_are_those_of_the_graph():
    system = state()
    weights = all_weights(reference, system)
    tree = through_the_tree(system, weights)
    flat = predict_logits(network_of(system.graph), weights, system.x, INPUTS)
    assert set(tree) == {s.name for s in system.graph.subsystems}
    assert np.abs(flat).max() > 0.1
    np.testing.assert_allclose(tree["output"], flat, atol=1e-14)


def test_forces_of_the_graph_are_the_slopes_of_the_tree():
    """The energy that the tree's own signals have falls along the forces that the flat graph computes."""
    system, labels = state(), np.arange(7) % 3
    field = NetworkField(system.graph, INPUTS, labels, loss="squared")
    force, _ = motion(reference, field).push(system, 0)
    onehot = np.eye(3)[labels]

    class OfTheTree:
        """The loss computed by recursion, for `directional_error`."""

        def push(self, moved, step):
            signals = through_the_tree(moved, all_weights(reference, moved))["output"]
            return force, type("Answer", (), {"loss": 0.5 * ((signals - onehot) ** 2).sum(1).mean()})

    rng = np.random.default_rng(1)
    for key in system.v:
        n = rng.standard_normal(system.x[key].shape)
        assert directional_error(OfTheTree(), system, force, key, n / np.linalg.norm(n)) < 1e-6, key


def test_a_block_by_itself_is_the_same_block_in_the_whole():
    """What a system of the tree does depends on what it is sent, not on where it hangs."""
    system = state()
    weights = all_weights(reference, system)
    whole = through_the_tree(system, weights)
    sent = weights["input>organ/gate"].receive(INPUTS)
    alone = evaluated(
        ORGAN,
        sent,
        lambda link, emitted: weights[link.name].receive(emitted),
        lambda name, received: np.tanh(received + system.x[f"bias:{name}"][:, 0]),
        "organ/",
    )
    for name, emitted in alone.items():
        np.testing.assert_allclose(emitted, whole[name], atol=1e-14)


def test_nested_tables():
    tree = nested({"input": 4, "organ": {"a": 3, "b": {"c": 2, "d": 5}}, "output": 2})
    graph = flattened(tree, 2, 3)
    assert [k.name for k in graph.links] == [
        "input>organ/a",
        "organ/b/d>output",
        "organ/a>organ/b/c",
        "organ/b/c>organ/b/d",
    ]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: nested({"a": {}}), "without parts"),
        (lambda: nested({"a": "b"}), "neither a size nor a table"),
        (lambda: replace(TISSUE, links=(Link("inner", "outer"),)), "to a later one"),
        (lambda: replace(TISSUE, links=(Link("outer", "gate"),)), "to a later one"),
    ],
)
def test_what_is_no_tree_is_refused(make, why):
    with pytest.raises(ShapeError, match=why):
        make()

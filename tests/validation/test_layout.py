"""Tables 1, 2 and 4: how layers become subsystems, how many numbers that takes, and what is said of bad layers."""

import numpy as np
import pytest

from dynsim.backend.cost import cost, table_2_counts
from dynsim.backend.inference import Model
from dynsim.errors import DynsimError
from dynsim.forces import link_forces
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.layers import Attention, Conv, Dense
from dynsim.system.layout import Defaults, kernel_of, lay_out, phi_of


def sizes(layers, shape, copies=2):
    """Sub-models of every subsystem of layers in a row."""
    graph, _ = lay_out(layers, shape, Defaults(copies, 3))
    return {s.name: s.size for s in graph.subsystems}


# Table 1 ------------------------------------------------------------------------------------------------------------


def test_a_dense_layer_is_one_pair_of_subsystems():
    assert sizes([Dense("dense", 5, name="f")], (7,)) == {"f.in": 7, "f": 5}


def test_layers_in_a_row_share_their_sub_models_where_they_have_the_same_number_of_copies():
    rows = [Dense("dense", 5, name="f"), Dense("dense", 4, name="g")]
    assert sizes(rows, (7,)) == {"f.in": 7, "f": 5, "g": 4}
    apart = [rows[0], Dense("dense", 4, copies=3, name="g")]
    assert sizes(apart, (7,)) == {"f.in": 7, "f": 5, "g.in": 5, "g": 4}


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_by_2k_is_one_pair_and_by_k2_one_pair_a_cell(kernel):
    two_k = sizes([Conv("conv", 6, kernel, name="c")], (5, 5, 2))
    assert two_k == {"c.in": 2 * kernel, "c.out": 6 * kernel}
    by_cell = sizes([Conv("conv", 6, kernel, policy="k2", name="c")], (5, 5, 2))
    cells = [f"{i}.{j}" for i in range(kernel) for j in range(kernel)]
    assert by_cell == {f"c.in{c}": 2 for c in cells} | {f"c.out{c}": 6 for c in cells}


def test_attention_is_tokens_to_queries_keys_and_values_and_back():
    layers = [Dense("dense", 8, name="e"), Attention("attention", heads=2, key=4, value=6, name="a")]
    assert sizes(layers, (5, 3)) == {"e.in": 3, "e": 8, "a.qkv": 2 * 4 + 6, "a.in": 6, "a": 8}


@pytest.mark.parametrize("policy", ["2k", "k2"])
def test_path_integrals_are_the_kernel_and_back(policy):
    layer = Conv("conv", 5, 3, policy=policy)
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 5))
    phi = phi_of(layer, kernel)
    assert np.array_equal(kernel_of(layer, phi), kernel)
    if policy == "2k":  # phi(q^in,i_c, q^out,j_l) = W[i, j, c, l]
        assert phi[0].shape == (6, 15)
        assert phi[0][2 * 2 + 1, 1 * 5 + 3] == kernel[2, 1, 1, 3]
    else:
        assert [a.shape for a in phi] == [(2, 5)] * 9
        assert phi[2 * 3 + 1][1, 3] == kernel[2, 1, 1, 3]


def test_the_forces_of_both_links_of_shared_sub_models_add():
    network = [{"op": "dense", "size": 5, "name": "f"}, {"op": "tanh"}, {"op": "dense", "size": "auto", "name": "g"}]
    raw = {
        "system": {"network": [{"op": "flatten"}, *network], "copies": 2, "dim": 3},
        "field": {"dataset": "moons"},
        "run": {"steps": 1, "dtype": "float64", "device": "reference"},
    }
    s = Simulation(Scenario.from_dict(raw))
    total, response = s.push(s.system, 0)
    parts = [link_forces(s.kernels, s.system, k, response.stress[k.name]) for k in s.graph.links]
    terms = [p["q:f"] for p in parts]
    assert len(terms) == 2
    assert all(np.abs(t).max() > 0 for t in terms)
    np.testing.assert_allclose(total["q:f"], terms[0] + terms[1], atol=1e-15)


# Tables 2 and 4 -----------------------------------------------------------------------------------------------------

TABLE_2 = {  # copies of dense layers and of conv2 -> "Memory" and "Disk" in print
    (2, 3): (14.50, 2.03),
    (2, 5): (16.48, 2.25),
    (3, 6): (23.01, 2.98),
    (5, 8): (36.04, 4.44),
    (7, 7): (46.11, 5.56),
}
TABLE_4 = {  # (copies of dense layers, of conv2) -> numbers of k2 and of 2k in print
    (5, 5): (6.27, 3.97),
    (5, 8): (7.99, 4.32),
    (7, 7): (8.65, 5.43),
    (8, 5): (8.11, 5.81),
}


def lenet(dense, conv, **changes):
    """LeNet-5 from scratch by particles, with these copies."""
    scenario = Scenario.load("lenet", ["field.samples=100", "recipe.name=direct", f"system.copies={dense}"])
    layers = scenario.model_dump(mode="json", exclude_none=True)["system"]["network"]
    next(k for k in layers if k.get("name") == "conv2").update(copies=conv, **changes)
    return Simulation(scenario.changed(**{"system.network": layers}))


@pytest.mark.parametrize(("copies", "print_"), TABLE_2.items())
def test_numbers_of_lenet_are_those_of_table_2(copies, print_):
    fc, conv = copies
    s = lenet(fc, conv)
    memory, disk = table_2_counts(s.graph, s.system.x)
    points = fc * (400 + 120 + 84 + 10) + conv * 5 * (6 + 16)
    others = 3 * fc + 150 + 5 * 6 + 5 * 16 + 120 + 84 + 10
    assert (memory, disk) == (9 * points + others, points + others)
    assert abs(memory - 1000 * print_[0]) <= 10
    assert abs(disk - 1000 * print_[1]) <= 10
    # what is trained: with the gains of four links and the mu of conv2, without running means and variances
    assert cost(Model.of(s)).parameters == memory + 4 + conv - 2 * (6 + 16)


@pytest.mark.parametrize(("copies", "print_"), TABLE_4.items())
def test_k2_needs_more_numbers_than_2k_as_in_table_4(copies, print_):
    simulations = [lenet(*copies, policy=policy) for policy in ("k2", "2k")]
    (k2, disk_k2), (two_k, disk_2k) = (table_2_counts(s.graph, s.system.x) for s in simulations)
    assert k2 > two_k
    for ours, theirs in zip((disk_k2, disk_2k), print_):
        assert ours == pytest.approx(1000 * theirs, rel=0.04)
    assert disk_k2 - disk_2k == copies[1] * 22 * (25 - 5)
    assert disk_k2 - disk_2k == pytest.approx(1000 * (print_[0] - print_[1]), rel=0.1)


# Bad layers ---------------------------------------------------------------------------------------------------------

SHAPED, END = {"op": "reshape", "shape": [8, 8, 1]}, {"op": "dense", "size": "auto"}


def refusal(network, **tables):
    """What is said of layers for 8 x 8 images of digits."""
    raw = {"system": {"network": network, "copies": 2}, "field": {"dataset": "digits"}, "run": {"steps": 1}} | tables
    with pytest.raises(DynsimError) as caught:
        Simulation(Scenario.from_dict(raw))
    return str(caught.value)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ([{"op": "convolution"}, END], ["system.network.0.op: unknown layer", "convolution", "did you mean 'conv'?"]),
        ([{"size": 3}, END], ["system.network.0.op: unknown layer", "dense, conv, attention"]),
        (
            [SHAPED, {"op": "conv", "channels": 3, "kernel": 3, "strides": 2}, END],
            ["system.network.1.conv.strides: unknown key of layer 'conv'", "padding", "did you mean 'stride'?"],
        ),
        ([SHAPED, {"op": "relu", "metric": "l2"}, END], ["unknown key of layer 'relu'", "allowed: op, name"]),
        ([SHAPED, {"op": "conv", "channels": 3}, END], ["system.network.1.conv.kernel: missing"]),
        ([{"op": "dense", "size": 0}, END], ["system.network.0.dense.size", "greater than 0"]),
        (
            [SHAPED, {"op": "conv", "channels": 3, "kernel": 3, "policy": "4k"}, END],
            ["system.network.1.conv.policy: unknown name", "'2k' or 'k2'"],
        ),
        (
            [{"op": "dense", "size": 3, "metric": "l3"}, END],
            ["system.network.0.metric: unknown metric", "l3", "l1, l2, lp"],
        ),
        (
            [SHAPED, {"op": "conv", "name": "first", "channels": 2, "kernel": 9}, {"op": "flatten"}, END],
            ["system.network, first: the kernel is larger than the image", "(8, 8, 1) from 'reshape1'"],
        ),
        ([SHAPED, {"op": "maxpool", "size": 9}, END], ["system.network, maxpool1: the window is larger"]),
        (
            [{"op": "flatten"}, {"op": "conv", "channels": 2, "kernel": 3}, END],
            ["system.network, conv1: takes (height, width, channels)", "(64,) from 'flatten1'", "reshape"],
        ),
        ([SHAPED, {"op": "attention", "heads": 1, "key": 2, "value": 2}, END], ["attention1: takes (tokens, width)"]),
        ([{"op": "attention", "heads": 2, "key": 3, "value": 2}, END], ["attention1: key and value must divide"]),
        ([{"op": "reshape", "shape": [7, -1]}, END], ["reshape1: not a shape of so many numbers", "64 numbers"]),
        (
            [{"op": "dense", "size": 4, "name": "a"}, {"op": "add", "of": "input"}, END],
            ["system.network, add1: a sum of values of different shapes", "(8, 4) from 'a', (8, 8) from 'input'"],
        ),
        (
            [{"op": "dense", "size": 4, "name": "emb"}, {"op": "add", "of": "embed"}, END],
            ["system.network, add1: unknown value", "did you mean 'emb'?"],
        ),
        ([{"op": "flatten", "name": "a"}, {"op": "relu", "name": "a"}, END], ["two layers have the same name", "a"]),
        ([{"op": "relu", "name": "input"}, END], ["'input' is the name of the data"]),
        ([{"op": "relu", "name": "a>b"}, END], ["not a name", "a>b", "letters, digits, _ and -"]),
        ([{"op": "flatten"}, {"op": "dense", "size": 7}], ["the labels do not fit 'dense1'", "10 classes", '"auto"']),
        ([END], ["the labels do not fit 'dense1'", "(8, 10)", "flatten"]),
        ([{"op": "flatten"}, {"op": "relu"}], ["no layer has weights", "dense, conv or attention"]),
        ([], ["give either layers or network"]),
    ],
)
def test_bad_layers_are_named_with_what_is_wrong(network, said):
    message = refusal(network)
    for part in said:
        assert part in message, message


def test_auto_needs_classes():
    with pytest.raises(DynsimError, match=r'system.network, f: size "auto" needs data with classes'):
        lay_out([Dense("dense", "auto", name="f")], (3,), Defaults(2, 3))


def test_a_target_has_no_layers_in_a_row():
    message = refusal([END], field={"kind": "target", "target": "normal"})
    assert "a target field has exactly two layers" in message


def test_leapfrog_has_neither_recipe_nor_adam_beside_it():
    layers = [{"op": "flatten"}, END]
    for table, key in (({"dynamics": {"plain_rate": 0.1}}, "plain_rate"), ({"recipe": {"name": "finetune"}}, "recipe")):
        dynamics = {"integrator": "leapfrog"} | table.get("dynamics", {})
        assert key in refusal(layers, **table | {"dynamics": dynamics})

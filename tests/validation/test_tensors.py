"""Tensors as signals (Fig. 3): positions tell entries apart, and slices that are alike share their sub-models."""

import numpy as np
import pytest

from dynsim import Model, Scenario, Simulation
from dynsim.backend.formats import load_model, save_model
from dynsim.datasets import Dataset
from dynsim.errors import DynsimError, ScenarioError, ShapeError
from dynsim.system.tensors import (
    alike,
    as_signals,
    divergences,
    histograms,
    positions,
    reduced,
    reduced_shape,
    spread,
    symmetric_kl,
)

RNG = np.random.default_rng(0)


# Positions ----------------------------------------------------------------------------------------------------------


def test_fig_3():
    """X of 3 x 3 becomes nine sub-models whose signals of R^3 are their entry and where it stands."""
    x = RNG.normal(size=(2, 3, 3))
    signals = as_signals(x)
    assert signals.shape == (2, 3, 9)
    np.testing.assert_array_equal(signals[:, 0], x.reshape(2, 9))
    np.testing.assert_array_equal(signals[0, :, 0], [x[0, 0, 0], -1, -1])
    np.testing.assert_array_equal(signals[1, :, 5], [x[1, 1, 2], 0, 1])
    np.testing.assert_array_equal(signals[0, 1:], signals[1, 1:])


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (1, 3)])
def test_positions_are_names(shape):
    """One for every entry, no two alike, within -1 ... 1, and centred along every axis."""
    where = positions(shape)
    assert where.shape == (np.prod(shape), len(shape))
    assert len(np.unique(where, axis=0)) == len(where)
    assert np.abs(where).max() <= 1
    np.testing.assert_allclose(where.mean(axis=0), 0, atol=1e-15)


def test_a_layer_is_one_more_component():
    signals = as_signals(RNG.normal(size=(2, 3, 4)), layer=0.5)
    assert signals.shape == (2, 1 + 2 + 1, 12)
    assert (signals[:, 3] == 0.5).all()


# Divergences --------------------------------------------------------------------------------------------------------


def test_symmetric_kl_of_coins():
    """(p - q) log(p (1 - q) / (q (1 - p))), by hand."""
    p, q = 0.3, 0.6
    coins = np.array([p, 1 - p]), np.array([q, 1 - q])
    assert symmetric_kl(*coins) == pytest.approx((p - q) * np.log(p * (1 - q) / (q * (1 - p))), rel=1e-12)
    assert symmetric_kl(*coins) == symmetric_kl(*coins[::-1])
    assert symmetric_kl(coins[0], coins[0]) == 0


def test_histograms_are_distributions():
    h = histograms(RNG.uniform(size=(200, 3, 2)), bins=8)
    assert h.shape == (3, 2, 8)
    assert h.min() > 0
    np.testing.assert_allclose(h.sum(axis=-1), 1, atol=1e-12)
    assert (histograms(np.zeros((5, 2)), bins=4) == histograms(np.zeros((5, 2)), bins=4)[0]).all()


def test_rounding_does_not_move_what_stands_on_a_border():
    """Grey levels k / 16 in 16 bins, as they are and after scaling and back in single precision."""
    x = (RNG.integers(0, 17, (300, 4)) / 16).astype(np.float32)
    there_and_back = (x - np.float32(0.305)) / np.float32(0.376) * np.float32(0.376) + np.float32(0.305)
    assert (x != there_and_back).any()
    np.testing.assert_array_equal(histograms(x), histograms(there_and_back))


def test_divergences_are_symmetric_with_a_zero_diagonal():
    d = divergences(histograms(RNG.normal(size=(300, 4, 3))), axis=0)
    assert d.shape == (4, 4)
    np.testing.assert_allclose(d, d.T, atol=1e-12)
    assert (np.diag(d) == 0).all()
    assert (d[~np.eye(4, dtype=bool)] > 0).all()


# Slices that are alike ----------------------------------------------------------------------------------------------


def bordered(n=400):
    """Images (n, 5, 4): rows 0 and 4 are blank, row 2 repeats row 1, row 3 and the columns are of their own."""
    x = np.zeros((n, 5, 4))
    x[:, 1] = x[:, 2] = RNG.uniform(0, 1, (n, 4)) ** np.arange(1, 5)
    x[:, 3] = RNG.uniform(0, 1, (n, 4)) ** np.arange(6, 2, -1)
    return x


def test_slices_that_are_alike_share_a_group():
    rows, columns = alike(bordered(), 0.05)
    assert rows == (0, 1, 1, 2, 0)
    assert columns == (0, 1, 2, 3)
    assert reduced_shape((rows, columns)) == (3, 4)


def test_an_axis_of_equal_slices_goes_as_in_print():
    """X in R^(3 x 3 x 2) whose two slices V_3 are equal needs 3 x 3 sub-models."""
    one = RNG.uniform(0, 1, (500, 3, 3)) ** (1 + np.arange(9).reshape(3, 3))
    x = np.stack([one, one], axis=-1)
    groups = alike(x, 1e-6)
    assert groups[2] == (0, 0)
    assert reduced_shape(groups) == (3, 3, 1)


def test_reducing_slices_that_repeat_loses_nothing():
    x = bordered()
    groups = alike(x, 0.05)
    y = reduced(x, groups)
    assert y.shape == (400, 3, 4)
    np.testing.assert_allclose(y[:, groups[0]], x, atol=1e-15)


def test_equal_distributions_do_not_make_equal_contents():
    """However: pixels drawn independently from one law are alike by any divergence, and their mean has lost them."""
    x = RNG.uniform(size=(4000, 6, 2))
    assert reduced_shape(alike(x, 0.05)) == (1, 1)
    kept = np.var(reduced(x, alike(x, 0.05))) / np.var(x)
    assert kept == pytest.approx(1 / 12, rel=0.1)


def test_reduced_and_spread_are_transposes():
    groups = ((0, 1, 1, 2, 0), (0, 0, 1, 0))
    x, y = RNG.normal(size=(3, 5, 4)), RNG.normal(size=(3, 3, 2))
    assert np.vdot(reduced(x, groups), y) == pytest.approx(np.vdot(x, spread(y, groups)), rel=1e-12)


def test_samples_without_axes_are_refused():
    with pytest.raises(ShapeError, match="axes"):
        alike(np.zeros(5), 0.1)


# In a scenario ------------------------------------------------------------------------------------------------------


def scenario(**settings):
    raw = {
        "system": {"layers": ["auto", 12, "auto"], "copies": 4},
        "field": {"dataset": "digits", "batch": 128, "reduce": 0.1},
        "run": {"steps": 60},
    }
    return Scenario.from_dict(raw).changed(**settings)


def test_digits_need_fewer_sub_models(tmp_path):
    """The outer rows and columns become one each, and so do the two in the middle; what is left learns, is stored, and
    takes whole images."""
    simulation = Simulation(scenario())
    assert simulation.network.nodes[0].layer.groups == ((0, 1, 2, 3, 3, 4, 5, 0),) * 2
    assert simulation.graph.by_name["input"].size == 36
    while not simulation.done:
        simulation.step()
    test = simulation.data.test
    assert (simulation.logits(test.x).argmax(1) == test.y).mean() > 0.85
    model = Model.of(simulation)
    save_model(model, tmp_path / "model.dynsim")
    loaded = load_model(tmp_path / "model.dynsim")
    assert loaded.network == model.network
    X = RNG.uniform(size=(7, 64))
    np.testing.assert_array_equal(loaded.logits(X), model.logits(X))


def test_the_scenario():
    """reduce.toml, cut short: borders go, the rest stays, and it learns."""
    simulation = Simulation(Scenario.load("reduce", ["run.steps=100"]))
    assert simulation.network.nodes[0].layer.groups == ((0, 1, 2, 3, 4, 5, 6, 0),) * 2
    while not simulation.done:
        simulation.step()
    test = simulation.data.test
    assert (simulation.logits(test.x).argmax(1) == test.y).mean() > 0.85


def test_a_network_of_layers_starts_with_what_is_left():
    layers = [{"op": "flatten"}, {"op": "dense", "size": "auto"}]
    simulation = Simulation(scenario(**{"system.layers": [], "system.network": layers}))
    assert simulation.network.shape_of("reduced") == reduced_shape(simulation.network.nodes[0].layer.groups)
    simulation.step()
    assert np.isfinite(simulation.scalars()["loss"])


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"field.reduce": 0}, "greater than 0"),
        ({"field.kind": "target", "field.dataset": "", "field.target": "normal", "system.layers": [3, 4]}, "slices"),
    ],
)
def test_what_has_no_slices_is_refused(settings, word):
    with pytest.raises(ScenarioError) as error:
        scenario(**settings)
    assert word in str(error.value)


def test_groups_of_another_tensor_are_refused():
    x, y = RNG.normal(size=(6, 6)), np.arange(6) % 2
    data = Dataset("memory", x.astype(np.float32), y, x[:0].astype(np.float32), y[:0], (0, 1), (2, 3), "", "")
    network = [{"op": "reduce", "groups": [[0, 1, 1], [0, 0]]}, {"op": "flatten"}, {"op": "dense", "size": "auto"}]
    raw = {"system": {"network": network}, "field": {"dataset": "memory"}, "run": {"steps": 1}}
    with pytest.raises(DynsimError, match="every slice"):
        Simulation(Scenario.from_dict(raw), dataset=data)

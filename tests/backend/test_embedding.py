"""t-SNE shows what is apart in R^d, says how much of it is chance, and gives the same bits every time."""

import numpy as np
import pytest

from dynsim import Scenario, Simulation, errors
from dynsim.backend import embedding
from dynsim.backend.questions import answer
from dynsim.commands import Embed

DIM = 9


@pytest.fixture(scope="module")
def simulation():
    """Three subsystems, 20, 40 and 20 particles."""
    settings = ["system.layers=['auto', 4, 'auto']", f"system.dim={DIM}", "system.copies=10", "run.steps=2"]
    return Simulation(Scenario.load("moons", settings))


def hidden(simulation):
    return simulation.graph.particle_subsystems[1].name


def clouds(simulation, distance, step=7):
    """The system with Gaussian clouds of width 1, one a subsystem, around corners of R^d `distance` from the origin."""
    rng, x = np.random.default_rng(1), dict(simulation.system.x)
    for k, s in enumerate(simulation.graph.particle_subsystems):
        q = x[f"q:{s.name}"]
        x[f"q:{s.name}"] = (rng.normal(size=q.shape) + distance * np.eye(DIM)[k]).astype(q.dtype)
    return simulation.system.replace(x=x, step=step)


@pytest.fixture(scope="module")
def apart(simulation):
    return answer(simulation, Embed(perplexity=15.0), clouds(simulation, 8.0))


def test_clouds_that_are_apart_stay_apart(apart):
    assert apart.step == 7
    assert apart.labels == "subsystem"
    assert np.array_equal(apart.particles, np.arange(80))
    assert apart.particles.dtype == np.int32
    assert apart.silhouette > 0.5
    assert apart.original > 0.5
    assert abs(apart.shuffled) < 0.1


def test_points_are_centred_and_as_wide_as_the_particles(simulation, apart):
    assert apart.points.shape == (80, 3)
    assert apart.points.dtype == np.float32
    assert np.allclose(apart.points.mean(axis=0), 0, atol=1e-5)
    q = np.concatenate([x.reshape(-1, DIM) for k, x in clouds(simulation, 8.0).x.items() if k.startswith("q:")])
    spectrum = np.linalg.eigvalsh(np.cov(q.T, bias=True))
    assert apart.points.std() == pytest.approx(np.sqrt(spectrum[-3:].mean()), rel=1e-4)


def test_one_cloud_is_not_taken_for_three(simulation):
    mixed = answer(simulation, Embed(perplexity=15.0), clouds(simulation, 0.0))
    assert abs(mixed.silhouette) < 0.1
    assert abs(mixed.original) < 0.1


@pytest.mark.parametrize("exact", [0, 400])
def test_the_same_bits_every_time_with_a_tree_and_without(simulation, exact, monkeypatch):
    monkeypatch.setattr(embedding, "EXACT", exact)
    apart = answer(simulation, Embed(perplexity=15.0), clouds(simulation, 8.0))
    assert apart.silhouette > 0.5
    again = answer(simulation, Embed(perplexity=15.0), clouds(simulation, 8.0))
    assert np.array_equal(again.points, apart.points)
    assert (again.silhouette, again.shuffled) == (apart.silhouette, apart.shuffled)


def test_neighbours_stay_neighbours(simulation):
    from sklearn.manifold import trustworthiness

    system = clouds(simulation, 0.0)
    one = answer(simulation, Embed(hidden(simulation), 8.0), system)
    q = system.x[f"q:{hidden(simulation)}"].reshape(-1, DIM)
    # Chance is one half.
    assert trustworthiness(q, one.points, n_neighbors=5) > 0.75


def test_one_subsystem_is_compared_by_its_copies(simulation):
    system = clouds(simulation, 8.0)
    system.x[f"q:{hidden(simulation)}"][:5] += 20
    one = answer(simulation, Embed(hidden(simulation), 8.0), system)
    assert np.array_equal(one.particles, np.arange(20, 60))
    assert one.labels == "copy"
    half = simulation.cast.copy[one.particles] < 5
    apart = one.points[half].mean(axis=0) - one.points[~half].mean(axis=0)
    assert (one.points[half] @ apart).min() > (one.points[~half] @ apart).max()


def test_one_group_has_no_silhouette():
    settings = ["system.layers=[14, 12]", "system.copies=1", "run.steps=2"]
    simulation = Simulation(Scenario.load("fit_matrix", settings))
    one = answer(simulation, Embed(simulation.graph.particle_subsystems[0].name, 4.0))
    assert len(one.points) == 14
    assert np.isnan([one.silhouette, one.shuffled, one.original]).all()


@pytest.mark.parametrize("dim", [1, 2])
def test_spaces_of_fewer_than_three_dimensions(dim):
    settings = ["system.layers=[10, 10]", f"system.dim={dim}", "system.copies=1", "run.steps=2"]
    flat = answer(Simulation(Scenario.load("fit_matrix", settings)), Embed(perplexity=5.0))
    assert flat.points.shape == (20, 3)
    assert np.isfinite(flat.points).all()


def test_the_subset_is_fixed_and_spread_over_the_subsystems(simulation, monkeypatch):
    monkeypatch.setattr(embedding, "MOST", 65)
    early, late = (answer(simulation, Embed(perplexity=10.0), clouds(simulation, d)) for d in (8.0, 2.0))
    assert np.array_equal(early.particles, late.particles)
    assert np.array_equal(np.bincount(simulation.cast.subsystem[early.particles]), [20, 25, 20])


def test_small_groups_are_taken_whole():
    group = np.repeat([2, 0, 1], [50_000, 10, 300])
    chosen = embedding.chosen(group, 2_000)
    assert np.array_equal(np.bincount(group[chosen]), [10, 300, 1_690])
    assert (np.diff(chosen) > 0).all()
    assert chosen[group[chosen] == 2].max() > 45_000


def test_the_state_is_left_as_it_was(simulation):
    before = {k: x.copy() for k, x in simulation.system.x.items()}
    answer(simulation, Embed(perplexity=5.0))
    assert all(np.array_equal(x, before[k]) for k, x in simulation.system.x.items())


@pytest.mark.parametrize("perplexity", [0.5, 30.0, np.nan, -1.0])
def test_a_perplexity_that_does_not_fit(simulation, perplexity):
    with pytest.raises(errors.OptionError, match=r"1 \.\.\. 26\.3333"):
        answer(simulation, Embed(perplexity=perplexity))


def test_an_unknown_subsystem(simulation):
    with pytest.raises(errors.OptionError, match="hiden"):
        answer(simulation, Embed("hiden"))


def test_too_few_particles():
    simulation = Simulation(Scenario.load("fit_matrix", ["system.layers=[4, 5]", "system.copies=1", "run.steps=2"]))
    with pytest.raises(errors.DataError, match="at least 10"):
        answer(simulation, Embed(perplexity=2.0))


def test_particles_at_one_place(simulation):
    x = {k: np.ones_like(x) for k, x in simulation.system.x.items()}
    with pytest.raises(errors.DataError, match="one place"):
        answer(simulation, Embed(perplexity=5.0), simulation.system.replace(x=x))

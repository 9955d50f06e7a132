"""Studies of the second paper: what is watched, what their verdicts say, and networks that may not be here."""

from pathlib import Path

import numpy as np
import pytest

from dynsim.reproduce import courses, followup_views, published, watched, widths
from dynsim.reproduce.command import reproduce


def course(d, norm):
    """A network whose accuracy rises evenly, whose D is `d` and whose norm is `norm`."""
    reached = [{"validation_accuracy": k / 10} for k in range(len(d))]
    values = [dict.fromkeys(courses.RANKED.values(), n) | {"discrepancy": x} for x, n in zip(d, norm)]
    found = {"watched-net-plain-0": {"checkpoints": reached, "links": ["a>b"]}}
    found["d-watched-net-plain-0"] = {"rows": [{"all": v, "a>b": v} for v in values]}
    return courses.Course(found, "net", "plain", 1)


@pytest.mark.parametrize(
    ("d", "norm", "holds", "more"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], ": holds", "no more than that. At equal norm rho 0.00"),
        ([1, 2, 3, 4], [1, 3, 2, 1], ": holds", "D says more than it. At equal norm"),
        ([4, 3, 2, 1], [1, 2, 3, 4], "does not hold", "no more"),
    ],
)
def test_a_verdict_on_d_is_one_on_its_controls_too(d, norm, holds, more):
    one = course(d, norm)
    said = courses.told("D rises", one, one.accuracy())
    assert holds in said
    assert more in said


def test_a_watched_network_is_seen_at_its_start_and_at_its_end():
    simulation = watched.watched("attention", 0, 1, {"field.samples": 256}, "random")
    steps = [s.step for s in watched.states(simulation, 3)]
    assert (steps[0], steps[-1]) == (0, simulation.total_steps)
    reached = watched.reached(simulation)
    assert reached["train_accuracy"] < 0.4  # labels in a random order cannot be learned in four steps
    assert abs(reached["log_error_ratio"]) < 0.2


def test_decay_shrinks_weights_alone():
    simulation = watched.watched("attention", 0, 1, {"field.samples": 256})
    before, after = simulation.system.x, watched.decayed(simulation).x
    rate = simulation.limit.eta * simulation.limit.envelope(simulation.system)
    for key, a in after.items():
        kept = 1 - watched.DECAY * rate if key.startswith("weight:") else 1
        np.testing.assert_allclose(a, kept * before[key], rtol=1e-6)


def test_tasks_of_the_fine_tuning():
    data = watched.watched("attention", 0, 1, {"field.samples": 256}).data
    few, random = (watched.another_task(data, t, 0) for t in ("digits 0-4", "random labels"))
    assert set(few.train.y) == set(few.test.y) == set(range(5))
    assert sorted(random.train.y) == sorted(data.train.y)
    assert (random.train.y == data.train.y).mean() < 0.3
    np.testing.assert_array_equal(random.test.y, data.test.y)
    assert watched.another_task(data, "same task", 0) is data


def test_a_wide_enough_network_fits_random_points():
    found = [widths.fitted(None, "random", h, 0, 150, {"steps": 10, "copies": 2}) for h in (8, 128)]
    assert found[1]["training_error"] < 0.5 * found[0]["training_error"]
    assert found[1]["discrepancy"] > found[0]["discrepancy"]
    assert found[1]["untrained"] > found[0]["untrained"]  # what a verdict on Theorem 3.1 must not leave out


def test_a_published_network_that_is_not_here_is_said_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.delenv(published.VARIABLE, raising=False)
    (table,) = reproduce("s-fig5", tmp_path, seeds=1, quiet=True)
    assert table.rows == []
    assert published.VARIABLE in table.about


def test_a_published_network_classifies_as_it_did(monkeypatch):
    folder = Path(__file__).parents[2] / "shared" / "models"
    if not (folder / published.MNIST_CNN).is_file():
        pytest.skip(f"{published.MNIST_CNN} is not in {folder}: it is not ours to ship")
    monkeypatch.setenv(published.VARIABLE, str(folder))
    simulation = published.mnist_cnn()
    x, y = simulation.data.test.x[:200], simulation.data.test.y[:200]
    assert (simulation.logits(x).argmax(axis=1) == y).mean() > 0.97


def test_clusters_are_counted_and_views_tell_clouds_apart(tmp_path):
    (tmp_path / "raw").mkdir()
    rng = np.random.default_rng(0)
    three = np.repeat(8 * np.eye(3), 15, axis=0) + rng.standard_normal((45, 3))
    assert followup_views.clusters(three)[0] == 3
    near, far = rng.standard_normal((30, 3)), rng.standard_normal((30, 3)) + 8
    apart = followup_views.viewed(tmp_path, "view", {"near": near, "far": far})
    mixed = followup_views.viewed(tmp_path, "view", {"near": near, "too": rng.standard_normal((30, 3))})
    assert apart["apart"] > 4 > 1.2 > mixed["apart"]
    assert apart["silhouette"] > 0.5 > abs(mixed["silhouette"]) + 0.3

"""Merging: leaders, bodies that stick together, and what is stored as one."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load_file
from typer.testing import CliRunner
from worlds import march, motion, target_world

from dynsim import Model, Scenario, Simulation, checkpoint
from dynsim.backend.cost import cost
from dynsim.backend.formats import load_model, payload, save_model
from dynsim.backend.merging import merged
from dynsim.cli import app
from dynsim.dynamics.damping import LAWS
from dynsim.dynamics.integrators import INTEGRATORS, KickDrift, kinetic_energy
from dynsim.dynamics.merging import Merging, clusters_of, forces_added, mates, stuck
from dynsim.errors import OptionError, ScenarioError
from dynsim.kernels import reference
from dynsim.reproduce import merging_told
from dynsim.reproduce.merging import after, during, learned
from dynsim.reproduce.merging_rivals import codebook, polished, rounded, shuffled, sparing
from dynsim.runs import run
from dynsim.system.graph import group_kind
from dynsim.system.merging import Clusters, leaders, linked

SMALL = """
[system]
layers = ["auto", 12, "auto"]
copies = 2
dim = 2
[field]
dataset = "xor"
samples = 60
batch = 20
[merge]
radius = 0.3
window = 2
every = 6
[run]
steps = 60
dtype = "float64"
device = "reference"
[record]
observables = ["loss", "energy", "merging"]
properties = ["cluster"]
"""


def simulation(**settings):
    return Simulation(Scenario.from_text(SMALL).changed(**settings))


def stepped(simulation, steps):
    for _ in range(steps):
        simulation.step()
    return simulation


def flat(system, groups):
    return np.concatenate(
        [groups[f"q:{s.name}"].reshape(-1, system.graph.dim) for s in system.graph.particle_subsystems]
    )


def greedy(trail, radius, order):
    """Leaders by comparing everybody with everybody."""
    distance = np.linalg.norm(trail[:, :, None] - trail[:, None], axis=-1).mean(axis=0)
    leader = np.full(trail.shape[1], -1)
    for i in order:
        if leader[i] < 0:
            leader[(leader < 0) & (distance[i] <= radius)] = i
    return leader


# Leaders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.05, 0.4, 1.5, 10.0])
@pytest.mark.parametrize("steps", [1, 6])
def test_nobody_is_farther_than_the_radius_from_his_leader(radius, steps):
    rng = np.random.default_rng(steps)
    trail = rng.standard_normal((1, 80, 3)) + 0.1 * rng.standard_normal((steps, 80, 3))
    leader = leaders(trail, radius)
    assert (np.linalg.norm(trail - trail[:, leader], axis=-1).mean(axis=0) <= radius).all()
    assert_array_equal(leader, greedy(trail, radius, range(80)))


def test_the_heavier_leads():
    trail = np.array([[[0.0], [0.5], [1.0], [5.0]]])
    assert leaders(trail, 0.6).tolist() == [0, 0, 2, 3]
    assert leaders(trail, 0.6, np.array([1.0, 2.0, 1.0, 1.0])).tolist() == [1, 1, 1, 3]


def test_what_was_far_apart_in_between_does_not_merge():
    path = np.zeros((6, 2, 2))
    path[3, 1] = 1.0, 0.0
    assert leaders(path, 0.1).tolist() == [0, 1]  # sqrt(1) / 6 in the mean
    assert leaders(path, 0.17).tolist() == [0, 0]


def test_a_chain_has_many_leaders_but_is_one_by_single_linkage():
    chain = np.arange(30.0)[:, None] * 0.9
    assert len(set(linked(chain, 1.0))) == 1
    assert len(set(leaders(chain[None], 1.0))) == 15


# Bodies ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def world():
    """A moving system of two subsystems with different masses, and three clusters, one across them."""
    system, field = target_world(seed=3)
    leader = np.arange(18, dtype=np.int32)
    leader[[4, 7, 12]], leader[[2, 3]], leader[17] = 4, 2, 11
    return system, field, replace(clusters_of(system), leader=leader)


def test_bodies_that_stick_together_keep_momentum_and_centre_and_dissipate_the_rest(world):
    system, _, clusters = world
    after = stuck(system, clusters)
    for groups, changed in ((system.x, after.x), (system.v, after.v)):
        assert_allclose((clusters.mass * flat(system, changed)).sum(0), (clusters.mass * flat(system, groups)).sum(0))
    assert kinetic_energy(after) < kinetic_energy(system)
    assert_allclose(after.totals["dissipated"], kinetic_energy(system) - kinetic_energy(after), rtol=1e-12)
    together = flat(system, after.v)[[4, 7, 12]]
    assert_array_equal(together[0], together[1])
    assert_allclose(
        together[0], np.average(flat(system, system.v)[[4, 7, 12]], axis=0, weights=clusters.mass[[4, 7, 12], 0])
    )
    alone = np.flatnonzero(clusters.sizes[clusters.leader] == 1)
    assert_array_equal(flat(system, after.x)[alone], flat(system, system.x)[alone])


def test_forces_and_masses_add(world):
    system, _, clusters = world
    rng = np.random.default_rng(0)
    force = {k: rng.standard_normal(a.shape) for k, a in system.v.items()}
    shares = flat(system, forces_added(stuck(system, clusters), force))
    given = flat(system, force)
    for members in ([4, 7, 12], [2, 3], [11, 17]):
        total, mass = given[members].sum(axis=0), clusters.mass[members]
        assert_allclose(shares[members].sum(axis=0), total)
        assert_allclose(shares[members] / mass, np.tile(total / mass.sum(), (len(members), 1)))


def test_a_cluster_falls_as_one_body_of_its_mass(world):
    system, field, clusters = world
    merging = Merging(KickDrift(), radius=1e-12, every=1000)
    start = stuck(system, clusters)
    push = motion(reference, field).push
    force = flat(start, push(start, 0)[0])
    (after, _), *_ = march(start, merging, motion(reference, field, dt=0.01), 1)
    pulled = force[[4, 7, 12]].sum(axis=0) / clusters.mass[[4, 7, 12]].sum()
    assert_allclose(flat(after, after.v)[4] - flat(start, start.v)[4], 0.01 * pulled, rtol=1e-9)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("integrator", [n for n in INTEGRATORS if n != "eq2"])  # which a sequence has
def test_what_has_merged_stays_together_bit_for_bit(law, integrator):
    fast = simulation(**{"dynamics.law": law, "dynamics.integrator": integrator, "merge.radius": 0.6})
    joined = 0
    for _ in range(50):
        fast.step()
        system, leader = fast.system, clusters_of(fast.system).leader
        for groups in (system.x, system.v):
            values = flat(system, groups)
            assert_array_equal(values, values[leader])
        joined = max(joined, np.count_nonzero(leader != np.arange(len(leader))))
    assert joined > 10


def test_adam_beside_it_moves_no_particle_out_of_its_cluster():
    both = stepped(simulation(**{"dynamics.plain_rate": 0.01}), 30)
    values, leader = flat(both.system, both.system.x), clusters_of(both.system).leader
    assert np.count_nonzero(leader != np.arange(len(leader))) > 3
    assert_array_equal(values, values[leader])


def test_nothing_merges_without_a_radius_before_its_start_or_between():
    assert not any(
        k.startswith(("leader", "trail")) for k in stepped(simulation(**{"merge.radius": None}), 20).system.memory
    )
    late = stepped(simulation(**{"merge.start": 20}), 23)
    assert clusters_of(late.system).distinct == late.graph.particles
    assert clusters_of(stepped(late, 1).system).distinct < late.graph.particles


def test_only_particles_of_one_subsystem_merge_unless_asked():
    counts = np.cumsum([2 * s.size for s in simulation().graph.subsystems])
    for across in (False, True):
        leader = clusters_of(stepped(simulation(**{"merge.across": across, "merge.radius": 0.6}), 12).system).leader
        own, his = np.searchsorted(counts, np.arange(len(leader)), "right"), np.searchsorted(counts, leader, "right")
        assert (own != his).any() == across


def test_the_observables_count_and_name_clusters():
    frame = list(simulation())[-1]
    leader = frame.properties["cluster"].astype(int)
    sizes = np.bincount(leader)
    assert frame.scalars["distinct"] == np.count_nonzero(sizes) < len(leader)
    assert frame.scalars["merged"] == pytest.approx(1 - np.count_nonzero(sizes) / len(leader))
    assert frame.scalars["largest_cluster"] == sizes.max() / len(leader)
    assert (np.diff(frame.history["distinct"]) <= 0).all()


# Going on, and hands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [6, 11, 17])
def test_a_checkpoint_holds_who_merged_and_who_is_about_to(tmp_path, at):
    whole, first, second = simulation(), simulation(), simulation()
    checkpoint.save(tmp_path / "c", stepped(first, at), 0.0)
    checkpoint.load(tmp_path / "c", second)
    stepped(whole, 40), stepped(second, 40 - at)
    assert clusters_of(whole.system).distinct < whole.graph.particles
    for groups in ("x", "v", "memory"):
        for key, a in getattr(whole.system, groups).items():
            assert_array_equal(getattr(second.system, groups)[key], a, err_msg=key)


def test_a_moved_particle_takes_its_cluster_along():
    moved = stepped(simulation(), 12)
    clusters = clusters_of(moved.system)
    particle = int(np.flatnonzero(clusters.leader != np.arange(len(clusters.leader)))[0])
    members = mates(moved.system, particle)
    assert len(members) > 1
    assert particle in members
    moved.move(particle, (1.5, -0.5))
    assert_array_equal(flat(moved.system, moved.system.x)[members], [(1.5, -0.5)] * len(members))
    with pytest.raises(OptionError, match="no such particle"):
        moved.move(10_000, (0.0, 0.0))


def test_a_kick_is_shared_by_a_cluster():
    struck = stepped(simulation(), 12)
    struck.kick(5.0)
    leader = clusters_of(struck.system).leader
    v = flat(struck.system, struck.system.v)
    assert_array_equal(v, v[leader])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"merge.every": 2}, "the window is longer"),
        ({"merge.radius": 0.0}, "greater than 0"),
        ({"recipe.name": "alternate"}, "do not merge"),
    ],
)
def test_what_cannot_merge_is_refused(settings, said):
    with pytest.raises(ScenarioError, match=said):
        simulation(**settings)


# Stored as one -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return Model.of(stepped(simulation(**{"system.layers": ["auto", 160, "auto"], "merge.radius": None}), 10))


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


@pytest.mark.parametrize(("radius", "across"), [(0.2, False), (0.6, False), (0.6, True), (9.0, True)])
def test_a_file_holds_every_place_once_and_gives_back_all(tmp_path, model, radius, across):
    made = merged(model, radius, across).model
    save_model(made, tmp_path / "m.safetensors")
    stored, price = load_file(tmp_path / "m.safetensors"), cost(made)
    assert same(load_model(tmp_path / "m.safetensors").x, made.x)
    assert price.bytes == sum(a.nbytes for a in stored.values()) < cost(model).bytes
    kinds = ("which", "scaling")
    assert price.parameters == sum(a.size for k, a in stored.items() if group_kind(k) not in kinds)
    places = {s: len(np.unique(made.x[f"q:{s}"].reshape(-1, 2), axis=0)) for s in ("input", "hidden", "output")}
    if "which:hidden" in stored and not across:
        assert len(stored["distinct:hidden"]) == places["hidden"]
        assert stored["which:hidden"].dtype == (np.uint8 if places["hidden"] <= 256 else np.uint16)
    if radius == 9.0:
        assert across == ("distinct:" in stored)


def test_what_saves_nothing_is_stored_as_it_was(tmp_path, model):
    save_model(model, tmp_path / "m.safetensors")
    assert same(
        {k: a for k, a in load_file(tmp_path / "m.safetensors").items() if not k.startswith("scaling")}, model.x
    )
    assert b"dynsim-model/2" in (tmp_path / "m.safetensors").read_bytes()
    assert same(load_model(tmp_path / "m.safetensors").x, model.x)
    one_pair = merged(model, 0.004).model
    assert not any(k.startswith("which") for k in payload(one_pair))


def test_distances_between_the_same_places_are_counted_once(model):
    made = merged(model, 0.5).model
    needed = 0
    for link in made.graph.links:
        a, b = (made.x[f"q:{n}"].tolist() for n in (link.source, link.target))
        needed += len({(tuple(p), tuple(r)) for h in range(2) for p in a[h] for r in b[h]})
    assert cost(made).build_macs == 2 * needed < cost(model).build_macs


def test_merging_moves_nobody_farther_than_the_mean_of_his_cluster_is(model):
    made = merged(model, 0.3)
    assert 0 < made.fraction < 1
    assert made.clusters.distinct < len(made.clusters.leader)
    for key in ("q:input", "q:hidden", "q:output"):
        assert np.linalg.norm(made.model.x[key] - model.x[key], axis=-1).max() <= 0.6
    assert same(
        {k: a for k, a in made.model.x.items() if k[0] != "q"}, {k: a for k, a in model.x.items() if k[0] != "q"}
    )


def test_clusters_of_one_kind_keep_their_bits():
    values = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)[[0, 0, 0, 1, 2]]
    clusters = Clusters(np.array([0, 0, 0, 3, 4]), np.array([[0.1], [0.7], [0.3], [1.0], [1.0]]))
    assert_array_equal(clusters.shared(values), values)


def test_the_command_tells_what_merging_costs_and_writes_a_model(tmp_path):
    folder = run(Scenario.from_text(SMALL).changed(**{"merge.radius": None, "field.validation": 0.2}), tmp_path / "run")
    runner, out = CliRunner(), tmp_path / "m.safetensors"
    said = runner.invoke(app, ["merge", str(folder.path), "--radius", "0.2", "--radius", "1", "--json"])
    rows = json.loads(said.output)["rows"]
    assert [r["radius"] for r in rows] == [0.0, 0.2, 1.0]
    assert rows[0]["distinct"] > rows[1]["distinct"] > rows[2]["distinct"]
    assert rows[0]["test"] == folder.summary["final"]["test_accuracy"]
    assert rows[0]["validation"] == folder.summary["final"]["validation_accuracy"]
    written = runner.invoke(app, ["merge", str(folder.path), "--radius", "1", "--out", str(out), "--across"])
    assert written.exit_code == 0
    assert "across subsystems" in written.output
    assert str(out) in written.output
    assert same(load_model(out).x, merged(load_model(folder.model), 1.0, across=True).model.x)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--radius", "-1"], "not a radius"),
        (["--radius", "nan"], "not a radius"),
        (["--radius", "1", "--radius", "2", "--out", "m.safetensors"], "one model is written"),
        (["--radius", "1", "--out", "m.npz"], "not a name for a model"),
        (["--radius", "1", "--out", "nowhere/m.safetensors"], "no such folder"),
    ],
)
def test_bad_requests_are_refused(tmp_path, model, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    save_model(model, tmp_path / "model.safetensors")
    result = CliRunner().invoke(app, ["merge", "model.safetensors", *arguments])
    assert isinstance(result.exception, OptionError)
    assert said in str(result.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


# The scenario and the study ----------------------------------------------------------------------------------------


def test_merge_avalanche_spares_particles_and_keeps_what_it_learns():
    short = Scenario.load("merge_avalanche").changed(**{"run.epochs": 10, "record.every": 20})
    frames = list(simulated := Simulation(short))
    distinct = [f.scalars["distinct"] for f in frames]
    largest = [f.scalars["largest_cluster"] for f in frames]
    assert distinct[0] == simulated.graph.particles == 414
    assert (np.diff(distinct) <= 0).all()
    assert (np.diff(largest) >= 0).all()
    assert distinct[-1] < 0.9 * distinct[0]
    assert largest[-1] > 0.05
    assert (np.diff([f.scalars["dissipated"] for f in frames]) > 0).all()
    assert simulated.evaluate("test").accuracy > 0.9
    counts = clusters_of(simulated.system)
    inputs = np.flatnonzero(counts.leader == counts.sizes.argmax())
    assert (inputs < 3 * 64).all()


def test_the_control_has_clusters_of_the_same_sizes_of_others_and_the_rival_as_many_places(model):
    made, radius = sparing(model, 0.4)
    assert made.fraction == pytest.approx(0.4, abs=0.05)
    assert merged(model, radius).model.x["q:hidden"].tolist() == made.model.x["q:hidden"].tolist()
    drawn = shuffled(made, model, 0).clusters
    assert sorted(drawn.sizes) == sorted(made.clusters.sizes)
    assert (drawn.leader != made.clusters.leader).any()
    k_means = polished(made, model)
    assert k_means.clusters.distinct <= made.clusters.distinct
    strain = [
        sum(((m.model.x[k] - model.x[k]) ** 2).sum() for k in ("q:input", "q:hidden", "q:output"))
        for m in (k_means, made)
    ]
    assert strain[0] <= strain[1]


def test_coordinates_of_few_values_take_the_bytes_they_say(model):
    for coarse, values in ((rounded, 2), (codebook, 8)):
        other, size = coarse(model, 3)
        q = [k for k in model.x if k.startswith("q:")]
        assert all(len(np.unique(other.x[k])) <= 8 for k in q)
        packed = sum(-(-model.x[k].size * 3 // 8) + values * 8 for k in q)
        assert size == cost(model).bytes - sum(model.x[k].nbytes for k in q) + packed


def test_a_study_tells_what_merging_keeps_and_what_its_rivals_do(tmp_path):
    runs = [
        {"test_accuracy": 0.98, "bytes": 1000}
        | {
            f"spared {f:g}": {
                "after": a,
                "random": 0.5,
                "k-means": a,
                "radius": f,
                "spared": f,
                "bytes": 1000 * (1 - f),
                "largest": f / 10,
                "linked": f,
            }
            for f, a in ((0.25, 0.977), (0.5, 0.9))
        }
        | {
            f"{rival} {b}": {"accuracy": 0.9 + b / 100, "bytes": 100 * b}
            for rival in ("rounded", "codebook")
            for b in (2, 6)
        }
    ] * 2
    after, during, clusters = merging_told.tables(2)
    merging_told.tell_after(after, "net", runs)
    merging_told.tell_clusters(clusters, "net", runs)
    moved = [{"test_accuracy": a, "spared": s, "bytes": 500, "largest": 0.1} for a, s in ((0.98, 0.0), (0.97, 0.375))]
    merging_told.tell_during(during, "net", {None: moved[:1] * 2, 0.3: moved[1:] * 2}, runs)
    assert "up to 25 % of the particles spared; merged at random up to 0 %" in after.verdict[0]
    assert "ahead of both coordinates in fewer bits and a codebook in 1 of 2 rows" in after.verdict[1]
    assert "joins 50.00 ± 0.00 % of all particles" in clusters.verdict[0]
    assert "-1.00 ± 0.00 points to the same without merging, 3.15 ± 0.00 to merging as many after" in during.verdict[0]
    merging_told.draw(tmp_path / "m.png", "net", runs, {None: moved[:1] * 2})
    assert (tmp_path / "m.png").stat().st_size > 1000


def test_the_study_trains_merges_and_judges(tmp_path):
    settings = {"run.epochs": 2}
    (tmp_path / "raw").mkdir()
    learned(tmp_path, 0, settings)
    found = after(tmp_path, "digits", 0, "digits-0", settings)
    assert found["bytes"] > found["spared 0.4"]["bytes"] > found["spared 0.85"]["bytes"]
    assert found["spared 0.1"]["after"] > found["spared 0.85"]["random"]
    merging_while = during(tmp_path, "digits", 0, 1.0, 1, None, settings | {"merge.every": 10})
    assert 0 < merging_while["spared"] < 1

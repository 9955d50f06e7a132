"""Given matrices as path integrals: how near they come, in how many bits, and what is stored."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dynsim.backend.conversion.compression import weighted_error
from dynsim.backend.conversion.coordinates import METRICS, Lattice, decode, integrals, stored_bytes
from dynsim.backend.conversion.descent import Target, solve_mu
from dynsim.backend.conversion.fit import candidates, fit_matrix, numbers, settings_for
from dynsim.backend.conversion.polishing import nearest_plane
from dynsim.errors import DataError, OptionError, ShapeError
from dynsim.kernels import reference
from dynsim.system.initialise import random, sphere_points


def gaussian(rows, columns, seed=0):
    return random(seed, "target").standard_normal((rows, columns))


def shells(phi):
    """(H, M N): the distances of each copy."""
    q, one = phi.q, np.ones(1)
    pairs = [(q["a"][[h]].astype(float), q["b"][[h]].astype(float)) for h in range(len(phi.mu))]
    return np.stack([reference.path_integral(phi.metric, a, b, one, 1, phi.eps, 2).ravel() for a, b in pairs])


def relative(exact, approximate):
    return np.linalg.norm(exact - approximate) / np.linalg.norm(exact)


def truncated(matrix, count):
    """Relative error of the truncated SVD with at most `count` numbers."""
    s = np.linalg.svd(matrix, compute_uv=False)
    rank = count // (sum(matrix.shape) + 1)
    return np.sqrt((s[rank:] ** 2).sum() / (s**2).sum())


@pytest.fixture(scope="module")
def noise():
    return gaussian(64, 56)


@pytest.fixture(scope="module")
def in_float(noise):
    return fit_matrix(noise, metric="reciprocal", copies=3, dim=4, steps=250, start="random")


def test_fit_beats_the_singular_values_at_equal_numbers(noise, in_float):
    assert in_float.numbers == numbers(noise.shape, 3, 4, "reciprocal")
    assert relative(noise, in_float.decode()) < 0.97 * truncated(noise, in_float.numbers)


def test_error_falls_with_steps_and_is_told(noise):
    heard = []
    fit_matrix(noise, copies=3, dim=4, steps=60, start="random", told=lambda *a: heard.append(a))
    steps, errors = [h[0] for h in heard], [h[2] for h in heard]
    assert steps == sorted(steps)
    assert {h[1] for h in heard} == {60}
    assert errors[-1] < 0.95 * errors[0]


def test_reported_error_is_that_of_the_decoded_matrix(noise, in_float):
    assert in_float.settings["relative_error"] == pytest.approx(relative(noise, in_float.decode()), rel=1e-4)


def test_path_integrals_are_approached_far_better_than_by_svd():
    rng = random(1, "target")
    a, b = sphere_points(rng, 2, 40, 3), sphere_points(rng, 2, 30, 3)
    matrix = reference.path_integral("l2", a, b, np.array([1.0, -1.0]), 0.02, 1e-3, 2.0)
    encoded = fit_matrix(matrix, metric="l2", copies=2, dim=3, steps=400, start="random")
    assert relative(matrix, encoded.decode()) < 0.75 * truncated(matrix, encoded.numbers)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_fits(metric):
    matrix = gaussian(24, 20)
    encoded = fit_matrix(matrix, metric=metric, copies=3, dim=4, steps=120, start="random")
    assert encoded.decode().dtype == np.float32
    assert relative(matrix, encoded.decode()) < 0.75


def test_the_better_start_is_kept():
    matrix = gaussian(40, 4) @ gaussian(4, 30, seed=1) + 0.01 * gaussian(40, 30, seed=2)
    by = {s: fit_matrix(matrix, metric="dot", copies=2, dim=4, steps=40, start=s) for s in ("random", "svd", "best")}
    error = {s: e.settings["relative_error"] for s, e in by.items()}
    assert error["svd"] < 0.5 * error["random"]
    assert by["best"].settings["start"] == "svd"
    assert error["best"] <= min(error.values()) * (1 + 1e-6)


@pytest.mark.parametrize("metric", ["dot", "squared", "l2", "reciprocal"])
def test_singular_start_is_a_floor(metric):
    """Rank H (d - 1), H d for dot, nearly: after a single step nothing above 2 % is lost."""
    matrix = gaussian(30, 6) @ gaussian(6, 25, seed=1)
    encoded = fit_matrix(matrix, metric=metric, copies=2, dim=4, steps=1, start="svd")
    assert encoded.settings["relative_error"] < (1e-5 if metric == "dot" else 0.02)


def test_same_seed_same_bits(noise):
    first, again, other = (
        fit_matrix(noise, metric="reciprocal", copies=2, dim=4, bits=5, steps=30, start="random", seed=s)
        for s in (3, 3, 4)
    )
    assert all(np.array_equal(first.arrays[k], again.arrays[k]) for k in first.arrays)
    assert not np.array_equal(first.arrays["codes_a"], other.arrays["codes_a"])


@pytest.mark.parametrize(("bits", "most"), [(4, 1.10), (6, 1.03), (8, 1.02)])
def test_learned_rounding_costs_little(noise, in_float, bits, most):
    """Measured: 1.04 to 1.07, 1.00 and 0.99 times the error in float32."""
    packed = fit_matrix(noise, metric="reciprocal", copies=3, dim=4, bits=bits, steps=250, start="random")
    assert relative(noise, packed.decode()) < most * relative(noise, in_float.decode())


def test_rounding_afterwards_costs_far_more(noise, in_float):
    """The control of the test above: the same coordinates put on a lattice of 4 bits, and mu solved for again."""
    phi = integrals(in_float)
    rounded = {}
    for side, q in phi.q.items():
        lattice = Lattice.around(q, 4)
        rounded[side] = lattice.points(lattice.codes(q))
    f = shells(replace(phi, q=rounded))
    mu = np.linalg.lstsq(f.T, noise.ravel(), rcond=None)[0]
    assert relative(noise.ravel(), mu @ f) > 1.08 * relative(noise, in_float.decode())


@pytest.mark.parametrize("bits", [None, 4, 7, 16])
def test_bytes_are_honest(bits):
    encoded = fit_matrix(gaussian(50, 30), copies=2, dim=4, bits=bits, steps=4, start="random")
    assert encoded.nbytes == stored_bytes((50, 30), 2, 4, "l2", bits)
    assert encoded.nbytes - 4 * 2 * (2 * 5 + 1) - 8 - 2 <= 2 * 4 * 80 * (bits or 32) / 8 <= encoded.nbytes
    assert np.array_equal(encoded.decode(), decode(encoded))
    json.dumps(encoded.settings)


def test_important_rows_come_nearer():
    matrix = gaussian(60, 40)
    importance = np.where(np.arange(60) < 15, 20.0, 1.0)
    plain, aware = (
        fit_matrix(matrix, copies=2, dim=4, steps=200, start="random", importance=s).decode()
        for s in (None, importance)
    )
    assert weighted_error(matrix, aware, importance) < 0.9 * weighted_error(matrix, plain, importance)
    assert relative(matrix[:15], aware[:15]) < 0.8 * relative(matrix[:15], plain[:15])


def test_mu_is_the_least_squares_solution(noise, in_float):
    phi = integrals(in_float)
    root = np.linspace(0.5, 2, len(noise))[:, None].astype(np.float32)
    mu = solve_mu(Target(noise.astype(np.float32), root, reference), phi)
    f = shells(phi) * np.broadcast_to(root, noise.shape).ravel()
    expected = np.linalg.lstsq(f.T, (root * noise).ravel(), rcond=None)[0]
    np.testing.assert_allclose(mu, expected, rtol=1e-3)


def test_nearest_plane_beats_plain_rounding():
    rng = random(5, "target")
    basis = rng.standard_normal((50, 12, 8)) + 2 * rng.standard_normal((50, 12, 1))
    normal = basis.transpose(0, 2, 1) @ basis
    codes = rng.integers(4, 12, (50, 8)).astype(float)
    aim = rng.uniform(-1, 1, (50, 8))
    found = nearest_plane(normal, (normal @ aim[..., None])[..., 0], codes, 15, rng.permutation(8)) - codes - aim
    plain = np.rint(aim) - aim
    cost = [np.einsum("mk,mkl,ml->", x, normal, x) for x in (found, plain)]
    assert cost[0] < 0.5 * cost[1]


@pytest.mark.parametrize("bits", [None, 4])
@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((5, 4)),
        np.full((6, 5), -0.3),
        gaussian(1, 7),
        gaussian(7, 1),
        gaussian(1, 1),
        gaussian(3, 3),
        1e-30 * gaussian(4, 4),
    ],
    ids=["zero", "constant", "row", "column", "one", "3x3", "tiny"],
)
def test_odd_matrices(matrix, bits):
    encoded = fit_matrix(matrix, copies=2, dim=4, bits=bits, steps=150)
    limit = 0.1 if bits is None else 0.3
    assert np.linalg.norm(matrix - encoded.decode()) <= limit * np.linalg.norm(matrix)


def test_rows_without_importance_may_be_all_there_are():
    encoded = fit_matrix(gaussian(4, 4), copies=2, dim=4, steps=5, importance=np.zeros(4))
    assert np.isfinite(encoded.decode()).all()


@pytest.mark.parametrize("shape", [(256, 256), (3136, 128), (288, 64), (90, 70)])
def test_settings_use_what_is_allowed(shape):
    allowed = shape[0] * shape[1] // 2
    copies, dim = settings_for(shape, numbers=allowed)
    assert copies >= 2
    assert 4 <= dim <= 9
    assert 0.6 * allowed < numbers(shape, copies, dim, "reciprocal") <= allowed
    copies, dim = settings_for(shape, bytes=allowed, bits=4)
    assert 0.6 * allowed < stored_bytes(shape, copies, dim, "reciprocal", 4) <= allowed


def test_candidates_fit_the_allowance_and_trade_bytes_for_error():
    matrix = gaussian(40, 32)
    forms = candidates(matrix, 800)
    errors = [weighted_error(matrix, f.decode()) for f in forms]
    assert len(forms) >= 3
    assert forms[-1].nbytes <= 800
    assert errors[-1] < 0.9 * errors[0]
    assert candidates(matrix, 100) == []


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"matrix": np.array([[1.0, np.nan]])}, DataError, "1 of 2"),
        ({"matrix": np.array([[np.inf, 1.0]])}, DataError, "NaN or Inf"),
        ({"matrix": np.ones(3)}, ShapeError, r"\(M, N\)"),
        ({"matrix": np.ones((0, 3))}, ShapeError, r"\(M, N\)"),
        ({"metric": "lp"}, OptionError, "reciprocal"),
        ({"start": "svdd"}, OptionError, "did you mean 'svd'"),
        ({"bits": 3}, OptionError, "4 to 16"),
        ({"copies": 0}, OptionError, "1 or more"),
        ({"importance": np.ones(3)}, ShapeError, "importance"),
        ({"importance": -np.ones(4)}, DataError, "importance"),
    ],
)
def test_errors_say_what_is_allowed(change, error, says):
    with pytest.raises(error, match=says):
        fit_matrix(**{"matrix": np.ones((4, 4)), "copies": 2, "dim": 4, "steps": 1} | change)


def test_too_small_an_allowance_says_how_much_is_needed():
    with pytest.raises(OptionError, match=str(numbers((256, 256), 2, 4, "l2"))):
        settings_for((256, 256), numbers=100, metric="l2")
    with pytest.raises(OptionError, match="numbers or bytes"):
        settings_for((256, 256))

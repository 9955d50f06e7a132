"""The rivals: their bytes are honest, their codes come back, and each is as good as theory or a brute search says."""

import json
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load, save
from sklearn.cluster import KMeans

from dynsim.backend.conversion import rivals
from dynsim.backend.conversion.compression import Encoded, weighted_error
from dynsim.errors import OptionError

FORMS = {
    "keep 32": partial(rivals.keep, bits=32),
    "keep 16": partial(rivals.keep, bits=16),
    "rounding": partial(rivals.rounding, bits=3, columns=False),
    "rounding of columns": partial(rivals.rounding, bits=5),
    "codebook": partial(rivals.codebook, bits=2),
    "codebook of columns": partial(rivals.codebook, bits=4, columns=True),
    "product of inputs": partial(rivals.product, length=4, count=16, axis=0),
    "product of outputs": partial(rivals.product, length=2, count=16, axis=1, columns=True),
    "svd": partial(rivals.svd, rank=1, bits=32),
    "svd in 6 bits": partial(rivals.svd, rank=1, bits=6),
    "trellis": partial(rivals.trellis, step=0.5),
}
TAKES_IMPORTANCE = [name for name in FORMS if not name.startswith("keep")]
SMALL = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-100, 100, width=32)
)


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def relative(form, matrix, importance=None):
    exact = weighted_error(matrix, np.zeros_like(matrix), importance)
    return weighted_error(matrix, form.decode(), importance) / exact


def bits(form):
    return 8 * form.nbytes / (form.shape[0] * form.shape[1])


@given(matrix=SMALL)
@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("name", FORMS)
def test_any_small_matrix_has_a_form(name, matrix):
    """Zeros, constants, single rows, sizes that divide nothing: in shape, and no further off than nothing at all."""
    form = FORMS[name](matrix)
    back = form.decode()
    assert back.shape == matrix.shape
    assert back.dtype == np.float32
    assert weighted_error(matrix, back) <= 1.01 * weighted_error(matrix, 0 * matrix) + 1e-4
    assert form.numbers >= 1


@pytest.mark.parametrize("name", FORMS)
def test_what_is_stored_is_all_that_the_decoder_needs(name):
    """Arrays through a file and settings through JSON give the same matrix; the bytes are those of the file."""
    form = FORMS[name](gaussian(37, 22))
    file = save({k: np.ascontiguousarray(a) for k, a in form.arrays.items()})
    again = Encoded(form.method, form.shape, load(file), json.loads(json.dumps(dict(form.settings))))
    assert np.array_equal(again.decode(), form.decode())
    assert form.nbytes == sum(a.nbytes for a in load(file).values())


@pytest.mark.parametrize("name", TAKES_IMPORTANCE)
def test_importance_lowers_the_error_that_counts(name):
    matrix, importance = gaussian(96, 40, seed=1), np.random.default_rng(2).lognormal(sigma=2, size=96)
    importance[5] = 0
    with_it, without = FORMS[name](matrix, importance=importance), FORMS[name](matrix)
    better = relative(with_it, matrix, importance) * 4 ** bits(with_it)  # error falls as 4^-bits
    assert better < relative(without, matrix, importance) * 4 ** bits(without) * 1.001


def test_kept_numbers_are_the_same():
    matrix = gaussian(5, 7)
    assert np.array_equal(rivals.keep(matrix).decode(), matrix)
    assert np.array_equal(rivals.keep(matrix, 16).decode(), matrix.astype(np.float16))
    assert rivals.keep(np.full((1, 1), 1e6, dtype=np.float32), 16).decode() == 65504


@pytest.mark.parametrize(("width", "mse"), [(2, 0.1188), (3, 0.03744), (4, 0.01154)])
def test_rounding_a_gaussian_clips_as_well_as_can_be(width, mse):
    """The least error of even levels (Max 1960, table 2)."""
    assert relative(rivals.rounding(gaussian(400, 300), width, columns=False), gaussian(400, 300)) == pytest.approx(
        mse, rel=0.03
    )


@pytest.mark.parametrize(("width", "mse"), [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497)])
def test_a_codebook_of_a_gaussian_is_lloyds(width, mse):
    """The least error of any levels (Max 1960, table 1)."""
    assert relative(rivals.codebook(gaussian(400, 300), width), gaussian(400, 300)) == pytest.approx(mse, rel=0.02)


def test_scales_of_columns_pay_where_columns_differ():
    matrix = gaussian(300, 20) * np.geomspace(0.01, 1, 20, dtype=np.float32)
    for method in (rivals.rounding, rivals.codebook):
        assert relative(method(matrix, 3, columns=True), matrix) < 0.6 * relative(method(matrix, 3, False), matrix)


@pytest.mark.parametrize("axis", [0, 1])
def test_product_quantisation_clusters_as_well_as_scikit_learn(axis):
    matrix = gaussian(120, 64, seed=3)
    form = rivals.product(matrix, length=4, count=32, axis=axis)
    vectors = (matrix.T if axis == 0 else matrix).reshape(-1, 4)
    reference = KMeans(32, n_init=3, random_state=0).fit(vectors)
    assert weighted_error(matrix, form.decode()) < 1.03 * reference.inertia_
    assert form.nbytes == 120 * 64 // 4 * 5 // 8 + 32 * 4 * 2
    assert form.numbers == 120 * 64 // 4 + 32 * 4


def test_the_same_seed_gives_the_same_bytes():
    one, two = (rivals.product(gaussian(64, 32), 2, 16, seed=4).arrays for _ in range(2))
    assert all(np.array_equal(one[k], two[k]) for k in one)


def test_truncated_svd_is_the_best_of_its_rank():
    matrix = gaussian(50, 30, seed=5)
    s = np.linalg.svd(matrix, compute_uv=False)
    form = rivals.svd(matrix, 10, 32)
    assert relative(form, matrix) == pytest.approx(np.square(s[10:]).sum() / np.square(s).sum(), rel=1e-4)
    assert form.nbytes == 4 * form.numbers == 4 * 10 * 80


def test_importance_in_the_svd_is_that_of_the_scaled_matrix():
    matrix, importance = gaussian(50, 30, seed=6), np.random.default_rng(7).lognormal(size=50)
    s = np.linalg.svd(np.sqrt(importance)[:, None] * matrix, compute_uv=False)
    error = weighted_error(matrix, rivals.svd(matrix, 10, 32, importance).decode(), importance)
    assert error == pytest.approx(np.square(s[10:]).sum(), rel=1e-4)


def test_svd_in_bits_loses_what_its_bits_lose():
    low = gaussian(60, 4) @ gaussian(4, 40, seed=8)
    errors = [relative(rivals.svd(low, 4, b), low) for b in (4, 6, 8, 16)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.03
    assert errors[3] < 1e-6


@pytest.mark.parametrize("step", [0.25, 0.5, 0.8])
def test_the_trellis_is_within_a_decibel_of_shannon(step):
    """A Gaussian source has D(R) = 4^-R; an entropy-coded scalar quantiser stays 1.53 dB above at many bits."""
    form = rivals.trellis(gaussian(192, 128, seed=9), step)
    assert 1 < relative(form, gaussian(192, 128, seed=9)) * 4 ** bits(form) < 10**0.11


def test_the_trellis_learns_which_rows_and_columns_are_small():
    matrix = gaussian(160, 96, seed=10)
    uneven = matrix * np.geomspace(0.05, 2, 160, dtype=np.float32)[:, None] * np.geomspace(0.1, 2, 96)[None]
    uneven = (uneven / uneven.std()).astype(np.float32)
    even, learned = rivals.trellis(matrix, 0.5), rivals.trellis(uneven, 0.5)
    assert learned.settings["contexts"] >= 4
    assert bits(learned) < 0.7 * bits(even)
    assert relative(learned, uneven) < relative(even, matrix)


@pytest.mark.parametrize("name", FORMS)
def test_columns_that_differ_in_the_last_bit_only(name):
    """Permutations of one column have the same energy up to rounding."""
    rng, column = np.random.default_rng(12), gaussian(30, 1)[:, 0]
    matrix = np.stack([rng.permutation(column) for _ in range(12)], axis=1)
    assert relative(FORMS[name](matrix), matrix) < 1


def test_candidates_are_every_rival_within_the_bytes():
    matrix = gaussian(20, 16, seed=11)
    forms = rivals.candidates(matrix, seed=1)
    assert {f.method for f in forms} == set(rivals.METHODS)
    few = rivals.candidates(matrix, most_bytes=160, methods=["rounding", "svd"])
    assert {f.method for f in few} == {"rounding", "svd"}
    assert sorted(f.nbytes for f in few) == sorted(
        f.nbytes for f in forms if f.method in ("rounding", "svd") and f.nbytes <= 160
    )


def test_a_method_that_is_none():
    with pytest.raises(OptionError, match="codebook"):
        rivals.candidates(gaussian(4, 4), methods=["codebok"])
    with pytest.raises(OptionError, match="16 or 32"):
        rivals.keep(gaussian(4, 4), 8)
    with pytest.raises(OptionError, match="2 to 8"):
        rivals.rounding(gaussian(4, 4), 1)

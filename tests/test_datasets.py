"""Datasets: what comes with dynsim is what it claims to be; what is wrong with a file is a DataError."""

import gzip
import hashlib
import io
import re
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynsim import datafiles, datasets, shipped
from dynsim.datasets import NAMES, describe, load, read_idx
from dynsim.errors import DataError, OptionError

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
DRAWN = ("moons", "spirals", "xor")


@pytest.fixture(scope="module")
def mnist():
    return load("mnist")


def idx(array, *, sizes=None, magic=None):
    """The bytes of an IDX file of uint8; `sizes` and `magic` to lie about them."""
    head = bytes([0, 0, 8, array.ndim]) if magic is None else magic
    return head + struct.pack(f">{array.ndim}I", *(sizes or array.shape)) + array.astype(np.uint8).tobytes()


# --- MNIST -----------------------------------------------------------------------------------------------


def test_mnist_has_its_known_shape_counts_and_units(mnist):
    assert mnist.X_train.shape == (60000, 784)
    assert mnist.X_test.shape == (10000, 784)
    assert (mnist.X_train.dtype, mnist.y_train.dtype) == (np.float32, np.int64)
    assert (mnist.X_train.min(), mnist.X_train.max()) == (0, 1)
    assert (mnist.input_shape, mnist.classes) == ((28, 28), tuple(range(10)))
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_array_equal(np.bincount(mnist.y_train), counts)
    np.testing.assert_array_equal(np.bincount(mnist.y_test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    # The mean and deviation that everybody normalises MNIST with.
    assert mnist.X_train.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert mnist.X_train.std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)


@pytest.mark.parametrize("stem", MD5)
def test_mnist_files_are_the_published_ones(stem):
    packed = (shipped.data_folder() / "mnist" / f"{stem}.gz").read_bytes()
    assert hashlib.md5(gzip.decompress(packed)).hexdigest() == MD5[stem]
    readme = (shipped.data_folder() / "README.md").read_text(encoding="utf-8")
    assert MD5[stem] in readme
    assert f"{hashlib.sha256(packed).hexdigest()}  {stem}.gz" in readme


def test_shipped_folders_are_found_in_an_installed_package(tmp_path):
    package = tmp_path / "site-packages" / "dynsim"
    for name in ("data", "scenarios"):
        (package / "_shipped" / name).mkdir(parents=True)
    (package.parent / "data").mkdir()  # somebody else's, not to be taken for ours
    shutil.copy(shipped.__file__, package / "shipped.py")
    spec = spec_from_file_location("installed_shipped", package / "shipped.py")
    installed = module_from_spec(spec)
    spec.loader.exec_module(installed)
    assert installed.data_folder() == package / "_shipped" / "data"
    assert installed.scenario_folder() == package / "_shipped" / "scenarios"
    (package / "_shipped" / "data").rmdir()
    with pytest.raises(DataError, match="install dynsim again"):
        installed.data_folder()


# --- IDX -------------------------------------------------------------------------------------------------

CUBE = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_round_trip(tmp_path, packed):
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(idx(CUBE)) if packed else idx(CUBE))
    np.testing.assert_array_equal(read_idx(path, ndim=3), CUBE)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", b"", r"first bytes \(none\)"),
        ("a", b"\x89PNG\r\n", "first bytes 89 50 4e 47"),
        ("a", idx(CUBE, magic=bytes([0, 0, 0x0D, 3])), "first bytes 00 00 0d 03"),
        ("a", idx(CUBE.reshape(6, 4)), "first bytes 00 00 08 02\n.*00 00 08 03"),
        ("a", idx(CUBE)[:9], "ends within its header"),
        ("a", idx(CUBE)[:-1], "23 bytes of data\n.*24 bytes"),
        ("a", idx(CUBE) + b"x", "more data than that"),
        ("a", idx(CUBE, sizes=(2**16, 2**14, 3)), "24 bytes of data\n.*3221225472 bytes"),
        ("a", idx(CUBE, sizes=(2**32 - 1,) * 3), "too large"),
        ("a.gz", gzip.compress(idx(CUBE), mtime=0)[:-12], "cannot be read"),
        ("a.gz", idx(CUBE), "Not a gzipped file"),
    ],
)
def test_idx_errors_name_file_found_and_expected(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_idx(tmp_path / name, ndim=3)
    assert str(tmp_path / name) in str(error.value)


def test_idx_bomb_stops_at_what_the_header_promises(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx(CUBE) + bytes(2**28), compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="more data than that"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


# --- Fashion-MNIST, from files of its form ---------------------------------------------------------------


def write_idx_folder(folder, images=(3, 28, 28), labels=(3,), label=9):
    folder.mkdir(parents=True)
    for stem in MD5:
        array = np.full(images, 255) if "images" in stem else np.full(labels, label)
        (folder / stem).write_bytes(idx(array))
    return folder


def test_fashion_mnist_from_a_folder_and_from_the_environment(tmp_path, monkeypatch):
    folder = write_idx_folder(tmp_path / "fashion-mnist")
    monkeypatch.setenv("DYNSIM_DATA", str(tmp_path))
    for data in (load("fashion-mnist", folder=folder), load("fashion-mnist")):
        assert data.X_train.shape == (3, 784)
        assert (data.X_train == 1).all()
        assert [data.classes[k] for k in data.y_test] == ["Ankle boot"] * 3


@pytest.mark.parametrize(
    "damage",
    [{"labels": (4,)}, {"images": (3, 28, 27)}, {"label": 10}, {"images": (0, 28, 28), "labels": (0,)}],
)
def test_a_folder_that_is_not_like_mnist(tmp_path, damage):
    with pytest.raises(DataError, match="do not make a set like MNIST"):
        load("mnist", folder=write_idx_folder(tmp_path / "mnist", **damage))


def test_missing_idx_file_says_what_belongs_there(tmp_path):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: there is no such file\n.*t10k-labels"):
        load("fashion-mnist", folder=tmp_path)


def test_failed_download_says_where_to_put_the_files(tmp_path, monkeypatch):
    import pooch

    def no_network(url, known_hash, **_):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", no_network)
    monkeypatch.setattr(datasets, "_DEBIAN_FASHION", tmp_path / "nowhere")
    monkeypatch.setenv("DYNSIM_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no route to host\n.*train-images.*DYNSIM_DATA=FOLDER"):
        load("fashion-mnist")


# --- small problems --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*DRAWN, "digits"])
def test_drawn_data_depend_on_the_seed_alone(name):
    a, b, c = load(name, seed=7), load(name, seed=7), load(name, seed=8)
    for field in ("X_train", "y_train", "X_test", "y_test"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert not np.array_equal(a.X_train, c.X_train)


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_data_are_balanced_and_disjoint(name):
    data = load(name)
    assert data.X_train.shape == data.X_test.shape == (600, 2)
    for y in (data.y_train, data.y_test):
        np.testing.assert_array_equal(np.bincount(y), [300, 300])
    assert len(np.unique(np.r_[data.X_train, data.X_test], axis=0)) == 1200


def test_xor_is_uniform_and_labelled_by_its_signs():
    data = load("xor")
    X, y = np.r_[data.X_train, data.X_test], np.r_[data.y_train, data.y_test]
    np.testing.assert_array_equal(y, X[:, 0] * X[:, 1] > 0)
    boxes = np.histogram2d(*X.T, bins=4, range=[[-1, 1]] * 2)[0]
    assert ((boxes - 75) ** 2 / 75).sum() < 37.7  # chi-square, 15 degrees of freedom, 0.1 %


def test_spirals_lie_on_their_arms():
    data = load("spirals")
    r = np.linalg.norm(data.X_train, axis=1)
    turn = np.where(data.y_train == 0, 1, -1)[:, None] * data.X_train
    angle = r * 1.5 * np.pi  # radius 2 after 1.5 turns
    on_arm = r[:, None] * np.c_[np.cos(angle), np.sin(angle)]
    outside = r > 0.5  # within, noise turns the angle too much
    distance = np.linalg.norm(turn - on_arm, axis=1)[outside]
    assert np.sqrt((distance**2).mean()) < 0.02 * np.hypot(1, 1.5 * np.pi * 2)


def test_moons_lie_on_their_half_circles():
    data = load("moons")
    centre = np.where(data.y_train[:, None] == 0, [0.0, 0.0], [1.0, 0.5])
    r = np.linalg.norm(data.X_train - centre, axis=1)
    assert r.mean() == pytest.approx(1, abs=0.03)
    assert r.std() == pytest.approx(0.15, abs=0.02)
    assert data.X_train[data.y_train == 0, 1].mean() > 0.5 > 0 > data.X_train[data.y_train == 1, 1].mean()


def test_digits_are_those_of_scikit_learn():
    data = load("digits")
    assert (len(data.X_train), len(data.X_test), data.input_shape) == (1437, 360, (8, 8))
    assert (data.X_train.min(), data.X_train.max()) == (0, 1)
    counts = np.bincount(np.r_[data.y_train, data.y_test])
    np.testing.assert_array_equal(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


def test_digits_do_not_import_scikit_learn():
    code = "import sys; from dynsim.datasets import load; load('digits'); sys.exit('sklearn' in sys.modules)"
    root = Path(datasets.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60).returncode == 0


# --- load ------------------------------------------------------------------------------------------------


def test_samples_are_nested_subsets_of_the_training_part():
    whole, few, more = load("moons"), load("moons", samples=10), load("moons", samples=50)
    np.testing.assert_array_equal(few.X_train, more.X_train[:10])
    np.testing.assert_array_equal(few.X_test, whole.X_test)
    rows = np.c_[whole.X_train, whole.y_train].tolist()
    assert all(row in rows for row in np.c_[more.X_train, more.y_train].tolist())


@pytest.mark.parametrize("samples", [0, -1, 601])
def test_too_many_samples(samples):
    with pytest.raises(DataError, match=rf"moons: .*\n.*samples = {samples}\n.*1 to 600"):
        load("moons", samples=samples)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'mnist'"):
        load("mnits")


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_illegal_seed(seed):
    with pytest.raises(OptionError, match="whole number >= 0"):
        load("xor", seed=seed)


def test_every_name_is_described_in_one_line():
    assert [name for name, _ in describe()] == list(NAMES)
    assert all(line and "\n" not in line for _, line in describe())


# --- .npz ------------------------------------------------------------------------------------------------

X = np.arange(40, dtype=np.float64).reshape(10, 4)
Y = np.arange(10) % 2


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (Y + 3, (3, 4)),
        (Y.astype(float), (0, 1)),
        (Y == 1, (0, 1)),
        (np.where(Y, "dog", "cat"), ("cat", "dog")),
        (np.where(Y, b"dog", b"cat"), ("cat", "dog")),
        (np.where(Y, "10", "9"), (9, 10)),
    ],
)
def test_npz_labels_become_positions_in_classes(tmp_path, y, classes):
    data = load(npz(tmp_path / "own.npz", X=X, y=y), seed=3)
    assert data.classes == classes
    assert (len(data.y_train), len(data.y_test), data.name) == (8, 2, "own")
    for part, labels in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
        np.testing.assert_array_equal(labels, part[:, 0] / 4 % 2)  # samples and labels stay together


def test_npz_with_test_part_and_images(tmp_path):
    images = np.full((10, 2, 3), 51, np.uint8)
    path = npz(tmp_path / "own.npz", X=images, y=Y, X_test=images[:4], y_test=Y[:4])
    data = load(path)
    assert (data.X_train.shape, data.X_test.shape, data.input_shape) == ((10, 6), (4, 6), (2, 3))
    np.testing.assert_array_equal(data.X_train, np.float32(0.2))
    np.testing.assert_array_equal(data.y_train, Y)
    assert load(npz(path, X=images.astype(int), y=Y)).X_train.max() == 51  # only uint8 is taken for pixels


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "y": Y}, r"has no key 'X'\n.*keys x, y\n"),
        ({"X": X}, "has no key 'y'"),
        ({"X": X, "y": Y, "X_test": X}, "has no key 'y_test'"),
        ({"X": X[:, 0], "y": Y}, r"wrong shape\n.*X \(10,\)"),
        ({"X": X[:, :0], "y": Y}, r"wrong shape\n.*X \(10, 0\)"),
        ({"X": X, "y": Y[:, None]}, r"wrong shape\n.*y \(10, 1\)"),
        ({"X": X, "y": Y[:9]}, r"differ in number\n.*X \(10, 4\), y \(9,\)"),
        ({"X": X, "y": Y, "X_test": X[:, :3], "y_test": Y}, "not alike"),
        ({"X": X.astype(np.uint8), "y": Y, "X_test": X, "y_test": Y}, "uint8 in both or neither"),
        ({"X": X, "y": Y, "X_test": X, "y_test": Y.astype(str)}, "words as labels in both or neither"),
        (
            {"X": np.where(X == 9, np.nan, X), "y": Y},
            r"key 'X', sample 2, feature \[1\]: a value is not finite",
        ),
        ({"X": np.where(X == 9, 1e39, X), "y": Y}, r"sample 2, feature \[1\].*\n.*1e\+39\n.*within float32"),
        ({"X": X.astype(str), "y": Y}, r"key 'X': has an unusable dtype\n.*<U"),
        ({"X": X * 1j, "y": Y}, r"complex128\n.*real numbers"),
        ({"X": X.astype(object), "y": Y}, "key 'X': is an object array, that is a pickle"),
        ({"X": X, "y": Y.astype(object)}, "key 'y': is an object array, that is a pickle"),
        ({"X": X, "y": Y / 2}, r"label 1 .*: a label is a number but not a whole one\n.*0\.5"),
        ({"X": X, "y": Y * 0 + 5}, "only one class"),
        ({"X": X[:1], "y": Y[:1]}, "too few samples"),
    ],
)
def test_npz_errors_say_what_is_wrong(tmp_path, arrays, message):
    path = npz(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"", "cannot be read\n.*BadZipFile"),
        ("a.npz", b"x,y\n1,2\n", "cannot be read\n.*BadZipFile"),
        ("a.npzz", b"", r"suffix '\.npzz'\n.*\.npz, \.csv\n.*did you mean '\.npz'"),
        ("a.npz", None, r"there is no such file\n.*or use one of mnist"),
    ],
)
def test_not_an_npz(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / name)


def write_members(path, compression=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for key, content in members.items():
            archive.writestr(f"{key}.npy", content)
    return path


def npy(array, shape=None, descr=None):
    """The bytes of an .npy file whose header may claim another shape and dtype."""
    file = io.BytesIO()
    header = {"descr": descr or array.dtype.str, "fortran_order": False, "shape": shape or array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes()


def test_npz_zip_bomb_is_refused_by_its_directory(tmp_path, monkeypatch):
    path = write_members(tmp_path / "bomb.npz", X=npy(np.zeros((2000, 100))), y=npy(Y))
    monkeypatch.setattr(datafiles, "LIMIT_BYTES", 10**6)
    with pytest.raises(DataError, match=r"too large\n.*\n.*at most 1000000 bytes"):
        load(path)


@pytest.mark.parametrize("shape", [(10**15, 4), (9, 4), (-10, -4)])
def test_npz_header_that_lies_about_its_shape(tmp_path, shape):
    path = write_members(tmp_path / "lie.npz", X=npy(X, shape), y=npy(Y))
    with pytest.raises(DataError, match=re.escape(str(shape)) if shape[0] > 0 else "cannot be read"):
        load(path)


def test_npz_header_of_many_empty_words_allocates_nothing(tmp_path):
    path = write_members(tmp_path / "empty.npz", X=npy(X), y=npy(np.zeros(0), (2**50,), "|S0"))
    with pytest.raises(DataError, match="too large"):
        load(path)


def test_npz_packed_like_no_npz_is(tmp_path):
    path = write_members(tmp_path / "own.npz", zipfile.ZIP_BZIP2, X=npy(X), y=npy(Y))
    with pytest.raises(DataError, match="packed in a way"):
        load(path)


# --- .csv ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first", "classes"),
    [
        ("1,2,0\n3,4,1\n", (1, 2), (0, 1)),
        ("1;2;cat\n\n3;4;dog\n", (1, 2), ("cat", "dog")),
        ("1\t2\t0\r\n3\t4\t1\r\n", (1, 2), (0, 1)),
        ("a,b,colour\n1,2,red\n3,4,blue\n", (1, 2), ("blue", "red")),
        ("label,x,y\nb,1,2\na,3,4\n", (1, 2), ("a", "b")),
        ("x,Target,z\n1,7,2\n3,8,4\n", (1, 2), (7, 8)),
        ("label,0,1\n0,1,2\n1,3,4\n", (1, 2), (0, 1)),
        ("0,1,label\n1,2,0\n3,4,1\n", (1, 2), (0, 1)),
        ("1,2,y\n3,4,n\n", (1, 2), ("n", "y")),
        ("\ufeff1e0, 2.0 ,0.0\n3,4,1.0\n", (1, 2), (0, 1)),
        ('1,2,"a, b"\n3,4,c\n', (1, 2), ("a, b", "c")),
    ],
)
def test_csv_dialects(tmp_path, text, first, classes):
    (tmp_path / "own.csv").write_text(text, encoding="utf-8", newline="")
    data = load(tmp_path / "own.csv")
    assert (data.classes, data.input_shape) == (classes, (2,))
    rows = np.r_[data.X_train, data.X_test]
    np.testing.assert_array_equal(rows[np.argsort(rows[:, 0])], [first, (3, 4)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"1,2,0\n", "too few rows"),
        (b"x,y\n1,0\n", "too few samples"),
        (b"1\n2\n", r"only one column\n.*comma, semicolon or tab"),
        (b"1,2,0\n3,4,1\n5,1\n", r"line 3: a row has another number of columns.*\n.*2\n.*3"),
        (b"a,b,y\n1,2,0\n\n3,oops,1\n", r"line 4, column 2 \('b'\): not a finite number\n.*'oops'"),
        (b"1,2,0\n3,nan,1\n", r"line 2, column 2: not a finite number\n.*'nan'"),
        (b"1,2,0\n-inf,3,1\n", "line 2, column 1: not a finite number"),
        (b"1,2,0\n,3,1\n", "line 2, column 1: not a finite number"),
        (b"1,2,0\n1e39,3,1\n", r"line 2, feature \[0\]: a value is not finite"),
        (b"1,2,0\n3,4,\n", "line 2, column 3: a label is missing"),
        (b"1,2,0\n3,4,0.5\n", r"line 2: a label is a number but not a whole one\n.*0\.5"),
        (b"1,2,0\n3,4,0\n", "only one class"),
        (b"1,2,caf\xe9\n3,4,b\n", "line 1: is not UTF-8"),
        (b'1,2,0\n3,"4,1\n', "line 2: is not CSV"),
        (b"1,5;2,5;0\n1,5;2,5;1\n", r"line 1, column 1: not a finite number\n.*'1,5'"),
        (b"PK\x03\x04\xff\xfe", "line 1: is not UTF-8|too few"),
    ],
)
def test_csv_errors_name_line_and_column(tmp_path, text, message):
    path = tmp_path / "own.csv"
    path.write_bytes(text)
    with pytest.raises(DataError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


# --- damaged files ---------------------------------------------------------------------------------------


def sound_files(folder):
    """Name -> bytes of a small sound file of each kind."""
    np.savez(folder / "stored.npz", X=X, y=np.where(Y, "dog", "cat"))
    np.savez_compressed(folder / "packed.npz", X=X, y=Y, X_test=X, y_test=Y)
    text = "a,b,label\n" + "".join(f"{i},{i * i / 7:.3f},{'cat' if i % 2 else 'dog'}\n" for i in range(8))
    (folder / "own.csv").write_text(text)
    (folder / "plain").write_bytes(idx(CUBE))
    (folder / "plain.gz").write_bytes(gzip.compress(idx(CUBE), mtime=0))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["stored.npz", "packed.npz", "own.csv", "plain", "plain.gz"])
def test_flipped_or_cut_files_raise_nothing_but_data_errors(tmp_path, name):
    sound = sound_files(tmp_path)[name]
    path = tmp_path / name
    read = read_idx if name.startswith("plain") else load
    read(path)

    flips = st.lists(st.tuples(st.integers(0, len(sound) - 1), st.integers(1, 255)), max_size=4)

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(flips, st.integers(0, len(sound)))
    def check(flips, cut):
        damaged = bytearray(sound)
        for position, mask in flips:
            damaged[position] ^= mask
        path.write_bytes(damaged[: cut if cut % 2 else None])
        try:
            result = read(path)
        except DataError:
            return
        assert np.isfinite(result if read is read_idx else result.X_train).all()

    check()

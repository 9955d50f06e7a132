"""Files made to do harm: each is refused with an error of ours that names the object, and touches nothing else."""

import struct
import time
import zlib

import h5py
import numpy as np
import pytest
from faults import FULL
from h5py import h5d, h5p, h5s, h5t

from dynsim.backend.report import describe
from dynsim.errors import FileFormatError
from dynsim.trajectory import Trajectory, admission, flags, schema

POSITION = f"{schema.GROUP}/position/value"
SECRET = "/etc/passwd"


def external_link(file, folder):
    file["observables/stolen"] = h5py.ExternalLink(SECRET, "/")
    return "/observables/stolen is a link into another file"


def soft_link(file, folder):
    file["observables/loop"] = h5py.SoftLink("/observables/loop")
    return "/observables/loop is a soft link"


def group_loop(file, folder):
    file["observables/again"] = file["observables"]
    return "/observables/again is a group that has another name already"


def external_storage(file, folder):
    del file[POSITION]
    file.create_dataset(POSITION, (6, 24, 3), "f4", external=[(SECRET, 0, h5py.h5f.UNLIMITED)])
    return f"/{POSITION} keeps its data in another file"


def virtual_dataset(file, folder):
    layout = h5py.VirtualLayout((6,), "f8")
    layout[:] = h5py.VirtualSource(SECRET, "a", (6,))
    file.create_virtual_dataset("observables/stolen", layout)
    return "/observables/stolen is put together from other datasets"


def huge_chunk(file, folder):
    file.create_dataset("observables/big", (1,), "f8", chunks=(2**28 - 1,), maxshape=(None,))
    return "/observables/big has too large chunks"


def gzip_bomb(file, folder):
    bomb = file.create_dataset("observables/bomb", (500 * 2**21,), "u1", chunks=(2**21,), compression="gzip")
    packed = zlib.compress(bytes(2**21))
    for k in range(500):
        bomb.id.write_direct_chunk((k * 2**21,), packed)
    return "/observables/bomb promises more data than the file can hold"


def empty_promise(file, folder):
    file.create_dataset("observables/sparse", (2**40, 2**20), "f8", chunks=(1, 2**20))
    return "/observables/sparse promises more data"


def many_filters(file, folder):
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_chunk((2**20,))
    for _ in range(4):
        plan.set_deflate(9)
    h5d.create(file["observables"].id, b"packed", h5t.NATIVE_UINT8, h5s.create_simple((2**20,)), plan)
    return "/observables/packed is packed in an unknown way"


def unknown_filter(file, folder):
    file.create_dataset("observables/lzf", (8,), "f8", chunks=(8,), compression="lzf")
    return "/observables/lzf is packed in an unknown way"


def deep_nesting(file, folder):
    file.create_group("observables/" + "/".join("a" * 200))
    return "is nested too deeply"


def many_groups(file, folder):
    crowd = file.create_group("observables/crowd")
    for k in range(10_000):
        crowd.create_group(str(k))
    return "/observables/crowd has too many objects"


def many_attributes(file, folder):
    for k in range(200):
        file["observables"].attrs[str(k)] = k
    return "/observables has too many attributes"


def large_attribute(file, folder):
    file["observables"].attrs["a"] = np.zeros(2**18)
    return "/observables@a is too large"


def object_references(file, folder):
    file.create_dataset("observables/refs", (1,), h5py.ref_dtype)[0] = file.ref
    return "/observables/refs has a type that has no place here"


def region_attribute(file, folder):
    file[POSITION].attrs["where"] = file[POSITION].regionref[0:1]
    return f"/{POSITION}@where has a type"


def strings_of_any_length(file, folder):
    file["parameters/scenario"] = "a" * 99
    return "/parameters/scenario has a type"


def compound(file, folder):
    file["observables/compound"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
    return "/observables/compound has a type"


def named_type(file, folder):
    file["observables/type"] = np.dtype("f8")
    return "/observables/type is neither group nor dataset"


def other_rows(file, folder):
    del file[POSITION]
    file.create_dataset(POSITION, (6, 23, 3), "f4", chunks=(6, 23, 3))
    return "position/value does not fit the particles"


def wrong_number_of_particles(file, folder):
    del file[f"{schema.GROUP}/mass"]
    file[f"{schema.GROUP}/mass"] = np.ones(5, "f4")
    return "dyn_subsystem does not fit the particles"


def subsystem_that_is_not_there(file, folder):
    file[f"{schema.GROUP}/dyn_subsystem"][3] = 99
    return "dyn_subsystem names a subsystem that is not there"


def group_where_numbers_belong(file, folder):
    del file["dyn/step"]
    file.create_group("dyn/step")
    return "damaged"


def another_schema(file, folder):
    del file["parameters/schema"]
    file["parameters/schema"] = np.bytes_(b"dynsim-h5/9")
    return "another schema"


def schema_of_numbers(file, folder):
    del file["parameters/schema"]
    file["parameters/schema"] = 7
    return "not a readable HDF5 file"


INSIDE = (
    external_link, soft_link, group_loop, external_storage, virtual_dataset, huge_chunk, gzip_bomb, empty_promise,
    many_filters, unknown_filter, deep_nesting, many_groups, many_attributes, large_attribute, object_references,
    region_attribute, strings_of_any_length, compound, named_type, other_rows, wrong_number_of_particles,
    subsystem_that_is_not_there, group_where_numbers_belong, another_schema, schema_of_numbers,
)  # fmt: skip


def build(construction, path):
    with h5py.File(path, "r+", libver=schema.LIBVER) as file:
        return construction(file, path.parent)


@pytest.mark.parametrize("construction", INSIDE, ids=lambda f: f.__name__)
def test_a_hostile_file_is_refused_by_the_name_of_the_object(sound, construction):
    words = build(construction, sound)
    with pytest.raises(FileFormatError) as caught, Trajectory(sound):
        pass
    assert words in str(caught.value)
    assert str(sound) in str(caught.value)


@pytest.mark.skipif(not FULL, reason="times are for make soak")
def test_no_hostile_file_takes_a_second(sound, tally):
    original, spent = sound.read_bytes(), []
    for construction in INSIDE:
        sound.write_bytes(original)
        build(construction, sound)
        begun = time.process_time()
        with pytest.raises(FileFormatError):
            Trajectory(sound)
        spent.append(time.process_time() - begun)
    tally("hostile trajectories refused", sum(s < 1 for s in spent), len(INSIDE), f"slowest {max(spent):.2f} s")


def older_format(path):
    with h5py.File(path, "w", libver="earliest") as file:
        file["a"] = 1


def not_hdf5(path):
    path.write_bytes(b"PK\3\4" + bytes(100))


def only_a_signature(path):
    path.write_bytes(flags.SIGNATURE)


def root_outside_the_file(path):
    data = bytearray(path.read_bytes()[:48])
    struct.pack_into("<Q", data, 36, 2**40)
    data[44:] = struct.pack("<I", flags.lookup3(bytes(data[:44])))
    path.write_bytes(data + path.read_bytes()[48:])


@pytest.mark.parametrize("damage", [older_format, not_hdf5, only_a_signature, root_outside_the_file])
def test_what_is_no_file_of_ours_is_refused(sound, damage):
    damage(sound)
    with pytest.raises(FileFormatError, match="not a readable HDF5 file"):
        Trajectory(sound)


def test_a_file_from_outside_is_read_by_a_child_first(sound):
    admission.admit(sound)
    words = build(external_storage, sound)
    with pytest.raises(FileFormatError) as caught:
        describe(sound)
    assert words in str(caught.value)


def test_a_file_that_kills_or_holds_its_reader_reaches_nobody_else(sound, monkeypatch):
    """Whatever the library may do with a file, it does in the child."""
    start = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from dynsim.trajectory import admission, reader;"
    faults = {
        "while True: pass": "takes too long to read",
        "import ctypes; ctypes.string_at(0)": "cannot be read without harm",
        "bytearray(2**32)": "cannot be read without harm",
    }
    for fault, words in faults.items():
        inside = f"{start}exec('def hit(self, path):\\n {fault}'); reader.Trajectory.__init__ = hit; admission.judge()"
        monkeypatch.setattr(admission, "_CHILD", inside)
        with pytest.raises(FileFormatError, match=words):
            admission.admit(sound)


def test_the_missing_file_is_still_called_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no trajectory here"):
        admission.admit(tmp_path / "none.h5")

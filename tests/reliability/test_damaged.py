"""Damaged trajectories: 200 cut, 500 with a bit and 500 with a byte flipped. None crashes a reader or lies to it."""

from collections import Counter

import pytest
from faults import Child, write_trajectory


def cut(data, rng):
    return data[: rng.integers(len(data))]


def bit_flipped(data, rng):
    at, data = rng.integers(len(data)), bytearray(data)
    data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def byte_flipped(data, rng):
    at, data = rng.integers(len(data)), bytearray(data)
    data[at] ^= int(rng.integers(1, 256))
    return bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut, marks=pytest.mark.counts(10, 200)),
        pytest.param(bit_flipped, marks=pytest.mark.counts(25, 500)),
        pytest.param(byte_flipped, marks=pytest.mark.counts(25, 500)),
    ],
)
def test_damage_is_refused_or_harmless(tmp_path, damage, count, tally, rng):
    original = write_trajectory(tmp_path / "sound.h5")
    data, path = original.read_bytes(), tmp_path / "damaged.h5"
    fates = Counter()
    with Child() as child:
        assert child.open("trajectory", original, str(original))[0] == "read"
        for _ in range(count):
            path.write_bytes(damage(data, rng))
            fate, words, _ = child.open("trajectory", path, str(original))
            assert fate in ("read", "refused"), f"{fate} {words}"
            fates[fate] += 1
    good = fates["read"] + fates["refused"]
    tally(f"trajectories {damage.__name__.replace('_', ' ')}", good, count, f"{fates['refused']} refused, 0 changed")

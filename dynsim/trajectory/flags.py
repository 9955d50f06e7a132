"""What a killed writer leaves in a file: a mark that it has the file open, and now and then a torn chunk.

Sources: HDF5 File Format Specification 3.0, II.A (superblock version 3) and the fletcher32 filter; checksum
of the superblock: Bob Jenkins, lookup3.c, `hashlittle`. Works where HDF5's own `h5clear` is not installed.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from dynsim.errors import FileFormatError
from dynsim.lock import Lock

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# signature, version, bytes an offset, bytes a length, flags, base, extension, end of file, root, checksum
SUPERBLOCK = struct.Struct("<8s4B4QI")
OPEN_FOR_WRITING, OPEN_FOR_SWMR = 1, 4
_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Superblock:
    """The first 48 bytes of the file that h5py writes with libver "v110"."""

    fields: tuple

    @property
    def is_open(self) -> bool:
        """Some writer has the file open, or was killed while it had."""
        return bool(self.fields[4] & (OPEN_FOR_WRITING | OPEN_FOR_SWMR))

    @property
    def is_followable(self) -> bool:
        """The writer has begun to let others read along (SWMR)."""
        return bool(self.fields[4] & OPEN_FOR_SWMR)

    @property
    def end(self) -> int:
        """Bytes that the file should have."""
        return self.fields[7]

    def closed(self, size: int) -> bytes:
        """The same superblock without the mark, for a file of `size` bytes."""
        body = SUPERBLOCK.pack(*self.fields[:4], 0, *self.fields[5:7], size, self.fields[8], 0)[:-4]
        return body + struct.pack("<I", lookup3(body))


def is_open(path: str | Path) -> bool:
    """Whether the file carries the mark; False for a file that cannot carry one."""
    try:
        return read(path).is_open
    except FileFormatError:
        return False


def clear(path: str | Path) -> bool:
    """Take the mark of a killed writer off, so that every reader opens the file; False if there was none.

    Raises RunFolderError while a writer lives, FileFormatError for a file that is no HDF5 file with superblock
    version 3, or is damaged.
    """
    if not read(path).is_open:
        return False
    with Lock(Path(path), create=False, what="this trajectory"):
        _clear(path, read(path))
    return True


def _clear(path: str | Path, superblock: Superblock) -> None:
    size = os.path.getsize(path)
    if size < superblock.end:
        raise FileFormatError("truncated", where=str(path), given=f"{size} bytes", allowed=f"{superblock.end} bytes")
    with open(path, "r+b") as file:
        # A kill can leave data behind the recorded end; a later writer must not put its own there.
        file.write(superblock.closed(size))
        file.flush()
        os.fsync(file.fileno())


def read(path: str | Path) -> Superblock:
    """The superblock. Raises FileFormatError unless it is a sound one of version 3."""
    with open(path, "rb") as file:
        data = file.read(SUPERBLOCK.size)
    if not data.startswith(SIGNATURE):
        raise FileFormatError("not an HDF5 file", where=str(path))
    if len(data) < SUPERBLOCK.size or data[8:11] != b"\x03\x08\x08":
        raise FileFormatError(
            "this HDF5 file carries no consistency flag", where=str(path), allowed="superblock version 3"
        )
    superblock = Superblock(SUPERBLOCK.unpack(data))
    if superblock.fields[-1] != lookup3(data[:-4]):
        raise FileFormatError("the superblock is damaged (checksum)", where=str(path))
    return superblock


def rescue(dataset: h5py.Dataset, row: int) -> np.ndarray | None:
    """The chunk that holds `row` as it stood before a flush that a kill broke off; None if it cannot be had.

    A flush writes the last chunk again in place, with more rows and a new checksum at its very end. Torn, the
    chunk has its old rows, some new ones and the old checksum, which proves how many rows there were.
    """
    if dataset.compression or dataset.chunks[0] == 1:
        return None
    try:
        _, raw = dataset.id.read_direct_chunk(_corner(dataset, row))
    except (OSError, RuntimeError):
        return None
    chunk = np.frombuffer(raw[:-4], dataset.dtype).reshape(dataset.chunks)
    fill = np.full(dataset.chunks, dataset.fillvalue, dataset.dtype)
    (fits,) = np.nonzero(_fletcher32_of_first_rows(chunk, fill) == struct.unpack("<I", raw[-4:])[0])
    if not len(fits) or fits[-1] <= row % len(chunk):
        return None
    return np.concatenate([chunk[: fits[-1]], fill[fits[-1] :]])


def mend(dataset: h5py.Dataset, row: int) -> int:
    """Put the rescued chunk that holds `row` back into a file open for writing, if it is torn; the rows put back."""
    try:
        dataset[row]
        return 0
    except OSError:
        chunk = rescue(dataset, row)
    if chunk is None:
        return 0
    checksum = _fletcher32_of_first_rows(chunk, chunk)[0]
    data = chunk.tobytes() + struct.pack("<I", checksum)
    dataset.id.write_direct_chunk(_corner(dataset, row), data)
    return row % len(chunk) + 1


def lookup3(data: bytes) -> int:
    """Jenkins' 32-bit checksum of `data`, start value 0, as HDF5 stores it beside its metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    words = struct.unpack(f"<{len(data) // 4 + 3}I", data.ljust((len(data) // 4 + 3) * 4, b"\0"))
    i = 0
    while len(data) - 4 * i > 12:
        a, b, c = _mix((a + words[i]) & _MASK, (b + words[i + 1]) & _MASK, (c + words[i + 2]) & _MASK)
        i += 3
    if len(data) == 4 * i:
        return c
    return _final((a + words[i]) & _MASK, (b + words[i + 1]) & _MASK, (c + words[i + 2]) & _MASK)


def _rotate(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (32 - bits))) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        # one line of lookup3's mix(), then the three names change places
        a = ((a - c) & _MASK) ^ _rotate(c, bits)
        c = (c + b) & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, bits)) & _MASK
        a, b, c = b, c, a
    return b


def _corner(dataset: h5py.Dataset, row: int) -> tuple[int, ...]:
    return (row - row % dataset.chunks[0],) + (0,) * (dataset.ndim - 1)


def _fletcher32_of_first_rows(chunk: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """(rows + 1,) HDF5's checksum of the chunk if only its first 0, 1, ... rows were written."""
    totals = []
    for words in (np.frombuffer(array.tobytes(), ">u2").astype("u8") for array in (chunk, fill)):
        weighted = np.stack([words, words * np.arange(len(words), 0, -1, dtype="u8")])
        by_row = weighted.reshape(2, len(chunk), -1).sum(axis=2)
        totals.append(np.pad(by_row.cumsum(axis=1), ((0, 0), (1, 0))))
    written, unwritten = totals
    low, high = _fold(written + unwritten[:, -1:] - unwritten)
    return high << np.uint64(16) | low


def _fold(sums: np.ndarray) -> np.ndarray:
    # ones' complement: 65535 stands for zero, unless nothing but zeros was added
    return np.where(sums == 0, 0, (sums - (sums > 0)) % 65535 + 1).astype("u8")

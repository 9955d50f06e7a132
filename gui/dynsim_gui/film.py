"""Pictures one after another into a file: MP4 by ffmpeg, GIF by Pillow."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from dynsim.errors import DynsimError, OptionError
from dynsim_gui.models import palette

ENDINGS = (".mp4", ".gif")
# x264's constant quality, 0 ... 51: small points on a dark ground stay clean at this.
CRF = 20
# Said in the file as well, or players guess the colours from the size of the picture.
BT709 = "-vf scale=out_color_matrix=bt709:out_range=tv -colorspace bt709 -color_primaries bt709 -color_trc bt709"
# Pictures, beside the last, from which a GIF's one palette is made.
SAMPLES = 8


class MissingPackageError(DynsimError, ImportError):
    """Something optional that is not installed."""


def check_target(path: Path) -> None:
    """Raises OptionError for an unknown ending, FileNotFoundError for a folder that is not there."""
    if path.suffix.lower() not in ENDINGS:
        raise OptionError("not a kind of movie", where=str(path), given=repr(path.suffix), allowed=" or ".join(ENDINGS))
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.absolute().parent}")


def write_film(path: str | Path, pictures: Iterable[np.ndarray], fps: float) -> None:
    """Write (h, w, 3) uint8 pictures of one even size, at least one, as the ending of the path says.

    The file appears when it is whole. Raises what `check_target` raises, MissingPackageError without what MP4 needs,
    OSError, and whatever making the pictures raises; then nothing is left behind.
    """
    path = Path(path)
    check_target(path)
    write = {".mp4": _write_mp4, ".gif": _write_gif}[path.suffix.lower()]
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix.lower()}")
    try:
        write(temporary, pictures, fps)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_mp4(path: Path, pictures: Iterable[np.ndarray], fps: float) -> None:
    try:
        import imageio
        import imageio_ffmpeg  # noqa: F401  imageio asks for it only at the first picture
    except ImportError as error:
        raise MissingPackageError(
            f"MP4 needs {error.name}", hint="pip install 'dynsim[movie]', or a movie that ends in .gif"
        ) from None
    writer = imageio.get_writer(
        path,
        format="FFMPEG",
        fps=fps,
        codec="libx264",
        pixelformat="yuv420p",
        macro_block_size=2,
        quality=None,
        output_params=["-crf", str(CRF), *BT709.split(), "-movflags", "+faststart"],
        ffmpeg_log_level="error",
    )
    with closing(writer):
        for picture in pictures:
            writer.append_data(picture)


def _write_gif(path: Path, pictures: Iterable[np.ndarray], fps: float) -> None:
    """Equal pictures in a row become one that lasts longer; all share one palette, so that nothing flickers."""
    runs = _runs(pictures)
    samples = [_unpacked(runs[k * (len(runs) - 1) // SAMPLES][0]) for k in range(SAMPLES + 1)]
    table = palette_of(samples)
    images = (_unpacked(packed).quantize(palette=table, dither=Image.Dither.NONE) for packed, _ in runs)
    first = next(images)
    # A GIF counts hundredths of a second; rounding the ends, not the lengths, keeps time.
    ends = np.round(np.cumsum([0, *(count for _, count in runs)]) * 100 / fps)
    durations = [int(d) for d in np.maximum(np.diff(ends), 2) * 10]
    first.save(path, format="GIF", save_all=True, append_images=images, duration=durations, loop=0)


def _runs(pictures: Iterable[np.ndarray]) -> list[tuple[tuple[bytes, tuple[int, ...]], int]]:
    """Pictures that differ from the one before, packed (most of them is ground), and how often each came."""
    runs: list = []
    before = None
    for picture in pictures:
        if before is not None and np.array_equal(picture, before):
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append(((zlib.compress(picture.tobytes(), 1), picture.shape), 1))
            before = picture
    return runs


def _unpacked(packed: tuple[bytes, tuple[int, ...]]) -> Image.Image:
    data, shape = packed
    return Image.fromarray(np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape))


def palette_of(samples: list[Image.Image]) -> Image.Image:
    """An image whose palette has the 256 colours that suit the samples.

    Colours count by their kinds, not by how often they occur: nearly all of a picture is its ground. That and the
    categories have entries of their own.
    """
    exact = [palette.rgb(colour) for colour in (palette.CANVAS, palette.PANEL, palette.TEXT)]
    exact += palette.category_colours().tolist()
    pixels = np.concatenate([np.asarray(sample).reshape(-1, 3) for sample in samples])
    _, kinds = np.unique(pixels // 3 @ np.array([1, 256, 65536]), return_index=True)
    rest = Image.fromarray(pixels[kinds][None]).quantize(256 - len(exact), Image.Quantize.MAXCOVERAGE)
    table = Image.new("P", (1, 1))
    table.putpalette([*np.ravel(exact).tolist(), *rest.getpalette()])
    return table

"""How near does `isophote index` come to what the machine's cores allow?

Photos of 1 and 12 megapixels are made from the sample photos. For each size, in turns: the CPU
seconds of preparing all photos (read, hash, decode, measure, preprocess) and of encoding as many,
each alone on one thread; and the wall time of the whole of `isophote index` into a new
collection, with the encoder on one thread and on all. No run can take less than the CPU seconds
divided by the cores. The wall time includes opening the model, the commits and the search
indexes; an ingest of three photos shows what of that does not grow with the photos. It does not
include importing Python packages.

    python -m tests.benchmarks.ingest
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from indexer.encoders.onnx import open_pocket
from indexer.prepare import PreparedPhoto, prepare_photo
from indexer.scan import ScannedFile, scan
from indexer.settings import Settings, available_cores
from indexer.workers import keep_freed_memory
from tests.benchmarks.machine import describe_machine
from tests.makers.enlarged import JPEG_QUALITY, photo_files, write_enlarged_photos

TARGET_RATIO = 1.15
FEW_PHOTOS = 3


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of one round: CPU of both stages alone, wall by the encoder's threads."""

    prepare_cpu: float
    encode_cpu: float
    walls: dict[int, float]

    def ratio(self, n_threads: int, *, cores: int, saved: float = 0.0) -> float:
        """Return the wall time, less what was saved, over the least that is possible."""
        return (self.walls[n_threads] - saved) / ((self.prepare_cpu + self.encode_cpu) / cores)


def prepare_cpu(files: Sequence[ScannedFile]) -> float:
    """Prepare all files on this thread as a worker does; return CPU seconds."""
    keep_freed_memory()
    preprocessing = open_pocket(n_threads=1).description.require_preprocessing()
    max_pixels = Settings().max_pixels
    start = time.process_time()
    for file in files:
        prepared = prepare_photo(
            file, preprocessing=preprocessing, max_pixels=max_pixels, known_hashes=()
        )
        if not isinstance(prepared, PreparedPhoto):
            raise click.ClickException(f"a photo made here failed: {prepared}")
    return time.process_time() - start


def encode_cpu(n_photos: int, *, batch_size: int) -> float:
    """Encode random pictures on one thread, in the batches of an ingest; return CPU seconds."""
    encoder = open_pocket(n_threads=1)
    about = encoder.description.require_preprocessing()
    shape = (batch_size, about.height, about.width, 3)
    batch = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    encoder.encode_images(batch[:1])
    start = time.process_time()
    for first in range(0, n_photos, batch_size):
        encoder.encode_images(batch[: n_photos - first])
    return time.process_time() - start


def index_wall(folder: Path, *, cores: int, encoder_threads: int) -> float:
    """Index into a new collection; return wall seconds."""
    # Imported here: worker processes import this module again, and must not pay for more than
    # those of the command.
    from service.indexing import index_photos

    with tempfile.TemporaryDirectory() as place:
        settings = Settings(
            collection=f"{place}/collection", threads=cores, encoder_threads=encoder_threads
        )
        start = time.perf_counter()
        index_photos([folder], settings=settings, report=lambda _: None)
        return time.perf_counter() - start


def measure(folder: Path, *, cores: int, repeats: int) -> list[Round]:
    """Measure everything in turns, so that a busy machine slows all of it."""
    files = [found for found in scan(folder) if isinstance(found, ScannedFile)]
    return [
        Round(
            prepare_cpu(files),
            encode_cpu(len(files), batch_size=Settings().batch_size),
            {
                threads: index_wall(folder, cores=cores, encoder_threads=threads)
                for threads in sorted({1, cores})
            },
        )
        for _ in range(repeats)
    ]


def print_rounds(rounds: Sequence[Round], n_photos: int, *, cores: int, fixed: float) -> None:
    """Print one line for each number of encoder threads."""
    prepare = n_photos / median(rounds, lambda each: each.prepare_cpu)
    encode = n_photos / median(rounds, lambda each: each.encode_cpu)
    for threads in rounds[0].walls:
        ratios = [each.ratio(threads, cores=cores) for each in rounds]
        net = [each.ratio(threads, cores=cores, saved=fixed) for each in rounds]
        rate = n_photos / median(rounds, lambda each: each.walls[threads])  # noqa: B023
        middle = statistics.median(ratios)
        verdict = "met" if middle <= TARGET_RATIO else "missed"
        click.echo(
            f"{n_photos:13} {prepare:8.1f} {encode:7.1f} {threads:12} {rate:8.1f}   {middle:.2f} "
            f"({min(ratios):.2f}..{max(ratios):.2f}) {verdict:6}   {statistics.median(net):.2f}"
        )


def median(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    """Return the middle of one value over all rounds."""
    return statistics.median(value(each) for each in rounds)


def fixed_cost(folder: Path, *, cores: int, repeats: int) -> float:
    """Print and return the wall seconds of an ingest of a few photos."""
    first, *others = (
        index_wall(folder, cores=cores, encoder_threads=cores) for _ in range(repeats + 1)
    )
    fixed = statistics.median(others)
    click.echo(f"an ingest of {FEW_PHOTOS} photos: {fixed:.2f} s, the first one {first:.2f} s")
    return fixed


@click.command()
@click.option("--small", default=2000, show_default=True, help="Photos of 1 megapixel.")
@click.option("--large", default=600, show_default=True, help="Photos of 12 megapixels.")
@click.option("--repeats", default=3, show_default=True, help="Rounds; the median is printed.")
@click.option(
    "--photos",
    type=click.Path(path_type=Path, exists=True),
    default="data/photos",
    show_default=True,
    help="Folder of photos that the benchmark's are made from.",
)
def main(small: int, large: int, repeats: int, photos: Path) -> None:
    """Measure the ingest of small and large photos."""
    cores = available_cores()
    click.echo(describe_machine())
    click.echo(
        f"pocket model; {cores + 1} workers; batch {Settings().batch_size}; {repeats} rounds; "
        f"photos enlarged, with noise (seeds 0..), JPEG quality {JPEG_QUALITY}"
    )
    with tempfile.TemporaryDirectory() as place:
        for megapixels, count in ((1, small), (12, large)):
            folder, few = Path(place, str(megapixels)), Path(place, f"{megapixels}-few")
            for made, n_made in ((folder, count), (few, FEW_PHOTOS)):
                write_enlarged_photos(
                    made, photo_files(photos), count=n_made, megapixels=megapixels
                )
            click.echo(f"photos of {megapixels} MP; photos/s of one core, then of the whole")
            fixed = fixed_cost(few, cores=cores, repeats=repeats)
            click.echo(
                "       photos  prepare  encode  enc. threads    whole   wall / bound "
                f"(target {TARGET_RATIO})    less fixed cost"
            )
            print_rounds(
                measure(folder, cores=cores, repeats=repeats), count, cores=cores, fixed=fixed
            )


if __name__ == "__main__":
    main()

"""How long does it take to make groups of pairs, each with its keeper, reason and differences?

What is known of made-up photos is held as an answer holds it, their vectors as well, and pairs of
them are planted at random. Only their thumbnails, 1 KB each, are pages of zeros and take no memory.

    python -m tests.benchmarks.duplicate_groups --photos 1000000
"""

import resource
import time
from typing import cast

import click
import numpy as np
import pyarrow as pa

from indexer.scoring.exact_cosines import HalfRows
from indexer.scoring.similarity_join import Pairs
from indexer.store import Store
from schemas.duplicates import PairThreshold
from service.duplicates.grouping import groups_of
from service.duplicates.keepers import Preference
from service.duplicates.material import Matches, Material
from service.duplicates.photos import PhotoSet
from service.duplicates.searching import Search
from tests.benchmarks.machine import describe_machine

DIMENSION = 512
THRESHOLD = PairThreshold(
    strictness="normal", similarity=0.5, agreement=0.8, false_pair_rate=0.001, n_sampled=1
)


def drawn_photos(n_photos: int, generator: np.random.Generator) -> PhotoSet:
    """Make up what is known of photos: their sizes and qualities differ, and no two files."""
    numbers = range(n_photos)
    facts = {
        "image_id": pa.array(numbers, pa.int64()),
        "root": pa.array(["/home/someone/Pictures"] * n_photos),
        "path": pa.array([f"{number % 1000}/IMG_{number}.jpg" for number in numbers]),
        "content_hash": pa.array([f"{number:064x}" for number in numbers]),
        "pixel_hash": pa.array([f"{number:032x}" for number in numbers]),
        "taken_at": pa.nulls(n_photos, pa.timestamp("us")),
        "width": pa.array(generator.integers(1000, 5000, n_photos), pa.int32()),
        "height": pa.array(generator.integers(1000, 5000, n_photos), pa.int32()),
        "format": pa.array(["JPEG"] * n_photos),
        "file_size": pa.array(generator.integers(10**5, 10**7, n_photos)),
        "camera": pa.nulls(n_photos, pa.string()),
        "latitude": pa.nulls(n_photos, pa.float64()),
        "jpeg_quality": pa.array(generator.integers(50, 100, n_photos), pa.int16()),
        "quality": pa.array(generator.random(n_photos), pa.float32()),
        "sharpness": pa.array(generator.random(n_photos), pa.float32()),
    }
    return PhotoSet(cast(Store, None), pa.table(facts)).with_found({})


def drawn_matches(n_photos: int, n_pairs: int, generator: np.random.Generator) -> Matches:
    """Plant pairs of which no two have a photo in common."""
    ends = np.sort(generator.permutation(n_photos)[: 2 * n_pairs].reshape(-1, 2), axis=1)
    similarities = generator.uniform(0.8, 1.0, n_pairs).astype(np.float32)
    pairs = Pairs(ends[:, 0].astype(np.int32), ends[:, 1].astype(np.int32), similarities)
    return Matches(pairs, np.ones(n_pairs, np.bool_), THRESHOLD, 1.0)


@click.command()
@click.option("--photos", default=1_000_000, show_default=True)
@click.option("--duplicates", default=0.05, show_default=True, help="Share with a copy.")
@click.option("--seed", default=0, show_default=True)
def main(photos: int, duplicates: float, seed: int) -> None:
    """Print seconds and peak memory of making the groups."""
    click.echo(describe_machine())
    click.echo(f"{photos:,} photos, {duplicates:.0%} with a copy, seed {seed}")
    generator = np.random.default_rng(seed)
    vectors = np.zeros((photos, DIMENSION), np.float16)
    vectors[:, 0] = 1
    material = Material(
        HalfRows(vectors, np.ones(photos)),
        np.zeros((photos, 32, 32), np.uint8),
        np.ones(photos, np.bool_),
    )
    everyone = np.arange(photos)
    matches = drawn_matches(photos, round(duplicates * photos), generator)
    known = drawn_photos(photos, generator)
    search = Search(known, "near", everyone, everyone, material, matches)
    before = _peak_megabytes()
    started = time.perf_counter()
    groups = groups_of(search, Preference())
    click.echo(
        f"{len(groups):,} groups in {time.perf_counter() - started:.1f} s (wanted 60); peak "
        f"{_peak_megabytes():,.0f} MB, {before:,.0f} MB of it before (wanted 2,000)"
    )


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()

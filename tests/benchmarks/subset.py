"""How long does choosing a subset take, in how much memory, and what does it buy?

Made-up clustered photos, of which every method chooses; each in a process of its own, whose peak
memory is what the operating system says (ru_maxrss). That includes the vectors and numpy itself,
so that a line for these alone comes first. CPU seconds are those of all threads; on a busy machine
they tell more than the clock. Cosines are those of a photo that is left out to the nearest chosen
one, in a cell with semdedup, and beside them those of a random choice of as many.

    python -m tests.benchmarks.subset
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from indexer.encoders.encoder import Projectors
from indexer.settings import Settings
from indexer.store import create_store, open_store
from schemas.subset import Coverage, SubsetSummary
from service.collection import Collection
from service.subset import SubsetChoice, choose_subset, chosen_photos
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.search import clustered_vectors
from tests.makers.stores import collection_info, described, image_rows

ROWS_PER_APPEND = 20_000


@dataclass(frozen=True, slots=True)
class Spent:
    """What a choice took, by the clock, on all cores and at its peak, and what it reached."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    summary: SubsetSummary


def make_collection(place: str, *, photos: int, dim: int, spread: float, seed: int) -> None:
    """Make a collection of clustered vectors."""
    model = described(feature_dim=dim, text_feature_dim=dim, embedding_dim=dim)
    identity = np.eye(dim, dtype=np.float32)
    projectors = Projectors(identity, identity)
    store = create_store(place, collection_info(model, projectors), projectors)
    vectors = clustered_vectors(photos, dim, spread=spread, seed=seed)
    for first in range(0, photos, ROWS_PER_APPEND):
        rows = vectors[first : first + ROWS_PER_APPEND]
        store.append_images(image_rows(store, rows, first_id=first))


def spent(choice: SubsetChoice, place: str) -> Spent:
    """Return what the choice takes in a new process, from an open collection to the list."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answer: Spent = pool.apply(_spent_here, (choice, place))
    return answer


def _spent_here(choice: SubsetChoice, place: str) -> Spent:
    collection = Collection(open_store(place), Settings(collection=place))
    started, cpu_started = time.perf_counter(), time.process_time()
    chosen = choose_subset(collection, choice)
    chosen_photos(collection, chosen)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kibibytes elsewhere.
    megabytes = peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    return Spent(seconds, cpu_seconds, megabytes, chosen.summary)


def line(name: str, taken: Spent) -> str:
    """Return a line of the table."""
    reached = [taken.summary.coverage, taken.summary.random_coverage]
    cosines = "".join(map(_cosines, reached))
    return (
        f"{name:<32}{taken.seconds:>8.1f}{taken.cpu_seconds:>8.1f}{taken.megabytes:>9,.0f}{cosines}"
    )


def _cosines(coverage: Coverage | None) -> str:
    if coverage is None:
        return f"{'-':>9}{'-':>9}"
    return f"{coverage.mean_similarity:>9.3f}{coverage.lowest_similarity:>9.3f}"


@click.command()
@click.option("--photos", default=100_000, show_default=True)
@click.option("--dim", default=512, show_default=True, help="Length of a vector.")
@click.option("--spread", default=0.8, show_default=True, help="Width of a cluster.")
@click.option("--count", "counts", type=int, multiple=True, default=(500, 2000), show_default=True)
@click.option("--keep", "shares", type=float, multiple=True, default=(0.8, 0.5), show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(
    photos: int,
    dim: int,
    spread: float,
    counts: tuple[int, ...],
    shares: tuple[float, ...],
    seed: int,
) -> None:
    """Print seconds, peak memory and cosines of every method."""
    click.echo(describe_machine(("numpy", "lancedb")))
    click.echo(f"{photos:,} photos x {dim}, spread {spread}, seed {seed}")
    columns = "".join(f"{name:>9}" for name in ("peak MB", *("mean", "lowest") * 2))
    click.echo(f"{'':<32}{'s':>8}{'CPU s':>8}{columns}, of a random choice")
    choices = {"one photo, to compare with": SubsetChoice(count=1, method="k-centre", seed=seed)}
    for count in counts:
        for method in ("k-centre", "facility-location"):
            choices[f"{method}, {count:,}"] = SubsetChoice(count=count, method=method, seed=seed)
    for keep in shares:
        choices[f"semdedup, {keep:.0%} kept"] = SubsetChoice(keep=keep, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder, "collection"))
        make_collection(place, photos=photos, dim=dim, spread=spread, seed=seed)
        for name, choice in choices.items():
            click.echo(line(name, spent(choice, place)))


if __name__ == "__main__":
    main()

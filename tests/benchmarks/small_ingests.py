"""Is a collection that grew by many small ingests as good as one that was made at once?

Tiny JPEGs, each with bytes of its own, and the stub encoder of the tests. Files are counted right
after the last ingest, and again when no reader can need what was replaced: the next run drops it
then. Between the two lie ten minutes, which are a second here. Times are medians over rounds in
which both collections take their turn.

    python -m tests.benchmarks.small_ingests
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click
import numpy as np

import service.collection
from indexer.settings import Settings
from service.collection import open_collection
from service.indexing import index_photos
from service.search import Query, StoredPhoto, search
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.tiny_photos import make_tiny_photos
from tests.fakes import FakeEncoder

TARGET_RATIO = 1.5
SHORT_KEEP = timedelta(seconds=1)


def index_seconds(folder: Path, place: Path) -> float:
    """Index a folder and return the seconds it took."""
    started = time.perf_counter()
    index_photos([folder], settings=Settings(collection=str(place)), report=lambda _: None)
    return time.perf_counter() - started


def count_files(place: Path) -> int:
    """Count the files of a collection, its search indexes included."""
    return sum(path.is_file() for path in place.rglob("*"))


def timed_reads(place: Path, image_id: int) -> dict[str, Callable[[], object]]:
    """Return what is timed: searches through the service, and reads of the store alone."""
    settings = Settings(collection=str(place))
    collection = open_collection(settings)
    store = collection.store
    like_one = [Query(StoredPhoto(image_id))]
    vector = np.ones(store.info.model.embedding_dim, np.float32)
    some_ids = np.arange(image_id, image_id + 10)
    return {
        "open and search": lambda: search(open_collection(settings), like_one),
        "search": lambda: search(collection, like_one),
        "search with filter": lambda: search(collection, like_one, where="image_id % 2 = 0"),
        "store: flat search": lambda: store.nearest(vector, top_k=10),
        "store: filter": lambda: store.matching_ids("image_id % 2 = 0"),
        "store: ten ids": lambda: store.images_by_id(some_ids, ["root", "path"]),
        "store: all ids": lambda: store.images(["image_id"]),
    }


def median_milliseconds(
    kinds: list[dict[str, Callable[[], object]]], *, rounds: int
) -> dict[str, list[float]]:
    """Median time of each read, for each collection."""
    medians = {}
    for name in kinds[0]:
        seconds: list[list[float]] = [[] for _ in kinds]
        for turn in range(rounds + 1):
            for reads, times in zip(kinds, seconds, strict=True):
                started = time.perf_counter()
                reads[name]()
                if turn > 0:  # the first round warms caches
                    times.append(time.perf_counter() - started)
        medians[name] = [1000 * statistics.median(times) for times in seconds]
    return medians


def report_line(name: str, once: float, small: float, *, is_target: bool = True) -> None:
    """Print one line of the table."""
    ratio = small / once
    verdict = f"{'met' if ratio <= TARGET_RATIO else 'missed'}" if is_target else ""
    click.echo(f"{name:<38}{once:>12,.1f}{small:>12,.1f}{ratio:>8.2f}  {verdict}")


@click.command()
@click.option("--ingests", default=100, show_default=True)
@click.option("--photos", default=100, show_default=True, help="Photos of each ingest.")
@click.option("--rounds", default=30, show_default=True, help="Each read is timed so often.")
def main(ingests: int, photos: int, rounds: int) -> None:
    """Compare a collection of many ingests with one of a single ingest."""
    began = time.perf_counter()
    click.echo(describe_machine(("lancedb", "faiss-cpu", "numpy")))
    encoder = FakeEncoder()
    service.collection.open_encoder = lambda *_, **__: encoder  # type: ignore[attr-defined]
    click.echo(
        f"{ingests} ingests of {photos} photos against one of {ingests * photos:,}; "
        f"no random numbers; target: within {TARGET_RATIO}"
    )
    with tempfile.TemporaryDirectory() as directory:
        once, small = Path(directory, "once"), Path(directory, "small")
        folder = Path(directory, "photos")
        times = []
        for number in range(ingests):
            make_tiny_photos(folder, count=photos, first=number * photos)
            times.append(index_seconds(folder, small))
        at_once = index_seconds(folder, once)
        click.echo(f"{'':<38}{'one ingest':>12}{'many':>12}{'ratio':>8}")
        report_line("seconds of ingest, in sum", at_once, sum(times), is_target=False)
        report_line("files right after", *map(count_files, (once, small)), is_target=False)
        report_sizes("MB right after", once, small)
        report_reads(once, small, image_id=ingests * photos // 2, rounds=rounds)
        time.sleep(2 * SHORT_KEEP.total_seconds())
        for place in (once, small):
            open_collection(Settings(collection=str(place))).store.optimize(
                keep_versions=SHORT_KEEP
            )
        click.echo("when the next run begins, ten minutes later (one second here)")
        report_line("files", *map(count_files, (once, small)))
        report_sizes("MB", once, small)
        report_reads(once, small, image_id=ingests * photos // 2, rounds=rounds)
    click.echo(f"this took {time.perf_counter() - began:.0f} s")


def report_sizes(name: str, once: Path, small: Path) -> None:
    """Print what the collections take on disk."""
    sizes = [
        sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) / 1e6
        for place in (once, small)
    ]
    report_line(name, *sizes, is_target=False)


def report_reads(once: Path, small: Path, *, image_id: int, rounds: int) -> None:
    """Time all reads of both collections."""
    kinds = [timed_reads(place, image_id) for place in (once, small)]
    for name, milliseconds in median_milliseconds(kinds, rounds=rounds).items():
        report_line(f"ms: {name}", *milliseconds)


if __name__ == "__main__":
    main()

"""How long does ranking labelled photos take, and in how much memory?

10,000 made-up photos of 512 dimensions, in many small classes and in ten large ones: our label
retrieval beside what a user would write, the whole matrix of similarities and a sort of every row.
They run in turns; the table has the medians of wall and CPU seconds, and the most memory that
Python and numpy held at once, from one more run each. Then the whole of `isophote eval retrieval`
in one space, on a collection of the same vectors.

    python -m tests.benchmarks.retrieval
"""

import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.encoders.encoder import Projectors
from indexer.scoring.retrieval import label_retrieval
from indexer.scoring.similarity import normalised
from indexer.settings import Settings
from service.collection import Collection
from service.evaluation.measured_spaces import SpaceChoice
from service.evaluation.retrieval import evaluate_retrieval
from tests.benchmarks.machine import describe_machine
from tests.makers.stores import described, image_rows, new_store

TARGET_SECONDS = 20.0
CLASS_COUNTS = (1000, 10)

Method = Callable[[FloatArray, IntArray], float]


def ours(vectors: FloatArray, class_of: IntArray) -> float:
    """Return mAP by ranking relevant photos only, in blocks of queries."""
    return float(label_retrieval(vectors, class_of).average_precision.mean())


def full_sort(vectors: FloatArray, class_of: IntArray) -> float:
    """Return mAP by sorting all photos for every query."""
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    order = np.argsort(-similarities, axis=1)[:, :-1]
    is_relevant = class_of[order] == class_of[:, np.newaxis]
    is_relevant = is_relevant[is_relevant.any(axis=1)]
    precision = is_relevant.cumsum(axis=1) / np.arange(1, is_relevant.shape[1] + 1)
    return float(((precision * is_relevant).sum(axis=1) / is_relevant.sum(axis=1)).mean())


METHODS: dict[str, Method] = {"ours": ours, "full sort": full_sort}


def labelled_photos(
    n_images: int, dimension: int, *, n_classes: int, seed: int
) -> tuple[FloatArray, IntArray]:
    """Draw unit vectors around a centre per class, in the precision of a collection."""
    generator = np.random.default_rng(seed)
    class_of = generator.integers(0, n_classes, n_images)
    centres = generator.standard_normal((n_classes, dimension), dtype=np.float32)
    noise = generator.standard_normal((n_images, dimension), dtype=np.float32)
    vectors = normalised(np.float32(0.3) * centres[class_of] + noise)
    return vectors.astype(np.float16).astype(np.float32), class_of


def timed(method: Method, vectors: FloatArray, class_of: IntArray) -> tuple[float, float]:
    """Return the wall and the CPU seconds of one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    method(vectors, class_of)
    return time.perf_counter() - wall, time.process_time() - cpu


def peak_megabytes(method: Method, vectors: FloatArray, class_of: IntArray) -> tuple[float, float]:
    """Return what a method returns, and the most memory it held beside its arguments."""
    tracemalloc.start()
    value = method(vectors, class_of)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return value, peak


def whole_command(n_images: int, dimension: int, *, seed: int) -> float:
    """Return the seconds of an evaluation in the space `clip`, from an open collection."""
    vectors, class_of = labelled_photos(n_images, dimension, n_classes=100, seed=seed)
    with tempfile.TemporaryDirectory() as place:
        identity = np.eye(dimension, dtype=np.float32)
        store = new_store(
            Path(place, "collection"),
            model=described(feature_dim=dimension, embedding_dim=dimension),
            projectors=Projectors(identity, identity),
        )
        labels = [f"class {number}" for number in class_of.tolist()]
        store.append_images(image_rows(store, vectors, label=labels))
        collection = Collection(store, Settings(collection=store.uri))
        start = time.perf_counter()
        evaluate_retrieval(collection, "column:label", spaces=SpaceChoice(("clip",)))
        return time.perf_counter() - start


@click.command()
@click.option("--rows", default=10_000, show_default=True, help="Photos.")
@click.option("--dim", default=512, show_default=True, help="Of their vectors.")
@click.option("--rounds", default=3, show_default=True, help="Of every method, in turns.")
@click.option("--seed", default=0, show_default=True)
def main(rows: int, dim: int, rounds: int, seed: int) -> None:
    """Measure label retrieval and print medians."""
    click.echo(describe_machine(("numpy", "lancedb")))
    click.echo(f"{rows:,} x {dim}, {rounds} rounds, seed {seed}; target {TARGET_SECONDS:.0f} s")
    click.echo(f"{'classes':>8}  {'method':<10}{'wall s':>9}{'CPU s':>9}{'MB':>8}{'mAP':>9}")
    for n_classes in CLASS_COUNTS:
        photos = labelled_photos(rows, dim, n_classes=n_classes, seed=seed)
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
        for _ in range(rounds):
            for name, method in METHODS.items():
                runs[name].append(timed(method, *photos))
        for name, method in METHODS.items():
            wall, cpu = (statistics.median(part) for part in zip(*runs[name], strict=True))
            value, megabytes = peak_megabytes(method, *photos)
            click.echo(
                f"{n_classes:>8}  {name:<10}{wall:>9.1f}{cpu:>9.1f}{megabytes:>8.0f}{value:>9.5f}"
            )
    seconds = whole_command(rows, dim, seed=seed)
    verdict = "met" if seconds < TARGET_SECONDS else "missed"
    click.echo(f"eval retrieval, one space, collection open: {seconds:.1f} s, {verdict}")


if __name__ == "__main__":
    main()

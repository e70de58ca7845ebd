"""How long does it take to score a collection by an anomaly reference, and how much memory?

The scores alone, beside the same formulas as a few lines of numpy (one float32 product,
argpartition, all classes at once), and `isophote anomalies score` on a made-up collection: reading
and projecting the stored features, scoring, writing six columns. Each in a process of its own,
whose peak memory is what the operating system says (ru_maxrss); that includes the made-up vectors.
CPU seconds are those of all threads, BLAS threads that wait for each other included: on a busy
machine they tell more than the clock.

    python -m tests.benchmarks.anomaly
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.encoders.encoder import Projectors
from indexer.references import TextReference, reference_row
from indexer.scoring.anomaly import NormalStatistics, anomaly_scores, normal_statistics
from indexer.scoring.similarity import normalised
from indexer.settings import Settings
from indexer.store import create_store, open_store
from schemas.anomalies import NormalClass, ReferenceSettings, TextScoring, TextSource
from service.anomalies import score_photos
from service.collection import Collection
from tests.benchmarks.machine import describe_machine
from tests.makers.stores import NOON, collection_info, described, image_rows

TARGET_SECONDS = 15.0
TARGET_MEGABYTES = 2000
NAME = "usual"
K = 10
LAMBDA = 0.75
EXAMPLES_PER_CLASS = 10
ROWS_PER_APPEND = 20_000


@dataclass(frozen=True)
class Spent:
    """What a task took: by the clock, on all cores, and at its peak."""

    seconds: float
    cpu_seconds: float
    megabytes: float


@dataclass(frozen=True)
class Sizes:
    """What is made up: photos, classes, texts of the dictionary, and lengths of vectors."""

    photos: int
    classes: int
    texts: int
    dim: int
    feature_dim: int
    seed: int


def unit_vectors(generator: np.random.Generator, n_rows: int, dimension: int) -> FloatArray:
    """Return unit vectors that share a direction, as those of one modality do."""
    vectors = generator.standard_normal((n_rows, dimension), dtype=np.float32)
    vectors += 1
    return normalised(vectors)


def made_up_statistics(sizes: Sizes) -> NormalStatistics:
    """Learn from random examples and texts."""
    generator = np.random.default_rng(sizes.seed)
    n_examples = sizes.classes * EXAMPLES_PER_CLASS
    return normal_statistics(
        unit_vectors(generator, n_examples, sizes.dim),
        np.arange(n_examples) % sizes.classes,
        label_embeddings=unit_vectors(generator, sizes.classes, sizes.dim),
        dictionary=unit_vectors(generator, sizes.texts, sizes.dim),
    )


def plain_words(photos: FloatArray, known: NormalStatistics) -> tuple[FloatArray, IntArray]:
    """Return similarities to all texts, and the most similar texts in any order."""
    similarities = photos @ known.dictionary.T
    return similarities, np.argpartition(similarities, -K, axis=1)[:, -K:]


def plain_scores(photos: FloatArray, known: NormalStatistics) -> FloatArray:
    """Return the scores by the formulas in a few lines, all photos and classes at once."""
    similarities, words = plain_words(photos, known)
    found = np.take_along_axis(similarities, words, axis=1)
    means, stds = known.external_mean.T[words], known.external_std.T[words]
    external = ((found[:, :, np.newaxis] - means) / (stds + 1e-8)).mean(axis=1)
    own = photos @ known.label_embeddings.T
    internal = -(own - known.internal_mean) / (known.internal_std + 1e-8)
    least: FloatArray = (internal + LAMBDA * external).min(axis=1).astype(np.float32)
    return least


def score_ours(sizes: Sizes, place: str) -> Callable[[], object]:
    """Make up photos; return what scores them."""
    known = made_up_statistics(sizes)
    photos = unit_vectors(np.random.default_rng(sizes.seed + 1), sizes.photos, sizes.dim)
    return lambda: anomaly_scores(photos, known, external_weight=LAMBDA, k=K)


def score_plainly(sizes: Sizes, place: str) -> Callable[[], object]:
    """Make up photos; return what scores them in plain numpy."""
    known = made_up_statistics(sizes)
    photos = unit_vectors(np.random.default_rng(sizes.seed + 1), sizes.photos, sizes.dim)
    return lambda: plain_scores(photos, known)


def differences(sizes: Sizes) -> str:
    """Tell by how much the two differ over the first 2,000 photos, in standard deviations."""
    known = made_up_statistics(sizes)
    n_photos = min(sizes.photos, 2000)
    photos = unit_vectors(np.random.default_rng(sizes.seed + 1), n_photos, sizes.dim)
    ours = anomaly_scores(photos, known, external_weight=LAMBDA, k=K)
    _, words = plain_words(photos, known)
    has_others = (np.sort(words, axis=1) != np.sort(ours.words, axis=1)).any(axis=1)
    apart = np.abs(ours.scores - plain_scores(photos, known))
    return (
        f"float32 products choose other words for {has_others.sum()} of {n_photos:,} photos; "
        f"scores differ by up to {apart.max():.1e}, "
        f"for the others by up to {apart[~has_others].max():.1e}"
    )


def make_collection(sizes: Sizes, place: str) -> None:
    """Make a collection with a reference."""
    model = described(
        feature_dim=sizes.feature_dim, text_feature_dim=sizes.feature_dim, embedding_dim=sizes.dim
    )
    generator = np.random.default_rng(sizes.seed + 2)
    weight = generator.standard_normal((sizes.dim, sizes.feature_dim), dtype=np.float32)
    projectors = Projectors(weight, weight)
    store = create_store(place, collection_info(model, projectors), projectors)
    for first in range(0, sizes.photos, ROWS_PER_APPEND):
        n_rows = min(ROWS_PER_APPEND, sizes.photos - first)
        features = generator.standard_normal((n_rows, sizes.feature_dim), dtype=np.float32)
        store.append_images(image_rows(store, features, first_id=first))
    store.save_reference(reference_row(made_up_reference(sizes), NOON))


def made_up_reference(sizes: Sizes) -> TextReference:
    """Return a reference as `isophote anomalies fit` stores it."""
    scoring = TextScoring(
        external_weight=LAMBDA,
        neighbours=K,
        labels=TextSource(n_texts=sizes.classes, origin="made up", digest="0" * 16),
        dictionary=TextSource(n_texts=sizes.texts, origin="made up", digest="0" * 16),
    )
    names = [f"class {number}" for number in range(sizes.classes)]
    settings = ReferenceSettings(
        scoring=scoring,
        origin="examples",
        classes=tuple(NormalClass(name=name, n_examples=EXAMPLES_PER_CLASS) for name in names),
        n_normal=sizes.classes * EXAMPLES_PER_CLASS,
    )
    words = tuple(f"word {number}" for number in range(sizes.texts))
    return TextReference(NAME, settings, scoring, made_up_statistics(sizes), words)


def score_collection(sizes: Sizes, place: str) -> Callable[[], object]:
    """Open the collection; return what scores all of it."""
    collection = Collection(open_store(place), Settings(collection=place))
    return lambda: score_photos(collection, NAME, report=lambda _: None)


def spent(prepare: Callable[[Sizes, str], Callable[[], object]], sizes: Sizes, place: str) -> Spent:
    """Return what a task takes in a new process, whose peak memory includes its preparation."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        answer: Spent = pool.apply(_spent_here, (prepare, sizes, place))
    return answer


def _spent_here(
    prepare: Callable[[Sizes, str], Callable[[], object]], sizes: Sizes, place: str
) -> Spent:
    task = prepare(sizes, place)
    started, cpu_started = time.perf_counter(), time.process_time()
    task()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kibibytes elsewhere.
    megabytes = peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    return Spent(seconds, cpu_seconds, megabytes)


def _line(name: str, taken: Spent) -> str:
    return f"{name:<26}{taken.seconds:>9.2f}{taken.cpu_seconds:>9.2f}{taken.megabytes:>9,.0f}"


def _verdict(taken: Spent) -> str:
    is_met = taken.seconds < TARGET_SECONDS and taken.megabytes < TARGET_MEGABYTES
    return "  met" if is_met else "  missed"


@click.command()
@click.option("--photos", default=100_000, show_default=True)
@click.option("--classes", default=20, show_default=True)
@click.option("--texts", default=1850, show_default=True, help="Of the dictionary.")
@click.option("--dim", default=512, show_default=True, help="Length of an embedding.")
@click.option("--feature-dim", default=768, show_default=True, help="Length of stored features.")
@click.option("--seed", default=0, show_default=True)
def main(**options: int) -> None:
    """Print seconds and peak memory of scoring."""
    sizes = Sizes(**options)
    click.echo(describe_machine())
    click.echo(
        f"{sizes.photos:,} photos x {sizes.classes} classes x {sizes.texts:,} texts, d = "
        f"{sizes.dim}, features {sizes.feature_dim}, K = {K}, seed {sizes.seed}; targets: under "
        f"{TARGET_SECONDS:.0f} s and {TARGET_MEGABYTES:,} MB"
    )
    click.echo(f"{'':<26}{'seconds':>9}{'CPU s':>9}{'peak MB':>9}")
    ours = spent(score_ours, sizes, "")
    click.echo(_line("scores, ours", ours) + _verdict(ours))
    click.echo(_line("scores, plain numpy", spent(score_plainly, sizes, "")))
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder, "collection"))
        make_collection(sizes, place)
        whole = spent(score_collection, sizes, place)
    click.echo(_line("isophote anomalies score", whole) + _verdict(whole))
    click.echo(differences(sizes))


if __name__ == "__main__":
    main()

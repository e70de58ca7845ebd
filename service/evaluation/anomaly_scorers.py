"""Anomaly scores of photos for every class that can be normal, from which any split is rated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from indexer.scoring.anomaly import (
    ClassScores,
    NearestTexts,
    class_scores,
    normal_statistics,
)
from indexer.scoring.detection import auroc, fpr_at_95_tpr
from indexer.scoring.exact_products import exact_products, grid_rows
from schemas.errors import InputError
from schemas.model import Space
from service.evaluation.anomaly_photos import LabelledPhotos, drawn_ranks, is_reserved
from service.evaluation.anomaly_splits import Split
from service.texts import NamedEmbeddings

BLISS, INTERNAL, EXTERNAL = "BLISS", "internal only", "external only"
NEIGHBOUR, TEXT = "nearest example", "maximum text similarity"

# Similarities in work at a time: 2^22 float64 are 32 MiB.
BLOCK_VALUES = 2**22


@dataclass(frozen=True, slots=True)
class Scorer:
    """A row of the table: how the anomaly score of each photo for each class is made."""

    method: str
    space: Space
    setting: str | None
    shots: int | None
    k: int
    external_weight: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What all draws share. Only `usable` classes can be normal: texts and scores are of them."""

    photos: LabelledPhotos
    usable: IntArray
    splits: Sequence[Split]
    reserved: int | None
    vectors: Mapping[Space, FloatArray]
    labels: NamedEmbeddings
    dictionary: NamedEmbeddings
    nearest: NearestTexts


@dataclass(slots=True)
class Draw:
    """One draw of examples, and the rows of the photos that may be tested.

    Photos that are kept for examples of their class are tested only where it is anomalous. The
    last class scores are remembered: rows that share examples and K follow one another.
    """

    bench: Bench
    ranks: IntArray
    tested: IntArray
    is_kept: BoolArray
    scores_of: tuple[int | None, int] | None = None
    scores: ClassScores | None = None


def draw_examples(bench: Bench, number: int, *, seed: int) -> Draw:
    """Draw the examples of all usable classes, by the seed and the number of the draw."""
    photos = bench.photos
    ranks = drawn_ranks(photos.class_of, photos.may_be_example, seed=seed, draw=number)
    tested = np.flatnonzero(photos.may_be_tested)
    return Draw(bench, ranks, tested, is_reserved(ranks, bench.reserved)[tested])


def draw_rates(draw: Draw, scorers: Sequence[Scorer]) -> list[list[tuple[float, float]]]:
    """Return AUROC and FPR@95TPR of each scorer for each split."""
    rates = [_split_rates(draw, scorer) for scorer in scorers]
    draw.scores = None  # 10,000 photos and 100 classes are 16 MB
    return rates


def _split_rates(draw: Draw, scorer: Scorer) -> list[tuple[float, float]]:
    of_classes = _SCORED_BY[scorer.method](draw, scorer)
    rates = []
    for split in draw.bench.splits:
        rows, is_outlier = tested_in(draw, split)
        columns = np.searchsorted(draw.bench.usable, split.normal)
        scores = of_classes[np.ix_(rows, columns)].min(axis=1)
        rates.append((auroc(scores, is_outlier), fpr_at_95_tpr(scores, is_outlier)))
    return rates


def tested_in(draw: Draw, split: Split) -> tuple[IntArray, BoolArray]:
    """Return which of the tested photos belong to the split, and which of them are anomalous."""
    class_of = draw.bench.photos.class_of[draw.tested]
    is_anomalous = np.isin(class_of, split.anomalous)
    is_normal = np.isin(class_of, split.normal) & ~draw.is_kept
    rows = np.flatnonzero(is_anomalous | is_normal)
    return rows, is_anomalous[rows]


def _by_texts(draw: Draw, scorer: Scorer) -> DoubleArray:
    parts = _class_scores(draw, scorer)
    if scorer.method == INTERNAL:
        return parts.internal
    if scorer.method == EXTERNAL:
        return parts.external
    return parts.internal + scorer.external_weight * parts.external


def _class_scores(draw: Draw, scorer: Scorer) -> ClassScores:
    """Return the parts of the score of each tested photo for each usable class."""
    if draw.scores is None or draw.scores_of != (scorer.shots, scorer.k):
        bench, vectors = draw.bench, draw.bench.vectors["clip"]
        rows, columns = _examples(draw, scorer.shots)
        _require_spread(vectors[rows], columns, bench.labels.names)
        statistics = normal_statistics(
            vectors[rows],
            columns,
            label_embeddings=bench.labels.embeddings,
            dictionary=bench.dictionary.embeddings,
        )
        nearest = NearestTexts(
            bench.nearest.rows[draw.tested, : scorer.k],
            bench.nearest.similarities[draw.tested, : scorer.k],
        )
        draw.scores = class_scores(vectors[draw.tested], nearest, statistics)
        draw.scores_of = (scorer.shots, scorer.k)
    return draw.scores


def _by_examples(draw: Draw, scorer: Scorer) -> DoubleArray:
    vectors = draw.bench.vectors[scorer.space]
    rows, columns = _examples(draw, scorer.shots)
    return _nearest_distances(vectors[draw.tested], vectors[rows], columns)


def _by_labels(draw: Draw, _: Scorer) -> DoubleArray:
    labels = draw.bench.labels.embeddings
    tested = draw.bench.vectors["clip"][draw.tested]
    return _nearest_distances(tested, labels, np.arange(len(labels)))


_SCORED_BY: Mapping[str, Callable[[Draw, Scorer], DoubleArray]] = {
    BLISS: _by_texts,
    INTERNAL: _by_texts,
    EXTERNAL: _by_texts,
    NEIGHBOUR: _by_examples,
    TEXT: _by_labels,
}


def _examples(draw: Draw, shots: int | None) -> tuple[IntArray, IntArray]:
    """Return the rows of the examples and the columns of their classes, class by class."""
    class_of = draw.bench.photos.class_of
    is_example = is_reserved(draw.ranks, shots) & np.isin(class_of, draw.bench.usable)
    rows = np.flatnonzero(is_example)
    rows = rows[np.argsort(class_of[rows], kind="stable")]
    return rows, np.searchsorted(draw.bench.usable, class_of[rows])


def _require_spread(examples: FloatArray, columns: IntArray, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        of_class = examples[columns == number]
        if (of_class == of_class[0]).all():
            raise InputError(
                f"the {len(of_class)} examples drawn of {name!r} are all the same, and a class "
                "needs two that differ; give more --shots, or another --seed"
            )


def _nearest_distances(tested: FloatArray, known: FloatArray, columns: IntArray) -> DoubleArray:
    """Return 1 - cosine to the nearest of the known vectors of each class, float64 (n, C).

    The least over classes is what `neighbour_distances` and `label_distances` of
    :mod:`indexer.scoring.anomaly` give for all vectors of these classes together.
    """
    firsts = np.searchsorted(columns, np.arange(columns[-1] + 1))
    grid = grid_rows(known)
    distances = np.empty((len(tested), len(firsts)))
    size = max(1, BLOCK_VALUES // len(known))
    for start in range(0, len(tested), size):
        span = slice(start, start + size)
        similarities = exact_products(grid_rows(tested[span]), grid)
        distances[span] = 1.0 - np.clip(np.maximum.reduceat(similarities, firsts, axis=1), -1, 1)
    return distances

"""How much a photo differs from what is normal, by texts and by neighbours.

Goodge et al., "Text as Image: Bias-corrected language-vision anomaly detection" is the method of
`anomaly_scores` (BLISS, BMVC 2024, arXiv:2407.17083). The similarity of a photo to the text of a
normal class is biased: some classes have closer texts than others, and some photos are closer to
all texts. So it is measured against photos that are normal, and corrected by the similarity to
the texts of a dictionary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexer.arrays import DoubleArray, FloatArray, IntArray
from indexer.scoring.exact_products import GridRows, exact_products, grid_rows
from indexer.scoring.shapes import require_matrix

EXTERNAL_WEIGHT = 0.75
"""The paper's lambda, as in its text; the authors' code has 0.5."""

NEIGHBOURS = 10
"""The paper's K."""

# Added to the standard deviations, as in the authors' code.
STD_FLOOR = 1e-8

MIN_EXAMPLES = 2
"""The standard deviation of a single example is zero, and its scores would be of the order 1e8."""

# Similarities in work at a time: 2^22 float64 are 32 MiB, and a few arrays of this size live.
BLOCK_VALUES = 2**22

# Similarities whose maximum stands for them in the search for the highest. Wider groups leave
# fewer maxima to choose from but more candidates to sort.
GROUP_SIZE = 32

# float32 unit vectors miss length 1 by less; half precision by about this much.
LENGTH_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True)
class NormalStatistics:
    """What is normal: texts, and how similar the examples of C classes are to them.

    `label_embeddings` (C, d) and `dictionary` (m, d) are float32 and unit length. The others are
    float64: mean and population standard deviation over the examples of a class of their
    similarity to its label, `internal_mean` and `internal_std` (C,), and to each text of the
    dictionary, `external_mean` and `external_std` (C, m).
    """

    label_embeddings: FloatArray
    dictionary: FloatArray
    internal_mean: DoubleArray
    internal_std: DoubleArray
    external_mean: DoubleArray
    external_std: DoubleArray


@dataclass(frozen=True, slots=True)
class AnomalyScores:
    """Scores of n photos, higher = more anomalous, and why.

    `scores` is float32 (n,), `classes` int64 (n,) the normal class that came closest. Of it are
    `internal` (n,): how much less similar to its text the photo is than its examples are, and
    `external` (n,): how much more similar to the photo's own words, both float32 and in standard
    deviations. `words` is int64 (n, k): rows of the dictionary, most similar first.
    """

    scores: FloatArray
    classes: IntArray
    internal: FloatArray
    external: FloatArray
    words: IntArray


@dataclass(frozen=True, slots=True)
class NearestTexts:
    """The k texts of a dictionary most similar to each of n photos, most similar first.

    `rows` is int64 (n, k), rows of the dictionary; `similarities` is float64 (n, k), cosines.
    """

    rows: IntArray
    similarities: DoubleArray


@dataclass(frozen=True, slots=True)
class ClassScores:
    """The two parts of the anomaly scores of n photos for each of C classes, float64 (n, C)."""

    internal: DoubleArray
    external: DoubleArray


def normal_statistics(
    embeddings: FloatArray,
    class_of: IntArray,
    *,
    label_embeddings: FloatArray,
    dictionary: FloatArray,
) -> NormalStatistics:
    """Return how similar normal photos are to the texts of their classes and to a dictionary.

    Parameters
    ----------
    embeddings : float32 of shape (n, d)
        Of normal photos; unit length, in the space of the texts.
    class_of : int64 of shape (n,)
        The class of each, in [0, C).
    label_embeddings : float32 of shape (C, d)
        Of the texts of the classes; unit length.
    dictionary : float32 of shape (m, d)
        Of any texts; unit length.

    Raises
    ------
    ValueError
        If shapes do not fit, vectors are not finite or not unit length, or a class has fewer
        than two examples, or only examples that are the same.

    Notes
    -----
    arXiv:2407.17083, section 3. A zero vector, as a photo without any content may have, counts
    as an example that is similar to nothing.
    """
    require_matrix("embeddings", embeddings)
    _require_texts(label_embeddings, dictionary, width=embeddings.shape[1])
    _require_unit("embeddings", embeddings)
    n_classes = len(label_embeddings)
    _require_classes(class_of, n_rows=len(embeddings), n_classes=n_classes)
    words = grid_rows(dictionary)
    shape = (n_classes, len(dictionary) + 1)
    means, deviations = np.empty(shape), np.empty(shape)
    for number in range(n_classes):
        examples = embeddings[class_of == number]
        _require_examples(examples, number)
        texts = _joined(grid_rows(label_embeddings[number : number + 1]), words)
        means[number], deviations[number] = _mean_and_std(examples, texts)
    return NormalStatistics(
        label_embeddings=label_embeddings,
        dictionary=dictionary,
        internal_mean=means[:, 0],
        internal_std=deviations[:, 0],
        external_mean=means[:, 1:],
        external_std=deviations[:, 1:],
    )


def anomaly_scores(
    embeddings: FloatArray,
    statistics: NormalStatistics,
    *,
    external_weight: float = EXTERNAL_WEIGHT,
    k: int = NEIGHBOURS,
) -> AnomalyScores:
    """Return bias-corrected anomaly scores of photos.

    For each class c with the label t_c and examples Z_c, and the k texts d of the dictionary that
    are most similar to a photo x::

        I_c = -(x . t_c - mean(Z_c . t_c)) / (std(Z_c . t_c) + 1e-8)
        E_c = mean over d of (x . d - mean(Z_c . d)) / (std(Z_c . d) + 1e-8)

    and the score is the least I_c + external_weight E_c.

    Parameters
    ----------
    embeddings : float32 of shape (n, d)
        Unit length. A zero vector is similar to no text: its words are the first k.
    statistics : NormalStatistics
    external_weight : float
        The paper's lambda, at least 0.
    k : int
        The paper's K, in [1, m].

    Returns
    -------
    AnomalyScores
        The same bits for a photo alone and in any company. The first class stands among equals,
        and the first rows of the dictionary do.

    Raises
    ------
    ValueError
        If shapes do not fit, vectors are not finite or not unit length, or k or external_weight
        is out of range.

    Notes
    -----
    arXiv:2407.17083, section 3. Embeddings are rounded to a grid that makes their products exact
    (see `exact_products`), a difference from the authors' code of less than that of float32. The
    default external_weight is that of the paper's text, where its code has 0.5.
    """
    _require_scorable(embeddings, statistics, external_weight=external_weight, k=k)
    labels, words = grid_rows(statistics.label_embeddings), grid_rows(statistics.dictionary)
    means, scales = _by_text(statistics)
    scores = _no_scores(len(embeddings), k)
    width = len(words.rows) + len(labels.rows)
    for span in _spans(len(embeddings), width):
        photos = grid_rows(embeddings[span])
        rows, similarities = _most_similar(exact_products(photos, words), k)
        external = _external(rows, similarities, means, scales)
        internal = _internal(photos, labels, statistics)
        _take_least(scores, span, internal, external, external_weight)
        scores.words[span] = rows
    return scores


def nearest_texts(
    embeddings: FloatArray, dictionary: FloatArray, *, k: int = NEIGHBOURS
) -> NearestTexts:
    """Return the texts of a dictionary that photos are most similar to.

    Parameters
    ----------
    embeddings : float32 of shape (n, d)
        Unit length.
    dictionary : float32 of shape (m, d)
        Unit length.
    k : int
        In [1, m].

    Returns
    -------
    NearestTexts
        As in :func:`anomaly_scores`.

    Raises
    ------
    ValueError
        If shapes do not fit, vectors are not finite or not unit length, or k is out of range.
    """
    require_matrix("embeddings", embeddings)
    _require_texts(dictionary, dictionary, width=embeddings.shape[1])
    _require_unit("embeddings", embeddings)
    if not 1 <= k <= len(dictionary):
        raise ValueError(f"k must be in [1, {len(dictionary)}] texts of the dictionary, got {k}")
    words = grid_rows(dictionary)
    nearest = NearestTexts(
        np.empty((len(embeddings), k), np.int64), np.empty((len(embeddings), k), np.float64)
    )
    for span in _spans(len(embeddings), len(dictionary)):
        rows, similarities = _most_similar(exact_products(grid_rows(embeddings[span]), words), k)
        nearest.rows[span], nearest.similarities[span] = rows, similarities
    return nearest


def class_scores(
    embeddings: FloatArray, nearest: NearestTexts, statistics: NormalStatistics
) -> ClassScores:
    """Return the parts of the score of each class, of which `anomaly_scores` takes the least.

    For a bench that takes many choices of normal classes, examples, weights and k: what is dear,
    the search for the nearest texts, is done once.

    Parameters
    ----------
    embeddings : float32 of shape (n, d)
        Unit length.
    nearest : NearestTexts
        Of the same photos, in the dictionary of the statistics; k is its number of columns.
    statistics : NormalStatistics

    Returns
    -------
    ClassScores
        The least of ``internal + external_weight * external`` over the classes, rounded to
        float32, is bit for bit what :func:`anomaly_scores` gives.

    Raises
    ------
    ValueError
        If shapes do not fit, or vectors are not finite or not unit length.
    """
    _require_scorable(embeddings, statistics, external_weight=0.0, k=nearest.rows.shape[1])
    _require_shape("nearest", nearest.rows, (len(embeddings), nearest.rows.shape[1]))
    labels = grid_rows(statistics.label_embeddings)
    means, scales = _by_text(statistics)
    shape = (len(embeddings), len(labels.rows))
    scores = ClassScores(np.empty(shape), np.empty(shape))
    for span in _spans(*shape):
        scores.internal[span] = _internal(grid_rows(embeddings[span]), labels, statistics)
        scores.external[span] = _external(
            nearest.rows[span], nearest.similarities[span], means, scales
        )
    return scores


def neighbour_distances(embeddings: FloatArray, normal: FloatArray, *, k: int = 1) -> FloatArray:
    """Return the distance of photos to their k-th nearest normal photo.

    Parameters
    ----------
    embeddings : float32 of shape (n, d)
        Unit length.
    normal : float32 of shape (m, d)
        Of normal photos; unit length.
    k : int
        In [1, m].

    Returns
    -------
    float32 of shape (n,)
        1 - cosine, in [0, 2]; higher = more anomalous, 1 for a zero vector. The same bits for a
        photo alone and in any company.

    Raises
    ------
    ValueError
        If shapes do not fit, vectors are not finite or not unit length, or k is out of range.

    Notes
    -----
    Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022, section 3,
    with 1 - cosine in place of the distance of unit vectors, which ranks alike.
    """
    require_matrix("embeddings", embeddings)
    require_matrix("normal", normal, width=embeddings.shape[1])
    _require_unit("embeddings", embeddings)
    _require_unit("normal", normal)
    if not 1 <= k <= len(normal):
        raise ValueError(f"k must be in [1, {len(normal)}] normal photos, got {k}")
    known = grid_rows(normal)
    distances = np.empty(len(embeddings), np.float32)
    for span in _spans(len(embeddings), len(normal)):
        similarities = exact_products(grid_rows(embeddings[span]), known)
        similarities.partition(len(normal) - k, axis=1)
        distances[span] = _distances(similarities[:, len(normal) - k])
    return distances


def label_distances(embeddings: FloatArray, label_embeddings: FloatArray) -> FloatArray:
    """Return the distance of photos to the nearest text of a normal class.

    Parameters
    ----------
    embeddings : float32 of shape (n, d)
        Unit length.
    label_embeddings : float32 of shape (C, d)
        Unit length.

    Returns
    -------
    float32 of shape (n,)
        1 - the highest cosine, in [0, 2]; higher = more anomalous.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no text, or vectors are not finite or not unit length.

    Notes
    -----
    The maximum text similarity that arXiv:2407.17083 corrects; here without its softmax.
    """
    if not len(label_embeddings):
        raise ValueError("label_embeddings must hold at least one text, got none")
    require_matrix("embeddings", embeddings)
    require_matrix("label_embeddings", label_embeddings, width=embeddings.shape[1])
    _require_unit("embeddings", embeddings)
    _require_unit("label_embeddings", label_embeddings)
    labels = grid_rows(label_embeddings)
    distances = np.empty(len(embeddings), np.float32)
    for span in _spans(len(embeddings), len(label_embeddings)):
        similarities = exact_products(grid_rows(embeddings[span]), labels)
        distances[span] = _distances(similarities.max(axis=1))
    return distances


def _most_similar(similarities: DoubleArray, k: int) -> tuple[IntArray, DoubleArray]:
    """Columns (n, k) of the highest similarities and these, descending, lowest column first.

    The k-th highest of the maxima of groups rules out most at once; what is left of all rows is
    sorted together. This takes half the time of a partition, which knows no rule among equals.
    """
    n_rows, n_columns = similarities.shape
    n_groups = n_columns // GROUP_SIZE
    floors = np.full((n_rows, 1), -np.inf)
    if n_groups >= k:
        grouped = similarities[:, : GROUP_SIZE * n_groups].reshape(n_rows, GROUP_SIZE, n_groups)
        maxima = grouped.max(axis=1)
        maxima.partition(n_groups - k, axis=1)
        floors = maxima[:, n_groups - k, np.newaxis]
    rows, columns = np.nonzero(similarities >= floors)
    values = similarities[rows, columns]
    order = np.lexsort((columns, -values, rows))
    n_candidates = np.bincount(rows, minlength=n_rows)
    firsts = np.cumsum(n_candidates) - n_candidates
    best = order[firsts[:, np.newaxis] + np.arange(k)]
    return columns[best], values[best]


def _by_text(statistics: NormalStatistics) -> tuple[DoubleArray, DoubleArray]:
    """Means and divisors (m, C) of the dictionary: rows of texts are gathered, columns are not."""
    means = np.ascontiguousarray(statistics.external_mean.T, dtype=np.float64)
    return means, np.ascontiguousarray(statistics.external_std.T, dtype=np.float64) + STD_FLOOR


def _internal(photos: GridRows, labels: GridRows, statistics: NormalStatistics) -> DoubleArray:
    internal = exact_products(photos, labels)
    internal -= statistics.internal_mean
    internal /= -(statistics.internal_std + STD_FLOOR)
    return internal


def _external(
    rows: IntArray, similarities: DoubleArray, means: DoubleArray, scales: DoubleArray
) -> DoubleArray:
    external = np.zeros((len(rows), means.shape[1]))
    # One neighbour after the other: the order of a sum over an axis depends on the shape.
    for entries, to_entries in zip(rows.T, similarities.T, strict=True):
        external += (to_entries[:, np.newaxis] - means[entries]) / scales[entries]
    external /= rows.shape[1]
    return external


def _take_least(
    scores: AnomalyScores,
    span: slice,
    internal: DoubleArray,
    external: DoubleArray,
    external_weight: float,
) -> None:
    """Enter the class of the least score of each photo, and its parts."""
    of_classes = internal + external_weight * external
    classes = np.argmin(of_classes, axis=1)
    chosen = (np.arange(len(classes)), classes)
    scores.classes[span] = classes
    scores.scores[span] = of_classes[chosen]
    scores.internal[span] = internal[chosen]
    scores.external[span] = external[chosen]


def _no_scores(n_rows: int, k: int) -> AnomalyScores:
    return AnomalyScores(
        scores=np.empty(n_rows, np.float32),
        classes=np.empty(n_rows, np.int64),
        internal=np.empty(n_rows, np.float32),
        external=np.empty(n_rows, np.float32),
        words=np.empty((n_rows, k), np.int64),
    )


def _mean_and_std(examples: FloatArray, texts: GridRows) -> tuple[DoubleArray, DoubleArray]:
    """Mean and population standard deviation (m,) of the similarities of examples to texts."""
    # Measured from the first example, near which all others are: the difference of two large sums
    # of squares would be rounding noise.
    origin = exact_products(grid_rows(examples[:1]), texts)[0]
    sums, squares = np.zeros_like(origin), np.zeros_like(origin)
    for span in _spans(len(examples), len(origin)):
        offsets = exact_products(grid_rows(examples[span]), texts) - origin
        sums += offsets.sum(axis=0)
        squares += np.square(offsets, out=offsets).sum(axis=0)
    mean_offset = sums / len(examples)
    variance = squares / len(examples) - np.square(mean_offset)
    return origin + mean_offset, np.sqrt(np.maximum(variance, 0.0))


def _joined(first: GridRows, second: GridRows) -> GridRows:
    return GridRows(
        np.concatenate([first.rows, second.rows]), np.concatenate([first.scales, second.scales])
    )


def _distances(similarities: DoubleArray) -> DoubleArray:
    return 1.0 - np.clip(similarities, -1.0, 1.0)


def _spans(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Slices of rows of which so many similarities each are bounded work."""
    size = max(1, BLOCK_VALUES // max(1, n_columns))
    return (slice(start, start + size) for start in range(0, n_rows, size))


def _require_scorable(
    embeddings: FloatArray, statistics: NormalStatistics, *, external_weight: float, k: int
) -> None:
    require_matrix("embeddings", embeddings)
    _require_texts(statistics.label_embeddings, statistics.dictionary, width=embeddings.shape[1])
    _require_unit("embeddings", embeddings)
    n_classes, n_words = len(statistics.label_embeddings), len(statistics.dictionary)
    _require_shape("internal_mean", statistics.internal_mean, (n_classes,))
    _require_shape("internal_std", statistics.internal_std, (n_classes,))
    _require_shape("external_mean", statistics.external_mean, (n_classes, n_words))
    _require_shape("external_std", statistics.external_std, (n_classes, n_words))
    if not 1 <= k <= n_words:
        raise ValueError(f"k must be in [1, {n_words}] texts of the dictionary, got {k}")
    if not (np.isfinite(external_weight) and external_weight >= 0):
        raise ValueError(f"external_weight must be finite and at least 0, got {external_weight}")


def _require_texts(label_embeddings: FloatArray, dictionary: FloatArray, *, width: int) -> None:
    for name, texts in (("label_embeddings", label_embeddings), ("dictionary", dictionary)):
        require_matrix(name, texts, width=width)
        _require_unit(name, texts)
        if not len(texts):
            raise ValueError(f"{name} must hold at least one text, got none")


def _require_unit(name: str, vectors: FloatArray) -> None:
    """Refuse what is not finite, and what is neither unit length nor zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    if not np.isfinite(lengths).all():
        row = int(np.argmin(np.isfinite(lengths)))
        raise ValueError(f"{name} must be finite, row {row} is not")
    is_usable = (np.abs(lengths - 1) <= LENGTH_TOLERANCE) | (lengths == 0)
    if not is_usable.all():
        row = int(np.argmin(is_usable))
        raise ValueError(f"{name} must be unit length, row {row} has length {lengths[row]:.4g}")


def _require_shape(name: str, array: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")


def _require_classes(class_of: IntArray, *, n_rows: int, n_classes: int) -> None:
    _require_shape("class_of", class_of, (n_rows,))
    if n_rows and (class_of.min() < 0 or class_of.max() >= n_classes):
        raise ValueError(
            f"class_of must be in [0, {n_classes}), got {class_of.min()} to {class_of.max()}"
        )


def _require_examples(examples: FloatArray, number: int) -> None:
    if len(examples) < MIN_EXAMPLES:
        raise ValueError(
            f"class {number} needs at least {MIN_EXAMPLES} examples, got {len(examples)}"
        )
    if (examples == examples[0]).all():
        raise ValueError(
            f"class {number} has {len(examples)} examples that are all the same; "
            "one of them must differ"
        )

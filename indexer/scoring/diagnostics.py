"""The numbers behind the pictures that show how images and texts lie in a space.

Herzog & Wang, CVPR 2026, arXiv:2603.16100, compare similarities within and between modalities;
Goodge et al., "BLISS", BMVC 2024, arXiv:2407.17083, the similarity of labels to unrelated words
and to photos. Pairs are drawn from a seed, so that no work grows with the square of a collection.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr

from indexer.arrays import DoubleArray, FloatArray, IntArray
from indexer.scoring.shapes import require_finite, require_matrix
from indexer.scoring.similarity import normalised

# More would be thinner than a line of the picture.
MAX_BINS = 60
# Fewer show no shape, even of a sample that fills them badly.
MIN_BINS = 15

# 4,096 pairs of 1,280 float64 are 84 MB.
PAIRS_PER_BLOCK = 4096

# Anchors are called dependent where a direction is so much weaker than the strongest.
MIN_DIRECTION = 1e-6


@dataclass(frozen=True, slots=True)
class SimilarityHistograms:
    """Histograms of several samples over the same bins.

    `edges` is float64 (n_bins + 1,), ascending. `shares` is float64 (n_samples, n_bins); the
    shares of each sample add up to 1.
    """

    edges: DoubleArray
    shares: DoubleArray


def similarity_histograms(
    *samples: FloatArray | DoubleArray, n_bins: int | None = None
) -> SimilarityHistograms:
    """Return histograms of samples of similarities over the range that they share.

    Parameters
    ----------
    samples : float of shape (n,) each
        At least one value each.
    n_bins : int, optional
        Equal bins from the lowest value of all samples to the highest, at least 1. By default
        twice the cube root of the smallest sample, from 15 to 60: bins with single values in them
        hardly ever meet, and so would make an overlap too low.

    Raises
    ------
    ValueError
        If there is no sample, one is empty or not finite, or n_bins < 1.

    Notes
    -----
    The default number is the Rice rule; Lane, "Introduction to Statistics", 2013, ch. 2.

    Examples
    --------
    >>> similarity_histograms(np.array([0.0, 0.0, 1.0, 1.0]), np.array([1.0]), n_bins=2).shares
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    if n_bins is not None and n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    if not samples or any(sample.ndim != 1 or not len(sample) for sample in samples):
        raise ValueError("each sample must be a row of at least one similarity")
    for sample in samples:
        require_finite("similarities", sample)
    if n_bins is None:
        n_smallest = min(len(sample) for sample in samples)
        n_bins = int(np.clip(2 * np.cbrt(n_smallest), MIN_BINS, MAX_BINS))
    edges = np.histogram_bin_edges(np.concatenate(samples).astype(np.float64), bins=n_bins)
    counts = np.stack([np.histogram(sample, bins=edges)[0] for sample in samples])
    return SimilarityHistograms(edges, counts / counts.sum(axis=1, keepdims=True))


def histogram_overlap(first: DoubleArray, second: DoubleArray) -> float:
    """Return the share that two histograms over the same bins have in common.

    Parameters
    ----------
    first, second : float64 of shape (n_bins,)
        Not negative, adding up to 1 each.

    Returns
    -------
    float
        In [0, 1]: the sum of the lower of both shares in each bin. 0 for samples that a threshold
        tells apart without error, 1 for samples that nothing tells apart.

    Raises
    ------
    ValueError
        If they are not histograms of one length.

    Examples
    --------
    >>> histogram_overlap(np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.25, 0.75]))
    0.25
    """
    for shares in (first, second):
        if shares.shape != first.shape or not (np.abs(shares.sum() - 1) < 1e-9):  # noqa: PLR2004
            raise ValueError(
                "histograms must have the same bins and shares that add up to 1, got shapes "
                f"{first.shape} and {second.shape} with sums {first.sum()} and {second.sum()}"
            )
        if (shares < 0).any():
            raise ValueError(f"shares must not be negative, got {shares.min()}")
    return float(np.minimum(first, second).sum())


def class_pairs(class_of: IntArray, *, n_pairs: int, seed: int) -> tuple[IntArray, IntArray]:
    """Draw pairs of rows of the same class, and pairs of rows of different classes.

    Each pair that exists is as likely as any other of its kind, and none comes twice.

    Parameters
    ----------
    class_of : int64 of shape (n,)
        The class of each row, any numbers.
    n_pairs : int
        At most so many of each kind; all where fewer exist. At least 1.
    seed : int

    Returns
    -------
    same, other : int64 of shape (m, 2)
        Rows, two different ones in each pair. Empty where no such pair exists.

    Raises
    ------
    ValueError
        If class_of is no vector, or n_pairs < 1.
    """
    if class_of.ndim != 1:
        raise ValueError(f"class_of must be a vector (n,), got shape {class_of.shape}")
    _check_n_pairs(n_pairs)
    generator = np.random.default_rng(seed)
    order = np.argsort(class_of, kind="stable")
    position = np.arange(len(order))
    # Rows lie by class: the class of row i ends before ends[i].
    ends = np.searchsorted(class_of[order], class_of[order], side="right")
    same = _drawn_pairs(position + 1, ends, n_pairs, generator)
    other = _drawn_pairs(ends, np.full(len(order), len(order)), n_pairs, generator)
    return order[same], order[other]


def cross_pairs(n_first: int, n_second: int, *, n_pairs: int, seed: int) -> IntArray:
    """Draw pairs of a row of one matrix and a row of another, none twice.

    Parameters
    ----------
    n_first, n_second : int
        How many rows each has.
    n_pairs : int
        At most so many; all where fewer exist. At least 1.
    seed : int

    Returns
    -------
    int64 of shape (m, 2)

    Raises
    ------
    ValueError
        If n_pairs < 1, or a number of rows is negative.
    """
    _check_n_pairs(n_pairs)
    if min(n_first, n_second) < 0:
        raise ValueError(f"numbers of rows must not be negative, got {n_first} and {n_second}")
    firsts = np.zeros(n_first, np.int64)
    return _drawn_pairs(firsts, firsts + n_second, n_pairs, np.random.default_rng(seed))


def pair_similarities(first: FloatArray, second: FloatArray, pairs: IntArray) -> DoubleArray:
    """Return the cosine similarity of each pair of rows.

    Parameters
    ----------
    first : float32 of shape (n, d)
        Unit length.
    second : float32 of shape (m, d)
        Unit length; the same matrix for pairs within it.
    pairs : int64 of shape (k, 2)
        A row of `first` and one of `second` each.

    Returns
    -------
    float64 of shape (k,)
        In [-1, 1], higher is closer.

    Raises
    ------
    ValueError
        If the widths differ, a vector is not finite, or a row is outside its matrix.
    """
    require_matrix("first", first)
    require_matrix("second", second, width=first.shape[1])
    require_matrix("pairs", pairs, width=2)
    require_finite("first", first)
    require_finite("second", second)
    if len(pairs) and (pairs.min() < 0 or (pairs.max(axis=0) >= [len(first), len(second)]).any()):
        raise ValueError(
            f"pairs must be rows of matrices of {len(first)} and {len(second)} rows, "
            f"got {pairs.min()} to {pairs.max()}"
        )
    similarities = np.empty(len(pairs))
    for start in range(0, len(pairs), PAIRS_PER_BLOCK):
        block = pairs[start : start + PAIRS_PER_BLOCK]
        products = first[block[:, 0]].astype(np.float64) * second[block[:, 1]]
        similarities[start : start + len(block)] = products.sum(axis=1)
    return np.clip(similarities, -1.0, 1.0)


def modality_gap(images: FloatArray, texts: FloatArray) -> float:
    """Return the distance between the mean of image embeddings and that of text embeddings.

    Parameters
    ----------
    images, texts : float32 of shapes (n, d) and (m, d)
        Unit length, at least one row each.

    Returns
    -------
    float
        In [0, 2]; 0 where both modalities have one centre.

    Raises
    ------
    ValueError
        If the widths differ, or one has no row or is not finite.

    Notes
    -----
    Liang et al., "Mind the Gap", NeurIPS 2022, section 2; used so in arXiv:2603.16100.

    Examples
    --------
    >>> modality_gap(np.array([[1, 0], [0, 1]], np.float32), np.array([[0.5, -0.5]], np.float32))
    1.0
    """
    _check_modalities(images, texts)
    return float(np.linalg.norm(_mean(images) - _mean(texts)))


def gap_positions(images: FloatArray, texts: FloatArray) -> tuple[DoubleArray, DoubleArray]:
    """Return where images and texts lie along the line through their two means.

    Parameters
    ----------
    images, texts : float32 of shapes (n, d) and (m, d)
        Unit length, at least one row each.

    Returns
    -------
    image_positions, text_positions : float64 of shapes (n,) and (m,)
        0 is in the middle; the mean of images lies half a `modality_gap` above it, that of texts
        half a gap below. All 0 where there is no gap.

    Raises
    ------
    ValueError
        If the widths differ, or one has no row or is not finite.
    """
    _check_modalities(images, texts)
    image_mean, text_mean = _mean(images), _mean(texts)
    line = normalised(image_mean - text_mean)
    middle = (image_mean + text_mean) @ line / 2
    return images @ line - middle, texts @ line - middle


@dataclass(frozen=True, slots=True)
class PrincipalPlane:
    """Images float64 (n, 2) and texts float64 (m, 2) in the plane that shows most of both.

    `shares` (2,) are the parts of the variance that each axis shows, the first at least the second.
    """

    images: DoubleArray
    texts: DoubleArray
    shares: DoubleArray


def principal_plane(images: FloatArray, texts: FloatArray) -> PrincipalPlane:
    """Project images and texts onto the first two principal components of both together.

    Parameters
    ----------
    images, texts : float32 of shapes (n, d) and (m, d)
        Unit length, at least one row each; d at least 2.

    Returns
    -------
    PrincipalPlane
        Around the middle between the two means.

    Raises
    ------
    ValueError
        If the widths differ or are 1, or one has no row or is not finite.

    Notes
    -----
    Images and texts have the same weight however many there are of each, as a map of 100 photos and
    2,000 words would else be a map of words. Each axis points to where its largest coefficient is
    positive, so that the map is the same on every machine.
    """
    _check_modalities(images, texts)
    if images.shape[1] < 2:  # noqa: PLR2004 - a plane
        raise ValueError(f"a plane needs embeddings of 2 dimensions or more, got {images.shape[1]}")
    centre = (_mean(images) + _mean(texts)) / 2
    deviations = [images - centre, texts - centre]
    scatter = sum(part.T @ part / (2 * len(part)) for part in deviations)
    variances, directions = np.linalg.eigh(scatter)
    plane = directions[:, [-1, -2]]
    largest = plane[np.abs(plane).argmax(axis=0), [0, 1]]
    plane = plane * np.where(largest < 0, -1.0, 1.0)
    total = max(float(variances.sum()), np.finfo(np.float64).tiny)
    return PrincipalPlane(
        images=deviations[0] @ plane,
        texts=deviations[1] @ plane,
        shares=np.maximum(variances[[-1, -2]], 0) / total,
    )


@dataclass(frozen=True, slots=True)
class LabelSimilarities:
    """Mean cosine similarity of each label, float64 (C,), to three kinds of embeddings.

    `dictionary`: to the entries of the dictionary. `own_images`: to the images of that class.
    `other_images`: to the images of all other classes, NaN where there is but one class.
    """

    dictionary: DoubleArray
    own_images: DoubleArray
    other_images: DoubleArray


def label_similarities(
    labels: FloatArray, dictionary: FloatArray, images: FloatArray, class_of: IntArray
) -> LabelSimilarities:
    """Compare label texts with unrelated texts and with images.

    Parameters
    ----------
    labels : float32 of shape (C, d)
        Unit length.
    dictionary : float32 of shape (m, d)
        Unit length, without the labels themselves.
    images : float32 of shape (n, d)
        Unit length.
    class_of : int64 of shape (n,)
        Row of `labels` for each image; each label has at least one.

    Returns
    -------
    LabelSimilarities

    Raises
    ------
    ValueError
        If shapes do not fit, something is empty or not finite, or a label has no image.

    Notes
    -----
    Goodge et al., arXiv:2407.17083: texts cluster together, away from images, so that a label is
    closer to unrelated words than to photos of what it names. That is the bias which subtracting
    the means over normal images corrects.
    """
    _check_modalities(images, labels)
    _check_modalities(images, dictionary)
    if class_of.shape != images.shape[:1]:
        raise ValueError(f"{len(images)} images need as many classes, got shape {class_of.shape}")
    n_of_class = np.bincount(class_of, minlength=len(labels)) if class_of.min() >= 0 else class_of
    if class_of.min() < 0 or len(n_of_class) > len(labels) or not n_of_class.all():
        raise ValueError(f"class_of must name each of the {len(labels)} labels and no other")
    # A mean of cosines with unit vectors is the product with their mean.
    sums = np.zeros((len(labels), images.shape[1]))
    np.add.at(sums, class_of, images)
    doubles = labels.astype(np.float64)
    own, everything = np.sum(doubles * sums, axis=1), doubles @ sums.sum(axis=0)
    n_others = len(images) - n_of_class
    return LabelSimilarities(
        dictionary=doubles @ _mean(dictionary),
        own_images=own / n_of_class,
        other_images=np.divide(
            everything - own, n_others, out=np.full(len(labels), np.nan), where=n_others > 0
        ),
    )


def independent_rows(texts: FloatArray) -> IntArray:
    """Choose d rows of texts that span all d dimensions well.

    Parameters
    ----------
    texts : float32 of shape (m, d)

    Returns
    -------
    int64 of shape (d,)
        Rows, that which adds most to the ones before it first.

    Raises
    ------
    ValueError
        If the texts are not finite, or span fewer dimensions.

    Notes
    -----
    By QR with column pivoting; arXiv:2603.16100 asks for any d independent texts.
    """
    require_matrix("texts", texts)
    require_finite("texts", texts)
    triangle, rows = qr(texts.T.astype(np.float64), mode="r", pivoting=True)
    strengths = np.abs(np.diag(triangle))
    rank = int(np.sum(strengths > MIN_DIRECTION * strengths.max(initial=0)))
    if rank < texts.shape[1]:
        raise ValueError(f"texts must span all {texts.shape[1]} dimensions, these span {rank}")
    return np.asarray(rows[:rank], dtype=np.int64)


def recovered_similarities(anchors: FloatArray, inter_modal: DoubleArray) -> DoubleArray:
    """Recover the similarities among images from their similarities to d texts.

    Parameters
    ----------
    anchors : float32 of shape (d, d)
        Embeddings of independent texts, X_T[J].
    inter_modal : float64 of shape (d, n)
        Similarity of each anchor to each image, S_inter[J]; of embeddings of any length.

    Returns
    -------
    float64 of shape (n, n)
        The similarities of the images among themselves, S_intra.

    Raises
    ------
    ValueError
        If shapes do not fit, something is not finite, or the anchors are dependent.

    Notes
    -----
    Herzog & Wang, arXiv:2603.16100, eq. 1-3: with images as columns here,
    X_I^T = X_T[J]^-1 S_inter[J] and S_intra = X_I X_I^T. What relates images to images is already
    in what relates them to texts, so that it cannot be misaligned on its own.
    """
    require_matrix("anchors", anchors)
    require_matrix("inter_modal", inter_modal)
    if len({*anchors.shape, len(inter_modal)}) > 1:
        raise ValueError(
            "anchors must be square with a row for each of inter_modal, "
            f"got shapes {anchors.shape} and {inter_modal.shape}"
        )
    require_finite("anchors", anchors)
    require_finite("inter_modal", inter_modal)
    doubles = anchors.astype(np.float64)
    strengths = np.linalg.svd(doubles, compute_uv=False)
    if strengths.min() <= MIN_DIRECTION * strengths.max():
        raise ValueError("anchors must be independent, these are not")
    images = np.linalg.solve(doubles, inter_modal)
    recovered: DoubleArray = images.T @ images
    return recovered


def _drawn_pairs(
    starts: IntArray, ends: IntArray, n_pairs: int, generator: np.random.Generator
) -> IntArray:
    """Draw from the pairs (i, j) with starts[i] <= j < ends[i], in the order of their numbers."""
    last = np.cumsum(ends - starts)
    n_all = int(last[-1]) if len(last) else 0
    if n_all <= n_pairs:
        numbers = np.arange(n_all)
    else:
        numbers = np.sort(generator.choice(n_all, n_pairs, replace=False, shuffle=False))
    rows = np.searchsorted(last, numbers, side="right")
    first_number = last - (ends - starts)
    return np.stack([rows, starts[rows] + numbers - first_number[rows]], axis=1).astype(np.int64)


def _check_n_pairs(n_pairs: int) -> None:
    if n_pairs < 1:
        raise ValueError(f"n_pairs must be at least 1, got {n_pairs}")


def _check_modalities(images: FloatArray, texts: FloatArray) -> None:
    require_matrix("images", images)
    require_matrix("texts", texts, width=images.shape[1])
    if not len(images) or not len(texts):
        raise ValueError(f"need at least one image and one text, got {len(images)}, {len(texts)}")
    require_finite("images", images)
    require_finite("texts", texts)


def _mean(vectors: FloatArray) -> DoubleArray:
    mean: DoubleArray = vectors.mean(axis=0, dtype=np.float64)
    return mean

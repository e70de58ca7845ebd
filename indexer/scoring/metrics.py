"""How good a ranking is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.scoring.exact_products import GridRows, exact_products, grid_rows
from indexer.scoring.retrieval import BLOCK_VALUES
from indexer.scoring.shapes import require_finite, require_matrix


def recall_at_k(retrieved: IntArray, relevant: IntArray, *, k: int) -> float:
    """Return the mean share of relevant gallery rows found in the first k hits.

    Parameters
    ----------
    retrieved : int64 of shape (n_queries, n_retrieved)
        Gallery rows, best first; -1 means "no hit".
    relevant : int64 of shape (n_queries, n_relevant)
        Exact neighbours, in any order, at least one.
    k : int
        1 <= k <= n_retrieved.

    Returns
    -------
    float
        In [0, 1]; higher is better.

    Raises
    ------
    ValueError
        If the query counts differ or are zero, nothing is relevant, or k is out of range.

    Notes
    -----
    Manning et al., "Introduction to Information Retrieval", 2008, ch. 8. Not the 1-recall@R of
    Jegou et al. (TPAMI 2011), which asks only for the single nearest neighbour.

    Examples
    --------
    >>> recall_at_k(np.array([[3, 1, 9]]), np.array([[1, 2]]), k=2)
    0.5
    """
    require_matrix("retrieved", retrieved)
    require_matrix("relevant", relevant)
    if len(retrieved) != len(relevant) or relevant.size == 0:
        raise ValueError(
            "retrieved and relevant must have one row per query and not be empty, "
            f"got shapes {retrieved.shape} and {relevant.shape}"
        )
    if not 1 <= k <= retrieved.shape[1]:
        raise ValueError(f"k must be in [1, {retrieved.shape[1]}], got {k}")
    hits = retrieved[:, :k, np.newaxis]
    found = ((hits == relevant[:, np.newaxis, :]) & (hits >= 0)).any(axis=1)
    return float(found.mean())


@dataclass(frozen=True, slots=True)
class CaptionRecall:
    """Share of queries whose first k hits hold a match, by k, in both directions."""

    text_to_image: dict[int, float]
    image_to_text: dict[int, float]


def caption_recall(
    similarities: FloatArray, relevant_images: IntArray, *, ks: Sequence[int] = (1, 5, 10)
) -> CaptionRecall:
    """Return recall of captioned images, as retrieval papers report it (R@1, R@5, R@10).

    Parameters
    ----------
    similarities : float32 of shape (n_texts, n_images)
    relevant_images : int64 of shape (n_texts,)
        The image that each caption describes. An image without captions is a distractor.
    ks : sequence of int

    Returns
    -------
    CaptionRecall
        In [0, 1]; higher is better.

    Raises
    ------
    ValueError
        If shapes do not fit, a similarity is not finite, a relevant image does not exist, or there
        are no captions.

    Notes
    -----
    Karpathy and Fei-Fei, CVPR 2015, section 4.2. An image counts as answered when its best
    caption is among the first k, however many captions it has. A match stands behind all that is
    exactly as similar, so that equal similarities are no success and the order of rows and
    columns does not matter.
    """
    require_matrix("similarities", similarities)
    require_finite("similarities", similarities)
    _check_captions(relevant_images, shape=similarities.shape)
    own = np.take_along_axis(similarities, relevant_images[:, np.newaxis], axis=1)[:, 0]
    ranks = _CaptionRanks(own, relevant_images, n_images=similarities.shape[1])
    ranks.count(similarities.copy(), start=0)
    return ranks.recall(ks)


def caption_recall_of_vectors(
    texts: FloatArray,
    images: FloatArray,
    relevant_images: IntArray,
    *,
    ks: Sequence[int] = (1, 5, 10),
    block_values: int = BLOCK_VALUES,
) -> CaptionRecall:
    """Return :func:`caption_recall` of the cosines of unit vectors, by blocks of texts.

    Parameters
    ----------
    texts : float32 of shape (n_texts, d)
        Unit length.
    images : float32 of shape (n_images, d)
        Unit length.
    relevant_images : int64 of shape (n_texts,)
        The image that each caption describes.
    ks : sequence of int
    block_values : int
        Similarities in work at a time; the values do not depend on it.

    Returns
    -------
    CaptionRecall
        In [0, 1]; higher is better.

    Raises
    ------
    ValueError
        As for :func:`caption_recall`, or if a vector is not finite.
    """
    require_matrix("texts", texts)
    require_matrix("images", images, width=texts.shape[1])
    _check_captions(relevant_images, shape=(len(texts), len(images)))
    require_finite("texts", texts)
    require_finite("images", images)
    gallery = grid_rows(images)
    block = max(1, block_values // len(images))
    spans = [slice(start, start + block) for start in range(0, len(texts), block)]
    own = [
        _own_similarities(grid_rows(texts[span]), gallery, relevant_images[span]) for span in spans
    ]
    ranks = _CaptionRanks(np.concatenate(own), relevant_images, n_images=len(images))
    for span in spans:
        similarities = exact_products(grid_rows(texts[span]), gallery).astype(np.float32)
        ranks.count(similarities, start=span.start)
    return ranks.recall(ks)


def recall_at_ranks(ranks: IntArray, *, ks: Sequence[int]) -> dict[int, float]:
    """Return the share of queries whose first match has a rank of at most k, for each k.

    Parameters
    ----------
    ranks : int64 of shape (n_queries,)
        1 is the best.
    ks : sequence of int

    Returns
    -------
    dict of int to float
        In [0, 1]; higher is better.

    Raises
    ------
    ValueError
        If there are no ranks, or a rank or k is below 1.

    Examples
    --------
    >>> recall_at_ranks(np.array([1, 3, 7, 20]), ks=(1, 5))
    {1: 0.25, 5: 0.5}
    """
    if len(ranks) == 0 or ranks.min() < 1:
        raise ValueError(f"ranks must be one or more numbers from 1, got {ranks.tolist()[:5]}")
    if min(ks, default=1) < 1:
        raise ValueError(f"every k must be at least 1, got {tuple(ks)}")
    return {k: float(np.mean(ranks <= k)) for k in ks}


def _own_similarities(texts: GridRows, images: GridRows, relevant_images: IntArray) -> FloatArray:
    """Similarity of each text to its image, to the bit that of :func:`exact_products`."""
    products = np.einsum("nd,nd->n", texts.rows, images.rows[relevant_images])
    own: FloatArray = (products * texts.scales * images.scales[relevant_images]).astype(np.float32)
    return own


class _CaptionRanks:
    """Counts what stands ahead of each caption's image, and of each image's best caption.

    `own` is float32 (n_texts,), the similarity of each caption to its own image.
    """

    def __init__(self, own: FloatArray, relevant_images: IntArray, *, n_images: int) -> None:
        self._own = own
        self._relevant_images = relevant_images
        self._best_own = np.full(n_images, -np.inf, np.float32)
        np.maximum.at(self._best_own, relevant_images, own)
        self._text_ranks = np.ones(len(own), np.int64)
        self._image_ranks = np.ones(n_images, np.int64)

    def count(self, similarities: FloatArray, *, start: int) -> None:
        """Count a block of captions (n, n_images) that begins at `start`; it is overwritten."""
        span = slice(start, start + len(similarities))
        np.put_along_axis(similarities, self._relevant_images[span, np.newaxis], -np.inf, axis=1)
        self._text_ranks[span] += np.sum(similarities >= self._own[span, np.newaxis], axis=1)
        self._image_ranks += np.sum(similarities >= self._best_own, axis=0)

    def recall(self, ks: Sequence[int]) -> CaptionRecall:
        """Return what all blocks together give."""
        asking = np.unique(self._relevant_images)
        return CaptionRecall(
            text_to_image=recall_at_ranks(self._text_ranks, ks=ks),
            image_to_text=recall_at_ranks(self._image_ranks[asking], ks=ks),
        )


def _check_captions(relevant_images: IntArray, *, shape: tuple[int, int]) -> None:
    n_texts, n_images = shape
    if n_texts == 0 or relevant_images.shape != (n_texts,):
        raise ValueError(
            "captions need one relevant image per text, "
            f"got {n_texts} texts and shape {relevant_images.shape}"
        )
    if relevant_images.min() < 0 or relevant_images.max() >= n_images:
        raise ValueError(
            f"relevant_images must be in [0, {n_images}), "
            f"got {relevant_images.min()} to {relevant_images.max()}"
        )

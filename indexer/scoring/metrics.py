"""How good a ranking is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.scoring.shapes import require_matrix


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
        If shapes do not fit, a relevant image does not exist, or there are no captions.

    Notes
    -----
    Karpathy and Fei-Fei, CVPR 2015, section 4.2. An image counts as answered when its best
    caption is among the first k, however many captions it has. Ties go to the lower row or
    column, so that equal similarities do not look like success.
    """
    _check_captions(similarities, relevant_images)
    text_ranks = _ranks(similarities, relevant_images)
    # Each caption's rank among all captions, asked by its own image; then the best per image.
    caption_ranks = _ranks(similarities.T[relevant_images], np.arange(len(relevant_images)))
    best_ranks = np.full(similarities.shape[1], np.iinfo(np.int64).max)
    np.minimum.at(best_ranks, relevant_images, caption_ranks)
    return CaptionRecall(
        text_to_image=recall_at_ranks(text_ranks, ks=ks),
        image_to_text=recall_at_ranks(best_ranks[np.unique(relevant_images)], ks=ks),
    )


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


def _ranks(similarities: FloatArray, columns: IntArray) -> IntArray:
    """Rank, from 1, of one column in each row; equal values rank by column."""
    own = np.take_along_axis(similarities, columns[:, np.newaxis], axis=1)
    earlier = np.arange(similarities.shape[1]) < columns[:, np.newaxis]
    ahead: IntArray = np.sum((similarities > own) | ((similarities == own) & earlier), axis=1)
    return ahead + 1


def _check_captions(similarities: FloatArray, relevant_images: IntArray) -> None:
    require_matrix("similarities", similarities)
    if len(relevant_images) == 0 or relevant_images.shape != similarities.shape[:1]:
        raise ValueError(
            "similarities (n_texts, n_images) need one relevant image per text, "
            f"got shapes {similarities.shape} and {relevant_images.shape}"
        )
    if relevant_images.min() < 0 or relevant_images.max() >= similarities.shape[1]:
        raise ValueError(
            f"relevant_images must be in [0, {similarities.shape[1]}), "
            f"got {relevant_images.min()} to {relevant_images.max()}"
        )

"""How well photos find those of their own class: every photo asks, all others answer."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from indexer.arrays import DoubleArray, FloatArray, IntArray
from indexer.scoring.exact_products import GridRows, exact_products, grid_rows
from indexer.scoring.shapes import require_finite, require_matrix

UNLABELLED = -1
"""Class of a photo that belongs to none."""

BLOCK_VALUES = 2**21
"""Similarities in work at a time: 16 MiB as float64. Four times as much is no faster."""


@dataclass(frozen=True, slots=True)
class LabelRetrieval:
    """How each query ranks the photos of its class; one value per query, in [0, 1].

    `queries` is int64 (n_queries,), rows of the vectors; the others are float64 (n_queries,),
    higher is better. With R the number of photos of the query's class besides itself and P(i) the
    precision of the first i hits: `average_precision` is the mean of P(i) over the places i of
    these R; `average_precision_at_r` the sum of P(i) over those of them that are among the first
    R, divided by R; `precision_at_r` is P(R); `recall_at_1` is 1 if the first hit is of the class.
    `n_classes` is the number of classes that ask, `n_distractors` that of photos that are only
    ever found: those without a class, and those whose class is too small.
    """

    queries: IntArray
    average_precision: DoubleArray
    average_precision_at_r: DoubleArray
    precision_at_r: DoubleArray
    recall_at_1: DoubleArray
    n_classes: int
    n_distractors: int


def label_retrieval(
    vectors: FloatArray,
    class_of: IntArray,
    *,
    min_members: int = 2,
    queries: IntArray | None = None,
    block_values: int = BLOCK_VALUES,
) -> LabelRetrieval:
    """Return how well each photo finds those of its class among all others.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length; a zero vector is similar to nothing.
    class_of : int64 of shape (n,)
        Class of each row, any number from 0; `UNLABELLED` for none.
    min_members : int
        Rows of a class with fewer, at least 2, are distractors.
    queries : int64 of shape (n_asked,), optional
        Rows that ask, where not all are to; distractors among them are left out.
    block_values : int
        Similarities in work at a time, at least one query's; the values do not depend on it.

    Returns
    -------
    LabelRetrieval

    Raises
    ------
    ValueError
        If shapes do not fit, a value is out of range or not finite, or no row can ask.

    Notes
    -----
    Mean average precision: Manning et al., "Introduction to Information Retrieval", 2008, ch. 8.
    mAP@R: Musgrave et al., "A Metric Learning Reality Check", ECCV 2020, section 3.2. They are
    means over queries: a large class counts more than a small one.

    A photo stands behind all photos of other classes that are exactly as similar, so that equal
    vectors are no success, and the order of rows does not matter. That takes products in which
    equal vectors are equally similar wherever they stand, see `exact_products`; their float64
    rows are kept, twice the memory of the vectors.

    Examples
    --------
    >>> east, north = [1.0, 0.0], [0.0, 1.0]
    >>> found = label_retrieval(np.array([east, east, north], np.float32), np.array([0, 0, 1]))
    >>> found.average_precision.tolist(), found.n_distractors
    ([1.0, 1.0], 1)
    """
    _check_labelled(vectors, class_of, min_members=min_members)
    members = _members_of(class_of, min_members=min_members)
    asking = _asking_rows(class_of, members, queries)
    block = max(1, block_values // len(vectors))
    gallery = grid_rows(vectors)
    measured = np.empty((4, len(asking)))
    for start in range(0, len(asking), block):
        rows = asking[start : start + block]
        similarities = _similarities(gallery, rows)
        groups = [members[int(class_of[row])] for row in rows]
        relevant = [group[group != row] for group, row in zip(groups, rows, strict=True)]
        for place, ranks in enumerate(_ranks_of_relevant(similarities, rows, relevant), start):
            measured[:, place] = _measures(ranks)
    return LabelRetrieval(
        queries=asking,
        average_precision=measured[0],
        average_precision_at_r=measured[1],
        precision_at_r=measured[2],
        recall_at_1=measured[3],
        n_classes=len(np.unique(class_of[asking])),
        n_distractors=len(vectors) - sum(map(len, members.values())),
    )


def _similarities(gallery: GridRows, rows: IntArray) -> FloatArray:
    asked = GridRows(gallery.rows[rows], gallery.scales[rows])
    # float32 is sorted in half the time.
    return exact_products(asked, gallery).astype(np.float32)


def _members_of(class_of: IntArray, *, min_members: int) -> dict[int, IntArray]:
    """Rows of each class that is large enough, ascending."""
    order = np.argsort(class_of, kind="stable")
    found = np.unique(class_of[order], return_index=True, return_counts=True)
    return {
        number: order[start : start + count]
        for number, start, count in zip(*(part.tolist() for part in found), strict=True)
        if number != UNLABELLED and count >= min_members
    }


def _asking_rows(
    class_of: IntArray, members: dict[int, IntArray], queries: IntArray | None
) -> IntArray:
    if not members:
        raise ValueError("no class has enough rows, so that nothing can be found")
    asking = np.sort(np.concatenate(list(members.values())))
    if queries is None:
        return asking
    if len(queries) and (queries.min() < 0 or queries.max() >= len(class_of)):
        raise ValueError(
            f"queries must be in [0, {len(class_of)}), got {queries.min()} to {queries.max()}"
        )
    asking = np.intersect1d(asking, queries)
    if not len(asking):
        raise ValueError(f"none of the {len(queries)} queries has another row of its class")
    return asking


def _ranks_of_relevant(
    similarities: FloatArray, rows: IntArray, relevant: list[IntArray]
) -> Iterator[IntArray]:
    """Yield, for each query, the places from 1 of its relevant rows, ascending.

    Only relevant rows are ranked: the others are sorted as bare values, which takes a tenth of
    the time of sorting their positions. Overwrites the similarities.
    """
    found = []
    for values, row, own in zip(similarities, rows, relevant, strict=True):
        found.append(np.sort(values[own])[::-1])
        values[own] = values[row] = -np.inf
    similarities.sort(axis=1)
    for values, own_values in zip(similarities, found, strict=True):
        ahead = len(values) - np.searchsorted(values, own_values, side="left")
        yield ahead + np.arange(1, len(own_values) + 1)


def _measures(ranks: IntArray) -> tuple[float, float, float, float]:
    """Return the four measures of :class:`LabelRetrieval`, in its order."""
    n_relevant = len(ranks)
    precision = np.arange(1, n_relevant + 1) / ranks
    n_early = int(np.searchsorted(ranks, n_relevant, side="right"))
    return (
        float(precision.mean()),
        float(precision[:n_early].sum() / n_relevant),
        n_early / n_relevant,
        float(ranks[0] == 1),
    )


def _check_labelled(vectors: FloatArray, class_of: IntArray, *, min_members: int) -> None:
    require_matrix("vectors", vectors)
    if class_of.shape != vectors.shape[:1]:
        raise ValueError(f"{len(vectors)} vectors need as many classes, got shape {class_of.shape}")
    require_finite("vectors", vectors)
    if class_of.min(initial=0) < UNLABELLED:
        raise ValueError(f"classes must be at least {UNLABELLED}, got {class_of.min()}")
    if min_members < 2:  # noqa: PLR2004 - one to ask, one to be found
        raise ValueError(f"min_members must be at least 2, got {min_members}")

"""Unit vectors, cosine similarities, and the exact search that others are held against."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from indexer.arrays import Float16Array, FloatArray, IntArray
from indexer.scoring.shapes import require_finite, require_matrix

Real = TypeVar("Real", np.float32, np.float64)

# Vectors shorter than this come from blank images; dividing by them would turn
# rounding noise into a confident direction.
MIN_NORM = 1e-8

# 32,768 rows of 512 float32 are 64 MiB, and 400 queries need another 50 MiB of similarities. A
# quarter of that is a third slower on a busy machine, four times as much no faster.
BLOCK_ROWS = 32_768

# Values per group whose maximum stands for it in a search for the highest.
GROUP_SIZE = 64


def normalised(vectors: npt.NDArray[Real]) -> npt.NDArray[Real]:
    """Return the vectors scaled to unit length.

    Parameters
    ----------
    vectors : float of shape (n, d) or (d,)

    Returns
    -------
    float of the same shape and dtype
        Vectors shorter than `MIN_NORM` become zero: they are similar to nothing.
    """
    norms = np.sqrt(np.sum(np.square(vectors, dtype=np.float64), axis=-1, keepdims=True))
    scales = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms >= MIN_NORM)
    units: npt.NDArray[Real] = (vectors * scales).astype(vectors.dtype)
    return units


def cosine_similarities(queries: FloatArray, gallery: FloatArray) -> FloatArray:
    """Return the cosine similarity of each query to each gallery row.

    Parameters
    ----------
    queries : float32 of shape (m, d)
        Of any length.
    gallery : float32 of shape (n, d)
        Of any length.

    Returns
    -------
    float32 of shape (m, n)
        In [-1, 1], higher is closer; 0 where either vector is zero.

    Raises
    ------
    ValueError
        If the two are not matrices of one width, or not finite.
    """
    require_matrix("queries", queries)
    require_matrix("gallery", gallery, width=queries.shape[1])
    require_finite("queries", queries)
    require_finite("gallery", gallery)
    similarities = normalised(queries) @ normalised(gallery).T
    # Rounding gives 1.0000001 for a vector and itself, and arccos of that is NaN.
    return np.clip(similarities, -1.0, 1.0, out=similarities)


def top_k(similarities: FloatArray, *, k: int) -> tuple[FloatArray, IntArray]:
    """Return the k highest similarities of each query and where they stand.

    Parameters
    ----------
    similarities : float32 of shape (m, n)
        -inf for what must not be returned.
    k : int
        At least 1.

    Returns
    -------
    similarities : float32 of shape (m, k)
        Descending; -inf where fewer than k exist.
    rows : int64 of shape (m, k)
        Columns of the input, the lowest first among equals; -1 where fewer exist.

    Raises
    ------
    ValueError
        If k < 1, or a similarity is NaN.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if np.isnan(similarities).any():
        raise ValueError("similarities must be numbers, got NaN")
    best, rows = _no_hits(len(similarities), k)
    for query, values in enumerate(similarities):
        columns = _best_columns(values, k)
        best[query, : len(columns)] = values[columns]
        rows[query, : len(columns)] = columns
    return best, rows


def exact_search(
    queries: FloatArray,
    gallery: FloatArray | Float16Array,
    *,
    top_k: int,
    rows: IntArray | None = None,
    block: int = BLOCK_ROWS,
) -> tuple[FloatArray, IntArray]:
    """Search by brute force, with no more than a block of the gallery in work at a time.

    Parameters
    ----------
    queries : float32 of shape (m, d)
        Unit length.
    gallery : float32 or float16 of shape (n, d)
        Unit length.
    top_k : int
        Hits per query, at least 1.
    rows : int64 of shape (n_allowed,), optional
        Answer with these gallery rows only; in any order, repeats count once.
    block : int
        Gallery rows per matrix product.

    Returns
    -------
    similarities : float32 of shape (m, top_k)
        Cosines, descending; -inf where fewer rows exist.
    rows : int64 of shape (m, top_k)
        Gallery rows, the lowest first among equals; -1 where fewer exist.

    Raises
    ------
    ValueError
        If the widths differ, a vector is not finite, top_k or block is below 1, or a row is outside
        the gallery.
    """
    require_matrix("queries", queries)
    require_matrix("gallery", gallery, width=queries.shape[1])
    if top_k < 1 or block < 1:
        raise ValueError(f"top_k and block must be at least 1, got {top_k} and {block}")
    allowed = None if rows is None else _sorted_rows(rows, n_rows=len(gallery))
    n_allowed = len(gallery) if allowed is None else len(allowed)
    best, positions = _no_hits(len(queries), top_k)
    for start in range(0, n_allowed, block):
        span = slice(start, min(start + block, n_allowed))
        # Without a filter a slice is a view; fancy indexing would copy the whole gallery.
        vectors = gallery[span if allowed is None else allowed[span]]
        similarities = queries @ vectors.astype(np.float32, copy=False).T
        # Cheaper than looking through the vectors, which a product with what is no number shows.
        require_finite("queries and gallery", similarities)
        for query, values in enumerate(similarities):
            _merge(best[query], positions[query], values, start=start)
    if allowed is not None and len(allowed):
        positions = np.where(positions < 0, -1, allowed[positions])
    return best, positions


def composed_query(vectors: FloatArray, weights: FloatArray) -> FloatArray:
    """Return one query from several weighted ones, as in "this, and that, but not those".

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Of any length; their unit vectors are added.
    weights : float32 of shape (n,)
        Negative ones lead away from their vector.

    Returns
    -------
    float32 of shape (d,)
        Unit length.

    Raises
    ------
    ValueError
        If the counts differ, a value is not finite, or the sum is zero and so points nowhere.
    """
    require_matrix("vectors", vectors)
    if weights.shape != (len(vectors),):
        raise ValueError(f"{len(vectors)} vectors need as many weights, got {weights.shape}")
    require_finite("vectors", vectors)
    require_finite("weights", weights)
    combined = weights.astype(np.float64) @ normalised(vectors.astype(np.float64))
    # The sum of float32 unit vectors that cancel is rounding noise of about 1e-7 per weight.
    if np.linalg.norm(combined) <= 1e-6 * np.abs(weights).sum():
        raise ValueError("the weighted queries cancel out, change a weight or drop a query")
    return normalised(combined).astype(np.float32)


def _best_columns(values: FloatArray, k: int, *, above: float = -np.inf) -> IntArray:
    """Columns of the k highest values, descending, the lowest column first among equals."""
    floor = _floor_of_best(values, k)
    columns = np.flatnonzero(values >= floor if floor > above else values > above)
    if len(columns) > k:
        candidates = values[columns]
        # Every column that ties with the k-th value stays: a partition alone would pick among
        # them by chance.
        columns = columns[candidates >= np.partition(candidates, -k)[-k]]
    return columns[np.argsort(-values[columns], kind="stable")[:k]]


def _floor_of_best(values: FloatArray, k: int) -> float:
    """Return a value that the k highest reach: the k-th highest of the maxima of groups.

    Most values are then ruled out by one comparison, and only a few need sorting.
    """
    n_groups = len(values) // GROUP_SIZE
    if n_groups < k:
        return -np.inf
    maxima = values[: n_groups * GROUP_SIZE].reshape(GROUP_SIZE, n_groups).max(axis=0)
    return float(np.partition(maxima, -k)[-k])


def _merge(best: FloatArray, positions: IntArray, values: FloatArray, *, start: int) -> None:
    """Put the hits of a block that begins at `start` among a query's best so far."""
    k = len(best)
    # A value equal to the worst kept one loses to its lower position. After the first blocks few
    # pass, and this comparison costs a thirtieth of a partition.
    columns = _best_columns(values, k, above=best[-1])
    if len(columns):
        candidates = np.concatenate([best, values[columns]])
        candidate_positions = np.concatenate([positions, columns + start])
        order = np.argsort(-candidates, kind="stable")[:k]
        best[:], positions[:] = candidates[order], candidate_positions[order]


def _no_hits(n_queries: int, k: int) -> tuple[FloatArray, IntArray]:
    return np.full((n_queries, k), -np.inf, np.float32), np.full((n_queries, k), -1, np.int64)


def _sorted_rows(rows: IntArray, *, n_rows: int) -> IntArray:
    if len(rows) and (rows.min() < 0 or rows.max() >= n_rows):
        raise ValueError(f"rows must be in [0, {n_rows}), got {rows.min()} to {rows.max()}")
    is_allowed = np.zeros(n_rows, dtype=np.bool_)
    is_allowed[rows] = True
    return np.flatnonzero(is_allowed)

"""Cosines of half-precision vectors, the same bit for bit however the work is split."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexer.arrays import BoolArray, DoubleArray, Float16Array, FloatArray, IntArray
from indexer.scoring.shapes import require_matrix

Int32Array = npt.NDArray[np.int32]

# Rounding to float16 moves each value, and so the length of a vector, by a share of 2^-11 at most.
MAX_LENGTH_ERROR = 1e-3

# 2,048 rows of 768 float64 are 12 MiB, the products of two such blocks 32 MiB.
BLOCK_ROWS = 2048

# A product of two blocks costs as much as gathering the vectors of one pair in 50 of it.
GATHERED_PAIRS_OF_BLOCK = 1 / 50


@dataclass(frozen=True, slots=True)
class HalfRows:
    """Vectors of unit length, or zero, whose values are all half-precision numbers.

    `vectors` is float16 (n, d), or float32 holding the same values; `squared_lengths` float64
    (n,), exact, and 0 for a zero vector.

    Notes
    -----
    Such values are multiples of 2^-24, their products multiples of 2^-48, and no sum of products
    of two rows exceeds the product of their lengths, which is about 1. All of that fits into the
    53 bits of a float64: every dot product is exact, in any order of adding up.
    """

    vectors: Float16Array | FloatArray
    squared_lengths: DoubleArray

    def __len__(self) -> int:
        return len(self.vectors)

    def taken(self, rows: slice | BoolArray | IntArray | Int32Array) -> "HalfRows":
        """Return some of the rows, as float32."""
        vectors = self.vectors[rows].astype(np.float32, copy=False)
        return HalfRows(vectors, self.squared_lengths[rows])


def half_rows(name: str, vectors: npt.NDArray[Any]) -> HalfRows:
    """Round vectors to half precision, and measure them.

    Parameters
    ----------
    name : str
        What the caller's docstring calls the array.
    vectors : float16 or float32 of shape (n, d)
        Unit length, or zero. Those that are float16 are not copied.

    Raises
    ------
    ValueError
        If they are no matrix, or a row is of another length or not finite.
    """
    require_matrix(name, vectors)
    with np.errstate(over="ignore"):  # what float16 cannot hold is no unit vector, and told below
        halves = vectors.astype(np.float16, copy=False)
    squared_lengths = np.empty(len(halves))
    for start in range(0, len(halves), BLOCK_ROWS):
        block = halves[start : start + BLOCK_ROWS].astype(np.float64)
        squared_lengths[start : start + BLOCK_ROWS] = np.einsum("ij,ij->i", block, block)
    lengths = np.sqrt(squared_lengths)
    is_fit = (lengths == 0) | (np.abs(lengths - 1) <= MAX_LENGTH_ERROR)
    if not is_fit.all():
        row = int(np.argmin(is_fit))
        raise ValueError(
            f"{name} must be zero or of unit length, row {row} has length {lengths[row]:.4g}"
        )
    return HalfRows(halves, squared_lengths)


def pair_cosines(
    left: HalfRows, right: HalfRows, left_rows: IntArray, right_rows: IntArray
) -> DoubleArray:
    """Return the cosine of each pair: an exact product, divided by the root of exact lengths.

    Parameters
    ----------
    left, right : HalfRows
        Of one width, and few enough for their product to be held as float64 (n_left, n_right).
    left_rows, right_rows : int64 of shape (n,)
        One pair each; no zero vectors.

    Returns
    -------
    float64 of shape (n,)
        A vector and its equal have 1, to the last bit.
    """
    if len(left_rows) > GATHERED_PAIRS_OF_BLOCK * len(left) * len(right):
        products = _products(left, right)[left_rows, right_rows]
    else:
        products = _gathered_products(left, right, left_rows, right_rows)
    scales = np.sqrt(left.squared_lengths[left_rows] * right.squared_lengths[right_rows])
    cosines: DoubleArray = products / scales
    return cosines


def smallest_similarity(vectors: Float16Array | FloatArray) -> float:
    """Return the lowest cosine of any two of the vectors.

    Parameters
    ----------
    vectors : float16 or float32 of shape (n, d)
        At least two, unit length; float32 is rounded to float16. A zero vector is similar to
        nothing, which counts as 0.

    Returns
    -------
    float
        In [-1, 1]; float32 of the exact value, so that it agrees with what a join reports.

    Raises
    ------
    ValueError
        If they are no matrix of two or more, of unit length or zero.

    Examples
    --------
    >>> smallest_similarity(np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float16))
    0.0
    """
    rows = half_rows("vectors", vectors)
    n_rows = len(rows)
    if n_rows < 2:  # noqa: PLR2004 - a pair
        raise ValueError(f"a smallest similarity takes two vectors or more, got {n_rows}")
    smallest = math.inf
    for start in range(0, n_rows, BLOCK_ROWS):
        left = rows.taken(slice(start, start + BLOCK_ROWS))
        for other_start in range(start, n_rows, BLOCK_ROWS):
            right = rows.taken(slice(other_start, other_start + BLOCK_ROWS))
            # The 1 of a row with itself does no harm: no pair has more.
            smallest = min(smallest, float(_cosine_matrix(left, right).min()))
    return float(np.float32(smallest))


def _cosine_matrix(left: HalfRows, right: HalfRows) -> DoubleArray:
    """Cosines of all pairs, 0 where a vector is zero."""
    cosines = _products(left, right)
    squares = np.outer(left.squared_lengths, right.squared_lengths)
    np.sqrt(squares, out=squares)
    return np.divide(cosines, squares, out=cosines, where=squares > 0)


def _products(left: HalfRows, right: HalfRows) -> DoubleArray:
    products: DoubleArray = left.vectors.astype(np.float64) @ right.vectors.astype(np.float64).T
    return products


def _gathered_products(
    left: HalfRows, right: HalfRows, left_rows: IntArray, right_rows: IntArray
) -> DoubleArray:
    products = np.empty(len(left_rows))
    for start in range(0, len(left_rows), BLOCK_ROWS):
        span = slice(start, start + BLOCK_ROWS)
        left_vectors = left.vectors[left_rows[span]].astype(np.float64)
        right_vectors = right.vectors[right_rows[span]].astype(np.float64)
        products[span] = np.einsum("ij,ij->i", left_vectors, right_vectors)
    return products

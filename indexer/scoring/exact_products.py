"""Matrix products whose every bit is the same in whatever company a row is multiplied."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexer.arrays import DoubleArray
from indexer.scoring.shapes import require_matrix

# Two numbers of 26 bits have a product of 52, and a row's sum of products is below the product of
# the lengths: all of it fits into the 53 bits of a float64.
GRID_BITS = 26

# 256 rows of 768 float64 are 1.6 MB and stay in a cache from one step to the next.
BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True)
class GridRows:
    """Rows rounded to multiples of 2^-26 of a power of two that is above their length.

    `rows` is float64 (n, d), whole numbers and of length at most 2^26; `scales` float64 (n,) holds
    the powers of two that they are multiples of.
    """

    rows: DoubleArray
    scales: DoubleArray


def grid_rows(vectors: npt.NDArray[Any]) -> GridRows:
    """Round vectors for :func:`exact_products`.

    Parameters
    ----------
    vectors : float of shape (n, d)
        Of any length. Each value moves by at most 2^-27 of twice the length of its row, which is
        less than the rounding errors of a product in float32.

    Raises
    ------
    ValueError
        If they are no matrix.
    """
    require_matrix("vectors", vectors)
    # In C order, so that the sum over a row runs the same way for any layout of the argument.
    values = vectors.astype(np.float64, order="C")
    steps = np.empty(len(values), np.int64)
    for start in range(0, len(values), BLOCK_ROWS):
        block = values[start : start + BLOCK_ROWS]
        exponents = np.frexp(np.sqrt(np.sum(np.square(block), axis=1)))[1]
        steps[start : start + BLOCK_ROWS] = exponents - GRID_BITS
        block *= np.ldexp(1.0, GRID_BITS - exponents)[:, np.newaxis]
        np.rint(block, out=block)
    return GridRows(values, np.ldexp(1.0, steps))


def exact_products(left: GridRows, right: GridRows) -> DoubleArray:
    """Return the dot product of each row with each, without any rounding.

    BLAS adds up in an order that depends on the number of rows, their place and its threads: one
    row alone and the same row among a thousand differ in most float32 products (numpy 2.4 with
    OpenBLAS), so that whatever is chosen by such a product changes with the batch. On the grid
    every partial sum is exact and the order no matter. The price is that of float64: twice the
    time of float32.

    Parameters
    ----------
    left, right : GridRows
        n and m rows of one width.

    Returns
    -------
    float64 of shape (n, m)

    Notes
    -----
    The error-free splitting of Ozaki et al., "Error-free transformations of matrix
    multiplication", Numerical Algorithms 59, 2012, cut off after its first part.
    """
    products: DoubleArray = left.rows @ right.rows.T
    products *= left.scales[:, np.newaxis]
    products *= right.scales
    return products

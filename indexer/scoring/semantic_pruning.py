"""Leave out of a set of vectors those that repeat others, down to a given number."""

import math
from dataclasses import dataclass

import numpy as np

from indexer.arrays import DoubleArray, FloatArray, IntArray
from indexer.scoring.coverage import (
    Cover,
    check_count,
    cover_of,
    nearest_rows,
    rows_by_group,
    total_similarities,
)
from indexer.scoring.exact_cosines import half_rows
from indexer.scoring.exact_products import exact_products, grid_rows
from indexer.scoring.similarity_cells import NO_CELL, cell_visits

COMPARED_ROWS = 10_000
"""Up to so many vectors are all compared with each other; more are divided into cells."""

# The products of 2,048 rows with as many are 32 MiB.
BLOCK_ROWS = 2048


class TooFewLeftError(ValueError):
    """Fewer vectors are to be left than there are cells, none of which repeats another."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is left of n vectors.

    `chosen` is int64 (k,), rows, those first that are least like another. `threshold` is the lowest
    cosine for which a vector was left out, None where none was: each that was left out is at
    least so similar to another of its cell, and no two chosen ones of a cell are more similar.
    `cells` are int64 (n_members,) rows, ascending; each row is in one.
    """

    chosen: IntArray
    threshold: float | None
    cells: list[IntArray]


def semantic_pruning(
    vectors: FloatArray, *, count: int, seed: int = 0, compared_rows: int = COMPARED_ROWS
) -> Pruning:
    """Choose vectors by leaving out those that are most similar to another one.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length.
    count : int
        To be left, in [1, n].
    seed : int
        Of the cells.
    compared_rows : int
        Where there are more vectors, only those of one cell are compared with each other.

    Returns
    -------
    Pruning

    Raises
    ------
    TooFewLeftError
        If there are more cells than vectors to be left.
    ValueError
        If the vectors are no finite matrix of unit length, or count is out of range.

    Notes
    -----
    SemDeDup: Abbas et al., arXiv:2303.09540, 2023, section 3: in each cell of a spherical k-means,
    vectors are ranked by their similarity to the centroid, the least typical first, and one is left
    out if its cosine to a vector ranked before it is above 1 - epsilon, whether that one is left
    out or not. Here epsilon is what leaves `count`; of equals at the threshold, and of equally
    typical ones, the lower row stays. The centroid is the mean direction of the cell's members, and
    cells are about as many as their members; the paper has 50,000 cells for 440 million images.
    """
    check_count(vectors, count)
    cells = _cells(vectors, seed=seed, compared_rows=compared_rows)
    if count < len(cells):
        raise TooFewLeftError(f"one of each of {len(cells):,} cells is left, got count = {count:,}")
    closest = np.empty(len(vectors))
    for rows in cells:
        ranked = rows[np.argsort(total_similarities(vectors[rows]), kind="stable")]
        closest[ranked] = _closest_before(vectors[ranked])
    order = np.argsort(closest, kind="stable")
    threshold = float(np.clip(closest[order[count]], -1.0, 1.0)) if count < len(order) else None
    return Pruning(order[:count], threshold, cells)


def nearest_in_cells(vectors: FloatArray, cells: list[IntArray], chosen: IntArray) -> Cover:
    """Return which chosen row of its cell is nearest to each vector.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length.
    cells : list of int64 arrays of shape (n_members,)
        Rows; each row is in one of them.
    chosen : int64 of shape (k,)
        Different rows, at least one. For a cell without any, the nearest of all is meant.
    """
    places = np.full(len(vectors), len(chosen))
    places[chosen] = np.arange(len(chosen))
    nearest, similarities = np.empty(len(vectors), np.int64), np.empty(len(vectors))
    without = [np.empty(0, np.int64)]
    for rows in cells:
        own = np.sort(places[rows])
        own = own[own < len(chosen)]
        if len(own):
            found, similarities[rows] = nearest_rows(vectors[rows], vectors[chosen[own]])
            nearest[rows] = own[found]
        else:
            without.append(rows)
    rest = np.concatenate(without)
    if len(rest):
        nearest[rest], similarities[rest] = nearest_rows(vectors[rest], vectors[chosen])
    return cover_of(chosen, nearest, similarities)


def _cells(vectors: FloatArray, *, seed: int, compared_rows: int) -> list[IntArray]:
    if len(vectors) <= compared_rows:
        return [np.arange(len(vectors))]
    halves = half_rows("vectors", vectors)
    # Zero vectors have no cell, and are put into one of their own.
    n_cells = math.isqrt(len(vectors))
    visits = cell_visits(halves, halves, n_places=1, seed=seed, n_cells=n_cells)
    homes = visits.homes.astype(np.int64) - NO_CELL
    return [rows for rows in rows_by_group(homes, int(homes.max()) + 1) if len(rows)]


def _closest_before(vectors: FloatArray) -> DoubleArray:
    """Return the highest product (n,) of each vector with those before it, -inf for the first."""
    closest = np.full(len(vectors), -np.inf)
    for start in range(0, len(vectors), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        block = grid_rows(vectors[rows])
        for first in range(0, start + 1, BLOCK_ROWS):
            products = exact_products(block, grid_rows(vectors[first : first + BLOCK_ROWS]))
            if first == start:
                products[np.triu_indices(len(products))] = -np.inf
            closest[rows] = np.maximum(closest[rows], products.max(axis=1))
    return closest

"""Cells of vectors that point the same way, in which similar ones need only be looked for."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from indexer.arrays import DoubleArray, IntArray
from indexer.scoring.exact_cosines import HalfRows, Int32Array

CellArray = npt.NDArray[np.int16]

# Of a million rows in a thousand cells, more must be visited for the same recall: the whole search
# then takes 680 s of CPU time, in two thousand cells 350 s.
CELLS_PER_SQUARE_ROOT = 2

NO_CELL = -1
MAX_CELLS = int(np.iinfo(np.int16).max)

# To meet 99 % of pairs of cosine .8 to .9 among 100,000 clustered vectors takes 11 visits. With
# half the rows it takes 12, with half the steps 17, with twice of either 10.
SAMPLE_ROWS_PER_CELL = 64
LLOYD_STEPS = 6

# 4,096 rows and 2,000 cells are 66 MB of products.
BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class CellVisits:
    """Who lives in which cell, and who looks for others where.

    `homes` is int16 (n_left,), the cell nearest to each left row; `visits` int16 (n_right,
    n_places), the cells nearest to each right row, the nearest first. Both are `NO_CELL` for zero
    vectors. `n_list` is the number of cells.
    """

    homes: CellArray
    visits: CellArray
    n_list: int

    def places(self, left_rows: Int32Array, right_rows: Int32Array) -> IntArray:
        """Return at which place from 0 a right row visits the home of a left one.

        Parameters
        ----------
        left_rows, right_rows : int32 of shape (n,)
            One pair each.

        Returns
        -------
        int64 of shape (n,)
            The number of places where it never comes by.
        """
        is_home = self.visits[right_rows] == self.homes[left_rows][:, np.newaxis]
        places: IntArray = is_home.argmax(axis=1)
        places[~is_home.any(axis=1)] = self.visits.shape[1]
        return places

    def cells(self, n_probe: int) -> Iterator[tuple[Int32Array, Int32Array]]:
        """Yield left rows that live in a cell, and right rows that visit it, both ascending.

        Parameters
        ----------
        n_probe : int
            How many cells each right row visits. A pair is met in one cell at most: in that
            where its left row lives.
        """
        members = _rows_by_cell(self.homes[:, np.newaxis], self.n_list)
        visitors = _rows_by_cell(self.visits[:, :n_probe], self.n_list)
        return zip(members, visitors, strict=True)


def cell_visits(
    left: HalfRows, right: HalfRows, *, n_places: int, seed: int, n_cells: int | None = None
) -> CellVisits:
    """Divide left rows into cells, and return which of them are nearest to each row.

    Parameters
    ----------
    left, right : HalfRows
        Of one width; of `left` at least one is not zero.
    n_places : int
        Nearest cells to note of each right row, where there are so many.
    seed : int
        The same seed gives the same cells, whatever the number of threads.
    n_cells : int, optional
        At least 1; by default twice the square root of the left rows that are not zero. There are
        fewer where rows are equal.
    """
    centroids = _spherical_centroids(left, n_cells=n_cells, seed=seed)
    n_places = min(n_places, len(centroids))
    visits = _nearest_cells(right, centroids, n_places)
    # Equally near cells are told apart by chance; taken from as many places, the home of a vector
    # and what its equal visits agree even then.
    homes = (visits if left is right else _nearest_cells(left, centroids, n_places))[:, 0]
    return CellVisits(homes, visits, len(centroids))


def _spherical_centroids(rows: HalfRows, *, n_cells: int | None, seed: int) -> DoubleArray:
    """Centres of the cells, half-precision values in float64.

    Dhillon and Modha, "Concept Decompositions for Large Sparse Text Data Using Clustering",
    Machine Learning 42, 2001, section 3, on a sample and for a few steps. Sums and products of
    half-precision values are exact, so that the cells do not depend on how BLAS splits the work.
    """
    generator = np.random.default_rng(seed)
    candidates = np.flatnonzero(rows.squared_lengths)
    n_wanted = n_cells or CELLS_PER_SQUARE_ROOT * math.isqrt(len(candidates))
    n_list = min(n_wanted, len(candidates), MAX_CELLS)
    n_sampled = min(len(candidates), SAMPLE_ROWS_PER_CELL * n_list)
    sample = rows.taken(generator.choice(candidates, n_sampled, replace=False))
    centroids = sample.vectors[:n_list].astype(np.float64)
    for _ in range(LLOYD_STEPS):
        centroids = _moved(centroids, sample)
    # Equal ones, of rows that are equal, would split a cell by chance.
    return np.unique(centroids, axis=0)


def _moved(centroids: DoubleArray, sample: HalfRows) -> DoubleArray:
    """Each centroid moved to the mean direction of its rows; where it has none, it stays."""
    moved = centroids.copy()
    nearest = _nearest_cells(sample, centroids, 1)
    for cell, members in enumerate(_rows_by_cell(nearest, len(centroids))):
        total = sample.vectors[members].sum(axis=0, dtype=np.float64)
        length = math.sqrt(np.square(total).sum())
        if length > 0:
            moved[cell] = (total / length).astype(np.float16)
    return moved


def _nearest_cells(rows: HalfRows, centroids: DoubleArray, n_places: int) -> CellArray:
    """Find the cells nearest to each row, the nearest first."""
    nearest = np.empty((len(rows), n_places), np.int16)
    for start in range(0, len(rows), BLOCK_ROWS):
        span = slice(start, start + BLOCK_ROWS)
        products = rows.vectors[span].astype(np.float64) @ centroids.T
        cells = np.argpartition(products, -n_places, axis=1)[:, -n_places:]
        order = np.argsort(-np.take_along_axis(products, cells, axis=1), axis=1, kind="stable")
        nearest[span] = np.take_along_axis(cells, order, axis=1)
    nearest[rows.squared_lengths == 0] = NO_CELL
    return nearest


def _rows_by_cell(cell_of: CellArray, n_list: int) -> list[Int32Array]:
    """Rows of each cell, ascending; `cell_of` has one column or more for each row."""
    flat = cell_of.ravel()
    order = np.argsort(flat, kind="stable")
    bounds = np.searchsorted(flat, np.arange(n_list + 1), sorter=order)
    order //= cell_of.shape[1]
    return np.split(order.astype(np.int32), bounds)[1:-1]

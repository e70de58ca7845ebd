"""Choose a few vectors that stand for all: k-centre, facility location, and what they cover.

All products are exact (:mod:`indexer.scoring.exact_products`), and so are all sums: a choice does
not depend on the blocks that are worked on, nor on the order of the vectors, equals and samples
aside.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from indexer.arrays import DoubleArray, FloatArray, IntArray
from indexer.scoring.exact_products import GridRows, exact_products, grid_rows
from indexer.scoring.shapes import require_finite, require_matrix

# 4,096 rows of 768 float64 are 25 MB, their products with 1,024 others 34 MB.
BLOCK_ROWS = 4096
BLOCK_CHOSEN = 1024

# Of 1,024 and more OpenBLAS splits the product with a single row among threads: on a busy machine
# their waiting for each other took 20 s of 26.
WORK_ROWS = 512

SAMPLE_ROWS = 8192
"""Facility location chooses from a sample of so many where there are more."""

SAMPLED_PER_CHOICE = 2
"""The sample has at least so many for each vector that is to be chosen."""

# 8,192 x 8,192 cosines as float32: 256 MiB. Of larger samples they are computed again and again.
KEPT_COSINES = 2**26

# Candidates whose gain is computed anew at a time, doubled as long as that does not decide.
FEWEST_ROWS = 16
MOST_ROWS = 1024

# Multiples of 2^-23 below 2, as cosines are and their differences, are exact in float32, their sums
# in float64.
COSINE_BITS = 23


@dataclass(frozen=True, slots=True)
class Cover:
    """Chosen rows, and which of them is nearest to each of n vectors.

    `chosen` is int64 (k,), rows in the order of their choice. `nearest` is int64 (n,), places in
    `chosen`, the first among equals; `similarities` float64 (n,), the cosines to it in [-1, 1]. A
    chosen row is nearest to itself, at 1.
    """

    chosen: IntArray
    nearest: IntArray
    similarities: DoubleArray


def with_blanks_alike(vectors: FloatArray) -> FloatArray:
    """Return vectors of which the zero ones are copies of each other.

    A zero vector is similar to nothing, so that only itself could stand for it: a thousand blank
    photos would all be chosen, and first.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length, or zero.

    Returns
    -------
    float32 of shape (n, d) or (n, d + 1)
        Unit length; zero vectors have a direction of their own. Other cosines are as before.

    Raises
    ------
    ValueError
        If they are no matrix.
    """
    require_matrix("vectors", vectors)
    is_blank = ~vectors.any(axis=1)
    if not is_blank.any():
        return vectors
    return np.column_stack([vectors, is_blank.astype(np.float32)])


def k_centre(vectors: FloatArray, *, count: int, work_rows: int = WORK_ROWS) -> Cover:
    """Choose vectors so that none is far from a chosen one, by farthest-first traversal.

    The first is the medoid, each other the one least similar to all chosen before; the lowest row
    among equals. The first of k are the choice of fewer.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length.
    count : int
        In [1, n].
    work_rows : int
        So many of the farthest rows are compared with each chosen one at once. At least 1; the
        choice does not depend on it.

    Returns
    -------
    Cover

    Raises
    ------
    ValueError
        If the vectors are no finite matrix, or a number is out of range.

    Notes
    -----
    Gonzalez, "Clustering to minimize the maximum intercluster distance", Theoretical Computer
    Science 38, 1985, section 2: the largest angle between a vector and the nearest chosen one is at
    most twice what it must be for so many. To choose what to label or to train on: Sener &
    Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR 2018,
    algorithm 1.

    Similarities to the nearest chosen row only grow, so that old ones are a bound. The farthest
    rows are kept up to date, the others brought so when one of them might be the next: with all
    that were chosen meanwhile at once, which is one matrix product and not a pass over memory each.
    """
    check_count(vectors, count)
    if work_rows < 1:
        raise ValueError(f"work_rows must be at least 1, got {work_rows}")
    chosen = [int(total_similarities(vectors).argmax())]
    nearest, similarities = nearest_rows(vectors, vectors[chosen])
    while len(chosen) < count:
        rest = similarities.copy()
        rest[chosen] = np.inf
        added = _farthest(vectors, rest, most=count - len(chosen), work_rows=work_rows)
        places, found = nearest_rows(vectors, vectors[added])
        nearest = np.where(found > similarities, len(chosen) + places, nearest)
        similarities = np.maximum(found, similarities)
        chosen += added
    return cover_of(np.array(chosen), nearest, similarities)


def facility_location(
    vectors: FloatArray, *, count: int, n_sampled: int | None = None, seed: int = 0
) -> Cover:
    """Choose vectors so that each is similar to a chosen one, on average.

    One after the other is chosen by how much it raises the mean of max(0, cosine to the nearest
    chosen one), the lowest row among equals. Then each gives its place to the medoid of those that
    it is nearest to, which never lowers that mean.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length.
    count : int
        In [1, n].
    n_sampled : int, optional
        At least `count`. Where there are more vectors, so many are drawn at random to choose among
        and to take the mean of; the medoids are of all. By default :func:`sample_size`.
    seed : int
        Of that draw.

    Returns
    -------
    Cover

    Raises
    ------
    ValueError
        If the vectors are no finite matrix, or a number is out of range.

    Notes
    -----
    Nemhauser, Wolsey & Fisher, "An analysis of approximations for maximizing submodular set
    functions", Mathematical Programming 14, 1978, section 4: the mean is at least 1 - 1/e of the
    highest possible one, here of the sample. What a row gains only shrinks as others are chosen, so
    that most gains need not be computed again: Minoux, "Accelerated greedy algorithms for
    maximizing submodular set functions", 1978. Mirzasoleiman et al., "Lazier than lazy greedy",
    AAAI 2015, draw other candidates for each choice instead, but sum over all.

    The medoids are our addition, a step of k-medoids. In 100,000 clustered vectors they took the
    mean cosine to 500 chosen ones from .644 to .680; a random choice had .532.
    """
    check_count(vectors, count)
    if n_sampled is None:
        n_sampled = sample_size(len(vectors), count)
    if n_sampled < count:
        raise ValueError(f"n_sampled must be at least count = {count}, got {n_sampled}")
    sample = _sample(len(vectors), n_sampled, seed)
    chosen = sample[_greedy_locations(vectors[sample], count)]
    return nearest_chosen(vectors, _medoids(vectors, nearest_chosen(vectors, chosen)))


def sample_size(n_vectors: int, count: int) -> int:
    """Return among how many of the vectors facility location chooses `count`."""
    return min(n_vectors, max(SAMPLE_ROWS, SAMPLED_PER_CHOICE * count))


def nearest_chosen(vectors: FloatArray, chosen: IntArray) -> Cover:
    """Return which chosen row is nearest to each vector.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length.
    chosen : int64 of shape (k,)
        Different rows, at least one.

    Raises
    ------
    ValueError
        If the vectors are no finite matrix, or `chosen` has no row, one twice, or none of theirs.
    """
    check_count(vectors, len(chosen))
    if len(np.unique(chosen)) < len(chosen) or chosen.min() < 0 or chosen.max() >= len(vectors):
        raise ValueError(f"chosen must be different rows in [0, {len(vectors)})")
    return cover_of(chosen, *nearest_rows(vectors, vectors[chosen]))


def cover_of(chosen: IntArray, nearest: IntArray, similarities: DoubleArray) -> Cover:
    """Return a cover in which each chosen row stands for itself, even where another is equal."""
    nearest, similarities = nearest.copy(), np.clip(similarities, -1.0, 1.0)
    nearest[chosen], similarities[chosen] = np.arange(len(chosen)), 1.0
    return Cover(chosen, nearest, similarities)


def nearest_rows(vectors: FloatArray, others: FloatArray) -> tuple[IntArray, DoubleArray]:
    """Return the row of others that is nearest to each vector, without any rounding.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length.
    others : float32 of shape (k, d)
        Unit length, at least one.

    Returns
    -------
    rows : int64 of shape (n,)
        The lowest among equals.
    products : float64 of shape (n,)
        The dot products with them.
    """
    rows, highest = np.zeros(len(vectors), np.int64), np.full(len(vectors), -np.inf)
    for first in range(0, len(others), BLOCK_CHOSEN):
        chosen = grid_rows(others[first : first + BLOCK_CHOSEN])
        for block in _blocks(len(vectors)):
            products = exact_products(grid_rows(vectors[block]), chosen)
            columns = products.argmax(axis=1)
            found = products[np.arange(len(columns)), columns]
            rows[block] = np.where(found > highest[block], first + columns, rows[block])
            highest[block] = np.maximum(found, highest[block])
    return rows, highest


def total_similarities(vectors: FloatArray) -> DoubleArray:
    """Return the sum of the dot products of each vector with all, itself included.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length. Where the sum is highest is the medoid.

    Returns
    -------
    float64 of shape (n,)
        The same in any order of the vectors.
    """
    total = np.zeros((1, vectors.shape[1]))
    for block in _blocks(len(vectors)):
        grid = grid_rows(vectors[block])
        total += (grid.rows * grid.scales[:, np.newaxis]).sum(axis=0)
    direction = grid_rows(total)
    products = [
        exact_products(grid_rows(vectors[block]), direction) for block in _blocks(len(vectors))
    ]
    return np.concatenate(products)[:, 0]


def rows_by_group(group_of: IntArray, n_groups: int) -> list[IntArray]:
    """Return the rows of each group, ascending.

    Parameters
    ----------
    group_of : int64 of shape (n,)
        In [0, n_groups).
    n_groups : int
    """
    order = np.argsort(group_of, kind="stable")
    sizes = np.bincount(group_of, minlength=n_groups)
    return np.split(order, np.cumsum(sizes)[:-1])


def check_count(vectors: FloatArray, count: int) -> None:
    """Raise a ValueError unless `count` of the vectors, a finite matrix, can be chosen."""
    require_matrix("vectors", vectors)
    require_finite("vectors", vectors)
    if not 1 <= count <= len(vectors):
        raise ValueError(f"count must be in [1, {len(vectors)}], got {count}")


def _blocks(n_rows: int) -> list[slice]:
    return [slice(start, start + BLOCK_ROWS) for start in range(0, n_rows, BLOCK_ROWS)]


def _farthest(
    vectors: FloatArray, similarities: DoubleArray, *, most: int, work_rows: int
) -> list[int]:
    """Return up to `most` rows, each the farthest from all chosen before it.

    Fewer where a row that is not compared with them might be farther. `similarities` (n,) are those
    to the nearest chosen row, infinite for chosen ones.
    """
    order = np.argsort(similarities, kind="stable")
    rows = np.sort(order[:work_rows])
    bound = [(similarities[row], row) for row in order[work_rows : work_rows + 1]]
    grid, nearest = grid_rows(vectors[rows]), similarities[rows]
    chosen: list[int] = []
    while len(chosen) < min(most, len(rows)):
        place = int(nearest.argmin())
        if bound and (nearest[place], rows[place]) > bound[0]:
            break
        chosen.append(int(rows[place]))
        own = GridRows(grid.rows[[place]], grid.scales[[place]])
        np.maximum(nearest, exact_products(grid, own)[:, 0], out=nearest)
        nearest[place] = np.inf
    return chosen


def _sample(n_rows: int, n_sampled: int, seed: int) -> IntArray:
    if n_sampled >= n_rows:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, n_sampled, replace=False))


def _greedy_locations(vectors: FloatArray, count: int) -> IntArray:
    cosines = _cosine_rows(vectors)
    reached = np.zeros(len(vectors), np.float32)

    def gains(rows: IntArray) -> DoubleArray:
        raised = cosines(rows) - reached
        np.maximum(raised, 0, out=raised)
        summed: DoubleArray = raised.sum(axis=1, dtype=np.float64)
        return summed

    bounds = np.full(len(vectors), np.inf)
    chosen = np.empty(count, np.int64)
    for place in range(count):
        row = _best_row(bounds, gains)
        chosen[place], bounds[row] = row, -1.0
        np.maximum(reached, cosines(chosen[place : place + 1])[0], out=reached)
    return chosen


def _best_row(bounds: DoubleArray, gains: Callable[[IntArray], DoubleArray]) -> int:
    """Return the row of the highest gain, the lowest among equals.

    `bounds` (n,) are no lower than the gains, and negative for chosen rows. Those of rows that are
    looked at become the gains.
    """
    is_old = bounds >= 0
    n_rows = FEWEST_ROWS
    while is_old[row := int(bounds.argmax())]:
        (old,) = np.nonzero(is_old & (bounds >= bounds[~is_old].max(initial=0.0)))
        n_rows = min(n_rows, MOST_ROWS, len(old))
        highest = old[np.argpartition(bounds[old], -n_rows)[-n_rows:]]
        bounds[highest], is_old[highest] = gains(highest), False
        n_rows *= 2
    return row


def _cosine_rows(vectors: FloatArray) -> Callable[[IntArray], FloatArray]:
    """Return a function that gives the cosines (m, n) of m rows to all, in multiples of 2^-23."""
    grid = grid_rows(vectors)

    def computed(rows: IntArray) -> FloatArray:
        products = exact_products(GridRows(grid.rows[rows], grid.scales[rows]), grid)
        np.rint(np.ldexp(products, COSINE_BITS, out=products), out=products)
        return np.ldexp(products, -COSINE_BITS, out=products).astype(np.float32)

    if len(vectors) ** 2 > KEPT_COSINES:
        return computed
    kept = np.empty((len(vectors), len(vectors)), np.float32)
    for start in range(0, len(kept), MOST_ROWS):
        rows = np.arange(start, min(start + MOST_ROWS, len(kept)))
        kept[rows] = computed(rows)
    return kept.__getitem__


def _medoids(vectors: FloatArray, cover: Cover) -> IntArray:
    """Return, for each chosen row, the medoid of the rows that it is nearest to."""
    # At a right angle or beyond a cosine counts as 0, and not by how far it is below.
    (near,) = np.nonzero(cover.similarities > 0)
    members = rows_by_group(cover.nearest[near], len(cover.chosen))
    medoids = [near[rows][total_similarities(vectors[near[rows]]).argmax()] for rows in members]
    return np.array(medoids, np.int64)

"""Groups of similar photos around the one to keep, which do not chain."""

import numpy as np

from indexer.arrays import BoolArray
from indexer.scoring.exact_cosines import Int32Array
from indexer.scoring.similarity_join import Pairs


def keeper_groups(pairs: Pairs, n_rows: int) -> Int32Array:
    """Return the keeper of each row, itself if it is one.

    In the order of rank a row is a keeper unless a pair ties it to a better-ranked keeper. Each
    other row then joins the most similar keeper that it has a pair with.

    Parameters
    ----------
    pairs : Pairs
        first < second, in any order; the lower a row, the better a keeper.
    n_rows : int

    Returns
    -------
    int32 of shape (n_rows,)
        `keeper_of`. A row has a pair with its keeper or is alone; of equally similar keepers it
        is the best-ranked.

    Raises
    ------
    ValueError
        If a pair is not of rows 0 <= first < second < n_rows.

    Notes
    -----
    The keepers are the greedy maximal independent set of the graph of pairs: the leader algorithm
    of Hartigan, "Clustering Algorithms", 1975, ch. 3, except that rows come in order of rank and
    join the most similar leader, not the first.

    The near-duplicate groups of the literature are connected components with their medoid for
    keeper. A component chains: of a thousand frames of a sunset, each like the next, it makes one
    group whose ends show day and night, and the medoid need not be within the threshold of
    either, nor be the photo to keep. Here every member is within the threshold of its keeper,
    whatever the data, and the keeper is the best of its group by rank.

    Where a join keeps only some better-ranked neighbours of a row, all of them may have joined
    another keeper, and a keeper further down the ranks is no longer seen: the row then keeps
    itself, and a group is split in two. The rule holds all the same.

    Examples
    --------
    >>> first, second = np.array([[0, 1, 2], [1, 2, 3]], np.int32)
    >>> keeper_groups(Pairs(first, second, np.array([0.9, 0.9, 0.9], np.float32)), 4)
    array([0, 0, 2, 2], dtype=int32)
    """
    first, second = pairs.first, pairs.second
    if len(pairs) and not (first.min() >= 0 and second.max() < n_rows and (first < second).all()):
        raise ValueError(f"pairs must be of rows 0 <= first < second < {n_rows}")
    with_keepers = pairs.taken(_is_keeper(pairs, n_rows)[first])
    second = with_keepers.second
    order = np.lexsort((with_keepers.first, -with_keepers.similarities, second))
    members, closest = np.unique(second[order], return_index=True)
    keeper_of = np.arange(n_rows, dtype=np.int32)
    keeper_of[members] = with_keepers.first[order][closest]
    return keeper_of


def _is_keeper(pairs: Pairs, n_rows: int) -> BoolArray:
    order = np.argsort(pairs.second, kind="stable")
    first = pairs.first[order]
    runs = np.unique(pairs.second[order], return_index=True, return_counts=True)
    is_keeper = np.ones(n_rows, np.bool_)
    for row, start, count in zip(*(part.tolist() for part in runs), strict=True):
        is_keeper[row] = not is_keeper[first[start : start + count]].any()
    return is_keeper

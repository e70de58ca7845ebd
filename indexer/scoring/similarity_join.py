"""All pairs of similar vectors, in bounded memory, for collections up to a million and beyond.

Few rows are all compared with all, many only within cells. A pair is told by float32 products
with a margin and decided by its exact cosine, so that neither the decisions nor the reported
similarities depend on blocks, threads or the order of work.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from indexer.arrays import BoolArray, Float16Array, FloatArray, IntArray
from indexer.scoring.exact_cosines import HalfRows, Int32Array, half_rows, pair_cosines
from indexer.scoring.shapes import require_matrix
from indexer.scoring.similarity_cells import CellVisits, cell_visits

Accept = Callable[[Int32Array, Int32Array, FloatArray], BoolArray]
"""`accept(first, second, similarities)` tells which pairs count, by rows and exact cosines.

It is given up to `ACCEPTED_PAIRS` pairs at a time, and must judge each by itself alone.
"""

Report = Callable[[int, int], None]
"""`report(done, total)` is told how many comparisons were made, of how many at the most.

Where there are cells, making them comes first and takes about a quarter of the time.
"""

Cell = tuple[Int32Array, Int32Array]
"""Left and right rows, both ascending, that are compared with each other."""

MAX_BETTER = 64
"""Better-ranked neighbours that are kept of each row."""

ACCEPTED_PAIRS = 65_536
"""Pairs that `accept` is given at a time."""

# A product of d terms in float32 is off by d 2^-24 of the lengths at most (Higham, "Accuracy and
# Stability of Numerical Algorithms", 2nd ed. 2002, eq. 3.5): twice that leaves room for the
# rounding of the threshold.
MARGIN_PER_DIMENSION = 2.0**-23

# Rows that recall is measured on. For a million that is an eighth of the work.
SAMPLE_ROWS = 2000

# Rows visit more cells than planned, up to so many, until so many of the sample's pairs are met.
MAX_PROBE = 64
WANTED_RECALL = 0.99

# Pairs that wait to be thinned out, and at least a quarter of those kept.
WAITING_PAIRS = 2**22


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """How the comparisons are split.

    Up to `exact_limit` rows are all compared with all, and so are two sets the product of whose
    sizes is at most its square. Above, each row looks for others in the `n_probe` cells nearest to
    it, or in more where a sample of rows tells that these do not suffice. `seed` draws the sample
    and the cells. The products of `visitor_rows` with `member_rows` are in memory at a time; what
    is found does not depend on them.
    """

    exact_limit: int = 100_000
    n_probe: int = 16
    seed: int = 0
    visitor_rows: int = 4096
    member_rows: int = 256

    def __post_init__(self) -> None:
        if self.exact_limit < 0:
            raise ValueError(f"exact_limit must not be negative, got {self.exact_limit}")
        if not 1 <= self.n_probe <= MAX_PROBE:
            raise ValueError(f"n_probe must be in [1, {MAX_PROBE}], got {self.n_probe}")
        if self.visitor_rows < 1 or self.member_rows < 1:
            raise ValueError(
                "visitor_rows and member_rows must be at least 1, "
                f"got {self.visitor_rows} and {self.member_rows}"
            )


DEFAULT_PLAN = JoinPlan()


@dataclass(frozen=True, slots=True)
class Pairs:
    """Similar pairs: rows `first` and `second`, int32 (n,), and float32 `similarities` (n,)."""

    first: Int32Array
    second: Int32Array
    similarities: FloatArray

    def __len__(self) -> int:
        return len(self.first)

    def taken(self, rows: BoolArray | IntArray) -> "Pairs":
        """Return some of the pairs."""
        return Pairs(self.first[rows], self.second[rows], self.similarities[rows])


@dataclass(frozen=True, slots=True)
class SearchRecall:
    """Share of true pairs, before `accept` and any cap, that the search could meet.

    Where all pairs are compared, `share` is 1 and `n_pairs` 0. Otherwise some rows, drawn at
    random, are compared with all others: they have `n_pairs` true pairs, of which that share, in
    [0, 1], meet in a cell. Without any it is 1. The share of few pairs tells little, and a pile of
    thousands that are all alike outweighs all else in it.
    """

    share: float
    n_pairs: int


@dataclass(frozen=True, slots=True)
class JoinedPairs:
    """The pairs of a self-join, first < second, sorted by second, then first."""

    pairs: Pairs
    recall: SearchRecall


@dataclass(frozen=True, slots=True)
class PairStream:
    """The pairs between two sets, in blocks as they are found, and in no promised order."""

    blocks: Iterator[Pairs]
    recall: SearchRecall


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked for: pairs of a left and a right row.

    `limits` is int32 (n_right,): of each right row only left rows below its limit are wanted. It
    falls as the search goes on.
    """

    left: HalfRows
    right: HalfRows
    limits: Int32Array
    threshold: float
    accept: Accept | None
    max_better: int
    plan: JoinPlan


def joined_pairs(
    vectors: Float16Array | FloatArray,
    *,
    threshold: float,
    accept: Accept | None = None,
    max_better: int = MAX_BETTER,
    plan: JoinPlan = DEFAULT_PLAN,
    report: Report | None = None,
) -> JoinedPairs:
    """Return the pairs of rows whose cosine reaches a threshold.

    Parameters
    ----------
    vectors : float16 or float32 of shape (n, d)
        Unit length, the best-ranked row first; float32 is rounded to float16. Zero vectors are
        similar to nothing.
    threshold : float
        Least cosine of a pair, in (0, 1].
    accept : callable, optional
        A further condition, see `Accept`.
    max_better : int
        Of each row only so many pairs with better-ranked rows are returned, those with the best:
        10,000 photos that are all alike have 50 million pairs.
    plan : JoinPlan
    report : callable, optional
        See `Report`.

    Returns
    -------
    JoinedPairs
        Of all pairs if they were compared; otherwise of those that meet in a cell.

    Raises
    ------
    ValueError
        If the vectors are no matrix of unit or zero rows, the threshold or max_better is out of
        range, or `accept` does not answer with one bool for each pair.

    Notes
    -----
    Cells as in an inverted file (Jegou et al., "Product Quantization for Nearest Neighbor
    Search", TPAMI 2011, section 4): each row belongs to one cell and looks into several. As only
    better-ranked rows are looked for, a pair is met once. Work on a pile of equal vectors ends
    for a row as soon as it has `max_better` neighbours that no later one can outrank.
    """
    rows = half_rows("vectors", vectors)
    if max_better < 1:
        raise ValueError(f"max_better must be at least 1, got {max_better}")
    own_ranks = np.arange(len(rows), dtype=np.int32)
    search = _Search(rows, rows, own_ranks, _checked(threshold), accept, max_better, plan)
    cells, recall = _meeting_places(search)
    return JoinedPairs(_best_pairs(search, _found(search, cells, report)), recall)


def pairs_between(
    left: Float16Array | FloatArray,
    right: Float16Array | FloatArray,
    *,
    threshold: float,
    accept: Accept | None = None,
    plan: JoinPlan = DEFAULT_PLAN,
    report: Report | None = None,
) -> PairStream:
    """Return the pairs of a row of one set and a row of another whose cosine reaches a threshold.

    Parameters
    ----------
    left, right : float16 or float32 of shapes (n_left, d) and (n_right, d)
        Unit length, or zero; float32 is rounded to float16.
    threshold : float
        Least cosine of a pair, in (0, 1].
    accept : callable, optional
        A further condition, see `Accept`.
    plan : JoinPlan
    report : callable, optional
        See `Report`.

    Returns
    -------
    PairStream
        `first` is a row of the left set, `second` one of the right. Every pair comes once. The
        recall is known at once, the pairs are looked for as the blocks are taken.

    Raises
    ------
    ValueError
        As :func:`joined_pairs`, or if the widths differ; what `accept` answers is told of as the
        blocks are taken.
    """
    left_rows = half_rows("left", left)
    require_matrix("right", right, width=left.shape[1])
    right_rows = half_rows("right", right)
    n_left = len(left_rows)
    limits = np.full(len(right_rows), n_left, np.int32)
    no_cap = n_left + 1
    search = _Search(left_rows, right_rows, limits, _checked(threshold), accept, no_cap, plan)
    cells, recall = _meeting_places(search)
    return PairStream(_found(search, cells, report), recall)


def _checked(threshold: float) -> float:
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    return threshold


def _meeting_places(search: _Search) -> tuple[list[Cell], SearchRecall]:
    left_rows, right_rows = _directed_rows(search.left), _directed_rows(search.right)
    if len(left_rows) * len(right_rows) <= search.plan.exact_limit**2:
        return [(left_rows, right_rows)], SearchRecall(1.0, 0)
    visits = cell_visits(search.left, search.right, n_places=MAX_PROBE, seed=search.plan.seed)
    # Not the sequence that draws the cells: a row in whose place one was begun is found too easily.
    generator = np.random.default_rng([search.plan.seed, 1])
    n_sampled = min(SAMPLE_ROWS, len(right_rows))
    sample = np.sort(generator.choice(right_rows, n_sampled, replace=False))
    n_pairs_at = _pairs_by_place(search, visits, (left_rows, sample))
    n_probe, recall = _enough_cells(n_pairs_at, least=search.plan.n_probe)
    return list(visits.cells(n_probe)), recall


def _directed_rows(rows: HalfRows) -> Int32Array:
    """Rows that are not zero."""
    return np.flatnonzero(rows.squared_lengths).astype(np.int32)


def _pairs_by_place(search: _Search, visits: CellVisits, cell: Cell) -> IntArray:
    """Count true pairs by the place at which their cell is visited; those never met come last."""
    everything = replace(search, accept=None, max_better=len(search.left) + 1)
    n_places = visits.visits.shape[1]
    counts = np.zeros(n_places + 1, np.int64)
    for pairs in _found(everything, [cell], None):
        counts += np.bincount(visits.places(pairs.first, pairs.second), minlength=n_places + 1)
    return counts


def _enough_cells(n_pairs_at: IntArray, *, least: int) -> tuple[int, SearchRecall]:
    """How many cells to visit, and the recall that this gives."""
    n_pairs = int(n_pairs_at.sum())
    met = np.cumsum(n_pairs_at[:-1])
    # Rounded down: one of a few pairs that is missed is no reason to visit all there are.
    enough = int(np.searchsorted(met, int(WANTED_RECALL * n_pairs))) + 1
    n_probe = min(max(enough, least), len(met))
    share = float(met[n_probe - 1] / n_pairs) if n_pairs else 1.0
    return n_probe, SearchRecall(share, n_pairs)


def _found(search: _Search, cells: list[Cell], report: Report | None) -> Iterator[Pairs]:
    done, total = 0, sum(len(members) * len(visitors) for members, visitors in cells)
    for members, visitors in cells:
        for start in range(0, len(visitors), search.plan.visitor_rows):
            block = visitors[start : start + search.plan.visitor_rows]
            yield from _found_by_block(search, members, block)
            done += len(members) * len(block)
            if report is not None:
                report(done, total)


def _found_by_block(search: _Search, members: Int32Array, visitors: Int32Array) -> Iterator[Pairs]:
    """Yield what a block of visitors finds among the members of a cell, the best-ranked first."""
    vectors = search.right.taken(visitors)
    n_found = np.zeros(len(visitors), np.int64)
    for start in range(0, len(members), search.plan.member_rows):
        strip = members[start : start + search.plan.member_rows]
        is_open = search.limits[visitors] > strip[0]
        if not is_open.all():
            visitors, vectors = visitors[is_open], vectors.taken(is_open)
            n_found = n_found[is_open]
        if not len(visitors):
            return
        pairs = _accepted(search, _similar(search, strip, visitors, vectors))
        if len(pairs):
            yield pairs
            n_found += np.bincount(np.searchsorted(visitors, pairs.second), minlength=len(visitors))
            full = visitors[n_found >= search.max_better]
            # Whatever comes later in this cell is worse, and so is all beyond it in other cells.
            search.limits[full] = np.minimum(search.limits[full], strip[-1])


def _similar(search: _Search, strip: Int32Array, visitors: Int32Array, vectors: HalfRows) -> Pairs:
    """Pairs of a strip of members and a block of visitors, decided by their exact cosines."""
    members = search.left.taken(strip)
    shortest = np.sqrt(members.squared_lengths.min() * vectors.squared_lengths.min())
    margin = MARGIN_PER_DIMENSION * vectors.vectors.shape[1]
    is_near = vectors.vectors @ members.vectors.T >= search.threshold * shortest - margin
    at_visitor, at_member = np.divmod(np.flatnonzero(is_near), len(strip))
    is_wanted = strip[at_member] < search.limits[visitors[at_visitor]]
    at_visitor, at_member = at_visitor[is_wanted], at_member[is_wanted]
    cosines = pair_cosines(members, vectors, at_member, at_visitor)
    found = Pairs(strip[at_member], visitors[at_visitor], cosines.astype(np.float32))
    return found.taken(cosines >= search.threshold)


def _accepted(search: _Search, pairs: Pairs) -> Pairs:
    if search.accept is None or not len(pairs):
        return pairs
    is_accepted = np.empty(len(pairs), np.bool_)
    for start in range(0, len(pairs), ACCEPTED_PAIRS):
        span = slice(start, start + ACCEPTED_PAIRS)
        first, second = pairs.first[span], pairs.second[span]
        answer = search.accept(first, second, pairs.similarities[span])
        if answer.shape != first.shape or answer.dtype != np.bool_:
            raise ValueError(
                f"accept must answer with {len(first)} bools, got {answer.dtype} "
                f"of shape {answer.shape}"
            )
        is_accepted[span] = answer
    return pairs.taken(is_accepted)


def _best_pairs(search: _Search, blocks: Iterable[Pairs]) -> Pairs:
    """Collect pairs, and thin them out whenever many have come together."""
    kept, waiting, n_waiting = _no_pairs(), [], 0
    for block in blocks:
        waiting.append(block)
        n_waiting += len(block)
        if n_waiting > max(WAITING_PAIRS, len(kept) // 4):
            kept, waiting, n_waiting = _thinned([kept, *waiting], search.max_better), [], 0
            _lower_limits(search, kept)
    return _thinned([kept, *waiting], search.max_better)


def _lower_limits(search: _Search, kept: Pairs) -> None:
    """Look for nothing worse than what a row has, where it has all that it may keep."""
    last = search.max_better - 1
    rows = kept.second[last:]
    is_full = rows == kept.second[: len(rows)]
    search.limits[rows[is_full]] = kept.first[last:][is_full]


def _thinned(blocks: list[Pairs], max_better: int) -> Pairs:
    """Sort pairs by second, then first, and keep the first `max_better` of each second row."""
    first = np.concatenate([block.first for block in blocks])
    second = np.concatenate([block.second for block in blocks])
    similarities = np.concatenate([block.similarities for block in blocks])
    # Sorting one number of both takes a sixth of the time of sorting by two keys.
    order = np.argsort(second.astype(np.int64) << 32 | first)
    second = second[order]
    is_kept = np.ones(len(order), np.bool_)
    is_kept[max_better:] = second[max_better:] != second[:-max_better]
    return Pairs(first[order], second, similarities[order]).taken(is_kept)


def _no_pairs() -> Pairs:
    return Pairs(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))

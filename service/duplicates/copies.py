"""Which photos are copies of each other: the tier near.

A copy is told in two steps. Candidates are pairs whose embeddings are close, or whose thumbnails
are, however they are turned: a photo laid on its side has another embedding. Then the thumbnails
are laid over each other, which two photos of one scene do not survive.
"""

from dataclasses import dataclass, replace

import numpy as np

from indexer.arrays import BoolArray, Float16Array, FloatArray, IntArray
from indexer.scoring.exact_cosines import Int32Array, pair_cosines
from indexer.scoring.keeper_groups import keeper_groups
from indexer.scoring.pair_calibration import TailFit, fitted_tail, similarity_exceeded_by
from indexer.scoring.similarity_join import DEFAULT_PLAN, Pairs, joined_pairs, pairs_between
from indexer.scoring.thumbnail_agreement import (
    VECTOR_DIMENSION,
    copy_evidence,
    overlay,
    thumbnail_vectors,
)
from schemas.duplicates import PairThreshold
from schemas.tiers import Strictness
from service.duplicates.material import FALSE_PAIR_RATES, SEED, Asked, Matches, Material, Report

USUAL_EVIDENCE = 0.8
"""Evidence of a copy where nothing is calibrated."""

# Least and most evidence that calibration may ask for. Of the copies of each of 13 kinds 98 % have
# .83; of the pairs of photos of one scene in Flickr8k one has that, and a few have .75.
_LEAST_EVIDENCE: dict[Strictness, float] = {"strict": 0.85, "normal": 0.8, "loose": 0.7}
_MOST_EVIDENCE = 0.9
# Pairs are remembered from here on, and are unrelated up to there.
_TAIL_START, _TAIL_END = 0.4, 0.65

# Thumbnails of a photo and of what was made of it by resizing, turning or recompressing have a
# cosine of .986 or more for 95 % of 2,800 such copies in Flickr8k.
_LEAST_THUMBNAIL_SIMILARITY = 0.96

# Each photo is laid over about so many unrelated ones. The cosine that lets so few through is
# estimated, and bounded: a frame leaves .68 for 95 % of photos, and below .5 the embedding hardly
# says more than chance.
_UNRELATED_CANDIDATES = 5
_CANDIDATE_RANGE = (0.5, 0.75)
_SAMPLE_ROWS, _SAMPLE_OTHERS = 400, 2000

_BLOCK_ROWS = 8192
_BLOCK_PAIRS = 65_536


def copies_within(material: Material, asked: Asked, *, report: Report | None = None) -> Matches:
    """Return the pairs of which one was made from the other, or both from a third.

    Parameters
    ----------
    material : Material
        The best keeper first.
    asked : Asked
        A cosine narrows the candidates; the evidence is then the usual one.
    report : callable, optional
    """
    judge = _Judge.of(material, material, asked)
    by_embedding = joined_pairs(
        material.vectors, threshold=judge.floor, accept=judge.accept, report=_half(report, 0)
    )
    by_thumbnail = joined_pairs(
        _turned_vectors(material),
        threshold=_LEAST_THUMBNAIL_SIMILARITY,
        accept=judge.after_embeddings().accept_by_thumbnail,
        report=_half(report, 1),
    )
    candidates = judge.judged([by_embedding.pairs, by_thumbnail.pairs])
    unrelated = _between_keepers(candidates, len(material))
    n_photos = max(len(material), 1)
    tail = _fitted(unrelated, n_photos=n_photos, n_compared=n_photos**2 / 2)
    recall = min(by_embedding.recall.share, by_thumbnail.recall.share)
    return _decided(candidates, tail, judge, asked, recall=recall)


def copies_between(
    left: Material, right: Material, asked: Asked, *, report: Report | None = None
) -> Matches:
    """Return all pairs of a left and a right photo that are copies; see :func:`copies_within`."""
    judge = _Judge.of(left, right, asked)
    by_embedding = pairs_between(
        left.vectors,
        right.vectors,
        threshold=judge.floor,
        accept=judge.accept,
        report=_half(report, 0),
    )
    by_thumbnail = pairs_between(
        _turned_vectors(left),
        _turned_vectors(right),
        threshold=_LEAST_THUMBNAIL_SIMILARITY,
        accept=judge.after_embeddings().accept_by_thumbnail,
        report=_half(report, 1),
    )
    candidates = judge.judged([*by_embedding.blocks, *by_thumbnail.blocks])
    n_photos = max(len(right), 1)
    tail = _fitted(candidates.evidence, n_photos=n_photos, n_compared=n_photos * len(left))
    recall = min(by_embedding.recall.share, by_thumbnail.recall.share)
    return _decided(candidates, tail, judge, asked, recall=recall)


def _half(report: Report | None, half: int) -> Report | None:
    """Return a report for the first or the second of two comparisons, as one that goes on."""
    if report is None:
        return None
    return lambda done, total: report(half * total + done, 2 * total)


def candidate_similarity(left: Float16Array, right: Float16Array) -> float:
    """Return the cosine that a left vector reaches with only a few unrelated ones of the right."""
    least, most = _CANDIDATE_RANGE
    if min(len(left), len(right)) < _SAMPLE_ROWS:
        return least
    generator = np.random.default_rng(SEED)
    rows = generator.choice(len(left), _SAMPLE_ROWS, replace=False)
    others = generator.choice(len(right), min(_SAMPLE_OTHERS, len(right)), replace=False)
    products = left[rows].astype(np.float32) @ right[others].astype(np.float32).T
    exceeded = similarity_exceeded_by(products.ravel(), _UNRELATED_CANDIDATES / len(right))
    return float(np.clip(round(exceeded, 3), least, most))


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Pairs that may be copies, the evidence that they are, float32 (n,), and which lie alike."""

    pairs: Pairs
    evidence: FloatArray
    same_way: BoolArray


@dataclass(frozen=True, slots=True)
class _Judge:
    """Tells by thumbnails which candidates may be copies.

    `floor` is the least cosine of candidates that are found by their embeddings. Of those found by
    their thumbnails the cosine must be in [`turned_floor`, `turned_ceiling`).
    """

    left: Material
    right: Material
    floor: float
    turned_floor: float
    turned_ceiling: float = np.inf

    @classmethod
    def of(cls, left: Material, right: Material, asked: Asked) -> "_Judge":
        if asked.similarity is not None:
            return cls(left, right, asked.similarity, asked.similarity)
        return cls(left, right, candidate_similarity(left.vectors, right.vectors), -1.0)

    def accept(self, first: Int32Array, second: Int32Array, similarities: FloatArray) -> BoolArray:
        """Judge pairs that were found by their embeddings."""
        return self._evidence(first, second, similarities)[0] >= _TAIL_START

    def accept_by_thumbnail(
        self, first: Int32Array, second: Int32Array, _: FloatArray
    ) -> BoolArray:
        """Judge pairs that were found by their thumbnails."""
        similarities = pair_similarities(self.left, self.right, first, second)
        is_open = (similarities >= self.turned_floor) & (similarities < self.turned_ceiling)
        rows = np.flatnonzero(is_open)
        evidence = self._evidence(first[rows], second[rows], similarities[rows])[0]
        is_open[rows] = evidence >= _TAIL_START
        return is_open

    def after_embeddings(self) -> "_Judge":
        """Return the judge of thumbnails: where all pairs are compared, close ones are judged."""
        # Not where a recall of 1 was measured in cells: a sample may have missed what others have.
        is_exact = len(self.left) * len(self.right) <= DEFAULT_PLAN.exact_limit**2
        return replace(self, turned_ceiling=self.floor) if is_exact else self

    def judged(self, found: list[Pairs]) -> _Candidates:
        """Return all pairs once, with their evidence."""
        n_right = len(self.right)
        keys = [pairs.first.astype(np.int64) * n_right + pairs.second for pairs in found]
        key = np.unique(np.concatenate([np.empty(0, np.int64), *keys]))
        first, second = (key // n_right).astype(np.int32), (key % n_right).astype(np.int32)
        similarities = pair_similarities(self.left, self.right, first, second)
        evidence, orientations = self._evidence(first, second, similarities)
        return _Candidates(Pairs(first, second, similarities), evidence, orientations == 0)

    def _evidence(
        self, first: Int32Array, second: Int32Array, similarities: FloatArray
    ) -> tuple[FloatArray, IntArray]:
        """Return evidence and orientations; none of photos without a thumbnail."""
        evidence = np.zeros(len(first), np.float32)
        orientations = np.zeros(len(first), np.int64)
        known = np.flatnonzero(self.left.is_measured[first] & self.right.is_measured[second])
        laid = overlay(self.left.thumbnails[first[known]], self.right.thumbnails[second[known]])
        evidence[known] = copy_evidence(laid.agreements, similarities[known])
        orientations[known] = laid.orientations
        return evidence, orientations


def pair_similarities(
    left: Material, right: Material, first: IntArray | Int32Array, second: IntArray | Int32Array
) -> FloatArray:
    """Return the cosines float32 (n,) of pairs of rows; 0 where a vector is zero."""
    is_zero = (left.halves.squared_lengths[first] == 0) | (
        right.halves.squared_lengths[second] == 0
    )
    rows = np.flatnonzero(~is_zero)
    similarities = np.zeros(len(first), np.float32)
    for start in range(0, len(rows), _BLOCK_PAIRS):
        some = rows[start : start + _BLOCK_PAIRS]
        ones, others = first[some].astype(np.int64), second[some].astype(np.int64)
        similarities[some] = pair_cosines(left.halves, right.halves, ones, others)
    return similarities


def _turned_vectors(material: Material) -> Float16Array:
    """Return float16 (n, 256), by which turned copies find each other; zero where not measured."""
    vectors = np.zeros((len(material), VECTOR_DIMENSION), np.float16)
    for start in range(0, len(material), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        vectors[rows] = thumbnail_vectors(material.thumbnails[rows])
    return vectors


def _between_keepers(candidates: _Candidates, n_photos: int) -> FloatArray:
    """Return the evidence of pairs of which neither is a copy of anything.

    Two copies of a photo, one cropped and one framed, may agree as little as strangers do.
    """
    pairs = candidates.pairs
    groups = keeper_groups(pairs.taken(candidates.evidence >= USUAL_EVIDENCE), n_photos)
    is_alone = np.bincount(groups, minlength=n_photos) == 1
    kept: FloatArray = candidates.evidence[is_alone[pairs.first] & is_alone[pairs.second]]
    return kept


def _fitted(unrelated: FloatArray, *, n_photos: int, n_compared: float) -> TailFit:
    return fitted_tail(
        unrelated, n_photos=n_photos, n_compared=n_compared, start=_TAIL_START, end=_TAIL_END
    )


def _decided(
    candidates: _Candidates, tail: TailFit, judge: _Judge, asked: Asked, *, recall: float
) -> Matches:
    """Take the pairs with enough evidence, for which unrelated ones tell how much is needed."""
    needed = USUAL_EVIDENCE
    if asked.similarity is None:
        calibrated = tail.evidence_at(FALSE_PAIR_RATES[asked.strictness])
        least = _LEAST_EVIDENCE[asked.strictness]
        needed = float(np.clip(round(calibrated, 3), least, _MOST_EVIDENCE))
    threshold = PairThreshold(
        strictness=asked.told_strictness,
        similarity=judge.floor,
        agreement=needed,
        false_pair_rate=min(tail.rate_above(needed), 1.0),
        n_sampled=len(judge.right),
    )
    chosen = candidates.evidence >= needed
    return Matches(candidates.pairs.taken(chosen), candidates.same_way[chosen], threshold, recall)

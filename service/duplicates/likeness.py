"""Which photos look alike, copies or not: the tier similar."""

import numpy as np

from indexer.arrays import FloatArray
from indexer.scoring.pair_calibration import fitted_neighbours
from indexer.scoring.similarity import exact_search
from indexer.scoring.similarity_join import Pairs, joined_pairs, pairs_between
from indexer.scoring.thumbnail_agreement import copy_evidence, overlay
from schemas.duplicates import PairThreshold
from service.duplicates.copies import USUAL_EVIDENCE
from service.duplicates.material import FALSE_PAIR_RATES, SEED, Asked, Matches, Material, Report

# Where unrelated photos are hardly alike at all, others of one scene are not by much either.
_SIMILARITY_RANGE = (0.5, 0.995)
_USUAL_SIMILARITY = 0.85
"""Without enough photos to tell."""

_SAMPLE_ROWS, _NEIGHBOURS = 400, 10


def similar_within(material: Material, asked: Asked, *, report: Report | None = None) -> Matches:
    """Return the pairs whose embeddings are close.

    Parameters
    ----------
    material : Material
        The best keeper first.
    asked : Asked
    report : callable, optional
    """
    threshold = similar_threshold(material, asked)
    joined = joined_pairs(material.vectors, threshold=threshold.similarity, report=report)
    return _matches(joined.pairs, threshold, joined.recall.share)


def similar_between(
    left: Material, right: Material, asked: Asked, *, report: Report | None = None
) -> Matches:
    """Return all pairs of a left and a right photo whose embeddings are close.

    The threshold is that of the left photos among themselves.
    """
    threshold = similar_threshold(left, asked)
    found = pairs_between(
        left.vectors, right.vectors, threshold=threshold.similarity, report=report
    )
    blocks = list(found.blocks)
    none = np.empty(0, np.int32)
    pairs = Pairs(
        np.concatenate([none, *(block.first for block in blocks)]),
        np.concatenate([none, *(block.second for block in blocks)]),
        np.concatenate([none.astype(np.float32), *(block.similarities for block in blocks)]),
    )
    return _matches(pairs, threshold, found.recall.share)


def _matches(pairs: Pairs, threshold: PairThreshold, recall: float) -> Matches:
    return Matches(pairs, np.ones(len(pairs), np.bool_), threshold, recall)


def similar_threshold(material: Material, asked: Asked) -> PairThreshold:
    """Return the cosine that few photos reach with their nearest unrelated one."""
    nearest = _nearest_unrelated(material)
    fit = fitted_neighbours(nearest)
    similarity = asked.similarity
    if similarity is None:
        similarity = _USUAL_SIMILARITY
        if fit is not None:
            calibrated = fit.similarity_at(FALSE_PAIR_RATES[asked.strictness])
            similarity = float(np.clip(round(calibrated, 3), *_SIMILARITY_RANGE))
    return PairThreshold(
        strictness=asked.told_strictness,
        similarity=similarity,
        agreement=None,
        false_pair_rate=None if fit is None else fit.rate_above(similarity),
        n_sampled=len(nearest),
    )


def _nearest_unrelated(material: Material) -> FloatArray:
    """Return the cosine of photos drawn at random and the nearest that is no copy of them."""
    n_sampled = min(_SAMPLE_ROWS, len(material))
    rows = np.random.default_rng(SEED).choice(len(material), n_sampled, replace=False)
    queries = material.vectors[rows].astype(np.float32)
    similarities, found = exact_search(queries, material.vectors, top_k=_NEIGHBOURS + 1)
    is_other = (found >= 0) & (found != rows[:, np.newaxis])
    query, place = np.nonzero(is_other)
    laid = overlay(material.thumbnails[rows[query]], material.thumbnails[found[query, place]])
    evidence = copy_evidence(laid.agreements, similarities[query, place])
    is_other[query, place] = evidence < USUAL_EVIDENCE
    nearest: FloatArray = np.where(is_other, similarities, -np.inf).max(axis=1, initial=-np.inf)
    return nearest[nearest > -np.inf]

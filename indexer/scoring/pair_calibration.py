"""From when on two photos count as alike, by how alike unrelated photos of a collection are.

A cosine of .9 means little by itself: it is rare among holiday photos and common among scans of
letters. What is asked for instead is how many photos may be paired with an unrelated one, and the
threshold is where the tail of unrelated pairs gets so thin.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from indexer.arrays import FloatArray

# Cosines of unrelated pairs have an exponential tail once they are spread by arctanh: in Flickr8k
# their quantiles at 90, 99 and 99.9 % lie .184 and .185 apart, and those of nearest neighbours at
# 75, 90 and 99 % within .01 of a Gumbel distribution fitted to those at 10 and 50 %.
_LARGEST_COSINE = 0.9999


@dataclass(frozen=True, slots=True)
class NeighbourFit:
    """Gumbel distribution of arctanh of the cosine of a photo and its nearest unrelated one."""

    location: float
    scale: float

    def rate_above(self, similarity: float) -> float:
        """Return the share of photos that have an unrelated one of at least this cosine."""
        depth = (_spread(similarity) - self.location) / self.scale
        return -math.expm1(-math.exp(-depth))

    def similarity_at(self, rate: float) -> float:
        """Return the cosine that the nearest unrelated photo reaches for this share of photos."""
        depth = -math.log(-math.log1p(-rate))
        return math.tanh(self.location + self.scale * depth)


def fitted_neighbours(similarities: FloatArray) -> NeighbourFit | None:
    """Fit the cosines of photos and their nearest neighbours.

    Parameters
    ----------
    similarities : float32 of shape (n,)
        Of photos drawn at random; copies of a photo do not count as its neighbours.

    Returns
    -------
    NeighbourFit or None
        Of the lower half of the cosines, as copies that were not recognised lie above. None where
        there are too few for that, or all are the same.

    Notes
    -----
    The largest of many similarities with an exponential tail is Gumbel distributed: Gumbel,
    "Statistics of Extremes", 1958, section 5.1.
    """
    if len(similarities) < MIN_SAMPLE:
        return None
    tenth, middle = np.quantile(_all_spread(similarities), [0.1, 0.5])
    # Its quantile p is location - scale * log(-log(p)).
    scale = (middle - tenth) / (math.log(-math.log(0.1)) - math.log(-math.log(0.5)))
    if scale <= 0:
        return None
    return NeighbourFit(float(middle + scale * math.log(-math.log(0.5))), float(scale))


MIN_SAMPLE = 50
"""Fewer photos, or pairs, tell nothing about a tail."""


def similarity_exceeded_by(similarities: FloatArray, rate: float) -> float:
    """Return the cosine that this share of unrelated pairs exceeds.

    Parameters
    ----------
    similarities : float32 of shape (n,)
        Cosines of pairs drawn at random, at least one; copies may be among them, if under 1 %.
    rate : float
        Share of all pairs, above 0; extrapolated where it is below 1 %.
    """
    upper, top = np.quantile(_all_spread(similarities), [0.9, 0.99])
    decades = math.log10(0.01 / min(rate, 0.01))
    return math.tanh(float(top + (top - upper) * decades))


@dataclass(frozen=True, slots=True)
class TailFit:
    """Exponential tail of the evidence of unrelated pairs: how many reach it, per photo."""

    rate_at_start: float
    decay: float
    start: float

    def rate_above(self, evidence: float) -> float:
        """Return how many unrelated pairs per photo have at least this evidence."""
        return self.rate_at_start * math.exp(-(evidence - self.start) / self.decay)

    def evidence_at(self, rate: float) -> float:
        """Return the evidence that so many unrelated pairs per photo reach."""
        return self.start + self.decay * math.log(max(self.rate_at_start, 1e-30) / rate)


def fitted_tail(
    evidence: FloatArray, *, n_photos: int, n_compared: float, start: float, end: float
) -> TailFit:
    """Fit the evidence of the pairs that fall short of being copies.

    Parameters
    ----------
    evidence : float32 of shape (n,)
        Of all pairs of a collection from `start` on.
    n_photos : int
        Of the collection, at least 1.
    n_compared : float
        Pairs of photos that there are.
    start, end : float
        Between them pairs are taken to be unrelated: from `end` on there are copies.

    Returns
    -------
    TailFit
        Where fewer than 50 pairs fall short, with the decay that Flickr8k has, and with as many of
        them as there are in Flickr8k, but 50 at most: more would have been seen.

    Notes
    -----
    Peaks over a threshold with an exponential tail, fitted by maximum likelihood to those cut off
    at `end`: Pickands, "Statistical inference using extreme order statistics", 1975.
    """
    excesses = evidence[(evidence >= start) & (evidence < end)].astype(np.float64) - start
    if len(excesses) >= MIN_SAMPLE:
        n_pairs, decay = (
            float(len(excesses)),
            _decay_of_cut_off(float(excesses.mean()), end - start),
        )
    else:
        usual = min(USUAL_SHARE * n_compared, MIN_SAMPLE)
        n_pairs, decay = max(len(excesses), usual), USUAL_DECAY
    # Those that unrelated pairs have beyond the end are added to those counted before it.
    share_before = -math.expm1(-(end - start) / decay)
    return TailFit(n_pairs / share_before / n_photos, decay, start)


USUAL_SHARE, USUAL_DECAY = 7e-6, 0.11
"""Of the pairs of photos in Flickr8k those whose evidence is in [.4, .65), 237, and its decay."""


def _decay_of_cut_off(mean: float, width: float) -> float:
    """Return the decay of an exponential tail whose part within `width` has this mean."""

    def excess(decay: float) -> float:
        return decay - width / math.expm1(width / decay) - mean

    steepest, flattest = width / 100, width * 10
    if excess(flattest) <= 0:
        return flattest
    return float(brentq(excess, steepest, flattest)) if excess(steepest) < 0 else steepest


def _spread(similarity: float) -> float:
    return math.atanh(min(max(similarity, -_LARGEST_COSINE), _LARGEST_COSINE))


def _all_spread(similarities: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    clipped = np.clip(similarities.astype(np.float64), -_LARGEST_COSINE, _LARGEST_COSINE)
    spread: np.ndarray[tuple[int], np.dtype[np.float64]] = np.arctanh(clipped)
    return spread

"""A threshold in words."""

from schemas.duplicates import PairThreshold
from service.lines import shown_share

# Once in so many photos is never: no collection has more.
_MOST_PHOTOS = 1e9


def threshold_text(threshold: PairThreshold) -> str:
    """Say what counts as alike, and how often that is expected to be wrong.

    Examples
    --------
    >>> threshold_text(PairThreshold(strictness="normal", similarity=0.82, agreement=None,
    ...                              false_pair_rate=0.00012, n_sampled=400))
    '(normal): cosine of .820; expected to pair 1 photo in 8,300 with an unrelated one'
    """
    word = "given" if threshold.strictness is None else threshold.strictness
    told = f"({word}): cosine of {shown_share(threshold.similarity)}"
    if threshold.agreement is not None:
        told += f" and thumbnails that agree to {shown_share(threshold.agreement)}"
    rate = threshold.false_pair_rate
    if rate is None:
        return f"{told}; too few photos to estimate how often it is wrong"
    if rate * _MOST_PHOTOS < 1:
        return f"{told}; expected to pair no photo with an unrelated one"
    return f"{told}; expected to pair 1 photo in {_rounded(1 / rate)} with an unrelated one"


def _rounded(count: float) -> str:
    """Return a count with two digits that mean something."""
    return f"{float(f'{count:.2g}'):,.0f}"

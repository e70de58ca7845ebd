"""How well anomaly scores tell what is out-of-distribution from what is not.

Out-of-distribution is the positive class throughout, and a higher score means more anomalous.
Both measures depend on the order of the scores alone, and neither on the order of the photos.
"""

import numpy as np

from indexer.arrays import BoolArray, DoubleArray, FloatArray, IntArray

DETECTED_PERCENT = 95
"""Share of the positives, in percent, that FPR@95TPR asks a detector to find."""


def auroc(scores: FloatArray | DoubleArray, is_outlier: BoolArray) -> float:
    """Return the chance that an outlier scores higher than a normal photo.

    Parameters
    ----------
    scores : float of shape (n,)
        Anomaly scores; higher is more anomalous.
    is_outlier : bool of shape (n,)
        True for what is out-of-distribution.

    Returns
    -------
    float
        In [0, 1]; higher is better; 0.5 is guessing. A tie counts one half.

    Raises
    ------
    ValueError
        If the shapes differ, a score is NaN or infinite, or all photos are of one class.

    Notes
    -----
    The area under the receiver operating characteristic is the Mann-Whitney statistic: Hanley
    and McNeil, Radiology 143(1), 1982. Counted in whole numbers, so that it is exact.

    Examples
    --------
    >>> auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    normal, outlying = _sorted_classes(scores, is_outlier)
    # Twice the wins: normal scores below, once for each and once more unless it is a tie.
    below: IntArray = np.searchsorted(normal, outlying, side="left")
    not_above: IntArray = np.searchsorted(normal, outlying, side="right")
    return int(below.sum() + not_above.sum()) / (2 * len(normal) * len(outlying))


def fpr_at_95_tpr(scores: FloatArray | DoubleArray, is_outlier: BoolArray) -> float:
    """Return the share of normal photos flagged where 95 % of the outliers are.

    The threshold is the highest score at which at least 95 % of the outliers are at or above
    it; everything at or above it is flagged, ties included.

    Parameters
    ----------
    scores : float of shape (n,)
        Anomaly scores; higher is more anomalous.
    is_outlier : bool of shape (n,)
        True for what is out-of-distribution, the positive class.

    Returns
    -------
    float
        In [0, 1]; lower is better; 1 where all scores are equal.

    Raises
    ------
    ValueError
        If the shapes differ, a score is NaN or infinite, or all photos are of one class.

    Notes
    -----
    Without interpolation between thresholds. Papers that take in-distribution as the positive
    class (Hendrycks and Gimpel, ICLR 2017) report another number under this name.

    Examples
    --------
    >>> fpr_at_95_tpr(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.5
    """
    normal, outlying = _sorted_classes(scores, is_outlier)
    # Whole numbers: 0.95 x 20 must not become 20 by rounding up 19.000000000000004.
    n_detected = -(-DETECTED_PERCENT * len(outlying) // 100)
    threshold = outlying[len(outlying) - n_detected]
    n_flagged = len(normal) - int(np.searchsorted(normal, threshold, side="left"))
    return n_flagged / len(normal)


def _sorted_classes(
    scores: FloatArray | DoubleArray, is_outlier: BoolArray
) -> tuple[DoubleArray, DoubleArray]:
    """Return the scores of normal photos and of outliers, each ascending."""
    if scores.ndim != 1 or scores.shape != is_outlier.shape:
        raise ValueError(
            "scores and is_outlier must be two lists of one length, "
            f"got shapes {scores.shape} and {is_outlier.shape}"
        )
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(f"scores must be finite, got {scores[row]} in row {row}")
    n_outliers = int(np.count_nonzero(is_outlier))
    if n_outliers in (0, len(scores)):
        raise ValueError(
            "there must be outliers and normal photos, "
            f"got {n_outliers} outliers among {len(scores)} photos"
        )
    wide: DoubleArray = scores.astype(np.float64)
    return np.sort(wide[~is_outlier]), np.sort(wide[is_outlier])

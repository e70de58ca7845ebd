"""How well a quality score agrees with what people said: SRCC, KRCC, and PLCC after a fit."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit
from scipy.stats import kendalltau, rankdata

from indexer.arrays import DoubleArray, FloatArray

# Two points always lie on a line.
_MIN_RANKED = 3
# One more than the logistic has parameters.
MIN_FITTED = 6
"""Photos that a fit of the five-parameter logistic needs at least."""

# Evaluations of the curve before the fit is given up: a usual one takes 10 to 100. Where scores
# and opinions hardly agree, the sum of squares is so flat that more gain nothing.
_MAX_EVALUATIONS = 400
# A curve that became the line correlates as the line does, but for this.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class LogisticAgreement:
    """The correlation of opinions with scores after a curve was fitted to them.

    `plcc` is in [0, 1], higher is better; it has no sign, because the curve may fall. `is_fitted`
    is False where the fit did not settle: `plcc` is then that of the curve it had reached, or of
    the best straight line where that is better.
    """

    plcc: float
    is_fitted: bool


def srcc(scores: FloatArray | DoubleArray, opinions: DoubleArray) -> float:
    """Return Spearman's rank correlation of scores with opinions.

    Parameters
    ----------
    scores : float of shape (n,)
        Higher should mean better; n >= 3.
    opinions : float64 of shape (n,)
        Mean opinion scores, higher is better.

    Returns
    -------
    float
        In [-1, 1]; higher is better; 0 is no agreement. Ties share their mean rank.

    Raises
    ------
    ValueError
        If the shapes differ, n < 3, a value is NaN or infinite, or all of either are equal.

    Notes
    -----
    Spearman, 1904. Sums of ranks are exact below 400,000 photos, so that their order does not
    matter.

    Examples
    --------
    >>> srcc(np.array([0.1, 0.2, 0.9]), np.array([1.0, 3.0, 2.0]))
    0.5
    """
    _check_pairs(scores, opinions, at_least=_MIN_RANKED)
    return _correlation(_centred_ranks(scores), _centred_ranks(opinions))


def krcc(scores: FloatArray | DoubleArray, opinions: DoubleArray) -> float:
    """Return Kendall's rank correlation of scores with opinions, tau-b.

    Parameters
    ----------
    scores : float of shape (n,)
        Higher should mean better; n >= 3.
    opinions : float64 of shape (n,)
        Mean opinion scores, higher is better.

    Returns
    -------
    float
        In [-1, 1]; higher is better. Pairs tied in either are left out of both counts that
        the denominator multiplies.

    Raises
    ------
    ValueError
        If the shapes differ, n < 3, a value is NaN or infinite, or all of either are equal.

    Notes
    -----
    Kendall, "The treatment of ties in ranking problems", Biometrika 33(3), 1945.

    Examples
    --------
    >>> round(krcc(np.array([0.1, 0.2, 0.9]), np.array([1.0, 3.0, 2.0])), 3)
    0.333
    """
    _check_pairs(scores, opinions, at_least=_MIN_RANKED)
    # The asymptotic p-value is not used; the exact one takes long.
    return float(kendalltau(scores, opinions, variant="b", method="asymptotic").statistic)


def plcc_after_logistic(
    scores: FloatArray | DoubleArray, opinions: DoubleArray
) -> LogisticAgreement:
    """Return Pearson's correlation of opinions with a logistic curve of the scores.

    Parameters
    ----------
    scores : float of shape (n,)
        n >= 6.
    opinions : float64 of shape (n,)
        Mean opinion scores.

    Returns
    -------
    LogisticAgreement
        `plcc` in [0, 1]; higher is better. It says nothing of the direction: see :func:`srcc`.

    Raises
    ------
    ValueError
        If the shapes differ, n < 6, a value is NaN or infinite, or all of either are equal.

    Notes
    -----
    ``b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5``: Sheikh, Sabir and Bovik, "A statistical
    evaluation of recent full reference image quality assessment algorithms", IEEE TIP 15(11),
    2006, section II-D, after VQEG. Scores and opinions are standardised before, which changes
    the parameters and not the fit, so that one start suits every scale: from the least-squares
    line, and b1 = 1, b2 = 1 or -1 as the line rises or falls, b3 = 0. Levenberg-Marquardt then
    finds the nearest least sum of squares, as the usual programs do; it need not be the least of
    all. A line is such a curve (b1 = 0), so `plcc` is never below that of the line.
    """
    _check_pairs(scores, opinions, at_least=MIN_FITTED)
    x, y = _standardised(scores), _standardised(opinions)
    slope = _correlation(x, y)
    start = [1.0, np.copysign(1.0, slope), 0.0, slope, 0.0]
    fit = least_squares(
        lambda b: _logistic(b, x) - y,
        start,
        jac=lambda b: _logistic_slopes(b, x),
        method="lm",
        max_nfev=_MAX_EVALUATIONS,
    )
    fitted = _logistic(fit.x, x)
    correlation = 0.0 if np.ptp(fitted) == 0 else _correlation(fitted - fitted.mean(), y)
    is_fitted = bool(fit.success) and correlation >= abs(slope) - _ROUNDING
    return LogisticAgreement(max(correlation, abs(slope)), is_fitted=is_fitted)


def is_constant(values: FloatArray | DoubleArray) -> bool:
    """Return whether all values are equal, so that nothing can correlate with them."""
    return bool(np.ptp(values) == 0)


def _logistic(parameters: DoubleArray, x: DoubleArray) -> DoubleArray:
    height, steepness, middle, slope, level = parameters
    # 1/2 - 1 / (1 + exp(t)) without an overflow of exp.
    curve: DoubleArray = height * (expit(steepness * (x - middle)) - 0.5) + slope * x + level
    return curve


def _logistic_slopes(parameters: DoubleArray, x: DoubleArray) -> DoubleArray:
    """Return the derivatives of the curve by its parameters, (n, 5)."""
    height, steepness, middle = parameters[:3]
    share = expit(steepness * (x - middle))
    change = height * share * (1.0 - share)
    return np.stack(
        [share - 0.5, change * (x - middle), -change * steepness, x, np.ones_like(x)], axis=1
    )


def _centred_ranks(values: FloatArray | DoubleArray) -> DoubleArray:
    ranks: DoubleArray = rankdata(values) - (len(values) + 1) / 2
    return ranks


def _standardised(values: FloatArray | DoubleArray) -> DoubleArray:
    wide = values.astype(np.float64)
    # Scaled first, so that neither tiny nor huge values leave the range when squared.
    centred = (wide - wide.mean()) / np.ptp(wide)
    standard: DoubleArray = centred / centred.std()
    return standard


def _correlation(x: DoubleArray, y: DoubleArray) -> float:
    """Pearson's correlation of centred values, not all zero."""
    product = float((x * y).sum())
    squares = float(np.square(x).sum()) * float(np.square(y).sum())
    return float(np.clip(product / np.sqrt(squares), -1.0, 1.0))


def _check_pairs(scores: FloatArray | DoubleArray, opinions: DoubleArray, *, at_least: int) -> None:
    if scores.ndim != 1 or scores.shape != opinions.shape:
        raise ValueError(
            "scores and opinions must be two lists of one length, "
            f"got shapes {scores.shape} and {opinions.shape}"
        )
    if len(scores) < at_least:
        raise ValueError(f"at least {at_least} photos are needed, got {len(scores)}")
    for name, values in (("scores", scores), ("opinions", opinions)):
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(f"{name} must be finite, got {values[row]} in row {row}")
        if is_constant(values):
            raise ValueError(f"{name} are all {values[0]}: there is nothing to correlate")

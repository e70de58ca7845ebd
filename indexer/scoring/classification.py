"""Few-shot classifiers on unit vectors: the nearest class mean, and linear discriminants.

Both are what Herzog & Wang (CVPR 2026, arXiv:2603.16100) put on embeddings with a few labelled
images. Once fitted, either is one linear map and a softmax.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from indexer.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from indexer.scoring.exact_products import exact_products, grid_rows
from indexer.scoring.shapes import require_finite, require_matrix
from indexer.scoring.similarity import normalised

# Of 1,010 Flickr8k photos of ten labels, embedded by the built-in model, the log-likelihood of the
# right label is highest at 10 to 15 in each space, for 1, 5 and 20 examples a label.
PROTOTYPE_SCALE = 12.5

# Residuals that all lie on one line have an exact covariance, of rank one. So much of the identity
# is mixed in nevertheless, as other directions must not count as free of noise.
MIN_SHRINKAGE = 0.01

MIN_CLASSES = 2


class NoCovarianceError(ValueError):
    """No class has two different vectors."""


@dataclass(frozen=True, slots=True)
class LinearClassifier:
    """Class probabilities are the softmax of ``weight @ x + bias``.

    `weight` is float64 (C, d), `bias` float64 (C,).
    """

    weight: DoubleArray
    bias: DoubleArray


@dataclass(frozen=True, slots=True)
class Classification:
    """The likeliest class of each vector, int64 (n,), and its probability, float32 (n,) in (0, 1].

    Among equals it is the first class.
    """

    classes: IntArray
    confidences: FloatArray


MakeClassifier = Callable[[FloatArray, IntArray], LinearClassifier]


def prototype_classifier(vectors: FloatArray, class_of: IntArray) -> LinearClassifier:
    """Return a classifier by cosine to the mean of each class.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length.
    class_of : int64 of shape (n,)
        From 0 to C - 1, each at least once, C at least 2. One example makes a class.

    Returns
    -------
    LinearClassifier
        The softmax of `PROTOTYPE_SCALE` times the cosines of unit vectors to the prototypes, which
        are the normalised means. All classes are equally likely for a zero vector.

    Raises
    ------
    ValueError
        If shapes do not fit, a vector is not finite, or classes are missing or fewer than two.

    Notes
    -----
    Prototypes as in Snell et al., "Prototypical Networks", NeurIPS 2017, section 2.2, of unit
    vectors and by cosine.
    """
    counts = _class_counts(vectors, class_of)
    means = _class_means(vectors, class_of, counts)
    weight: DoubleArray = PROTOTYPE_SCALE * normalised(means)
    return LinearClassifier(weight, np.zeros(len(counts)))


def discriminant_classifier(vectors: FloatArray, class_of: IntArray) -> LinearClassifier:
    """Return a linear discriminant: Gaussian classes of one covariance, equally likely.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length.
    class_of : int64 of shape (n,)
        From 0 to C - 1, each at least once, C at least 2. A class of one example is defined by it
        and the covariance of the others.

    Returns
    -------
    LinearClassifier
        Its softmax is the posterior probability of the classes.

    Raises
    ------
    NoCovarianceError
        If no class has two different vectors.
    ValueError
        If shapes do not fit, a vector is not finite, or classes are missing or fewer than two.

    Notes
    -----
    Hastie et al., "The Elements of Statistical Learning", 2009, section 4.3. The covariance within
    classes S is shrunk to (1 - rho) S + rho tr(S)/d I with rho of Ledoit & Wolf, "A
    well-conditioned estimator for large-dimensional covariance matrices", 2004, section 3.2, but at
    least `MIN_SHRINKAGE`. Their n is here the n - C degrees of freedom that the class means leave.
    """
    counts = _class_counts(vectors, class_of)
    means = _class_means(vectors, class_of, counts)
    covariance = _shrunk_covariance(*_residuals(vectors, class_of, means, counts))
    weight = np.linalg.solve(covariance, means.T).T.astype(np.float64, copy=False)
    return LinearClassifier(weight, -0.5 * np.einsum("cd,cd->c", weight, means))


def classify(vectors: FloatArray, classifier: LinearClassifier) -> Classification:
    """Return the likeliest class of each vector and its probability.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Unit length.
    classifier : LinearClassifier

    Returns
    -------
    Classification
        Bit for bit the same whatever other vectors there are.

    Raises
    ------
    ValueError
        If the width differs from the classifier's, or a vector is not finite.
    """
    require_matrix("vectors", vectors, width=classifier.weight.shape[1])
    require_finite("vectors", vectors)
    logits = _logits(vectors, classifier)
    classes = logits.argmax(axis=1).astype(np.int64)
    excess = logits - logits.max(axis=1, keepdims=True)
    confidences = 1.0 / np.exp(excess).sum(axis=1)
    return Classification(classes, confidences.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What held-out examples say of a classifier.

    `accuracy` is the share of the `n_held_out` examples that was right, None where there are none.
    Probabilities are calibrated when the classifier's weight and bias are multiplied by `scale`.
    """

    accuracy: float | None
    n_held_out: int
    scale: float


def calibration(
    vectors: FloatArray,
    class_of: IntArray,
    *,
    make_classifier: MakeClassifier,
    n_folds: int = 5,
    seed: int = 0,
) -> Calibration:
    """Try classifiers made of some of the examples on the others.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
    class_of : int64 of shape (n,)
        As for `make_classifier`.
    make_classifier : callable
        `prototype_classifier` or `discriminant_classifier`.
    n_folds : int
        At least 2: the examples are held out in so many parts, each class dealt out evenly. An
        only example of its class is never held out.
    seed : int
        Of the dealing.

    Returns
    -------
    Calibration
        With scale 1 where nothing could be held out.

    Raises
    ------
    ValueError
        If `make_classifier` refuses the examples, or n_folds is below 2.

    Notes
    -----
    Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section
    4.2, by 1 / temperature. The posterior of a discriminant takes means and covariance of a few
    examples for the true ones: uncalibrated, it was 99 % sure where 81 % were right. So that a few
    examples that are all right do not ask for an endless scale, the right class is wanted with
    probability (m + 1) / (m + 2) after m examples: Platt, "Probabilistic outputs for support
    vector machines", 1999.
    """
    if n_folds < 2:  # noqa: PLR2004 - with one fold nothing is left to learn from
        raise ValueError(f"n_folds must be at least 2, got {n_folds}")
    counts = _class_counts(vectors, class_of)
    logits, wanted = [np.empty((0, len(counts)))], [np.empty(0, np.int64)]
    for is_held_out in _folds(class_of, counts, n_folds=n_folds, seed=seed):
        try:
            classifier = make_classifier(vectors[~is_held_out], class_of[~is_held_out])
        except NoCovarianceError:
            continue
        logits.append(_logits(vectors[is_held_out], classifier))
        wanted.append(class_of[is_held_out])
    return _calibration(np.concatenate(logits), np.concatenate(wanted))


def scaled(classifier: LinearClassifier, scale: float) -> LinearClassifier:
    """Return a classifier of the same classes, and of probabilities that are more or less sure."""
    return LinearClassifier(scale * classifier.weight, scale * classifier.bias)


def _calibration(logits: DoubleArray, wanted: IntArray) -> Calibration:
    n_held_out, n_classes = logits.shape
    if not n_held_out:
        return Calibration(None, 0, 1.0)
    excess = logits - logits.max(axis=1, keepdims=True)
    right = excess[np.arange(n_held_out), wanted]
    sure = (n_held_out + 1) / (n_held_out + 2)
    target = sure * right + (1 - sure) * (excess.sum(axis=1) - right) / (n_classes - 1)

    def mean_loss(log_scale: float) -> float:
        scale = np.exp(log_scale)
        return float(np.mean(np.log(np.exp(scale * excess).sum(axis=1)) - scale * target))

    found = minimize_scalar(mean_loss, bounds=_LOG_SCALES, method="bounded")
    accuracy = float(np.mean(logits.argmax(axis=1) == wanted))
    return Calibration(accuracy, n_held_out, float(np.exp(found.x)))


# Wide enough for a softmax over embeddings whose cosines lie between .9 and 1.
_LOG_SCALES = (np.log(1e-3), np.log(1e3))


def _folds(class_of: IntArray, counts: IntArray, *, n_folds: int, seed: int) -> Iterator[BoolArray]:
    """Yield which examples (n,) each fold holds out; of each class at least one stays."""
    generator = np.random.default_rng(seed)
    fold_of = np.full(len(class_of), -1)
    n_dealt = 0
    for label in np.flatnonzero(counts > 1):
        rows = generator.permutation(np.flatnonzero(class_of == label))
        # On from where the last class ended: pairs of examples must not all be split at once.
        fold_of[rows] = np.arange(n_dealt, n_dealt + len(rows)) % n_folds
        n_dealt += len(rows)
    for fold in range(n_folds):
        if (fold_of == fold).any():
            yield fold_of == fold


def _logits(vectors: FloatArray, classifier: LinearClassifier) -> DoubleArray:
    products = exact_products(grid_rows(vectors), grid_rows(classifier.weight))
    return products + classifier.bias


def _class_counts(vectors: FloatArray, class_of: IntArray) -> IntArray:
    """Return how many examples (C,) each class has, after the checks that all functions share."""
    require_matrix("vectors", vectors)
    if class_of.shape != (len(vectors),):
        raise ValueError(f"{len(vectors)} vectors need as many classes, got {class_of.shape}")
    require_finite("vectors", vectors)
    if len(class_of) and class_of.min() < 0:
        raise ValueError(f"classes must be at least 0, got {class_of.min()}")
    counts = np.bincount(class_of)
    if len(counts) < MIN_CLASSES:
        raise ValueError(f"at least {MIN_CLASSES} classes are needed, got {len(counts)}")
    if not counts.all():
        raise ValueError(f"class {int(counts.argmin())} has no example")
    return counts


def _class_means(vectors: FloatArray, class_of: IntArray, counts: IntArray) -> DoubleArray:
    by_class = vectors[np.argsort(class_of, kind="stable")].astype(np.float64)
    starts = np.cumsum(counts) - counts
    means: DoubleArray = np.add.reduceat(by_class, starts, axis=0) / counts[:, np.newaxis]
    return means


def _residuals(
    vectors: FloatArray, class_of: IntArray, means: DoubleArray, counts: IntArray
) -> tuple[DoubleArray, int]:
    """Return residuals (m, d) as long as the classes' spread, and their degrees of freedom.

    Vectors lie too near their own mean, by the degrees of freedom that it took. An only example
    lies on it, and says nothing.
    """
    has_others = counts[class_of] > 1
    kept = class_of[has_others]
    n_free = len(kept) - int(np.sum(counts > 1))
    stretch = np.sqrt(len(kept) / max(n_free, 1))
    return stretch * (vectors[has_others].astype(np.float64) - means[kept]), n_free


def _shrunk_covariance(residuals: DoubleArray, n_free: int) -> DoubleArray:
    """Return the covariance (d, d) of residuals (m, d), shrunk toward a scaled identity."""
    dimension = residuals.shape[1]
    covariance = residuals.T @ residuals / max(len(residuals), 1)
    level = np.trace(covariance) / dimension
    # The float32 vectors of one image twice differ by no more than rounding.
    if level <= np.finfo(np.float32).eps ** 2:
        raise NoCovarianceError("no class has two different vectors, so there is no covariance")
    identity = np.eye(dimension)
    spread = np.sum((covariance - level * identity) ** 2)
    lengths = np.sum(residuals**2, axis=1)
    error = (np.mean(lengths**2) - np.sum(covariance**2)) / n_free
    shrinkage = min(max(error / spread, MIN_SHRINKAGE), 1.0) if spread > 0 else 1.0
    shrunk: DoubleArray = (1.0 - shrinkage) * covariance + shrinkage * level * identity
    return shrunk

"""Technical quality of a photo from its unnormalised embedding: prompts, magnitude, and both.

Liao et al., "MA-CLIP", AAAI 2026, arXiv:2511.09948. Scores are per photo: every step works on
one row alone, by sums along that row, so that neither batch size nor order changes a bit.
"""

import numpy as np
from scipy.special import boxcox1p, expit

from indexer.arrays import DoubleArray, Float16Array, FloatArray, IntArray
from indexer.scoring.shapes import require_finite, require_matrix
from indexer.scoring.similarity import normalised

PAPER_PROMPT_PAIR = ("Good photo.", "Bad photo.")
"""Good and bad prompt as printed in the paper."""

PROMPT_PAIRS = (
    ("Good image", "bad image"),
    ("Sharp image", "blurry image"),
    ("sharp edges", "blurry edges"),
    ("High resolution image", "low resolution image"),
    ("Noise-free image", "noisy image"),
)
"""Good and bad prompts that the authors' code averages over; the default here."""

# Keeps a flat embedding from a division by zero; the paper's epsilon.
STD_EPSILON = 1e-6


def prompt_quality(
    embeddings: FloatArray, good: FloatArray, bad: FloatArray, *, logit_scale: float
) -> FloatArray:
    """Return the probability that a photo is nearer to the good prompts than to the bad ones.

    Parameters
    ----------
    embeddings : float32 of shape (n, d)
        Image embeddings of the plain projector, raw or unit length.
    good, bad : float32 of shape (m, d)
        Text embeddings of the m prompt pairs, of any length.
    logit_scale : float
        What the model multiplies cosines with (about 100 for CLIP), not its logarithm.

    Returns
    -------
    float32 of shape (n,)
        Q_sim in [0, 1]; higher is better; 0.5 for a zero embedding.

    Raises
    ------
    ValueError
        If the shapes do not fit, a vector is not finite, there is no pair, or logit_scale <= 0.

    Notes
    -----
    arXiv:2511.09948, section 3, after Wang et al., CLIP-IQA, AAAI 2023. A softmax over two
    logits is the logistic function of their difference, which cannot overflow.
    """
    require_matrix("good", good)
    require_matrix("embeddings", embeddings, width=good.shape[1])
    if good.shape != bad.shape or len(good) == 0:
        raise ValueError(f"good and bad must pair up, got shapes {good.shape} and {bad.shape}")
    for name, vectors in (("embeddings", embeddings), ("good", good), ("bad", bad)):
        require_finite(name, vectors)
    if not logit_scale > 0:
        raise ValueError(f"logit_scale must be above 0, got {logit_scale}")
    units = normalised(_wide(embeddings))
    axes = normalised(good.astype(np.float64)) - normalised(bad.astype(np.float64))
    # Row sums instead of a matrix product: BLAS rounds differently for different batch sizes.
    gains: DoubleArray = np.stack([(units * axis).sum(axis=1) for axis in axes])
    probabilities: DoubleArray = expit(logit_scale * gains)
    quality: DoubleArray = probabilities.mean(axis=0)
    return quality.astype(np.float32)


def magnitude(raw_embeddings: Float16Array | FloatArray) -> FloatArray:
    """Return the length of each raw embedding: float32 (n,), at least 0, in the model's own unit.

    Raises
    ------
    ValueError
        If the input is not (n, d), or not finite.
    """
    require_matrix("raw_embeddings", raw_embeddings)
    require_finite("raw_embeddings", raw_embeddings)
    lengths: DoubleArray = np.sqrt(np.square(_wide(raw_embeddings)).sum(axis=1))
    return lengths.astype(np.float32)


def magnitude_quality(
    raw_embeddings: Float16Array | FloatArray, *, box_cox_lambda: float = 0.5
) -> FloatArray:
    """Return the quality cue in the magnitudes of an embedding's dimensions.

    Parameters
    ----------
    raw_embeddings : float32 or float16 of shape (n, d)
        From the plain projector, not normalised; d >= 2.
    box_cox_lambda : float
        Exponent of the Box-Cox transform; 0 is the logarithm.

    Returns
    -------
    float32 of shape (n,)
        Q_mag >= 0, in no fixed range; higher is better; 0 for a zero embedding.

    Raises
    ------
    ValueError
        If the input is not (n, d) with d >= 2, or not finite.

    Notes
    -----
    arXiv:2511.09948, section 3: ``a = |z| / (std(|z|) + 1e-6)``, the mean over dimensions of
    ``((a + 1)**lambda - 1) / lambda``. The standard deviation is the sample one (n - 1).
    """
    require_matrix("raw_embeddings", raw_embeddings)
    require_finite("raw_embeddings", raw_embeddings)
    if raw_embeddings.shape[1] <= 1:
        raise ValueError(f"raw_embeddings need 2 columns, got shape {raw_embeddings.shape}")
    magnitudes = np.abs(_wide(raw_embeddings))
    relative = magnitudes / (magnitudes.std(axis=1, ddof=1, keepdims=True) + STD_EPSILON)
    quality: DoubleArray = boxcox1p(relative, box_cox_lambda).mean(axis=1)
    return quality.astype(np.float32)


def fused_quality(
    q_sim: FloatArray,
    q_mag: FloatArray,
    *,
    alpha: float = 1.0,
    base_weights: tuple[float, float] = (1.0, 0.6),
) -> FloatArray:
    """Return both cues in one score, leaning towards the one that is higher.

    Parameters
    ----------
    q_sim : float32 of shape (n,)
        From `prompt_quality`.
    q_mag : float32 of shape (n,)
        From `magnitude_quality`.
    alpha : float
        How much their difference shifts the weights; 0 keeps the weights fixed.
    base_weights : tuple of float
        Logits of the two weights where the cues agree.

    Returns
    -------
    float32 of shape (n,)
        Between q_sim and q_mag; higher is better.

    Raises
    ------
    ValueError
        If the shapes differ, or a cue is not finite.

    Notes
    -----
    arXiv:2511.09948, section 3: ``delta = q_sim - q_mag``, weights
    ``softmax([1.0 + alpha * delta, 0.6 - alpha * delta])``.
    """
    if q_sim.shape != q_mag.shape:
        raise ValueError(
            f"q_sim and q_mag must have one shape, got {q_sim.shape} and {q_mag.shape}"
        )
    require_finite("q_sim", q_sim)
    require_finite("q_mag", q_mag)
    prompts, magnitudes = q_sim.astype(np.float64), q_mag.astype(np.float64)
    delta = prompts - magnitudes
    prompt_weight: DoubleArray = expit(base_weights[0] - base_weights[1] + 2 * alpha * delta)
    return (magnitudes + prompt_weight * delta).astype(np.float32)


def crop_means(cues: FloatArray, n_crops: IntArray) -> FloatArray:
    """Return the mean of a cue over the crops of each photo.

    Parameters
    ----------
    cues : float32 of shape (m,)
        Of all crops of the first photo, then of the second, and so on.
    n_crops : int64 of shape (n,)
        Crops of each photo, at least 1; their sum is m.

    Returns
    -------
    float32 of shape (n,)
        Each depends on its own crops alone, to the bit.

    Raises
    ------
    ValueError
        If a photo has no crop or the counts do not add up.

    Notes
    -----
    arXiv:2511.09948, section 3: the score of a picture is the mean over its crops, taken after
    fusion.
    """
    if len(n_crops) and n_crops.min() < 1:
        raise ValueError("each photo needs at least one crop")
    if n_crops.sum() != len(cues):
        raise ValueError(f"n_crops add up to {n_crops.sum()}, but there are {len(cues)} cues")
    ends = np.cumsum(n_crops)
    means = [
        cues[end - n : end].mean(dtype=np.float64) for end, n in zip(ends, n_crops, strict=True)
    ]
    return np.array(means, dtype=np.float32)


def _wide(embeddings: Float16Array | FloatArray) -> DoubleArray:
    # C order, so that a row is summed in the same order whatever array it came from.
    return np.ascontiguousarray(embeddings, dtype=np.float64)

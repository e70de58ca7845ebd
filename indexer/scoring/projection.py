"""The last linear maps of both towers, and what they become for images among images.

Magistri et al., "IsoCLIP", CVPR 2026, arXiv:2603.19862. Psi = W_i.T @ W_t carries an image's
features to a text's. Its top singular directions serve all pairs alike and its bottom ones a
single modality; a projector kept to the band between compares images with images better.
"""

from dataclasses import dataclass

import numpy as np

from indexer.arrays import DoubleArray, Float16Array, FloatArray
from indexer.scoring.exact_products import exact_products, grid_rows
from indexer.scoring.shapes import require_finite, require_matrix
from schemas.model import Band

# Below this share of the largest singular value there is only rounding noise of float32 weights.
RANK_TOLERANCE = 1e-6

# Shares of the rank removed where no band was published for a model; near the middle of the
# bands that the authors use for image-to-image search.
DEFAULT_TOP_SHARE = 0.30
DEFAULT_BOTTOM_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class InterModalSpectrum:
    """Singular value decomposition of the inter-modal operator, cut at its numerical rank r.

    `singular_values` is float64 (r,), descending. `image_directions` is float64 (p_i, r) and
    `text_directions` float64 (p_t, r), with orthonormal columns.
    """

    singular_values: DoubleArray
    image_directions: DoubleArray
    text_directions: DoubleArray

    @property
    def rank(self) -> int:
        """How many singular values stand above rounding noise."""
        return len(self.singular_values)


def with_one(features: Float16Array | FloatArray) -> FloatArray:
    """Append a column of ones to features (n, p), to meet `with_bias`: float32 (n, p + 1)."""
    return np.hstack([features, np.ones((len(features), 1))], dtype=np.float32)


def with_bias(weight: FloatArray, bias: FloatArray | None) -> FloatArray:
    """Append a bias to a projector's weight as one more column.

    Parameters
    ----------
    weight : float32 of shape (d, p)
    bias : float32 of shape (d,), optional

    Returns
    -------
    float32 of shape (d, p + 1), or the weight itself where there is no bias

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    require_matrix("weight", weight)
    if bias is None:
        return weight
    _check_bias(weight, bias)
    return np.hstack([weight, bias[:, np.newaxis]])


def project(
    features: Float16Array | FloatArray, weight: FloatArray, bias: FloatArray | None = None
) -> FloatArray:
    """Return raw embeddings of pre-projection features.

    Parameters
    ----------
    features : float32 or float16 of shape (n, p)
    weight : float32 of shape (d, p)
    bias : float32 of shape (d,), optional

    Returns
    -------
    float32 of shape (n, d)
        Not normalised. The same bits for a photo alone and in any company.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a feature is not finite. A projector with its bias as a column
        wants `with_one` features.
    """
    require_matrix("weight", weight)
    require_matrix("features", features, width=weight.shape[1])
    require_finite("features", features)
    # Exact: a photo scored as it is indexed and later among all others gets the same bits.
    raw_embeddings = exact_products(grid_rows(features), grid_rows(weight)).astype(np.float32)
    if bias is None:
        return raw_embeddings
    _check_bias(weight, bias)
    return raw_embeddings + bias


def inter_modal_operator(image_weight: FloatArray, text_weight: FloatArray) -> DoubleArray:
    """Return Psi = image_weight.T @ text_weight, float64 (p_i, p_t); arXiv:2603.19862, section 4.

    Raises
    ------
    ValueError
        If the weights are not finite matrices with one embedding dimension.
    """
    _check_weights(image_weight, text_weight)
    return image_weight.T.astype(np.float64) @ text_weight.astype(np.float64)


def inter_modal_spectrum(image_weight: FloatArray, text_weight: FloatArray) -> InterModalSpectrum:
    """Decompose the inter-modal operator without forming it.

    Both weights are reduced to at most d columns first, so that the SVD is d x d: for a
    1,280-d tower and a 256-d space that is some hundred times less work than p_i x p_t.

    Parameters
    ----------
    image_weight : float32 of shape (d, p_i)
    text_weight : float32 of shape (d, p_t)

    Returns
    -------
    InterModalSpectrum

    Raises
    ------
    ValueError
        If the weights are not finite matrices with one embedding dimension, or their product
        is zero.
    """
    _check_weights(image_weight, text_weight)
    image_basis, image_core = np.linalg.qr(image_weight.T.astype(np.float64))
    text_basis, text_core = np.linalg.qr(text_weight.T.astype(np.float64))
    left, singular_values, right = np.linalg.svd(image_core @ text_core.T)
    rank = int(np.sum(singular_values > RANK_TOLERANCE * singular_values[0]))
    if rank == 0:
        raise ValueError("the inter-modal operator is zero, so the towers share no direction")
    return InterModalSpectrum(
        singular_values=singular_values[:rank],
        image_directions=image_basis @ left[:, :rank],
        text_directions=text_basis @ right[:rank].T,
    )


def default_band(rank: int) -> Band:
    """Return the band for a model without a published one: the top 30 % and bottom 10 % go.

    This is our choice, not the paper's, which tunes both ends per model on labelled images.

    Raises
    ------
    ValueError
        If rank < 1.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    return Band(k_top=int(DEFAULT_TOP_SHARE * rank), k_bottom=int(DEFAULT_BOTTOM_SHARE * rank))


def intra_modal_projector(
    image_weight: FloatArray,
    text_weight: FloatArray,
    *,
    image_bias: FloatArray | None = None,
    text_bias: FloatArray | None = None,
    k_top: int,
    k_bottom: int,
) -> FloatArray:
    """Return the image projector kept to a band of the inter-modal operator.

    Only for images against images: its embeddings say nothing beside a text's.

    Parameters
    ----------
    image_weight, text_weight : float32 of shapes (d, p_i) and (d, p_t)
    image_bias, text_bias : float32 of shape (d,), optional
    k_top, k_bottom : int
        Singular values removed at either end; together less than the rank.

    Returns
    -------
    float32 of shape (d, p_i), or (d, p_i + 1) with an image bias
        To be applied with `project`, after `with_one` where there is an image bias.

    Raises
    ------
    ValueError
        If shapes do not fit, the operator is zero, or the band leaves nothing of its rank.

    Notes
    -----
    W_i U_b U_b^T, arXiv:2603.19862, section 4. The rank is the numerical one instead of
    min(p_i, p_t): with a smaller d, the tail that `k_bottom` counts from would be noise.
    """
    weight = with_bias(image_weight, image_bias)
    spectrum = inter_modal_spectrum(weight, with_bias(text_weight, text_bias))
    return _kept_to_band(weight, spectrum.image_directions, k_top=k_top, k_bottom=k_bottom)


def intra_modal_text_projector(
    image_weight: FloatArray,
    text_weight: FloatArray,
    *,
    image_bias: FloatArray | None = None,
    text_bias: FloatArray | None = None,
    k_top: int,
    k_bottom: int,
) -> FloatArray:
    """Return the text projector kept to a band, for texts against texts only.

    Parameters, errors and source are those of `intra_modal_projector`; the result is float32
    (d, p_t), or (d, p_t + 1) with a text bias, and is W_t V_b V_b^T.
    """
    weight = with_bias(text_weight, text_bias)
    spectrum = inter_modal_spectrum(with_bias(image_weight, image_bias), weight)
    return _kept_to_band(weight, spectrum.text_directions, k_top=k_top, k_bottom=k_bottom)


def _kept_to_band(
    weight: FloatArray, directions: DoubleArray, *, k_top: int, k_bottom: int
) -> FloatArray:
    rank = directions.shape[1]
    if k_top < 0 or k_bottom < 0 or k_top + k_bottom >= rank:
        raise ValueError(
            f"k_top and k_bottom must be >= 0 and together below the rank {rank} "
            f"of the inter-modal operator, got {k_top} and {k_bottom}"
        )
    band = directions[:, k_top : rank - k_bottom]
    return (weight.astype(np.float64) @ band @ band.T).astype(np.float32)


def _check_bias(weight: FloatArray, bias: FloatArray) -> None:
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape {weight.shape[:1]}, got {bias.shape}")


def _check_weights(image_weight: FloatArray, text_weight: FloatArray) -> None:
    require_matrix("image_weight", image_weight)
    require_matrix("text_weight", text_weight)
    if len(image_weight) != len(text_weight) or 0 in image_weight.shape + text_weight.shape:
        raise ValueError(
            "image_weight and text_weight must share an embedding dimension and not be empty, "
            f"got shapes {image_weight.shape} and {text_weight.shape}"
        )
    require_finite("image_weight", image_weight)
    require_finite("text_weight", text_weight)

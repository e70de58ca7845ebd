"""Axes spanned by class names, along which images are compared by what they show.

Herzog & Wang, CVPR 2026, arXiv:2603.16100: whether two images are alike depends on what is asked,
and class names say what is asked better than all directions of the space together. It hurts where
the question is not the image's main concept, such as its weather or time of day.
"""

from dataclasses import dataclass

import numpy as np

from indexer.arrays import DoubleArray, FloatArray
from indexer.scoring.shapes import require_finite, require_matrix

# Below this share of the largest singular value, and of unit length, there is only rounding noise
# of float32 embeddings.
RANK_TOLERANCE = 1e-6


class NoAxisError(ValueError):
    """All label embeddings are the same."""


@dataclass(frozen=True, slots=True)
class SemanticAxes:
    """Axes P, float32 (k, d) with orthonormal rows, and the mean (d,) of the label embeddings."""

    axes: FloatArray
    mean: FloatArray


def semantic_axes(label_embeddings: FloatArray, *, n_axes: int | None = None) -> SemanticAxes:
    """Return the principal axes of class names, those of the largest variance first.

    Parameters
    ----------
    label_embeddings : float32 of shape (n, d)
        Unit embeddings of "a photo of {name}", in any order.
    n_axes : int, optional
        At least 1; d // 2 by default. There are fewer where the numerical rank of the embeddings
        less their mean is lower; it is below n.

    Returns
    -------
    SemanticAxes
        Images are compared by the cosine of ``axes @ unit(z)``. The sign of an axis changes no
        cosine; the entry of largest magnitude is made positive.

    Raises
    ------
    NoAxisError
        If the embeddings are all the same.
    ValueError
        If they are no finite matrix, or n_axes is below 1.

    Notes
    -----
    Herzog & Wang, arXiv:2603.16100. The mean is subtracted for the principal components, as is
    usual, but not from the images: that is a variant, for which `mean` is the centre of texts.
    """
    require_matrix("label_embeddings", label_embeddings)
    require_finite("label_embeddings", label_embeddings)
    if n_axes is not None and n_axes < 1:
        raise ValueError(f"n_axes must be at least 1, got {n_axes}")
    n_wanted = max(label_embeddings.shape[1] // 2, 1) if n_axes is None else n_axes
    embeddings = label_embeddings.astype(np.float64)
    mean = embeddings.sum(axis=0) / max(len(embeddings), 1)
    components = _principal_components(embeddings - mean)[:n_wanted]
    if not len(components):
        raise NoAxisError("label_embeddings are all the same, so they span no axis")
    largest = np.take_along_axis(
        components, np.abs(components).argmax(axis=1)[:, np.newaxis], axis=1
    )
    axes = components * np.where(largest < 0, -1.0, 1.0)
    return SemanticAxes(axes.astype(np.float32), mean.astype(np.float32))


def _principal_components(centred: DoubleArray) -> DoubleArray:
    """Return the right singular vectors (rank, d) of embeddings less their mean."""
    # Reduced first, for a list of 50,000 names; the triangle has the same right singular vectors.
    triangle = np.linalg.qr(centred, mode="r") if len(centred) > centred.shape[1] else centred
    _, values, components = np.linalg.svd(triangle, full_matrices=False)
    floor = RANK_TOLERANCE * max(values.max(initial=0.0), 1.0)
    return components[: int(np.sum(values > floor))]

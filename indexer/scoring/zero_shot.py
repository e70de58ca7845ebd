"""Classes of photos by the names of the classes alone."""

from dataclasses import dataclass

import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.scoring.exact_products import exact_products, grid_rows
from indexer.scoring.shapes import require_finite, require_matrix

# 4,096 photos x 1,000 classes are 33 MB in float64.
BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Assignment:
    """The class of each of n photos: int64 (n,), the first among equals.

    `confidences` is float32 (n,), the probability of that class in (0, 1], and `similarities`
    float32 (n,) the cosine to its text, which tells photos apart where there is a single class.
    """

    classes: IntArray
    confidences: FloatArray
    similarities: FloatArray


def zero_shot_classes(
    embeddings: FloatArray, label_embeddings: FloatArray, *, logit_scale: float
) -> Assignment:
    """Return the class whose text is most similar to each photo.

    Parameters
    ----------
    embeddings : float32 of shape (n, d)
        Unit length, in the space of the texts.
    label_embeddings : float32 of shape (C, d)
        Of the texts of the classes; unit length.
    logit_scale : float
        The model's, above 0.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no class, a vector is not finite, or logit_scale is not
        above 0.

    Notes
    -----
    Radford et al., "Learning transferable visual models from natural language supervision", ICML
    2021, section 3.1: softmax of logit_scale times the cosines.
    """
    require_matrix("embeddings", embeddings)
    require_matrix("label_embeddings", label_embeddings, width=embeddings.shape[1])
    if not len(label_embeddings):
        raise ValueError("label_embeddings must hold at least one text, got none")
    if not logit_scale > 0:
        raise ValueError(f"logit_scale must be above 0, got {logit_scale}")
    require_finite("embeddings", embeddings)
    require_finite("label_embeddings", label_embeddings)
    labels = grid_rows(label_embeddings)
    classes = np.empty(len(embeddings), np.int64)
    confidences, similarities = (np.empty(len(embeddings), np.float32) for _ in range(2))
    for start in range(0, len(embeddings), BLOCK_ROWS):
        span = slice(start, start + BLOCK_ROWS)
        cosines = exact_products(grid_rows(embeddings[span]), labels)
        classes[span] = np.argmax(cosines, axis=1)
        highest = cosines.max(axis=1)
        similarities[span] = highest
        cosines -= highest[:, np.newaxis]
        # Of the class itself it is exp(0).
        confidences[span] = 1.0 / np.exp(logit_scale * cosines).sum(axis=1)
    return Assignment(classes, confidences, similarities)

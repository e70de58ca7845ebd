"""The one protocol that every image and text encoder follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from indexer.arrays import ByteArray, FloatArray, IntArray
from schemas.model import ModelDescription


@dataclass(frozen=True, slots=True)
class Projectors:
    """The last linear maps of the two towers into the shared space.

    `image_weight` is float32 (embedding_dim, feature_dim), `text_weight` float32 (embedding_dim,
    text_feature_dim), biases float32 (embedding_dim,) or None. An image embedding is
    ``features @ image_weight.T + image_bias``, not normalised. `image_weight` is None for a
    family whose projector is unknown; only the model's own embedding works there.
    """

    image_weight: FloatArray | None
    text_weight: FloatArray
    image_bias: FloatArray | None = None
    text_bias: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class EncodedImages:
    """What one forward pass yields for n images.

    `features` is float32 (n, feature_dim), before the projector. `raw_embeddings` is float32
    (n, embedding_dim), the model's own unnormalised embedding, where no linear map gives it
    from the features; None elsewhere.
    """

    features: FloatArray
    raw_embeddings: FloatArray | None = None

    def take(self, rows: IntArray) -> "EncodedImages":
        """Return the given rows only."""
        raw = None if self.raw_embeddings is None else self.raw_embeddings[rows]
        return EncodedImages(self.features[rows], raw)

    @classmethod
    def concatenated(cls, batches: Sequence["EncodedImages"]) -> "EncodedImages":
        """Return the images of several passes of one model, at least one, as if of one pass."""
        raw = [batch.raw_embeddings for batch in batches if batch.raw_embeddings is not None]
        return cls(
            np.concatenate([batch.features for batch in batches]),
            np.concatenate(raw) if raw else None,
        )


class Encoder(Protocol):
    """Turns pictures and texts into pre-projection features.

    A result must not depend on what else is in the batch, beyond float rounding.
    """

    @property
    def description(self) -> ModelDescription:
        """Name, shapes, preprocessing and defaults of the model."""

    @property
    def weights_digest(self) -> str:
        """Sha256 (hex) that changes when any weight does."""

    @property
    def projectors(self) -> Projectors:
        """Both projectors, as float32 arrays in memory."""

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU, and so wants large batches."""

    def encode_images(self, pixels: ByteArray) -> EncodedImages:
        """Encode uint8 RGB pictures of shape (n, height, width, 3), already resized."""

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode n texts into float32 pre-projection features of shape (n, text_feature_dim)."""

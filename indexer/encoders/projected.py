"""An encoder whose image embeddings come with the features, whatever its image head is."""

from collections.abc import Sequence

from indexer.arrays import ByteArray, FloatArray
from indexer.encoders.encoder import EncodedImages, Encoder, Projectors
from indexer.scoring.projection import project
from schemas.model import ModelDescription


class ProjectingEncoder:
    """Encodes as another encoder does, and gives the embeddings that its projector makes.

    For collections of imported vectors, which hold embeddings and no features.

    Parameters
    ----------
    encoder : Encoder
        With an image projector, or with raw embeddings of its own.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def description(self) -> ModelDescription:
        """Of the other encoder."""
        return self._encoder.description

    @property
    def weights_digest(self) -> str:
        """Of the other encoder."""
        return self._encoder.weights_digest

    @property
    def projectors(self) -> Projectors:
        """Of the other encoder."""
        return self._encoder.projectors

    @property
    def on_gpu(self) -> bool:
        """Of the other encoder."""
        return self._encoder.on_gpu

    def encode_images(self, pixels: ByteArray) -> EncodedImages:
        """Encode pictures; the result has raw embeddings."""
        encoded = self._encoder.encode_images(pixels)
        projectors = self._encoder.projectors
        if encoded.raw_embeddings is not None or projectors.image_weight is None:
            return encoded
        raw = project(encoded.features, projectors.image_weight, projectors.image_bias)
        return EncodedImages(encoded.features, raw)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts as the other encoder does."""
        return self._encoder.encode_texts(texts)

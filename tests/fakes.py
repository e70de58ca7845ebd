"""Stand-ins that behave like the real thing, simply enough to be worked out by hand."""

from collections.abc import Sequence

import numpy as np

from indexer.arrays import ByteArray, FloatArray
from indexer.encoders.encoder import EncodedImages, Projectors
from schemas.model import ModelDescription, Preprocessing

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}

SIDE = 16
FEATURES = 12

FAKE_DESCRIPTION = ModelDescription(
    id="fake",
    family="mean colours",
    feature_dim=FEATURES,
    text_feature_dim=FEATURES,
    embedding_dim=FEATURES,
    logit_scale=10.0,
    preprocessing=Preprocessing(
        height=SIDE,
        width=SIDE,
        resize="squash",
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    default_image_space="clip",
    quality_cue="pixels",
)


class FakeEncoder:
    """Features are the mean colours of the four quadrants, in [-1, 1].

    A text is the picture that has the colours it names, in equal parts everywhere. Both
    projectors are the identity, so that `clip` compares the features themselves.
    """

    def __init__(self, description: ModelDescription = FAKE_DESCRIPTION, digest: str = "f" * 64):
        self.description = description
        self.weights_digest = digest
        self.on_gpu = False
        self.projectors = Projectors(
            np.eye(FEATURES, dtype=np.float32), np.eye(FEATURES, dtype=np.float32)
        )
        self.n_encoded = 0
        self.batch_sizes: list[int] = []

    def encode_images(self, pixels: ByteArray) -> EncodedImages:
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == (SIDE, SIDE, 3)
        self.n_encoded += len(pixels)
        self.batch_sizes.append(len(pixels))
        half = SIDE // 2
        quadrants = pixels.reshape(len(pixels), 2, half, 2, half, 3).mean(axis=(2, 4))
        return EncodedImages((quadrants / 127.5 - 1).reshape(len(pixels), FEATURES).astype("f4"))

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        return np.stack([self._text_features(text) for text in texts])

    def _text_features(self, text: str) -> FloatArray:
        named = [COLOURS[word] for word in text.lower().split() if word in COLOURS]
        colour = np.mean(named or [(140, 120, 130)], axis=0) / 127.5 - 1
        return np.tile(colour, 4).astype(np.float32)

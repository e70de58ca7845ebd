"""Measurements of a written model directory, for the card."""

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from indexer.arrays import ByteArray, FloatArray, IntArray
from indexer.encoders.encoder import Projectors
from indexer.encoders.pocket.features import Picture, whole
from indexer.scoring.metrics import CaptionRecall, caption_recall
from indexer.scoring.retrieval import label_retrieval
from indexer.scoring.similarity import normalised

# Stamps are cut-outs: they get a white ground and a margin of this share of their longer side.
STAMP_MARGIN = 0.15
MEASURING_SECONDS = 3.0
NOISE_SEED = 0
# Each ladder runs from weak to strong.
BLUR_RADII_PIXELS = (1.0, 2.0, 4.0)
NOISE_STDS_LEVELS = (10.0, 20.0, 40.0)
JPEG_QUALITIES = (40, 15, 5)


def embedded(features: FloatArray, weight: FloatArray | None) -> FloatArray:
    """Return unit-length embeddings of centred features."""
    if weight is None:
        raise ValueError("this model has no linear image projector")
    return normalised(features @ weight.T)


def recall_of(projectors: Projectors, images: FloatArray, texts: FloatArray) -> CaptionRecall:
    """Return recall for n photos and their captions, equally many each, in the photos' order."""
    captions = embedded(texts, projectors.text_weight)
    photos = embedded(images, projectors.image_weight)
    owners = np.arange(len(texts)) // (len(texts) // len(images))
    return caption_recall(captions @ photos.T, owners)


def zero_shot_accuracy(
    projectors: Projectors, images: FloatArray, texts: FloatArray, labels: IntArray
) -> float:
    """Return the share of photos whose most similar class prompt is the one of their label."""
    photos = embedded(images, projectors.image_weight)
    prompts = embedded(texts, projectors.text_weight)
    return float(((photos @ prompts.T).argmax(axis=1) == labels).mean())


def same_label_precision(vectors: FloatArray, labels: IntArray) -> float:
    """Return the mean average precision of finding photos of one's own label by cosine.

    Photos whose label is theirs alone are distractors: in the gallery, but no query.
    """
    return float(label_retrieval(normalised(vectors), labels).average_precision.mean())


def read_stamp(path: Path) -> ByteArray:
    """Return a cut-out photo on white, in the middle of a square of the tower's size."""
    stamp = Image.open(path).convert("RGBA")
    side = int(max(stamp.size) * (1 + STAMP_MARGIN))
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(stamp, ((side - stamp.width) // 2, (side - stamp.height) // 2))
    return np.asarray(whole(canvas.convert("RGB")))


def distortion_ladders(photo: Picture) -> dict[str, list[Picture]]:
    """Return the photo under blur, noise and JPEG compression, from weak to strong."""
    generator = np.random.default_rng(NOISE_SEED)
    return {
        "blur": [photo.filter(ImageFilter.GaussianBlur(radius)) for radius in BLUR_RADII_PIXELS],
        "noise": [_noisy(photo, std, generator) for std in NOISE_STDS_LEVELS],
        "jpeg": [_compressed(photo, quality) for quality in JPEG_QUALITIES],
    }


def share_that_falls(original: FloatArray, ladder: FloatArray) -> float:
    """Return how often a cue falls from one step of a ladder to the next; 0.5 is chance.

    `original` is float32 (n,), `ladder` float32 (n, n_steps).
    """
    steps = np.diff(np.concatenate([original[:, np.newaxis], ladder], axis=1), axis=1)
    return float((steps < 0).mean())


def best_seconds(run: Callable[[], object]) -> float:
    """Return the least time that `run` took within about three seconds, after one warm-up."""
    run()
    seconds: list[float] = []
    while sum(seconds) < MEASURING_SECONDS:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def cosine_agreement(features: FloatArray, reference: FloatArray) -> tuple[float, float]:
    """Return mean and least cosine similarity between rows that should be equal."""
    cosines = (normalised(features) * normalised(reference)).sum(axis=1)
    return float(cosines.mean()), float(cosines.min())


def labels_as_numbers(labels: Sequence[str]) -> tuple[list[str], IntArray]:
    """Return the sorted distinct labels and the place of each label among them."""
    names, numbers = np.unique(np.array(labels), return_inverse=True)
    return [str(name) for name in names], numbers.astype(np.int64)


def _noisy(photo: Picture, std: float, generator: np.random.Generator) -> Picture:
    pixels = np.asarray(photo, dtype=np.float32)
    noisy = pixels + generator.normal(0, std, pixels.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def _compressed(photo: Picture, quality: int) -> Picture:
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=quality)
    stream.seek(0)
    return Image.open(stream).convert("RGB")

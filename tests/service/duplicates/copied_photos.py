"""Photos with copies of known kinds, in a collection of the fake encoder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from schemas.duplicates import DuplicateGroup, DuplicateList
from service.collection import Collection
from service.duplicates.finding import find_duplicates
from tests.makers.photos import drawn_photo

SIZE = (320, 240)

Alter = Callable[[Image.Image], Image.Image]


def photo(seed: int) -> Image.Image:
    """Draw a photo."""
    return Image.fromarray(drawn_photo(seed, width=SIZE[0], height=SIZE[1]))


def write(folder: Path, name: str, image: Image.Image, **options: Any) -> Path:
    """Save a picture, in folders that need not exist."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        options = {"quality": 92, **options}
    image.save(path, **options)
    return path


COPIES: dict[str, tuple[Alter, dict[str, Any]]] = {
    "resaved.jpg": (lambda image: image, {"quality": 50}),
    "half.jpg": (lambda image: image.resize((160, 120), Image.Resampling.LANCZOS), {}),
    "mirrored.jpg": (ImageOps.mirror, {}),
    "turned.jpg": (lambda image: image.rotate(90, expand=True), {}),
    "cut.jpg": (lambda image: image.crop((16, 12, 304, 228)), {}),
    "framed.jpg": (lambda image: ImageOps.expand(image, 16, fill=(255, 255, 255)), {}),
    "same.png": (lambda image: image, {}),
}
"""By name, how each is made of a photo and how it is saved."""


def write_family(folder: Path, seed: int, *kinds: str, name: str | None = None) -> None:
    """Write a photo as PNG, and copies of these kinds beside it."""
    original = photo(seed)
    name = name or f"photo{seed}"
    notes = PngInfo()
    notes.add_text("Comment", "what a program left out of the copy with the same pixels " * 20)
    write(folder, f"{name}.png", original, pnginfo=notes)
    for kind in kinds:
        alter, options = COPIES[kind]
        write(folder, f"{name}-{kind}", alter(original), **options)


def found(collection: Collection, **options: Any) -> DuplicateList:
    """Find duplicates without telling the progress."""
    return find_duplicates(collection, report=lambda _: None, **options)


def names(groups: Sequence[DuplicateGroup]) -> list[list[str]]:
    """Name the photos of groups by their files, the keeper first, its copies in order."""
    return [
        [Path(group.keeper.path).name, *sorted(Path(copy.photo.path).name for copy in group.copies)]
        for group in groups
    ]

"""Photos of one colour each, in folders by colour, with a collection made of them."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.settings import Settings
from indexer.store import create_store, open_store
from schemas.collection import ModelSource
from service.collection import Collection, describe_collection
from tests.fakes import COLOURS, FakeEncoder
from tests.makers.libraries import indexed_colours


def draw_shades(folder: Path, colour: str, *, count: int, seed: int = 0, spread: int = 60) -> None:
    """Write photos into `folder`/`colour`: quarters that are each a shade of the colour."""
    generator = np.random.default_rng(seed)
    (folder / colour).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        quarters = generator.integers(-spread, spread + 1, (2, 2, 3)) + COLOURS[colour]
        pixels = np.clip(quarters, 0, 255).astype(np.uint8).repeat(20, axis=0).repeat(20, axis=1)
        Image.fromarray(pixels).save(folder / colour / f"{seed}-{number}.png")


def indexed_shades(folder: Path, place: Path, *, encoder: FakeEncoder | None = None) -> Collection:
    """Draw a dozen reds and blues and a green one, and bring the collection up to date."""
    encoder = encoder or FakeEncoder()
    if not place.exists():
        for colour, count in (("red", 12), ("blue", 12), ("green", 1)):
            draw_shades(folder, colour, count=count)
        info = describe_collection(encoder, source=ModelSource(model="fake"), band=None)
        create_store(Settings(collection=str(place)).collection, info, encoder.projectors)
    return indexed_colours(folder, place, encoder=encoder)


def copied_shades(template: Collection, place: Path) -> Collection:
    """Copy such a collection, which is faster than indexing; the photos stay where they are."""
    shutil.copytree(template.store.uri, place)
    settings = Settings(collection=str(place), threads=2)
    return Collection(open_store(settings.collection), settings, FakeEncoder())

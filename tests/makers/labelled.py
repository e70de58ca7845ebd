"""Collections of colours with labels, captions and embeddings in files beside them."""

from pathlib import Path
from typing import Any

import numpy as np

from indexer.settings import Settings
from indexer.store import Store
from service.collection import Collection
from tests.fakes import COLOURS, FakeEncoder
from tests.makers.stores import image_rows, new_store

SHADES = ("red", "red", "red", "green", "green", "blue")
"""What the photos of `labelled_colours` show, by id; they lie in folders of these names."""


def labelled_store(
    place: Path, *, labels: tuple[str | None, ...] = SHADES, **changes: Any
) -> Store:
    """A collection without photo files: six nearly pure colours, each a little another.

    `changes` are those of its info: with `source` None its model is unknown.
    """
    colours = FakeEncoder().encode_texts(SHADES)
    features = colours + np.random.default_rng(0).normal(0, 0.05, colours.shape)
    store = new_store(place, **changes)
    paths = [f"{shade}/{number}.png" for number, shade in enumerate(SHADES)]
    rows = image_rows(store, features.astype(np.float32), path=paths, label=list(labels))
    store.append_images(rows)
    return store


def labelled_colours(place: Path, *, labels: tuple[str | None, ...] = SHADES) -> Collection:
    """The same, open with the fake encoder."""
    store = labelled_store(place, labels=labels)
    return Collection(store, Settings(collection=str(place)), FakeEncoder())


def write_colour_embeddings(path: Path, *, names: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """Write an NPZ file with what the fake encoder makes of names."""
    np.savez(path, names=np.array(names), embeddings=FakeEncoder().encode_texts(names))
    return path

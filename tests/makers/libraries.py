"""Folders of photos with a collection made of them by the fake encoder."""

from pathlib import Path

from PIL import Image

from indexer.ingest import ingest
from indexer.settings import Settings
from indexer.store import create_store, open_store, store_exists
from schemas.collection import ModelSource
from service.collection import Collection, describe_collection
from tests.fakes import COLOURS, FakeEncoder


def indexed_colours(folder: Path, place: Path, *, encoder: FakeEncoder | None = None) -> Collection:
    """Draw a photo of each colour if there is no collection yet, and bring it up to date."""
    if not store_exists(str(place)):
        for name, colour in COLOURS.items():
            Image.new("RGB", (48, 32), colour).save(folder / f"{name}.png")
    return indexed_folder(folder, place, encoder=encoder)


def indexed_folder(folder: Path, place: Path, *, encoder: FakeEncoder | None = None) -> Collection:
    """Bring the collection of a folder up to date."""
    encoder = encoder or FakeEncoder()
    settings = Settings(collection=str(place), threads=2)
    if not store_exists(settings.collection):
        info = describe_collection(encoder, source=ModelSource(model="fake"), band=None)
        create_store(settings.collection, info, encoder.projectors)
    store = open_store(settings.collection)
    ingest(
        [folder],
        store=store,
        open_encoder=lambda: encoder,
        settings=settings,
        report=lambda _: None,
    )
    return Collection(store, settings, encoder)

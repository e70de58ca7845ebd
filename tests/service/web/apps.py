"""The real app on a small collection, and a client that talks to it without a socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from indexer.settings import Settings
from service.thumbnail_cache import ThumbnailCache
from service.web.app import build_app
from service.web.options import ServingOptions
from tests.fakes import FakeEncoder

CHANGE = {"Isophote-Request": "1"}
"""Headers of a request that changes something."""


def app_of(place: Path, *, options: ServingOptions | None = None) -> FastAPI:
    """Return the app of a collection that the fake encoder made; its cache lies beside it."""
    settings = Settings(collection=str(place), threads=2)
    cache = ThumbnailCache(place.parent / "thumbnails", max_bytes=10**7)
    return build_app(settings, options or ServingOptions(), cache=cache, encoder=FakeEncoder())


@contextmanager
def client_of(place: Path, *, options: ServingOptions | None = None) -> Iterator[TestClient]:
    """Give a client of a running app."""
    app = app_of(place, options=options)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client

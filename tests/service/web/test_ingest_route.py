"""How far an ingest is, over HTTP."""

import json
import os
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from indexer.lock import PROGRESS_NAME, writer_lock
from schemas.http import IngestStatus
from service.collection import Collection
from service.thumbnail_cache import ThumbnailCache
from service.web.app import build_app
from service.web.options import ServingOptions
from tests.fakes import FakeEncoder
from tests.service.web.copied_files import copied_files


@pytest.fixture
def copies(tmp_path) -> Collection:
    return copied_files(tmp_path)


def test_who_writes_and_how_far_that_is(copies, tmp_path):
    app = build_app(
        copies.settings,
        ServingOptions(),
        cache=ThumbnailCache(tmp_path / "thumbnails", max_bytes=10**6),
        encoder=FakeEncoder(),
    )
    place = Path(copies.store.uri)
    with TestClient(app, base_url="http://127.0.0.1:8489") as client:

        def status() -> IngestStatus:
            response = client.get("/api/v1/ingest")
            assert response.status_code == 200
            return IngestStatus.model_validate_json(response.content)

        assert status().writer is None
        with writer_lock(place):
            noted = {"n_done": 3, "n_total": 9, "n_failed": 1}
            (place / PROGRESS_NAME).write_text(json.dumps(noted))
            running = status()
            assert running.writer is not None
            assert running.writer.pid == os.getpid()
            assert (running.n_done, running.n_total, running.n_failed) == (3, 9, 1)
            assert (running.n_images, running.version) == (6, copies.store.version)
        assert not status().is_running

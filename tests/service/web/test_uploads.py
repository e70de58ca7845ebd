"""Uploads: kept for a while, by ids that cannot be guessed."""

from datetime import UTC, datetime

import numpy as np
import pytest

from indexer.encoders.encoder import EncodedImages
from schemas.errors import InputError
from service.search import EncodedPhoto
from service.web import uploads as uploads_module
from service.web.uploads import KEPT_FOR, Uploads

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


def photo():
    return EncodedPhoto(EncodedImages(np.zeros((1, 3), np.float32)))


def test_an_upload_is_found_by_its_id_until_it_expires():
    clock = Clock()
    uploads = Uploads(clock)
    sent = photo()
    upload_id, expires_at = uploads.keep(sent)
    assert expires_at == NOON + KEPT_FOR
    clock.now = expires_at
    assert uploads.photo(upload_id) is sent
    clock.now = expires_at + KEPT_FOR / 1000
    with pytest.raises(InputError, match=f"no photo upload:{upload_id} .* send the photo again"):
        uploads.photo(upload_id)


def test_the_oldest_go_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(uploads_module, "KEPT_UPLOADS", 2)
    uploads = Uploads()
    first, second, third = (uploads.keep(photo())[0] for _ in range(3))
    with pytest.raises(InputError):
        uploads.photo(first)
    assert uploads.photo(second) is not uploads.photo(third)


def test_ids_differ_and_are_long():
    uploads = Uploads()
    ids = {uploads.keep(photo())[0] for _ in range(50)}
    assert len(ids) == 50
    assert min(map(len, ids)) >= 16

"""A collection of small files with copies, what searches find in it, and stand-ins for them."""

import hashlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from indexer.settings import Settings
from indexer.store import Store
from schemas.duplicates import DuplicateCopy, DuplicateGroup, DuplicateList, DuplicatePhoto
from service.collection import Collection
from service.web import jobs
from service.web.jobs import DuplicateQuestion
from tests.makers.stores import NOON, image_rows, new_store, random_features

Search = Callable[[Connection, Settings, DuplicateQuestion], None]
"""Sends progress, and at last an answer or an error."""

GROUPS = ((0, 1, 2), (3, 4))
"""Ids of photos with the same bytes, the keeper first; the photo 5 has no copy."""


def search_by(monkeypatch: pytest.MonkeyPatch, search: Search) -> None:
    """Let duplicates be looked for by a stand-in, in processes that start in no time."""
    forked = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: forked)
    monkeypatch.setattr(jobs, "_search", search)


def copied_files(place: Path) -> Collection:
    """Write files, which are no pictures, below `photos`, and a collection that knows them."""
    contents = ["first", "first", "first", "second", "second", "third"]
    folder = place / "photos"
    paths = [folder / f"{number % 2}" / f"{number}.jpg" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    store = new_store(place / "c")
    store.append_images(
        image_rows(
            store,
            random_features(len(paths)),
            root=[str(folder)] * len(paths),
            path=[str(path.relative_to(folder)) for path in paths],
            content_hash=[hashlib.sha256(content.encode()).hexdigest() for content in contents],
            file_size=[len(content) for content in contents],
            mtime_ns=[path.stat().st_mtime_ns for path in paths],
        )
    )
    return Collection(store, Settings(collection=str(place / "c")))


def found_in(store: Store) -> DuplicateList:
    """What a search finds in the collection of copied files."""
    return listed(*(group(*ids) for ids in GROUPS), collection=store.uri)


def listed(*groups: DuplicateGroup, collection: str = "nowhere") -> DuplicateList:
    copies = [copy for group in groups for copy in group.copies]
    return DuplicateList(
        collection=collection,
        tier="near",
        threshold=None,
        n_compared=6,
        n_unmeasured=0,
        recall=1.0,
        n_copies=len(copies),
        n_bytes=sum(copy.photo.file_size or 0 for copy in copies),
        groups=list(groups),
        seconds=0.5,
    )


def group(*image_ids: int) -> DuplicateGroup:
    """The first is the keeper."""
    copies = [
        DuplicateCopy(photo=photo(image_id), tier="near", similarity=0.9, difference="smaller")
        for image_id in image_ids[1:]
    ]
    return DuplicateGroup(
        keeper=photo(image_ids[0]), reason="largest", copies=copies, smallest_similarity=0.9
    )


def photo(image_id: int, **changes: Any) -> DuplicatePhoto:
    """A photo whose name no terminal can show."""
    facts = {
        "image_id": image_id,
        "path": f"/photos/\U0010ff80{image_id}\n\U0001f600.jpg",
        "content_hash": f"{image_id:064x}",
        "file_size": 100 + image_id,
        "width": 4,
        "height": 3,
        "format": "JPEG",
        "taken_at": NOON.replace(tzinfo=None),
        "quality": 1 / 3,
        "sharpness": None,
    }
    return DuplicatePhoto.model_validate({**facts, **changes})

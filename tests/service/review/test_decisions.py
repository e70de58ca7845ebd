"""What the review page saved, read back."""

import json

import numpy as np
import pytest

from indexer.settings import Settings
from schemas.duplicates import ReviewedGroup
from schemas.errors import InputError
from service.collection import Collection
from service.review.decisions import read_review
from tests.makers.stores import NOON, new_store, random_features


@pytest.fixture
def collection(tmp_path):
    """A collection of the photos 0 to 9."""
    store = new_store(tmp_path / "c", features=random_features(10))
    return Collection(store, Settings(collection=store.uri))


@pytest.fixture
def saved(tmp_path, collection):
    """Write decisions as the page does, and return where."""

    def save(*groups, created_at="2026-01-02T12:00:00+00:00"):
        decided = [{"keeper_id": keeper, "copy_ids": copies} for keeper, copies in groups]
        path = tmp_path / "decisions.json"
        path.write_text(
            json.dumps({"collection": "/elsewhere/c", "created_at": created_at, "groups": decided})
        )
        return path

    return save


def test_decisions_come_back_as_they_were_made(saved, collection):
    review = read_review(saved((3, [1, 2]), (9, [0])), collection)
    assert review.created_at == NOON
    assert review.groups == [
        ReviewedGroup(keeper_id=3, copy_ids=[1, 2]),
        ReviewedGroup(keeper_id=9, copy_ids=[0]),
    ]


def test_one_photo_may_be_the_keeper_of_two_groups(saved, collection):
    assert len(read_review(saved((3, [1]), (3, [2])), collection).groups) == 2


def test_a_moved_collection_is_the_same(saved, collection):
    review = read_review(saved((3, [1])), collection)
    assert review.collection != collection.store.uri


def test_a_missing_file_is_refused(tmp_path, collection):
    with pytest.raises(InputError, match=r"cannot read .*none\.json: no such file or directory"):
        read_review(tmp_path / "none.json", collection)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"<html>", "Invalid JSON: .*", id="not-json"),
        pytest.param(b"\xff\xfe", "Invalid JSON: .*", id="not-text"),
        pytest.param(b"[]", "Input should be an object", id="a-list"),
        pytest.param(b'{"groups": []}', "collection: Field required", id="another-file"),
        pytest.param(
            b'{"collection": "c", "created_at": "2026-01-02T12:00:00Z", "groups": '
            b'[{"keeper_id": "a", "copy_ids": []}]}',
            r"groups\.0\.keeper_id: Input should be a valid integer.*",
            id="no-id",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, collection, content, problem):
    path = tmp_path / "decisions.json"
    path.write_bytes(content)
    with pytest.raises(
        InputError,
        match=rf"decisions\.json holds no decisions of a review page \({problem}\); save them",
    ):
        read_review(path, collection)


@pytest.mark.parametrize("created_at", ["2026-01-02T12:00:01+00:00", "2026-01-02T12:00:00"])
def test_decisions_on_another_collection_are_refused(saved, collection, created_at):
    with pytest.raises(
        InputError,
        match=r"saved for the collection '/elsewhere/c' made at 2026-01-02 12:00:0\d, not for "
        r"'.*/c' made at 2026-01-02 12:00:00; name that one with --collection",
    ):
        read_review(saved((3, [1]), created_at=created_at), collection)


def test_ids_that_are_gone_are_refused(saved, collection):
    collection.store.delete_images(np.array([2]))
    with pytest.raises(InputError, match=r"no longer in the collection \(id:2, id:10\); make a"):
        read_review(saved((3, [1, 2]), (10, [4])), collection)


def test_of_many_ids_that_are_gone_some_are_named(saved, collection):
    absent = [*range(100, 1299), 2**80]
    with pytest.raises(
        InputError, match=r"\(id:100, id:101, id:102, id:103, id:104 and 1,195 more\)"
    ):
        read_review(saved((3, absent)), collection)


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param([(3, [1, 3])], id="in-its-own-group"),
        pytest.param([(1, [3]), (3, [2])], id="in-two-groups"),
    ],
)
def test_a_photo_is_not_both_kept_and_trashed(saved, collection, groups):
    with pytest.raises(InputError, match=r"both keeps and trashes photos \(id:3\); decide on"):
        read_review(saved(*groups), collection)


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param([(3, [1, 1])], id="in-one-group"),
        pytest.param([(3, [1]), (4, [2, 1])], id="in-two-groups"),
    ],
)
def test_a_photo_is_not_trashed_twice(saved, collection, groups):
    with pytest.raises(InputError, match=r"trashes photos more than once \(id:1\); remove"):
        read_review(saved(*groups), collection)


@pytest.mark.parametrize(
    "groups", [pytest.param([], id="none"), pytest.param([(3, [])], id="kept")]
)
def test_decisions_without_any_trash_are_refused(saved, collection, groups):
    with pytest.raises(InputError, match="puts no photo into the trash; choose some on the review"):
        read_review(saved(*groups), collection)

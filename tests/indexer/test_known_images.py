from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from indexer import known_images
from indexer.known_images import KnownImages
from indexer.scan import ScannedFile
from tests.makers.stores import known_blocks

PLACES = [("/a", "x.jpg"), ("/b", "x.jpg"), ("/a", "s/y.jpg"), ("/a", "s"), ("/a", "st/z.jpg")]


def files_at(*places):
    return [ScannedFile(root, path, number, -number) for number, (root, path) in enumerate(places)]


def hash_of(number):
    return f"{number:064x}"


@pytest.fixture
def images():
    first, second = files_at(*PLACES)[:2], files_at(*PLACES)[2:]
    return KnownImages([*known_blocks(*first), *known_blocks(*second, first_id=2)])


def test_photos_are_found_by_their_place(images):
    assert [images.row_at(place) for place in PLACES] == [0, 1, 2, 3, 4]
    assert [images.key(row) for row in range(len(images))] == PLACES
    assert images.row_at(("/c", "x.jpg")) is None
    assert images.row_at(("/b", "s")) is None
    assert images.roots == ["/a", "/b"]
    assert images.image_ids.tolist() == [0, 1, 2, 3, 4]
    assert len(images.superseded) == 0


@pytest.mark.parametrize(
    ("size", "mtime_ns", "expected"), [(2, -2, True), (3, -2, False), (2, -1, False)]
)
def test_a_file_is_like_its_photo_in_size_and_time(images, size, mtime_ns, expected):
    assert images.is_like(2, ScannedFile("/a", "s/y.jpg", size, mtime_ns)) is expected


def test_photos_are_found_by_their_bytes(images):
    assert hash_of(3) in images.contents
    assert images.contents.newest(hash_of(3)) == 3
    assert images.contents.is_at(3, hash_of(3))
    assert not images.contents.is_at(2, hash_of(3))
    assert hash_of(7) not in images.contents
    assert 3 not in images.contents
    with pytest.raises(ValueError, match=f"no photo has the content hash '{hash_of(7)}'"):
        images.contents.newest(hash_of(7))


@pytest.mark.parametrize(
    ("root", "folder", "expected"),
    [
        pytest.param("/a", "", [0, 2, 3, 4], id="a-root"),
        pytest.param("/a", "s", [2, 3], id="a-folder-and-not-its-namesakes"),
        pytest.param("/a", "s/y.jpg", [2], id="a-file"),
        pytest.param("/c", "", [], id="an-unknown-root"),
        pytest.param("/b", "s", [], id="a-folder-of-another-root"),
    ],
)
def test_rows_below_a_folder(images, root, folder, expected):
    assert images.rows_below(root, folder).tolist() == expected


def test_nothing_is_known_of_an_empty_collection():
    images = KnownImages()
    assert (len(images), images.roots, images.row_at(("/a", "x.jpg"))) == (0, [], None)
    assert hash_of(0) not in images.contents
    assert images.rows_below("/a", "s").tolist() == []


def test_of_two_rows_with_one_key_the_newer_counts():
    blocks = [
        block
        for image_id in (9, 3, 5, 4)
        for block in known_blocks(
            *files_at(("/a", "x" if image_id > 4 else "y")), first_id=image_id
        )
    ]
    images = KnownImages([*blocks, *known_blocks(*files_at(("/a", "x")), first_id=2)])
    newest = [row for name in "xy" if (row := images.row_at(("/a", name))) is not None]
    assert images.image_ids[newest].tolist() == [9, 4]
    assert sorted(images.image_ids[images.superseded]) == [2, 3, 5]
    assert images.image_ids[images.rows_below("/a", "")].tolist() == [9, 4]


def test_of_two_photos_with_the_same_bytes_the_newer_is_found():
    rows = known_blocks(*files_at(*PLACES))[0].to_pydict()
    rows["content_hash"] = [hash_of(1)] * 5
    rows["image_id"] = [4, 9, 2, 8, 1]
    images = KnownImages([pa.RecordBatch.from_pydict(rows)])
    assert images.contents.newest(hash_of(1)) == 1


def test_places_with_the_same_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(known_images, "hash", lambda _: 7, raising=False)
    images = KnownImages(known_blocks(*files_at(*PLACES)))
    assert [images.row_at(place) for place in PLACES] == [0, 1, 2, 3, 4]
    assert images.row_at(("/a", "z")) is None
    assert len(images.superseded) == 0


def test_a_large_collection_agrees_with_a_dict():
    generator = np.random.default_rng(0)
    places = [("/r", f"{number}.jpg") for number in generator.integers(0, 3000, 4000)]
    images = KnownImages(known_blocks(*files_at(*places)))
    newest = {place: image_id for image_id, place in enumerate(places)}
    assert [images.row_at(place) for place in places] == [newest[place] for place in places]
    n_older = sum(count - 1 for count in Counter(places).values())
    assert len(images.superseded) == n_older

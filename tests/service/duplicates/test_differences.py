"""What sets a copy apart, in words."""

import numpy as np
import pyarrow as pa
import pytest

from indexer.scoring.exact_cosines import half_rows
from indexer.scoring.thumbnail_agreement import turned
from indexer.store import Store
from service.duplicates.differences import Likeness, Side, likenesses
from service.duplicates.material import Material
from service.duplicates.photos import PhotoSet
from tests.makers.stores import new_store
from tests.service.duplicates.copied_photos import photo

PLAIN = {
    "content_hash": "a",
    "pixel_hash": "p",
    "format": "JPEG",
    "width": 1000,
    "height": 500,
    "jpeg_quality": 90,
}
THUMBNAIL = np.asarray(photo(1).convert("L").resize((32, 32)))
OTHER = np.asarray(photo(2).convert("L").resize((32, 32)))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return new_store(tmp_path_factory.mktemp("stores") / "c")


def side(store: Store, thumbnail, **changes) -> Side:
    facts = pa.Table.from_pylist([{**PLAIN, **changes}])
    vectors = half_rows("vectors", np.array([[1, 0]], np.float16))
    pictures = np.ascontiguousarray(thumbnail)[np.newaxis]
    material = Material(vectors, pictures, np.ones(1, np.bool_))
    return Side(PhotoSet(store, facts), np.zeros(1, np.int64), material, np.zeros(1, np.int64))


def likeness(store, thumbnail=THUMBNAIL, *, tier="near", **changes) -> Likeness:
    changes = {"content_hash": "b", "pixel_hash": "q", **changes}
    second = side(store, thumbnail, **changes)
    return likenesses(side(store, THUMBNAIL), second, tier=tier)[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"content_hash": "a"}, Likeness("bytes", 1.0, "same bytes"), id="bytes"),
        pytest.param(
            {"pixel_hash": "p"},
            Likeness("pixels", 1.0, "same pixels, other metadata or compression"),
            id="pixels",
        ),
        pytest.param(
            {"pixel_hash": "p", "format": "PNG"},
            Likeness("pixels", 1.0, "same pixels, as PNG"),
            id="another-format",
        ),
        pytest.param({}, Likeness("near", 1.0, "saved anew"), id="nothing-to-tell"),
        pytest.param({"width": 250}, Likeness("near", 1.0, "25% as wide"), id="smaller"),
        pytest.param({"width": 1010}, Likeness("near", 1.0, "saved anew"), id="rounded"),
        pytest.param({"format": "WEBP"}, Likeness("near", 1.0, "as WEBP"), id="format"),
        pytest.param(
            {"jpeg_quality": 50},
            Likeness("near", 1.0, "JPEG quality 50, not 90"),
            id="worse",
        ),
        pytest.param({"jpeg_quality": 95}, Likeness("near", 1.0, "saved anew"), id="better"),
        pytest.param(
            {"width": None, "height": None, "jpeg_quality": None},
            Likeness("near", 1.0, "saved anew"),
            id="unknown-size",
        ),
    ],
)
def test_what_files_tell(store, changes, expected):
    assert likeness(store, **changes) == expected


@pytest.mark.parametrize(
    ("orientation", "told"),
    [
        (1, "mirrored"),
        (2, "flipped"),
        (3, "upside down"),
        (4, "mirrored on its side"),
        (7, "mirrored on its side"),
    ],
)
def test_how_a_copy_lies(store, orientation, told):
    copy = turned(THUMBNAIL[np.newaxis], orientation)[0]
    size = {"width": 500, "height": 1000} if orientation >= 4 else {}
    assert likeness(store, copy, **size).difference == told


@pytest.mark.parametrize(("k", "told"), [(1, "turned left"), (3, "turned right")])
def test_which_way_a_copy_is_turned(store, k, told):
    """`numpy.rot90` turns against the clock."""
    copy = np.rot90(THUMBNAIL, k)
    assert likeness(store, copy, width=500, height=1000).difference == told
    assert likeness(store, copy, width=250, height=500).difference == f"{told}, 50% as wide"


def test_an_edit_is_told_where_much_differs(store):
    copy = THUMBNAIL.copy()
    copy[:10] = copy[:10] // 2 + 60
    assert likeness(store, copy).difference == "edited"


def test_photos_that_are_no_copies(store):
    found = likeness(store, OTHER, tier="similar")
    assert found == Likeness("similar", 1.0, "similar, but no copy")
    assert likeness(store, tier="similar").tier == "near"


def test_without_material_only_hashes_tell(store):
    first, second = (
        Side(side(store, THUMBNAIL).photos, np.zeros(1, np.int64), None, np.zeros(1, np.int64))
        for _ in range(2)
    )
    assert likenesses(first, second, tier="bytes") == [Likeness("bytes", 1.0, "same bytes")]

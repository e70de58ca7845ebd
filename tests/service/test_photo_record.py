"""One photo with all there is to know of it."""

from typing import Any

import pyarrow as pa
import pytest

from indexer.settings import Settings
from indexer.store import create_store
from schemas.errors import UnknownPhotoError
from schemas.tables import imported_schema
from service.anomalies import score_photos
from service.anomaly_references import NeighbourChoice, fit_reference
from service.collection import Collection
from service.normal_photos import NormalChoice
from service.photo_record import photo_record
from tests.fakes import FakeEncoder
from tests.makers.libraries import indexed_colours
from tests.makers.stores import collection_info, described, image_rows, random_features


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def ids_by_name(collection):
    rows = collection.store.images(["image_id", "path"]).to_pylist()
    return {row["path"]: row["image_id"] for row in rows}


def test_a_record_tells_what_is_known_of_the_file(photos, tmp_path):
    collection = indexed_colours(photos, tmp_path / "c")
    record = photo_record(collection, ids_by_name(collection)["red.png"])
    assert record.path == str(photos / "red.png")
    assert record.folder == str(photos)
    assert (record.width, record.height, record.format, record.frames) == (48, 32, "PNG", 1)
    assert record.file_size == (photos / "red.png").stat().st_size
    assert record.file_state == "present"
    assert record.measures["brightness"] == pytest.approx(0.2126, abs=0.1)
    assert record.given == {}
    assert record.anomaly_reason is None


def reasons_of(collection, name) -> list[Any]:
    """What all photos' records tell under a name; a test knows that it is there."""
    image_ids = ids_by_name(collection).values()
    return [getattr(photo_record(collection, image_id), name) for image_id in image_ids]


def test_quality_has_its_reason_and_its_place_among_all(photos, tmp_path):
    reasons = reasons_of(indexed_colours(photos, tmp_path / "c"), "quality_reason")
    qualities = [reason.quality for reason in reasons]
    for reason in reasons:
        n_worse = sum(quality < reason.quality for quality in qualities)
        assert reason.better_than == pytest.approx(n_worse / len(qualities))
        assert set(reason.cues) >= {"sharpness", "noise"}


def test_anomaly_has_its_reason_and_reference(photos, tmp_path):
    collection = indexed_colours(photos, tmp_path / "c")
    scoring = NeighbourChoice(nearest=3)
    fit_reference(collection, "usual", normal=NormalChoice(), scoring=scoring)
    score_photos(collection, "usual", report=lambda _: None)
    reasons = reasons_of(collection, "anomaly_reason")
    scores = [reason.anomaly for reason in reasons]
    for reason in reasons:
        n_lower = sum(score < reason.anomaly for score in scores)
        assert reason.stranger_than == pytest.approx(n_lower / len(scores))
        assert reason.reference == "usual"
        assert "from the 3rd nearest of 6 normal photos" in reason.reason


def test_the_state_of_the_file_is_told(photos, tmp_path):
    collection = indexed_colours(photos, tmp_path / "c")
    known = ids_by_name(collection)
    (photos / "red.png").unlink()
    (photos / "blue.png").write_bytes(b"another")
    assert photo_record(collection, known["red.png"]).file_state == "vanished"
    assert photo_record(collection, known["blue.png"]).file_state == "changed"


def test_imported_vectors_come_with_what_was_given(tmp_path):
    model = described()
    columns = imported_schema(model, [pa.field("caption", pa.string()), pa.field("n", pa.int64())])
    uri = str(tmp_path / "c")
    store = create_store(
        uri, collection_info(model, origin="vectors"), FakeEncoder().projectors, columns=columns
    )
    rows = image_rows(store, random_features(2), root=["", ""])
    given = {"caption": ["a dog", None], "n": [3, 4]}
    for name, values in given.items():
        field = columns.field(name)
        rows = rows.append_column(field, pa.array(values, field.type))
    store.append_images(rows)
    record = photo_record(Collection(store, Settings(collection=uri)), 0)
    assert record.given == {"caption": "a dog", "n": 3}
    assert record.file_state == "none"


def test_an_unknown_id_is_told(photos, tmp_path):
    with pytest.raises(UnknownPhotoError, match="no photo has the id 99"):
        photo_record(indexed_colours(photos, tmp_path / "c"), 99)

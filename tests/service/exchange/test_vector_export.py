"""What is exported can be read by others, and imported back."""

import csv
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyarrow import parquet

from indexer.scoring.similarity import normalised
from indexer.settings import Settings
from indexer.store import vectors_of
from schemas.errors import CollectionError, FilterError, InputError, UnsupportedSpaceError
from service.collection import Collection, open_collection
from service.exchange.exported_rows import ExportChoice
from service.exchange.importing import ImportChoice, import_vectors
from service.exchange.vector_export import export_collection
from tests.makers.stores import (
    collection_info,
    described,
    new_store,
    random_features,
    random_projectors,
)
from tests.makers.vectors import raw_vectors, unit_vectors, vector_lists

VECTOR_FORMATS = ["out", "out.npz", "out.parquet"]


@pytest.fixture
def photos(tmp_path) -> Collection:
    """Thirty photos of a model with a projector; the ids do not lie in order."""
    projectors = random_projectors()
    model = described(embedding_dim=8)
    place = tmp_path / "photos"
    store = new_store(place, model=model, projectors=projectors, features=random_features(30))
    table = store.images(["image_id"])
    store.update_images(table.slice(5, 10).append_column("label", pa.array(["x"] * 10)))
    return open_collection(Settings(collection=str(place)))


def imported(place: Path, source: Path, **choice) -> Collection:
    settings = Settings(collection=str(place))
    import_vectors(
        [source], settings=settings, choice=ImportChoice(**choice), report=lambda _: None
    )
    return open_collection(settings)


def exported(collection, target, **choice):
    return export_collection(
        collection, target, choice=ExportChoice(**choice), report=lambda _: None
    )


def rows_of(collection):
    """All columns but vectors, by id."""
    store = collection.store
    names = [
        field.name for field in store.image_columns if not pa.types.is_fixed_size_list(field.type)
    ]
    return store.images(names).sort_by("image_id")


def vectors_in(collection, column="raw_embedding"):
    table = collection.store.images(["image_id", column]).sort_by("image_id")
    return vectors_of(table[column])


def clip_vectors(collection):
    """Unit vectors by the definition, in the order of the ids."""
    weight = collection.store.projectors.image_weight
    return normalised(vectors_in(collection, "features") @ weight.T)


def read_back(target):
    """Vectors and paths, read as any program would."""
    if target.suffix == ".npz":
        with np.load(target) as arrays:
            return arrays["embedding"], arrays["path"].tolist()
    if target.suffix == ".parquet":
        table = parquet.read_table(target)
        return vectors_of(table["embedding"]), table["path"].to_pylist()
    metadata = parquet.read_table(target / "metadata" / "metadata_0.parquet")
    return np.load(target / "img_emb" / "img_emb_0.npy"), metadata["image_path"].to_pylist()


# Formats


@pytest.mark.parametrize("name", VECTOR_FORMATS)
def test_vectors_are_unit_clip_vectors_by_ascending_id(photos, tmp_path, name):
    summary = exported(photos, tmp_path / name)
    vectors, paths = read_back(tmp_path / name)
    assert paths == [f"/photos/{row:05}.jpg" for row in range(30)]
    np.testing.assert_allclose(vectors, clip_vectors(photos), atol=1e-3 if name == "out" else 1e-6)
    assert summary.dtype == vectors.dtype.name == ("float16" if name == "out" else "float32")
    assert (summary.n_images, summary.space) == (30, "clip")
    assert summary.n_bytes > vectors.nbytes


def test_blocks_and_parts_change_nothing(photos, tmp_path, monkeypatch):
    for name in VECTOR_FORMATS:
        exported(photos, tmp_path / f"whole-{name}")
    monkeypatch.setattr("service.exchange.exported_rows.BLOCK_ROWS", 4)
    monkeypatch.setattr("service.exchange.vector_export.PART_ROWS", 13)
    for name in VECTOR_FORMATS:
        exported(photos, tmp_path / name)
    for name in VECTOR_FORMATS[1:]:
        whole, pieces = read_back(tmp_path / f"whole-{name}"), read_back(tmp_path / name)
        np.testing.assert_array_equal(whole[0], pieces[0])
        assert whole[1] == pieces[1]
    folder = tmp_path / "out"
    parts = [np.load(folder / "img_emb" / f"img_emb_{number}.npy") for number in range(3)]
    assert [len(part) for part in parts] == [13, 13, 4]
    np.testing.assert_array_equal(np.concatenate(parts), read_back(tmp_path / "whole-out")[0])
    assert parquet.read_metadata(folder / "metadata" / "metadata_2.parquet").num_rows == 4


def test_csv_and_json_lines_have_columns_and_no_vectors(photos, tmp_path):
    for name in ("out.csv", "out.jsonl"):
        summary = exported(photos, tmp_path / name)
        assert (summary.space, summary.dtype) == (None, None)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for row in (rows[7], objects[7]):
        assert "embedding" not in row
        assert (int(row["image_id"]), row["path"]) == (7, "/photos/00007.jpg")
        assert (int(row["width"]), row["label"]) == (107, "x")
    assert (rows[0]["label"], objects[0]["label"]) == ("", None)
    assert list(rows[0]) == list(objects[0]) == list(summary.columns)


def test_vectors_in_csv_are_json_and_in_json_lines_lists(photos, tmp_path):
    for name in ("out.csv", "out.jsonl"):
        assert exported(photos, tmp_path / name, with_vectors=True).space == "clip"
    with (tmp_path / "out.csv").open(newline="") as file:
        texts = [json.loads(row["embedding"]) for row in csv.DictReader(file)]
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    for vectors in (texts, [json.loads(line)["embedding"] for line in lines]):
        np.testing.assert_allclose(vectors, clip_vectors(photos), atol=1e-6)


@pytest.mark.parametrize("name", VECTOR_FORMATS)
def test_only_what_is_selected_is_exported(photos, tmp_path, name):
    exported(photos, tmp_path / name, where="label = 'x' -- these")
    assert read_back(tmp_path / name)[1] == [f"/photos/{row:05}.jpg" for row in range(5, 15)]


def test_other_spaces_and_raw_vectors(photos, tmp_path):
    features = vectors_in(photos, "features")
    exported(photos, tmp_path / "trunk.npz", space="trunk")
    centred = normalised(features - features.mean(axis=0))
    np.testing.assert_allclose(read_back(tmp_path / "trunk.npz")[0], centred, atol=1e-5)
    exported(photos, tmp_path / "raw.npz", keeps_lengths=True)
    raw = features @ photos.store.projectors.image_weight.T
    np.testing.assert_allclose(read_back(tmp_path / "raw.npz")[0], raw, rtol=1e-5, atol=1e-5)


def test_a_format_can_be_named(photos, tmp_path):
    exported(photos, tmp_path / "vectors.v2", format="clip-retrieval")
    assert (tmp_path / "vectors.v2" / "img_emb" / "img_emb_0.npy").is_file()
    assert exported(photos, tmp_path / "vectors", format="npz").format == "npz"
    with np.load(tmp_path / "vectors") as arrays:
        assert len(arrays["embedding"]) == 30


# Refusals


@pytest.mark.parametrize(
    ("name", "choice", "message"),
    [
        ("a.xlsx", {}, r"cannot tell the format of .*a.xlsx; end its name with .npz"),
        ("a.npz", {"format": "csv"}, r"a.npz is to be csv; end its name with .csv"),
        ("a.npz", {"where": "image_id > 99"}, "no photo to export"),
        ("a.npz", {"space": "trunk", "keeps_lengths": True}, "'trunk' have no length of their own"),
        ("no/a.npz", {}, "cannot write .*: No such file or directory; name a file that can be"),
        ("no/a", {"dtype": "float32"}, None),
    ],
)
def test_what_cannot_be_exported_is_refused(photos, tmp_path, name, choice, message):
    if message is None:  # a folder is made with those above it
        assert exported(photos, tmp_path / name, **choice).dtype == "float32"
        return
    with pytest.raises(InputError, match=message):
        exported(photos, tmp_path / name, **choice)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_wrong_condition_is_told_in_the_users_words(photos, tmp_path):
    with pytest.raises(FilterError, match="the filter 'nowhere = 1' is not valid"):
        exported(photos, tmp_path / "a.npz", where="nowhere = 1")


def test_a_space_that_the_model_lacks_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", raw_vectors(2))
    collection = imported(tmp_path / "c", tmp_path / "a.npy")
    with pytest.raises(UnsupportedSpaceError, match="cannot serve the space 'trunk'"):
        exported(collection, tmp_path / "a.npz", space="trunk")


def test_a_folder_that_is_there_is_refused_and_a_file_replaced(photos, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already; name another folder"):
        exported(photos, tmp_path / "out")
    (tmp_path / "out.npz").write_text("older")
    exported(photos, tmp_path / "out.npz")
    assert len(read_back(tmp_path / "out.npz")[0]) == 30


def test_a_folder_that_cannot_be_made_is_named(photos, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*: Not a directory; name a place that"):
        exported(photos, tmp_path / "file" / "out")


def test_vectors_too_long_for_float16_are_refused(tmp_path):
    model = described(embedding_dim=8)
    projectors = random_projectors()
    longer = replace(projectors, image_weight=1e5 * projectors.image_weight)
    new_store(tmp_path / "c", model=model, projectors=longer, features=random_features(3))
    collection = open_collection(Settings(collection=str(tmp_path / "c")))
    with pytest.raises(InputError, match="too long for float16; give --dtype float32"):
        exported(collection, tmp_path / "a.npz", keeps_lengths=True, dtype="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    exported(collection, tmp_path / "a.npz", keeps_lengths=True)


def test_photos_that_go_meanwhile_are_noticed(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("service.exchange.exported_rows.BLOCK_ROWS", 10)

    def remove(progress):
        photos.store.delete_images(np.array([25]))

    with pytest.raises(CollectionError, match="while it was exported; run again"):
        export_collection(photos, tmp_path / "out", report=remove)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


# Round trips


@pytest.mark.parametrize("name", VECTOR_FORMATS)
@pytest.mark.parametrize("keeps_lengths", [False, True])
def test_an_export_can_be_imported(photos, tmp_path, name, keeps_lengths):
    target = tmp_path / name
    exported(photos, target, dtype="float16", keeps_lengths=keeps_lengths)
    again = imported(tmp_path / "again", target)
    given, _ = read_back(target)
    np.testing.assert_array_equal(vectors_in(again).astype(np.float16), given)
    before, after = rows_of(photos), rows_of(again)
    for column in before.column_names:
        if column not in ("root", "path"):
            assert after[column].equals(before[column]), column
    assert after["path"].to_pylist() == [f"/photos/{row:05}.jpg" for row in range(30)]
    assert again.store.info.model.id == "fake"
    assert again.store.info.model.logit_scale == 10.0
    assert again.store.info.model.quality_cue == "pixels"


def test_a_space_is_part_of_the_models_name(photos, tmp_path):
    exported(photos, tmp_path / "a.npz", space="trunk")
    assert imported(tmp_path / "again", tmp_path / "a.npz").store.info.model.id == "fake (trunk)"


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)


@given(
    st.lists(
        st.tuples(
            st.none() | TEXTS,
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.booleans(),
            st.none() | st.floats(allow_nan=False),
            st.none() | st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001
            st.none() | st.dates(date(1, 1, 1)),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(VECTOR_FORMATS),
    st.booleans(),
)
@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_import_of_an_export_changes_nothing(tmp_path_factory, rows, name, is_unit):
    place = tmp_path_factory.mktemp("round")
    vectors = (unit_vectors if is_unit else raw_vectors)(len(rows))
    texts, numbers, flags, reals, times, days = zip(*rows, strict=True)
    table = pa.table(
        {
            "v": vector_lists(vectors),
            "text_embedding": vector_lists(unit_vectors(len(rows), seed=2)),
            "text": pa.array(texts, pa.string()),
            "number": pa.array(numbers, pa.int64()),
            "flag": pa.array(flags, pa.bool_()),
            "real": pa.array(reals, pa.float64()),
            "time": pa.array(times, pa.timestamp("us")),
            "day": pa.array(days, pa.date32()),
            "width": pa.array(range(len(rows))),
        }
    )
    parquet.write_table(table, place / "first.parquet")
    first = imported(place / "first", place / "first.parquet", vector_column="v")
    exported(first, place / name, dtype="float16", keeps_lengths=not is_unit)
    second = imported(place / "second", place / name)
    np.testing.assert_array_equal(vectors_in(second), vectors_in(first))
    np.testing.assert_array_equal(vectors_in(second), vectors)
    texts_again = vectors_in(second, "text_embedding")
    np.testing.assert_array_equal(texts_again, vectors_in(first, "text_embedding"))
    before, after = rows_of(first), rows_of(second)
    if name == "out.npz":
        # A column of an NPZ file without any value has no type to come back with.
        lost = [column for column in before.column_names if column not in after.column_names]
        assert all(before[column].null_count == len(rows) for column in lost)
        before = before.drop_columns(lost)
    assert sorted(before.column_names) == sorted(after.column_names)
    for column in before.column_names:
        assert after[column].equals(before[column]), column


def test_the_time_of_indexing_survives(photos, tmp_path):
    exported(photos, tmp_path / "a.parquet")
    again = imported(tmp_path / "again", tmp_path / "a.parquet")
    assert rows_of(again)["indexed_at"][0].as_py() == datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert collection_info().created_at == datetime(2026, 1, 2, 12, tzinfo=UTC)

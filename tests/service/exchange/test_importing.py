"""Vectors that others made become a collection that can be searched."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from indexer.scoring.quality import fused_quality, magnitude, magnitude_quality
from indexer.settings import Settings
from indexer.store import vectors_of
from schemas.collection import ModelSource
from schemas.errors import FilterError, InputError, LockedError, MismatchError, UnknownModelError
from service.collection import open_collection
from service.exchange.importing import ImportChoice, import_vectors
from service.indexing import index_photos
from service.search import parse_query, search
from tests.fakes import COLOURS, FEATURES, FakeEncoder
from tests.makers.stores import described, new_store, random_features
from tests.makers.vectors import clip_retrieval_folder, raw_vectors, unit_vectors, vector_lists


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(collection=str(tmp_path / "collection"), threads=2)


@pytest.fixture
def fake_models(monkeypatch):
    """Whatever model is named is the fake one, with the quality cue of CLIP models."""
    encoder = FakeEncoder(described(quality_cue="magnitude", spaces=("clip", "trunk")))
    monkeypatch.setattr("service.collection.open_encoder", lambda *_, **__: encoder)
    return encoder


def imported(settings, *sources, **choice):
    return import_vectors(
        [Path(source) for source in sources],
        settings=settings,
        choice=ImportChoice(**choice),
        report=lambda _: None,
    )


def npz(place: Path, vectors, **columns) -> Path:
    np.savez(place, vectors=vectors, **columns)
    return place


def stored(settings, *columns, where=None):
    table = open_collection(settings).store.images(["image_id", *columns], where)
    return table.sort_by("image_id")


def stored_vectors(settings, column="raw_embedding"):
    return vectors_of(stored(settings, column)[column])


# What is stored


def test_vectors_are_stored_as_given_and_as_unit_vectors(tmp_path, settings):
    vectors = raw_vectors(20)
    summary = imported(settings, npz(tmp_path / "a.npz", vectors))
    assert (summary.n_read, summary.n_imported, summary.n_images) == (20, 20, 20)
    assert (summary.model, summary.embedding_dim, summary.is_unit) == ("unknown", 6, False)
    np.testing.assert_array_equal(stored_vectors(settings), vectors)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(stored_vectors(settings, "embedding"), units, atol=5e-4)


def test_a_collection_of_vectors_says_what_it_is(tmp_path, settings):
    imported(settings, npz(tmp_path / "a.npz", raw_vectors(2)), model_id="my model", logit_scale=50)
    store = open_collection(settings).store
    assert (store.info.origin, store.info.source, store.info.band) == ("vectors", None, None)
    assert (store.info.model.id, store.info.model.logit_scale) == ("my model", 50)
    assert (store.info.model.spaces, store.info.model.preprocessing) == (("clip",), None)
    assert store.projectors.image_weight is None
    np.testing.assert_array_equal(store.projectors.text_weight, np.eye(6))


def test_lengths_give_quality_cues_where_they_are_kept(tmp_path, settings):
    vectors = raw_vectors(9)
    imported(settings, npz(tmp_path / "a.npz", vectors))
    rows = stored(settings, "magnitude", "quality_mag", "quality_sim", "quality")
    np.testing.assert_array_equal(rows["magnitude"], magnitude(vectors))
    np.testing.assert_array_equal(rows["quality_mag"], magnitude_quality(vectors))
    assert rows["quality_sim"].null_count == rows["quality"].null_count == 9


@pytest.mark.parametrize(
    ("vectors", "is_unit", "expected"),
    [
        pytest.param(unit_vectors(4), None, True, id="float16-rounding-is-unit"),
        pytest.param(unit_vectors(4) * np.float32(1.0005), None, True, id="within-tolerance"),
        pytest.param(unit_vectors(4) * np.float32(1.002), None, False, id="beyond-tolerance"),
        pytest.param(unit_vectors(4), False, False, id="told-raw"),
        pytest.param(raw_vectors(4), True, True, id="told-unit"),
    ],
)
def test_unit_vectors_have_no_magnitude(tmp_path, settings, vectors, is_unit, expected):
    summary = imported(settings, npz(tmp_path / "a.npz", vectors), is_unit=is_unit)
    assert summary.is_unit is expected
    assert stored(settings, "magnitude")["magnitude"].null_count == (4 if expected else 0)


def test_one_dimension_is_enough(tmp_path, settings):
    imported(settings, npz(tmp_path / "a.npz", np.array([[2.0], [-3.0]], np.float32)))
    rows = stored(settings, "magnitude", "quality_mag")
    assert rows["magnitude"].to_pylist() == [2, 3]
    assert rows["quality_mag"].null_count == 2


def test_blocks_change_nothing(tmp_path, settings, monkeypatch):
    source = npz(tmp_path / "a.npz", raw_vectors(40), n=np.arange(40))
    imported(settings, source)
    monkeypatch.setattr("service.exchange.vector_files.BLOCK_BYTES", 7 * 24)
    monkeypatch.setattr("service.exchange.importing.APPEND_ROWS", 10)
    other = settings.model_copy(update={"collection": str(tmp_path / "other")})
    imported(other, source)
    names = list(open_collection(settings).store.image_columns.names)
    names.remove("indexed_at")
    assert stored(settings, *names[1:]).equals(stored(other, *names[1:]))


# Columns


def test_columns_that_describe_a_photo_fill_ours_where_they_can(tmp_path, settings):
    table = pa.table(
        {
            "vector": vector_lists(raw_vectors(2)),
            "url": ["http://a/1.jpg", "http://a/2.jpg"],
            "width": [640.0, float("nan")],
            "height": ["480", "high"],
            "taken_at": ["2024-05-06 07:08:09", None],
            "label": [3, 4],
            "quality": [0.1, 0.2],
            "exif.iso": [100, 200],
            "Format": ["x", "y"],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    summary = imported(settings, tmp_path / "a.parquet")
    assert summary.renamed == {
        "url": "path",
        "height": "given_height",
        "quality": "given_quality",
        "exif.iso": "exif_iso",
        "Format": "given_Format",
    }
    rows = stored(settings, "path", "width", "height", "taken_at", "label", "given_height")
    assert rows.to_pylist() == [
        {
            "image_id": 0,
            "path": "http://a/1.jpg",
            "width": 640,
            "height": None,
            "taken_at": datetime(2024, 5, 6, 7, 8, 9),  # noqa: DTZ001
            "label": "3",
            "given_height": "480",
        },
        {
            "image_id": 1,
            "path": "http://a/2.jpg",
            "width": None,
            "height": None,
            "taken_at": None,
            "label": "4",
            "given_height": "high",
        },
    ]
    assert stored(settings, where="exif_iso > 100 and given_quality > 0.1").num_rows == 1


def test_photos_without_a_name_are_called_by_file_and_row(tmp_path, settings):
    imported(
        settings,
        npz(tmp_path / "a.npz", raw_vectors(2)),
        npz(tmp_path / "b.npz", raw_vectors(2), ids=np.array(["", "x"])),
    )
    paths = stored(settings, "path")["path"].to_pylist()
    assert paths == ["a.npz/0", "a.npz/1", "b.npz/0", "x"]


def test_another_column_may_name_the_photos(tmp_path, settings):
    source = npz(
        tmp_path / "a.npz", raw_vectors(2), path=np.array(["p", "p"]), key=np.array([11, 12])
    )
    summary = imported(settings, source, id_column="key")
    assert stored(settings, "path", "given_path").to_pylist() == [
        {"image_id": 0, "path": "11", "given_path": "p"},
        {"image_id": 1, "path": "12", "given_path": "p"},
    ]
    assert summary.renamed == {"key": "path", "path": "given_path"}


def test_a_naming_column_that_is_missing_is_told(tmp_path, settings):
    source = npz(tmp_path / "a.npz", raw_vectors(1), n=np.array([1]))
    with pytest.raises(InputError, match="no column 'key' to name the photos; there are: n"):
        imported(settings, source, id_column="key")


def test_given_image_ids_are_kept_in_a_new_collection(tmp_path, settings):
    source = npz(tmp_path / "a.npz", raw_vectors(3), image_id=np.array([391895, 7, 0]))
    imported(settings, source)
    assert stored(settings)["image_id"].to_pylist() == [0, 7, 391895]
    assert open_collection(settings).store.next_image_id() == 391896


@pytest.mark.parametrize(
    ("ids", "dtype"), [([5, 5], "i4"), ([-1, 2], "i8"), ([2**63 + 1, 2], "u8")]
)
def test_image_ids_that_are_none_become_a_column(tmp_path, settings, ids, dtype):
    source = npz(tmp_path / "a.npz", raw_vectors(2), image_id=np.array(ids, dtype))
    imported(settings, source)
    rows = stored(settings, "given_image_id")
    assert rows["image_id"].to_pylist() == [0, 1]
    assert rows["given_image_id"].to_pylist() == ids


def test_image_ids_of_some_files_only_become_a_column(tmp_path, settings):
    first = npz(tmp_path / "a.npz", raw_vectors(1), image_id=np.array([5]))
    imported(settings, first, npz(tmp_path / "b.npz", raw_vectors(1)))
    assert stored(settings, "given_image_id").to_pylist() == [
        {"image_id": 0, "given_image_id": 5},
        {"image_id": 1, "given_image_id": None},
    ]


def test_columns_of_parts_are_brought_together(tmp_path, settings):
    folder = clip_retrieval_folder(
        tmp_path / "f", unit_vectors(4), part_rows=2, n=[1, 2, 3, 4], image_path=list("abcd")
    )
    table = pa.table({"image_path": ["c", "d"], "n": [3.5, None], "NSFW": ["no", "yes"]})
    parquet.write_table(table, folder / "metadata" / "metadata_1.parquet")
    imported(settings, folder)
    rows = stored(settings, "path", "n", "NSFW")
    assert rows["n"].to_pylist() == [1.0, 2.0, 3.5, None]
    assert rows["NSFW"].to_pylist() == [None, None, "no", "yes"]


def test_columns_that_do_not_go_together_are_refused(tmp_path, settings):
    first = npz(tmp_path / "a.npz", raw_vectors(1), n=np.array([1]))
    second = npz(tmp_path / "b.npz", raw_vectors(1), n=np.array(["x"]))
    with pytest.raises(InputError, match="columns that do not go together"):
        imported(settings, first, second)


def test_captions_of_clip_retrieval_are_kept_with_their_embeddings(tmp_path, settings):
    texts = unit_vectors(3, seed=1)
    folder = clip_retrieval_folder(
        tmp_path / "f", unit_vectors(3), part_rows=2, texts=texts, caption=["a", "b", "c"]
    )
    imported(settings, folder)
    np.testing.assert_array_equal(stored_vectors(settings, "text_embedding"), texts)
    assert stored(settings, "caption", where="caption = 'b'").num_rows == 1


# What is refused


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (np.nan, "holds NaN"),
        (np.inf, "beyond float16"),
        (70_000, "beyond float16"),
        (0, "is zero"),
        (1e-8, "is too short for float16"),
    ],
)
def test_unusable_vectors_are_refused_with_their_rows(tmp_path, settings, value, fault):
    vectors = raw_vectors(30)
    vectors[7] = vectors[9] = value
    source = npz(tmp_path / "a.npz", vectors)
    expected = rf"2 of 30 rows have no usable vector .*: row 7 of \S*a.npz {fault}.*; row 9 of"
    if fault == "beyond float16":
        expected = expected.replace("beyond", "holds numbers beyond")
    with pytest.raises(InputError, match=expected):
        imported(settings, source)
    assert not Path(settings.collection).exists()
    summary = imported(settings, source, skip_bad=True)
    assert (summary.n_imported, summary.n_unusable, summary.n_read) == (28, 2, 30)
    assert stored(settings, "path")["path"].to_pylist()[7] == "a.npz/8"


def test_only_the_first_unusable_rows_are_listed(tmp_path, settings):
    vectors = raw_vectors(30)
    vectors[10:20] = 0
    with pytest.raises(InputError, match=r"10 of 30 rows.*row 14 of \S* is zero; \.\.\.\. Mend"):
        imported(settings, npz(tmp_path / "a.npz", vectors))


@pytest.mark.parametrize("n_rows", [0, 3])
def test_nothing_usable_is_refused_even_where_bad_rows_may_be_left_out(tmp_path, settings, n_rows):
    source = npz(tmp_path / "a.npz", np.zeros((n_rows, 4), np.float32))
    with pytest.raises(InputError, match=f"no usable vector among {n_rows} rows"):
        imported(settings, source, skip_bad=True)
    assert not Path(settings.collection).exists()


def test_repeated_names_are_refused(tmp_path, settings):
    source = npz(tmp_path / "a.npz", raw_vectors(4), ids=np.array(["a", "b", "a", "b"]))
    with pytest.raises(InputError, match="2 of 4 rows have the name of an earlier one, as 'a'"):
        imported(settings, source)
    summary = imported(settings, source, skip_bad=True)
    assert (summary.n_imported, summary.n_repeated) == (2, 2)
    np.testing.assert_array_equal(stored_vectors(settings), raw_vectors(4)[:2])


def test_an_unusable_row_does_not_take_its_name_from_a_later_one(tmp_path, settings):
    vectors = raw_vectors(3)
    vectors[0] = 0
    source = npz(tmp_path / "a.npz", vectors, ids=np.array(["a", "a", "b"]))
    summary = imported(settings, source, skip_bad=True)
    assert (summary.n_imported, summary.n_unusable, summary.n_repeated) == (2, 1, 0)


def test_sources_of_different_lengths_are_refused(tmp_path, settings):
    sources = [npz(tmp_path / f"{dim}.npz", raw_vectors(1, dim=dim)) for dim in (3, 4)]
    with pytest.raises(InputError, match=r"4.npz has vectors of 4 numbers, \S*3.npz of 3"):
        imported(settings, *sources)


def test_nothing_to_import_is_refused(settings):
    with pytest.raises(InputError, match="nothing to import"):
        imported(settings)


def test_vectors_do_not_go_into_a_collection_of_photos(tmp_path, settings):
    new_store(Path(settings.collection), features=random_features(2))
    with pytest.raises(InputError, match="holds photos and takes no vectors"):
        imported(settings, npz(tmp_path / "a.npz", raw_vectors(1, dim=FEATURES)))


def test_photos_do_not_go_into_a_collection_of_vectors(tmp_path, settings):
    imported(settings, npz(tmp_path / "a.npz", raw_vectors(1)))
    with pytest.raises(InputError, match="holds imported vectors and takes no photos"):
        index_photos([tmp_path], settings=settings, report=lambda _: None)


# Adding to a collection


def test_a_second_import_adds_rows_and_columns(tmp_path, settings):
    imported(settings, npz(tmp_path / "a.npz", raw_vectors(3), n=np.arange(3)))
    summary = imported(
        settings,
        npz(tmp_path / "b.npz", raw_vectors(2), n=np.array([8.0, 9.0]), m=np.array(["x", "y"])),
    )
    assert (summary.n_imported, summary.n_images) == (2, 5)
    rows = stored(settings, "n", "m")
    assert rows["image_id"].to_pylist() == [0, 1, 2, 3, 4]
    assert rows["n"].to_pylist() == [0, 1, 2, 8, 9]
    assert rows["m"].to_pylist() == [None, None, None, "x", "y"]


def test_known_names_are_refused_or_left_out(tmp_path, settings):
    first = npz(tmp_path / "a.npz", raw_vectors(2), ids=np.array(["a", "b"]))
    both = npz(tmp_path / "b.npz", raw_vectors(3, seed=1), ids=np.array(["c", "b", "d"]))
    imported(settings, first)
    with pytest.raises(InputError, match="has 1 of these 3 rows by name, as 'b'; add only"):
        imported(settings, both)
    summary = imported(settings, both, skip_known=True)
    assert (summary.n_imported, summary.n_known) == (2, 1)
    assert stored(settings, "path")["path"].to_pylist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("dim", "choice", "message"),
    [
        (5, {}, "has vectors of 6 numbers, these have 5"),
        (6, {"model_id": "b"}, "has the model 'a', not 'b'; leave out --model-id"),
        (6, {"logit_scale": 3.0}, "has the logit scale 100.0, not 3.0; leave out --logit-scale"),
        (6, {"source": ModelSource(model="fake")}, "made with model unknown, not 'fake'"),
    ],
)
def test_another_model_is_refused(tmp_path, settings, dim, choice, message):
    imported(settings, npz(tmp_path / "a.npz", raw_vectors(2)), model_id="a")
    with pytest.raises(MismatchError, match=message):
        imported(settings, npz(tmp_path / "b.npz", raw_vectors(2, dim=dim)), **choice)


def test_values_that_do_not_fit_a_column_that_is_there_are_refused(tmp_path, settings):
    imported(settings, npz(tmp_path / "a.npz", raw_vectors(1), n=np.array([1])))
    with pytest.raises(InputError, match="column 'n' does not fit the type int64"):
        imported(settings, npz(tmp_path / "b.npz", raw_vectors(1), n=np.array(["x"])))


def test_captions_of_one_kind_do_not_fill_a_column_of_another(tmp_path, settings):
    imported(settings, npz(tmp_path / "a.npz", raw_vectors(1), text_embedding=np.array(["x"])))
    second = npz(tmp_path / "b.npz", raw_vectors(1), text_embedding=unit_vectors(1))
    with pytest.raises(MismatchError, match="column 'text_embedding' is fixed_size_list"):
        imported(settings, second)


def test_one_writer_at_a_time(tmp_path, settings, monkeypatch):
    def locked(_):
        raise LockedError("being written")

    monkeypatch.setattr("service.exchange.importing.writer_lock", locked)
    with pytest.raises(LockedError, match="being written"):
        imported(settings, npz(tmp_path / "a.npz", raw_vectors(1)))


def test_an_interrupt_keeps_what_was_committed_and_the_rest_can_follow(
    tmp_path, settings, monkeypatch
):
    monkeypatch.setattr("service.exchange.vector_files.MAX_BLOCK_ROWS", 10)
    monkeypatch.setattr("service.exchange.importing.APPEND_ROWS", 20)
    source = npz(tmp_path / "a.npz", raw_vectors(50))

    def interrupt(progress):
        assert progress.n_total == 50
        if progress.n_done == (50 + 30) // 2:
            raise KeyboardInterrupt

    summary = import_vectors([source], settings=settings, report=interrupt)
    assert summary.interrupted
    assert (summary.n_imported, summary.n_pending, summary.n_images) == (20, 30, 20)
    rest = imported(settings, source, skip_known=True)
    assert (rest.n_imported, rest.n_known, rest.n_images) == (30, 20, 50)
    np.testing.assert_array_equal(stored_vectors(settings), raw_vectors(50))


# Asking


def test_stored_photos_can_be_searched_for_under_a_condition(tmp_path, settings):
    vectors = raw_vectors(30)
    imported(settings, npz(tmp_path / "a.npz", vectors, n=np.arange(30)))
    found = search(open_collection(settings), [parse_query("id:3")], top_k=2, where="n >= 10")
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = 10 + np.argsort(-(units @ units[3])[10:])[:2]
    assert [hit.image_id for hit in found.hits] == expected.tolist()
    assert found.hits[0].path == f"a.npz/{expected[0]}"
    assert found.hits[0].width is None


def test_words_for_an_unknown_model_say_what_to_give(tmp_path, settings):
    imported(settings, npz(tmp_path / "a.npz", raw_vectors(3)))
    with pytest.raises(UnknownModelError, match=r"known by its vectors only.*give embeddings of"):
        search(open_collection(settings), [parse_query("a dog")])


def test_a_photo_for_an_unknown_model_says_what_to_give(tmp_path, settings):
    imported(settings, npz(tmp_path / "a.npz", raw_vectors(3)))
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(UnknownModelError, match="known by its vectors only"):
        search(open_collection(settings), [parse_query(str(tmp_path / "a.png"))])


def test_a_wrong_condition_is_told(tmp_path, settings):
    imported(settings, npz(tmp_path / "a.npz", raw_vectors(3)))
    with pytest.raises(FilterError, match="nowhere"):
        search(open_collection(settings), [parse_query("id:1")], where="nowhere = 1")


# With the model


def colours():
    """What the fake encoder makes of pictures of one colour each."""
    return np.stack([np.tile(np.array(rgb) / 127.5 - 1, 4) for rgb in COLOURS.values()]).astype(
        np.float32
    )


def test_words_and_photos_work_where_the_model_can_be_opened(tmp_path, settings, fake_models):
    source = npz(tmp_path / "a.npz", colours(), ids=np.array(list(COLOURS)))
    summary = imported(settings, source, source=ModelSource(model="fake"))
    assert summary.is_opened
    collection = open_collection(settings)
    assert collection.store.info.model.spaces == ("clip",)
    assert collection.store.info.model.preprocessing == fake_models.description.preprocessing
    (hit,) = search(collection, [parse_query("a red thing")], top_k=1).hits
    assert hit.path == "red"
    Image.new("RGB", (40, 30), COLOURS["yellow"]).save(tmp_path / "y.png")
    (hit,) = search(collection, [parse_query(str(tmp_path / "y.png"))], top_k=1).hits
    assert (hit.path, round(hit.similarity, 2)) == ("yellow", 1.0)


def test_prompts_give_quality_with_the_lengths_and_half_of_it_without(
    tmp_path, settings, fake_models
):
    imported(settings, npz(tmp_path / "a.npz", colours()), source=ModelSource(model="fake"))
    rows = stored(settings, "quality_sim", "quality_mag", "quality")
    q_sim, q_mag = (np.asarray(rows[name], np.float32) for name in ("quality_sim", "quality_mag"))
    np.testing.assert_array_equal(rows["quality"], fused_quality(q_sim, q_mag))
    unit = settings.model_copy(update={"collection": str(tmp_path / "unit")})
    units = colours() / np.linalg.norm(colours(), axis=1, keepdims=True)
    imported(unit, npz(tmp_path / "b.npz", units), source=ModelSource(model="fake"))
    rows = stored(unit, "quality_sim", "quality_mag", "quality")
    np.testing.assert_allclose(rows["quality_sim"], q_sim, atol=1e-5)
    assert rows["quality_mag"].null_count == rows["quality"].null_count == len(COLOURS)


def test_a_model_of_another_length_is_refused(tmp_path, settings, fake_models):
    with pytest.raises(InputError, match="vectors have 6 numbers, those of model 'fake' have 12"):
        imported(
            settings, npz(tmp_path / "a.npz", raw_vectors(2)), source=ModelSource(model="fake")
        )
    assert not Path(settings.collection).exists()


def test_a_second_import_opens_the_model_of_the_first(tmp_path, settings, fake_models):
    imported(settings, npz(tmp_path / "a.npz", colours()), source=ModelSource(model="fake"))
    summary = imported(settings, npz(tmp_path / "b.npz", colours()))
    assert summary.is_opened
    assert stored(settings, "quality_sim")["quality_sim"].null_count == 0

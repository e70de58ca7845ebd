"""Subsets of collections of made-up vectors, and of coloured pictures."""

import json

import numpy as np
import pytest
from pyarrow import csv, parquet

from indexer.settings import Settings
from schemas.errors import FilterError, InputError, UnsupportedSpaceError
from schemas.model import Space
from schemas.subset import ChosenPhoto
from service.axes import AxesChoice
from service.collection import Collection, open_collection
from service.exchange.importing import ImportChoice, import_vectors
from service.subset import (
    CHOSEN_SCHEMA,
    LEFT_OUT_SCHEMA,
    SubsetChoice,
    choose_subset,
    chosen_photos,
    export_subset,
    left_out_photos,
    nul_separated_paths,
)
from tests.fakes import COLOURS, FEATURES, FakeEncoder
from tests.makers.libraries import indexed_colours
from tests.makers.stores import clustered_features, image_rows, new_store

METHODS = ("k-centre", "facility-location", "semdedup")


def circle(*degrees):
    """Features at these angles of the first two dimensions."""
    features = np.zeros((len(degrees), FEATURES), np.float32)
    features[:, 0], features[:, 1] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return features


def collection_of(place, features, **columns):
    store = new_store(place / "c")
    store.append_images(image_rows(store, features, **columns))
    return Collection(store, Settings(collection=store.uri), FakeEncoder())


def ids(collection, choice, **options):
    chosen = choose_subset(collection, choice, **options)
    return [photo.image_id for photo in chosen_photos(collection, chosen).photos]


def test_chosen_photos_say_how_many_they_stand_for(tmp_path):
    collection = collection_of(tmp_path, circle(0, 10, 40, 70, 90))
    listed = chosen_photos(collection, choose_subset(collection, SubsetChoice(count=3)))
    assert listed.photos == [
        ChosenPhoto(rank=1, n_covered=1, image_id=2, path="/photos/00002.jpg"),
        ChosenPhoto(rank=2, n_covered=2, image_id=4, path="/photos/00004.jpg"),
        ChosenPhoto(rank=3, n_covered=2, image_id=0, path="/photos/00000.jpg"),
    ]


def test_photos_left_out_name_their_nearest_the_most_similar_first(tmp_path):
    collection = collection_of(tmp_path, circle(0, 10, 40, 70, 90))
    left_out = left_out_photos(collection, choose_subset(collection, SubsetChoice(count=3)))
    told = [(photo.image_id, photo.nearest_id, photo.path) for photo in left_out.photos]
    assert told == [(1, 0, "/photos/00001.jpg"), (3, 4, "/photos/00003.jpg")]
    assert [photo.similarity for photo in left_out.photos] == pytest.approx(
        np.cos(np.radians([10, 20])), abs=1e-3
    )


def test_the_summary_tells_what_was_reached(tmp_path):
    collection = collection_of(tmp_path, circle(0, 10, 40, 70, 90))
    summary = choose_subset(collection, SubsetChoice(count=3)).summary
    assert (summary.method, summary.space, summary.n_photos, summary.n_chosen) == (
        "k-centre", "clip", 5, 3,
    )  # fmt: skip
    cosines = np.cos(np.radians([10, 20]))
    assert summary.coverage is not None
    assert summary.coverage.lowest_similarity == pytest.approx(cosines.min(), abs=1e-3)
    assert summary.coverage.mean_similarity == pytest.approx(cosines.mean(), abs=1e-3)
    assert (summary.n_sampled, summary.n_cells, summary.threshold) == (None, None, None)


@pytest.mark.parametrize(
    ("method", "count"), [("k-centre", 40), ("facility-location", 40), ("semdedup", 320)]
)
def test_every_method_does_better_than_chance(tmp_path, method, count):
    collection = collection_of(tmp_path, clustered_features(400, dimension=FEATURES))
    summary = choose_subset(collection, SubsetChoice(count=count, method=method)).summary
    assert summary.coverage is not None
    assert summary.random_coverage is not None
    assert summary.coverage.mean_similarity > summary.random_coverage.mean_similarity + 0.03
    if method != "facility-location":
        gained = summary.coverage.lowest_similarity - summary.random_coverage.lowest_similarity
        assert gained > 0.1


def test_a_share_is_kept_exactly_and_by_semdedup(tmp_path):
    collection = collection_of(tmp_path, clustered_features(50, dimension=FEATURES))
    for keep, count in [(0.9, 45), (0.5, 25), (0.07, 4), (0.001, 1), (1.0, 50)]:
        chosen = choose_subset(collection, SubsetChoice(keep=keep))
        assert (chosen.summary.method, chosen.summary.n_chosen) == ("semdedup", count)
        assert len(chosen_photos(collection, chosen).photos) == count
        assert len(left_out_photos(collection, chosen).photos) == 50 - count


def test_the_threshold_is_the_lowest_cosine_of_what_was_left_out(tmp_path):
    collection = collection_of(tmp_path, circle(8, 2, 0, 60))
    summary = choose_subset(collection, SubsetChoice(keep=0.5)).summary
    assert summary.threshold == pytest.approx(np.cos(np.radians(6)), abs=1e-3)
    assert (summary.n_cells, summary.n_sampled) == (1, None)


@pytest.mark.parametrize("method", METHODS)
def test_copies_are_chosen_last(tmp_path, method):
    angles = [0, 0, 0, 30, 60, 60, 100]
    collection = collection_of(tmp_path, circle(*angles))
    assert sorted(ids(collection, SubsetChoice(count=4, method=method))) == [0, 3, 4, 6]


@pytest.mark.parametrize("method", METHODS)
def test_blank_photos_are_copies_of_each_other(tmp_path, method):
    features = np.concatenate([circle(0, 1, 50, 90), np.zeros((20, FEATURES), np.float32)])
    collection = collection_of(tmp_path, features)
    chosen = ids(collection, SubsetChoice(count=5, method=method))
    assert sum(image_id >= 4 for image_id in chosen) == 1


@pytest.mark.parametrize("method", METHODS)
def test_more_than_there_are_means_all(tmp_path, method):
    collection = collection_of(tmp_path, circle(0, 30, 70))
    chosen = choose_subset(collection, SubsetChoice(count=10, method=method))
    assert sorted(ids(collection, SubsetChoice(count=10, method=method))) == [0, 1, 2]
    assert (chosen.summary.n_chosen, chosen.summary.coverage) == (3, None)
    assert chosen.summary.random_coverage is None
    assert left_out_photos(collection, chosen).photos == []


@pytest.mark.parametrize("method", METHODS)
def test_one_photo_is_chosen(tmp_path, method):
    collection = collection_of(tmp_path, circle(20))
    assert ids(collection, SubsetChoice(count=1, method=method)) == [0]
    assert ids(collection, SubsetChoice(keep=0.1, method=method)) == [0]


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_rows_does_not_matter(tmp_path, method):
    features = clustered_features(60, dimension=FEATURES)
    collection = collection_of(tmp_path / "a", features)
    order = np.random.default_rng(0).permutation(60)
    shuffled = new_store(tmp_path / "b" / "c")
    for rows in np.array_split(order, 4):
        shuffled.append_images(image_rows(shuffled, features[rows], image_id=rows.tolist()))
    other = Collection(shuffled, Settings(collection=shuffled.uri), FakeEncoder())
    choice = SubsetChoice(count=15, method=method)
    assert ids(other, choice) == ids(collection, choice)


def test_a_condition_narrows_what_is_chosen_from(tmp_path):
    collection = collection_of(tmp_path, circle(0, 10, 40, 70, 90))
    assert ids(collection, SubsetChoice(count=2), where="image_id > 1") == [3, 2]
    chosen = choose_subset(collection, SubsetChoice(count=2), where="image_id > 1")
    assert chosen.summary.n_photos == 3
    assert [photo.image_id for photo in left_out_photos(collection, chosen).photos] == [4]


def test_the_space_can_be_chosen(tmp_path):
    (tmp_path / "photos").mkdir()
    collection = indexed_colours(tmp_path / "photos", tmp_path / "c")
    (tmp_path / "names.txt").write_text("\n".join(COLOURS))
    axes = AxesChoice(tmp_path / "names.txt", n_axes=3)
    spaces: dict[str, Space | AxesChoice | None] = {
        "trunk": "trunk",
        "semantic": axes,
        "clip": None,
    }
    for told, space in spaces.items():
        choice = SubsetChoice(count=3, space=space)
        assert choose_subset(collection, choice).summary.space == told


def test_a_sample_is_drawn_of_a_large_collection(tmp_path, monkeypatch):
    collection = collection_of(tmp_path, clustered_features(300, dimension=FEATURES))
    monkeypatch.setattr("indexer.scoring.coverage.SAMPLE_ROWS", 50)
    found = [
        choose_subset(collection, SubsetChoice(count=9, method="facility-location", seed=seed))
        for seed in (0, 0, 1)
    ]
    assert found[0].summary == found[1].summary
    assert found[0].summary.n_sampled == 50
    assert found[0].cover.chosen.tolist() != found[2].cover.chosen.tolist()


def test_a_large_collection_is_divided_into_cells(tmp_path):
    collection = collection_of(tmp_path, clustered_features(10_200, dimension=FEATURES))
    chosen = choose_subset(collection, SubsetChoice(keep=0.75))
    assert len(chosen.cover.chosen) == 7650
    assert chosen.summary.n_cells is not None
    assert 50 < chosen.summary.n_cells <= 101
    assert chosen.summary.coverage is not None
    assert chosen.summary.random_coverage is not None
    gained = chosen.summary.coverage.lowest_similarity
    gained -= chosen.summary.random_coverage.lowest_similarity
    assert gained > 0.1
    with pytest.raises(InputError, match="semdedup cannot leave so few photos: one of each of"):
        choose_subset(collection, SubsetChoice(keep=0.001))


def test_photos_removed_meanwhile_are_left_out(tmp_path):
    collection = collection_of(tmp_path, circle(0, 10, 40, 70, 90))
    chosen = choose_subset(collection, SubsetChoice(count=3))
    collection.store.delete_images(np.array([1, 4]))
    photos = chosen_photos(collection, chosen).photos
    assert [(photo.rank, photo.image_id) for photo in photos] == [(1, 2), (3, 0)]
    assert [photo.image_id for photo in left_out_photos(collection, chosen).photos] == [3]


def test_vectors_without_photos_can_be_chosen_from(tmp_path):
    vectors = circle(0, 10, 40, 70, 90)
    np.savez(tmp_path / "v.npz", vectors=vectors, names=["a", "b", "c", "d", "e"])
    settings = Settings(collection=str(tmp_path / "c"))
    import_vectors(
        [tmp_path / "v.npz"], settings=settings, choice=ImportChoice(), report=lambda _: None
    )
    collection = open_collection(settings)
    listed = chosen_photos(collection, choose_subset(collection, SubsetChoice(count=3)))
    assert [photo.path for photo in listed.photos] == ["c", "e", "a"]
    assert nul_separated_paths(listed) == b"c\0e\0a\0"
    with pytest.raises(UnsupportedSpaceError):
        choose_subset(collection, SubsetChoice(count=3, space="trunk"))


# Files for other programs


def test_lists_are_exported(tmp_path):
    collection = collection_of(tmp_path, circle(0, 10, 40, 70, 90))
    chosen = choose_subset(collection, SubsetChoice(count=3))
    kept, left_out = chosen_photos(collection, chosen), left_out_photos(collection, chosen)
    export_subset(kept, tmp_path / "kept.parquet")
    table = parquet.read_table(tmp_path / "kept.parquet")
    assert table.schema == CHOSEN_SCHEMA
    assert table.to_pylist() == [photo.model_dump() for photo in kept.photos]
    export_subset(left_out, tmp_path / "rest.csv")
    table = csv.read_csv(tmp_path / "rest.csv")
    assert table.column_names == LEFT_OUT_SCHEMA.names
    assert table.to_pylist() == [photo.model_dump() for photo in left_out.photos]
    export_subset(left_out, tmp_path / "rest.jsonl")
    lines = (tmp_path / "rest.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == table.to_pylist()
    with pytest.raises(InputError, match=r"cannot export to .*list\.txt"):
        export_subset(kept, tmp_path / "list.txt")


def test_paths_are_separated_by_nul_as_the_file_system_knows_them(tmp_path):
    paths = ["a b.jpg", "line\nbreak.jpg", "latin-\U0010ffe9.jpg"]
    collection = collection_of(tmp_path, circle(0, 30, 80), path=paths)
    listed = chosen_photos(collection, choose_subset(collection, SubsetChoice(count=3)))
    expected = {b"/photos/a b.jpg", b"/photos/line\nbreak.jpg", b"/photos/latin-\xe9.jpg"}
    assert set(nul_separated_paths(listed).split(b"\0")[:-1]) == expected


# What is refused


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (SubsetChoice(), "give either a number of photos or a share to keep"),
        (SubsetChoice(count=1, keep=0.5), "give either a number of photos or a share to keep"),
        (SubsetChoice(count=0), "the number of photos must be at least 1, got 0"),
        (SubsetChoice(keep=0.0), "the share to keep must be above 0 and at most 1, got 0"),
        (SubsetChoice(keep=1.5), "the share to keep must be above 0 and at most 1, got 1.5"),
    ],
)
def test_choices_out_of_range_are_refused(tmp_path, choice, message):
    with pytest.raises(InputError, match=message):
        choose_subset(collection_of(tmp_path, circle(0)), choice)


def test_nothing_to_choose_from_is_refused(tmp_path):
    collection = collection_of(tmp_path, circle(0, 1))
    with pytest.raises(InputError, match="no photo matches, so there is nothing to choose from"):
        choose_subset(collection, SubsetChoice(count=1), where="image_id > 5")
    with pytest.raises(FilterError, match="nosuch"):
        choose_subset(collection, SubsetChoice(count=1), where="nosuch = 1")

"""Labels of coloured pictures, and of made-up vectors."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.lock import writer_lock
from indexer.scoring.classification import (
    calibration,
    classify,
    discriminant_classifier,
    prototype_classifier,
    scaled,
)
from indexer.settings import Settings
from indexer.store import local_directory
from schemas.errors import FilterError, InputError, LockedError
from service.axes import AxesChoice
from service.collection import Collection
from service.labels import Labelling, clear_labels, label_photos
from service.search import parse_query, search
from service.vectors import space_vectors
from tests.fakes import COLOURS, FEATURES, FakeEncoder
from tests.makers.libraries import indexed_colours
from tests.makers.stores import image_rows, new_store

WARM_OR_COLD = {"red": "warm", "yellow": "warm", "green": "cold", "blue": "cold"}


@pytest.fixture
def collection(tmp_path):
    """Photos of six colours."""
    (tmp_path / "photos").mkdir()
    return indexed_colours(tmp_path / "photos", tmp_path / "c")


@pytest.fixture
def examples(tmp_path):
    """A folder of photos outside the collection: three shades of each label."""
    for name, label in WARM_OR_COLD.items():
        for shade in (250, 235, 220):
            colour = tuple(min(value, shade) for value in COLOURS[name])
            path = tmp_path / "examples" / label / f"{name}-{shade}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), colour).save(path)
    return str(tmp_path / "examples")


def clusters(seed, n_images, *, n_classes=3, spread=0.5):
    """Features around a centre per class, and the class of each."""
    generator = np.random.default_rng(seed)
    centres = 2 * np.random.default_rng(0).standard_normal((n_classes, FEATURES))
    class_of = np.arange(n_images) % n_classes
    features = centres[class_of] + spread * generator.standard_normal((n_images, FEATURES))
    return features.astype(np.float16).astype(np.float32), class_of


@pytest.fixture
def vectors(tmp_path):
    """A collection of 300 vectors in three clusters; rows of three labels are told in `camera`."""
    features, class_of = clusters(1, 300)
    store = new_store(tmp_path / "c")
    cameras = [f"class {label}" if row < 30 else None for row, label in enumerate(class_of)]
    store.append_images(image_rows(store, features, camera=cameras))
    return Collection(store, Settings(collection=store.uri), FakeEncoder())


def labels_in(collection, where=None):
    rows = collection.store.images(["image_id", "path", "label", "label_confidence"], where)
    return {
        Path(row["path"]).stem: (row["label"], row["label_confidence"])
        for row in rows.sort_by("image_id").to_pylist()
    }


def label_of(collection):
    return {name: label for name, (label, _) in labels_in(collection).items()}


@pytest.mark.parametrize("classifier", ["prototype", "lda"])
def test_photos_are_labelled_like_examples_in_folders(collection, examples, classifier):
    summary = label_photos(collection, examples, how=Labelling(classifier, "clip"))
    assert {name: label_of(collection)[name] for name in WARM_OR_COLD} == WARM_OR_COLD
    counts = [(found.label, found.n_examples) for found in summary.labels]
    assert counts == [("cold", 6), ("warm", 6)]
    assert sum(found.n_photos for found in summary.labels) == summary.n_photos == 6
    assert (summary.space, summary.classifier, summary.n_unlabelled) == ("clip", classifier, 0)
    assert (summary.n_held_out, summary.held_out_accuracy) == (12, 1.0)


@pytest.mark.parametrize(
    ("classifier", "make_classifier"),
    [("prototype", prototype_classifier), ("lda", discriminant_classifier)],
)
@pytest.mark.parametrize("space", ["clip", "isoclip", "trunk"])
def test_labels_and_confidences_are_those_of_the_classifier(
    vectors, classifier, make_classifier, space
):
    how = Labelling(classifier, space)
    summary = label_photos(vectors, "column:camera", how=how)
    _, placed = space_vectors(vectors, vectors.space_map(space))
    known = slice(0, 30), np.arange(30) % 3
    held_out = calibration(placed[known[0]], known[1], make_classifier=make_classifier)
    expected = classify(placed, scaled(make_classifier(placed[known[0]], known[1]), held_out.scale))
    written = list(labels_in(vectors).values())
    assert [label for label, _ in written] == [f"class {label}" for label in expected.classes]
    np.testing.assert_allclose(
        [confidence for _, confidence in written], expected.confidences, atol=1e-5
    )
    assert summary.held_out_accuracy == held_out.accuracy
    assert all(0 < confidence <= 1 for _, confidence in written)


def test_the_semantic_space_can_be_chosen(collection, examples, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(COLOURS))
    axes = AxesChoice(tmp_path / "names.txt", n_axes=3, is_centred=True)
    summary = label_photos(collection, examples, how=Labelling(space=axes))
    assert summary.space == "semantic"
    assert {name: label_of(collection)[name] for name in WARM_OR_COLD} == WARM_OR_COLD


def test_the_default_space_is_that_of_the_model(collection, examples):
    assert label_photos(collection, examples, how=Labelling()).space == "clip"


def test_examples_in_a_file_may_be_one_for_each_label(collection, tmp_path):
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), ("red.png", "r"), ("blue.png", "b")])
    summary = label_photos(collection, str(tmp_path / "labels.csv"), how=Labelling())
    assert (summary.n_held_out, summary.held_out_accuracy) == (0, None)
    found = label_of(collection)
    assert (found["red"], found["yellow"], found["blue"]) == ("r", "r", "b")


def test_the_search_filters_know_labels(collection, examples):
    label_photos(collection, examples, how=Labelling())
    query = [parse_query("green")]
    found = search(collection, query, where="label = 'warm' and label_confidence > 0.8")
    # White is as far from both warm colours; from the mean of green and blue it leads away.
    assert {Path(hit.path).stem for hit in found.hits} == {"red", "yellow", "white"}
    assert search(collection, query, where="label_confidence > 1").hits == []


def test_an_example_is_labelled_as_it_looks(vectors):
    ids = vectors.store.images(["image_id"], "image_id < 60").sort_by("image_id")["image_id"]
    given = [f"class {image_id % 3}" for image_id in ids.to_pylist()]
    given[0] = "class 2"
    source = Path(vectors.store.uri).parent / "labels.csv"
    with source.open("w", newline="") as file:
        rows = zip(ids.to_pylist(), given, strict=True)
        csv.writer(file).writerows([("image_id", "label"), *rows])
    label_photos(vectors, str(source), how=Labelling())
    assert labels_in(vectors, "image_id = 0") == {"00000": ("class 0", pytest.approx(1, abs=0.2))}


def test_a_photo_less_sure_has_no_label_but_keeps_its_confidence(vectors):
    label_photos(vectors, "column:camera", how=Labelling())
    every = labels_in(vectors)
    threshold = float(np.median([confidence for _, confidence in every.values()]))
    summary = label_photos(vectors, "column:camera", how=Labelling(min_confidence=threshold))
    some = labels_in(vectors)
    for name, (label, confidence) in every.items():
        assert some[name] == (label if confidence >= threshold else None, confidence)
    assert 0 < summary.n_unlabelled < 300
    assert summary.n_unlabelled == sum(label is None for label, _ in some.values())
    assert summary.n_photos == 300


def test_only_photos_that_match_are_labelled(vectors):
    summary = label_photos(vectors, "column:camera", how=Labelling(), where="image_id >= 290")
    labelled = labels_in(vectors, "label is not null")
    assert summary.n_photos == len(labelled) == 10
    assert sum(found.n_examples for found in summary.labels) == 30


def test_labels_of_others_stay(vectors):
    label_photos(vectors, "column:camera", how=Labelling())
    before = labels_in(vectors)
    how = Labelling("lda", "trunk", min_confidence=1.0)
    label_photos(vectors, "column:camera", how=how, where="image_id < 5")
    after = labels_in(vectors)
    names = list(before)
    assert [after[name] for name in names[5:]] == [before[name] for name in names[5:]]


def test_nothing_matches_nothing_changes(vectors):
    version = vectors.store.version
    summary = label_photos(vectors, "column:camera", how=Labelling(), where="image_id < 0")
    assert (summary.n_photos, [found.n_photos for found in summary.labels]) == (0, [0, 0, 0])
    assert vectors.store.version == version


def test_small_blocks_give_the_same_labels(vectors, monkeypatch):
    label_photos(vectors, "column:camera", how=Labelling("lda"))
    before = labels_in(vectors)
    monkeypatch.setattr("indexer.store.READ_ROWS", 7)
    label_photos(vectors, "column:camera", how=Labelling("lda"))
    assert labels_in(vectors) == before


def test_labelling_changes_nothing_else(vectors):
    columns = [name for name in vectors.store.image_columns.names if "label" not in name]
    before = vectors.store.images(columns).sort_by("image_id")
    label_photos(vectors, "column:camera", how=Labelling())
    assert vectors.store.images(columns).sort_by("image_id").equals(before)


def test_labels_are_cleared(vectors):
    how = Labelling(min_confidence=0.9)
    label_photos(vectors, "column:camera", how=how)
    assert clear_labels(vectors, where="image_id < 100").n_cleared == 100
    assert vectors.store.count_images("label_confidence is null") == 100
    assert clear_labels(vectors).n_cleared == 200
    assert set(labels_in(vectors).values()) == {(None, None)}
    version = vectors.store.version
    assert clear_labels(vectors).n_cleared == 0
    assert vectors.store.version == version


# What is refused


def test_one_label_only_is_refused(collection, examples):
    with pytest.raises(InputError, match=r"all examples in .* label 'warm'; give examples of at"):
        label_photos(collection, one_label(examples), how=Labelling())


def one_label(examples):
    for path in Path(examples, "cold").iterdir():
        path.unlink()
    return examples


def test_a_discriminant_of_single_examples_is_refused(collection, tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\nred.png,r\nblue.png,b\n")
    with pytest.raises(InputError, match=r"labels.csv has two different examples.*prototype"):
        label_photos(collection, str(tmp_path / "labels.csv"), how=Labelling("lda"))


def test_a_bad_filter_is_refused(vectors):
    with pytest.raises(FilterError, match="nosuch"):
        label_photos(vectors, "column:camera", how=Labelling(), where="nosuch = 1")
    with pytest.raises(FilterError, match="nosuch"):
        clear_labels(vectors, where="nosuch = 1")


def test_another_writer_is_waited_for(vectors):
    with writer_lock(local_directory(vectors.store.uri)), pytest.raises(LockedError):
        label_photos(vectors, "column:camera", how=Labelling())
    assert vectors.store.count_images("label is not null") == 0

"""Labels of photos, from everywhere they can come from."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from schemas.errors import FilterError, InputError
from service.examples import Labels, labelled_vectors, read_labels
from tests.makers.libraries import indexed_colours

# The ids follow the names of the files.
IDS = {"black": 0, "blue": 1, "green": 2, "red": 3, "white": 4, "yellow": 5}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tmp_path_factory.mktemp("library") / "colours"


@pytest.fixture(scope="module")
def collection(photos, tmp_path_factory):
    photos.mkdir()
    return indexed_colours(photos, tmp_path_factory.mktemp("collection"))


def label_of_id(found):
    assert found.outside == ()
    return dict(zip(found.image_ids.tolist(), found.labels, strict=True))


@pytest.mark.parametrize("extension", ["csv", "tsv", "jsonl", "parquet"])
def test_labels_come_from_files_of_every_kind(collection, photos, tmp_path, extension):
    rows = [
        {"path": str(photos / "red.png"), "label": "warm"},
        {"path": str(photos / "blue.png"), "label": "cold"},
    ]
    file = tmp_path / f"labels.{extension}"
    if extension == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), file)
    elif extension == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [[*rows[0]], *[list(row.values()) for row in rows]]
        file.write_text("\n".join({"csv": ",", "tsv": "\t"}[extension].join(x) for x in lines))
    found = read_labels(collection, str(file))
    assert label_of_id(found) == {IDS["red"]: "warm", IDS["blue"]: "cold"}


def test_paths_may_be_relative_to_an_indexed_folder(collection, tmp_path):
    (tmp_path / "l.csv").write_text("path,label\nred.png,warm\n")
    assert label_of_id(read_labels(collection, str(tmp_path / "l.csv"))) == {IDS["red"]: "warm"}


def test_paths_may_be_relative_to_the_file(collection, photos):
    file = photos.parent / "l.csv"
    file.write_text("path,label\ncolours/red.png,warm\n")
    assert label_of_id(read_labels(collection, str(file))) == {IDS["red"]: "warm"}


def test_labels_may_go_by_id_and_numbers_stay_text(collection, tmp_path):
    (tmp_path / "l.csv").write_text("image_id,label\n3,007\n1,8\n")
    assert label_of_id(read_labels(collection, str(tmp_path / "l.csv"))) == {3: "007", 1: "8"}


def test_photos_without_a_label_are_left_out(collection, tmp_path):
    (tmp_path / "l.csv").write_text("image_id,label\n3,warm\n1,\n")
    assert label_of_id(read_labels(collection, str(tmp_path / "l.csv"))) == {3: "warm"}


def test_a_photo_on_disk_need_not_be_in_the_collection(collection, tmp_path):
    Image.new("RGB", (40, 40), (250, 0, 0)).save(tmp_path / "new.png")
    (tmp_path / "l.csv").write_text("path,label\nnew.png,warm\nred.png,warm\n")
    found = read_labels(collection, str(tmp_path / "l.csv"))
    assert found.outside == ((tmp_path / "new.png", "warm"),)
    assert found.image_ids.tolist() == [IDS["red"]]
    vectors = labelled_vectors(collection, found, collection.space_map("clip"))
    assert vectors.image_ids.tolist() == [IDS["red"], -1]
    assert vectors.labels == ("warm", "warm")
    red = np.tile([1, -1, -1], 4) / np.sqrt(12)
    np.testing.assert_allclose(vectors.vectors, [red, red], atol=0.01)


def test_a_folder_labels_by_its_folders(collection, photos, tmp_path):
    for label, names in {"warm": ["red", "yellow"], "cold": ["blue"]}.items():
        (tmp_path / label / "deeper").mkdir(parents=True)
        for name in names:
            shutil.copy(photos / f"{name}.png", tmp_path / label / "deeper")
    shutil.copy(photos / "white.png", tmp_path)  # in no label's folder
    found = read_labels(collection, str(tmp_path))
    assert len(found.image_ids) == 0
    assert {(path.stem, label) for path, label in found.outside} == {
        ("red", "warm"),
        ("yellow", "warm"),
        ("blue", "cold"),
    }


def test_photos_of_an_indexed_folder_are_not_encoded_again(collection, photos):
    found = read_labels(collection, str(photos.parent))
    assert label_of_id(found) == dict.fromkeys(range(6), "colours")


def test_a_photo_that_changed_since_is_encoded_again(tmp_path):
    (tmp_path / "photos" / "colours").mkdir(parents=True)
    collection = indexed_colours(tmp_path / "photos" / "colours", tmp_path / "c")
    os.utime(tmp_path / "photos" / "colours" / "red.png", (1, 1))
    found = read_labels(collection, str(tmp_path / "photos"))
    assert found.outside == ((tmp_path / "photos" / "colours" / "red.png", "colours"),)
    assert len(found.image_ids) == 5


def test_stored_photos_are_labelled_by_the_folder_they_lie_in(collection):
    assert label_of_id(read_labels(collection, "folders")) == dict.fromkeys(range(6), "colours")


def test_a_column_gives_labels(collection):
    assert label_of_id(read_labels(collection, "column:format")) == dict.fromkeys(range(6), "PNG")


def test_a_condition_selects_among_the_photos_of_the_collection(collection):
    found = read_labels(collection, "column:format", where="image_id < 2")
    assert label_of_id(found) == {0: "PNG", 1: "PNG"}


def test_vectors_come_in_the_order_of_the_labels(collection, tmp_path):
    (tmp_path / "l.csv").write_text("image_id,label\n5,e\n0,a\n3,c\n")
    found = read_labels(collection, str(tmp_path / "l.csv"))
    vectors = labelled_vectors(collection, found, collection.space_map("clip"))
    assert vectors.labels == ("e", "a", "c")
    signs = np.sign(vectors.vectors[:, :3])
    np.testing.assert_array_equal(signs, [[1, 1, -1], [-1, -1, -1], [1, -1, -1]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\nnone.png,a\n", r"1 photos that are neither in the collection nor on disk: n"),
        ("image_id,label\n77,a\n", r"1 image ids that the collection does not have, 77 among them"),
        ("image_id,label\nx,a\n", "image_id that is no whole number"),
        ("path,class\nred.png,a\n", "has the columns path, class; it needs label"),
        ("label\na\n", "has the columns label; it needs label, and path or image_id"),
        ("path,label\nred.png,\n", "gives no photo a label"),
        ("", "cannot read .* as .csv: empty"),
    ],
)
def test_files_that_cannot_be_used_are_refused(collection, tmp_path, content, message):
    (tmp_path / "l.csv").write_text(content)
    with pytest.raises(InputError, match=f"(?i){message}"):
        read_labels(collection, str(tmp_path / "l.csv"))


def test_a_path_that_two_folders_have_is_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        indexed_colours(tmp_path / name, tmp_path / "c")
        Image.new("RGB", (9, 9), "red").save(tmp_path / name / "x.png")
        collection = indexed_colours(tmp_path / name, tmp_path / "c")
    (tmp_path / "l.csv").write_text("path,label\nx.png,warm\n")
    with pytest.raises(InputError, match=r"names x\.png, which lies in more than one indexed"):
        read_labels(collection, str(tmp_path / "l.csv"))


def test_sources_that_do_not_exist_are_refused_with_the_ways_that_do(collection, tmp_path):
    with pytest.raises(InputError, match=r"none does not exist; give a folder with one folder per"):
        read_labels(collection, str(tmp_path / "none"))
    with pytest.raises(InputError, match="has no column 'colour'; it has image_id, root, path"):
        read_labels(collection, "column:colour")
    with pytest.raises(InputError, match="the column 'embedding' holds no labels"):
        read_labels(collection, "column:embedding")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no photos in folders of their own"):
        read_labels(collection, str(tmp_path / "empty"))
    (tmp_path / "l.txt").write_text("words")
    with pytest.raises(InputError, match=r"cannot read .*\.txt; its name must end with \.csv"):
        read_labels(collection, str(tmp_path / "l.txt"))
    with pytest.raises(FilterError):
        read_labels(collection, "folders", where="no such")


def test_a_photo_that_was_removed_meanwhile_is_told(collection):
    gone = Labels(np.array([0, 77]), ("a", "b"))
    with pytest.raises(InputError, match="removed from the collection meanwhile; run it again"):
        labelled_vectors(collection, gone, collection.space_map("clip"))


def test_an_outside_photo_that_is_broken_is_named(collection, tmp_path):
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    found = read_labels(collection, str(tmp_path))
    assert found.outside == ((Path(tmp_path, "dog", "a.jpg"), "dog"),)
    with pytest.raises(InputError, match=r"dog/a\.jpg "):
        labelled_vectors(collection, found, collection.space_map("clip"))

import json

import pytest

from schemas.errors import InputError
from service.evaluation.caption_files import read_captions
from tests.makers.labelled import labelled_store
from tests.makers.stores import image_rows, new_store, random_features


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Photos red/0.png to blue/5.png, with their numbers as ids."""
    return labelled_store(tmp_path_factory.mktemp("place") / "collection")


def written(path, *lines):
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def read(store, path, split=None):
    found = read_captions(store, path, split=split)
    return found.image_ids.tolist(), list(found.texts), found.n_outside


def test_reads_the_table_of_flickr8k(store, tmp_path):
    path = written(
        tmp_path / "captions.tsv",
        "file\tn\tcaption",
        "0.png\t0\tA red thing .",
        '0.png\t1\tRed , "they" say .',
        "4.png\t0\tGreen",
        "9.png\t0\tGone",
    )
    assert read(store, path) == ([0, 0, 4], ["A red thing .", 'Red , "they" say .', "Green"], 1)


@pytest.mark.parametrize("name", ["red/1.png", "/photos/red/1.png", "./red/1.png", "1.PNG"])
def test_finds_photos_however_they_are_named(store, tmp_path, name):
    path = written(tmp_path / "captions.csv", "path,caption", f"{name},Red")
    assert read(store, path) == ([1], ["Red"], 0)


def test_reads_ids(store, tmp_path):
    path = written(
        tmp_path / "captions.jsonl",
        '{"image_id": 5, "caption": "Blue"}',
        '{"image_id": 77, "caption": "Gone"}',
    )
    assert read(store, path) == ([5], ["Blue"], 1)


def test_a_lone_quotation_mark_is_refused_before_it_swallows_captions(store, tmp_path):
    path = written(
        tmp_path / "captions.tsv", "file\tcaption", '0.png\t"Red , they say .', '1.png\tA "red"'
    )
    with pytest.raises(InputError, match="goes on over the end of its line, after 'Red , they"):
        read(store, path)


def test_captions_without_words_are_left_out(store, tmp_path):
    path = written(tmp_path / "captions.csv", "path,caption", "red/1.png, ", "red/2.png,Red")
    assert read(store, path) == ([2], ["Red"], 0)


class TestKarpathy:
    @pytest.fixture
    def path(self, tmp_path):
        images = [
            {"filename": "0.png", "split": "train", "sentences": [{"raw": "One"}]},
            {
                "filename": "3.png",
                "filepath": "green",
                "split": "test",
                "sentences": [{"raw": "Two"}, {"raw": "Three"}],
            },
        ]
        return written(tmp_path / "dataset.json", json.dumps({"images": images}))

    def test_reads_all_sentences(self, store, path):
        assert read(store, path) == ([0, 3, 3], ["One", "Two", "Three"], 0)

    def test_reads_one_split(self, store, path):
        assert read(store, path, split="test") == ([3, 3], ["Two", "Three"], 0)

    def test_refuses_a_split_that_is_not_there(self, store, path):
        with pytest.raises(InputError, match="has no split 'dev'; it has test, train"):
            read(store, path, split="dev")

    @pytest.mark.parametrize(
        "text", ["{", "[]", '{"images": [{}]}', '{"images": [{"filename": 3}]}']
    )
    def test_refuses_other_json(self, store, tmp_path, text):
        path = written(tmp_path / "dataset.json", text)
        with pytest.raises(InputError, match=r'is no JSON of the form {"images"'):
            read(store, path)

    def test_refuses_a_file_that_is_not_there(self, store, tmp_path):
        with pytest.raises(InputError, match=r"cannot read .*no such file"):
            read(store, tmp_path / "dataset.json")

    def test_refuses_a_file_without_captions(self, store, tmp_path):
        path = written(tmp_path / "dataset.json", '{"images": []}')
        with pytest.raises(InputError, match="holds no caption"):
            read(store, path)


def test_refuses_other_columns(store, tmp_path):
    path = written(tmp_path / "captions.csv", "photo,words", "1,a")
    with pytest.raises(InputError, match="has the columns photo, words; it needs one of image_id"):
        read(store, path)


def test_refuses_ids_that_are_none(store, tmp_path):
    path = written(tmp_path / "captions.csv", "image_id,caption", "one,Red")
    with pytest.raises(InputError, match="has image_id or caption of another kind"):
        read(store, path)


def test_refuses_a_split_where_none_is_named(store, tmp_path):
    path = written(tmp_path / "captions.csv", "path,caption", "red/1.png,Red")
    with pytest.raises(InputError, match="names no splits; leave out --split"):
        read(store, path, split="test")


def test_refuses_a_name_that_fits_several_photos(tmp_path):
    store = new_store(tmp_path / "collection")
    store.append_images(image_rows(store, random_features(2), path=["a/1.png", "b/1.png"]))
    path = written(tmp_path / "captions.csv", "path,caption", "1.png,Red")
    with pytest.raises(InputError, match=r"names 1.png, which fits 2 photos of the collection"):
        read(store, path)

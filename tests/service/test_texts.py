"""Embeddings of names: encoded once, or read from a file."""

import numpy as np
import pytest

from indexer.settings import Settings
from schemas.errors import InputError, UnknownModelError
from service import texts
from service.collection import Collection
from service.texts import (
    NamedEmbeddings,
    embedded_dictionary,
    embedded_names,
    imagenet_names,
    prompts_of,
    read_named_embeddings,
    read_names,
    text_embeddings,
)
from tests.fakes import FEATURES, FakeEncoder
from tests.makers.stores import new_store


class CountingEncoder(FakeEncoder):
    """Remembers which texts it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def encode_texts(self, texts):
        self.texts += texts
        return super().encode_texts(texts)


@pytest.fixture
def encoder():
    return CountingEncoder()


@pytest.fixture
def collection(tmp_path, encoder):
    store = new_store(tmp_path / "c")
    return Collection(store, Settings(collection=store.uri), encoder)


def saved(path, names, embeddings):
    np.savez(path, names=np.array(names), embeddings=np.array(embeddings))
    return path


def unit_rows(*names):
    return np.eye(FEATURES, dtype=np.float32)[: len(names)]


def test_texts_are_embedded_as_unit_vectors_of_the_clip_space(collection):
    red = np.tile([1, -1, -1], 4) / np.sqrt(FEATURES)
    np.testing.assert_allclose(text_embeddings(collection, ["red"]), [red], atol=1e-6)


def test_a_list_is_encoded_once(collection, encoder):
    first = text_embeddings(collection, ["red", "blue"])
    again = text_embeddings(collection, ["red", "blue"])
    np.testing.assert_array_equal(first, again)
    assert encoder.texts == ["red", "blue"]


def test_another_order_is_another_list(collection):
    one = text_embeddings(collection, ["red", "blue"])
    np.testing.assert_array_equal(text_embeddings(collection, ["blue", "red"]), one[::-1])


def test_another_model_does_not_find_the_list(tmp_path, collection, encoder):
    text_embeddings(collection, ["red"])
    other = new_store(tmp_path / "c2", weights_digest="0" * 64)
    (tmp_path / "c2" / "texts").symlink_to(tmp_path / "c" / "texts")
    text_embeddings(Collection(other, Settings(collection=other.uri), encoder), ["red"])
    assert encoder.texts == ["red", "red"]


def test_a_damaged_list_is_encoded_again(collection, tmp_path, encoder):
    text_embeddings(collection, ["red"])
    next((tmp_path / "c" / "texts").glob("*.npy")).write_bytes(b"cut")
    np.testing.assert_array_equal(
        text_embeddings(collection, ["red"]), text_embeddings(collection, ["red"])
    )
    assert encoder.texts == ["red", "red"]


def test_only_the_latest_lists_are_kept(collection, tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "CACHED_LISTS", 2)
    for name in ("red", "green", "blue"):
        text_embeddings(collection, [name])
    assert len(list((tmp_path / "c" / "texts").iterdir())) == 2


def test_long_lists_are_encoded_in_passes(collection, monkeypatch):
    names = ["red", "green", "blue", "white", "black"]
    whole = text_embeddings(collection, names)
    monkeypatch.setattr(texts, "TEXTS_PER_PASS", 2)
    monkeypatch.setattr(texts, "_read_cached", lambda *_, **__: None)
    np.testing.assert_array_equal(text_embeddings(collection, names), whole)


def test_a_model_known_by_its_vectors_has_no_texts(tmp_path):
    store = new_store(tmp_path / "c", source=None)
    with pytest.raises(UnknownModelError, match="give embeddings of the texts"):
        text_embeddings(Collection(store, Settings(collection=store.uri)), ["red"])


def test_the_template_of_the_model_is_used_unless_another_is_given(collection, encoder):
    embedded_names(collection, ["red"])
    embedded_names(collection, ["red"], template="{} all over")
    assert encoder.texts == ["a photo of red", "red all over"]


def test_labels_written_with_underscores_become_words():
    assert prompts_of(["maple_tree", "T-shirt"], "a {}, a photo of a {}") == [
        "a maple tree, a photo of a maple tree",
        "a T-shirt, a photo of a T-shirt",
    ]


def test_a_template_needs_a_place_for_the_name():
    with pytest.raises(InputError, match=r"'a photo' has no \{\} for the name"):
        prompts_of(["red"], "a photo")


def test_given_embeddings_are_used_instead_of_the_model(collection, tmp_path, encoder):
    path = saved(tmp_path / "e.npz", ["red", "blue"], 3 * unit_rows(0, 1))
    found = embedded_names(collection, ["blue"], given=path)
    assert found.names == ("blue",)
    np.testing.assert_array_equal(found.embeddings, unit_rows(0, 1)[1:])
    assert encoder.texts == []


def test_names_without_a_given_embedding_are_refused(collection, tmp_path):
    path = saved(tmp_path / "e.npz", ["red"], unit_rows(0))
    with pytest.raises(InputError, match=r"has no embedding of 'a', 'b', 'c', 'd', 'e' and others"):
        embedded_names(collection, list("abcdef"), given=path)


def test_the_dictionary_is_that_of_imagenet_by_default(collection, encoder):
    found = embedded_dictionary(collection, names=None, template=None, given=None)
    assert found.names == imagenet_names(synonyms=True)
    assert encoder.texts[0] == "a photo of tench"


def test_the_dictionary_can_be_a_file_of_names(collection, tmp_path):
    (tmp_path / "d.txt").write_text("red\nblue\n")
    found = embedded_dictionary(collection, names=tmp_path / "d.txt", template=None, given=None)
    assert found.names == ("red", "blue")


def test_the_dictionary_can_be_a_file_of_embeddings(collection, tmp_path):
    path = saved(tmp_path / "e.npz", ["red", "blue"], unit_rows(0, 1))
    found = embedded_dictionary(collection, names=None, template=None, given=path)
    assert found.names == ("red", "blue")
    (tmp_path / "d.txt").write_text("blue\n")
    some = embedded_dictionary(collection, names=tmp_path / "d.txt", template=None, given=path)
    assert some.names == ("blue",)


def test_the_imagenet_names_are_those_of_its_classes():
    first, every = imagenet_names(synonyms=False), imagenet_names(synonyms=True)
    assert (len(first), len(every)) == (998, 1842)
    assert first[0] == "tench"
    assert every[1] == "Tinca tinca"
    assert set(first) <= set(every)


def test_names_are_read_one_a_line(tmp_path):
    (tmp_path / "n.txt").write_text("\ufeff# things\nred\n\n  a blue one \r\nred\n", "utf-8")
    assert read_names(tmp_path / "n.txt") == ("red", "a blue one")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"# nothing\n", "holds no name"), (b"\xff\xfe\x00", "is no UTF-8 text")],
)
def test_files_without_names_are_refused(tmp_path, content, message):
    (tmp_path / "n.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_names(tmp_path / "n.txt")


@pytest.mark.parametrize("read", [read_names, lambda path: read_named_embeddings(path, dim=2)])
def test_files_that_do_not_exist_are_named(tmp_path, read):
    with pytest.raises(InputError, match=r"cannot read .*/none: no such file or directory"):
        read(tmp_path / "none")


def test_given_embeddings_become_unit_length(tmp_path):
    path = saved(tmp_path / "e.npz", ["a", "b"], [[3, 4], [0, 2]])
    found = read_named_embeddings(path, dim=2)
    assert isinstance(found, NamedEmbeddings)
    np.testing.assert_allclose(found.embeddings, np.array([[0.6, 0.8], [0, 1]]), rtol=1e-6)
    assert found.embeddings.dtype == np.float32


@pytest.mark.parametrize(
    ("names", "embeddings", "message"),
    [
        (["a"], [[1, 2], [3, 4]], r"1 names and embeddings of shape \(2, 2\)"),
        (["a"], [[1, 2, 3]], r"needs \(names, 2\)"),
        ([], np.empty((0, 2)), "has 0 names"),
        (["a", "a"], [[1, 2], [3, 4]], "'a' more than once"),
        (["a", "b"], [[1, 2], [0, 0]], "'b' that is zero or not finite"),
        (["a", "b"], [[np.nan, 2], [0, 1]], "'a' that is zero or not finite"),
    ],
)
def test_embeddings_that_cannot_be_used_are_refused(tmp_path, names, embeddings, message):
    path = saved(tmp_path / "e.npz", names, embeddings)
    with pytest.raises(InputError, match=message):
        read_named_embeddings(path, dim=2)


def test_files_that_are_no_npz_are_refused(tmp_path):
    (tmp_path / "e.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "other.npz", vectors=np.eye(2))
    np.save(tmp_path / "plain.npy", np.eye(2))
    np.savez(tmp_path / "objects.npz", names=np.array([{}]), embeddings=np.eye(1))
    for name in ("e.npz", "other.npz", "plain.npy", "objects.npz"):
        with pytest.raises(InputError, match="no NPZ file with `names`"):
            read_named_embeddings(tmp_path / name, dim=2)

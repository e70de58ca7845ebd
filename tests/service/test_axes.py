"""The space `semantic` of a collection of coloured pictures."""

import numpy as np
import pytest

from indexer.scoring.semantic_axes import semantic_axes
from indexer.scoring.similarity import normalised
from indexer.settings import Settings
from schemas.errors import InputError, UnknownModelError
from service.axes import AxesChoice
from service.collection import Collection
from service.texts import embedded_names, imagenet_names
from service.vectors import space_vectors
from tests.fakes import FEATURES
from tests.makers.libraries import indexed_colours
from tests.makers.stores import new_store, random_features

NAMES = ("red", "green", "blue", "yellow")


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return indexed_colours(tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("c"))


@pytest.fixture
def names_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES))
    return path


@pytest.fixture
def embeddings_file(tmp_path):
    """Random embeddings of the names and one more, of any length."""
    path = tmp_path / "embeddings.npz"
    np.savez(path, names=[*NAMES, "grey"], embeddings=random_features(5, seed=3))
    return path


def axes_of_names(collection, names=NAMES, **given):
    return semantic_axes(embedded_names(collection, names, **given).embeddings)


def test_names_in_a_file_span_the_axes(collection, names_file):
    placed = collection.space_map("semantic", AxesChoice(names_file))
    expected = axes_of_names(collection)
    np.testing.assert_array_equal(placed.axes, expected.axes)
    assert (placed.space, placed.text_centre, placed.needs_centre) == ("semantic", None, False)


def test_the_default_names_are_the_first_of_each_imagenet_class(collection):
    placed = collection.space_map("semantic")
    expected = axes_of_names(collection, imagenet_names(synonyms=False))
    np.testing.assert_array_equal(placed.axes, expected.axes)


def test_the_models_template_is_around_each_name(collection, names_file):
    asked = []

    class Listening:
        def __getattr__(self, name):
            return getattr(collection.encoder, name)

        def encode_texts(self, texts):
            asked.extend(texts)
            return collection.encoder.encode_texts(texts)

    names_file.write_text("red\nviolet\nmauve")
    listening = Collection(collection.store, collection.settings, Listening())
    listening.space_map("semantic", AxesChoice(names_file, n_axes=1))
    assert asked == ["a photo of red", "a photo of violet", "a photo of mauve"]


def test_given_embeddings_span_the_axes_without_the_model(names_file, embeddings_file, tmp_path):
    store = new_store(tmp_path / "c", features=random_features(4), source=None)
    unknown = Collection(store, Settings(collection=store.uri))
    rows = normalised(random_features(5, seed=3))
    chosen = unknown.space_map("semantic", AxesChoice(names_file, embeddings_file))
    np.testing.assert_array_equal(chosen.axes, semantic_axes(rows[:4]).axes)
    every = unknown.space_map("semantic", AxesChoice(label_embeddings=embeddings_file))
    np.testing.assert_array_equal(every.axes, semantic_axes(rows).axes)
    with pytest.raises(UnknownModelError, match=r"known by its vectors only.*give embeddings"):
        unknown.space_map("semantic", AxesChoice(names_file))


def test_the_number_of_axes_is_a_choice(collection, embeddings_file):
    for n_axes, expected in [(None, 4), (1, 1), (3, 3)]:
        choice = AxesChoice(label_embeddings=embeddings_file, n_axes=n_axes)
        assert len(collection.space_map("semantic", choice).axes) == expected


def test_more_axes_than_names_span_are_refused(collection, embeddings_file):
    choice = AxesChoice(label_embeddings=embeddings_file, n_axes=5)
    expected = "only 4 axes can be made of 5 class names, not 5; ask for fewer components"
    with pytest.raises(InputError, match=expected):
        collection.space_map("semantic", choice)


@pytest.mark.parametrize(
    ("names", "told"), [("red", "1 class name"), ("sofa\ntable\nchair", "3 class names")]
)
def test_names_that_do_not_differ_are_refused(collection, names_file, names, told):
    names_file.write_text(names)
    with pytest.raises(InputError, match=f"no axis can be made of {told}; give at least two that"):
        collection.space_map("semantic", AxesChoice(names_file))


def test_centring_takes_the_mean_of_each_kind(collection, embeddings_file):
    choice = AxesChoice(label_embeddings=embeddings_file, is_centred=True)
    placed = collection.space_map("semantic", choice)
    rows = normalised(random_features(5, seed=3))
    np.testing.assert_allclose(placed.text_centre, rows.mean(axis=0), atol=1e-6)
    _, embeddings = space_vectors(collection, collection.space_map("clip"))
    _, vectors = space_vectors(collection, placed)
    expected = normalised((embeddings - embeddings.mean(axis=0)) @ placed.axes.T)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    gallery = collection.gallery("semantic", choice)
    np.testing.assert_allclose(gallery.space_map.centre, embeddings.mean(axis=0), atol=1e-5)


def test_galleries_of_other_axes_do_not_collide(collection, names_file, embeddings_file):
    choices = [
        AxesChoice(names_file),
        AxesChoice(names_file, n_axes=1),
        AxesChoice(names_file, is_centred=True),
        AxesChoice(label_embeddings=embeddings_file),
    ]
    galleries = [collection.gallery("semantic", choice) for choice in choices]
    assert len({gallery.space_map.digest for gallery in galleries}) == len(choices)
    again = [collection.gallery("semantic", choice) for choice in choices]
    assert all(first is second for first, second in zip(galleries, again, strict=True))


def test_no_choice_is_the_default_choice(collection):
    gallery = collection.gallery("semantic")
    assert collection.gallery("semantic", AxesChoice()) is gallery


def test_other_spaces_have_no_axes(collection, names_file):
    placed = collection.space_map("clip", AxesChoice(names_file))
    assert placed.axes is None
    gallery = collection.gallery("trunk", AxesChoice(names_file))
    assert gallery is collection.gallery("trunk")
    assert len(gallery.space_map.image_vectors(random_features(1))[0]) == FEATURES

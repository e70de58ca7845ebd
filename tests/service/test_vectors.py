import numpy as np
import pytest

from indexer.encoders.encoder import Projectors
from indexer.scoring.similarity import normalised
from indexer.settings import Settings
from schemas.errors import FilterError, InputError
from service.collection import Collection
from service.vectors import encoded_vectors, space_vectors
from tests.fakes import FEATURES, FakeEncoder
from tests.makers.libraries import indexed_colours
from tests.makers.stores import new_store, random_features


@pytest.fixture
def features():
    return random_features(30)


@pytest.fixture
def collection(tmp_path, features):
    store = new_store(tmp_path / "c", features=features)
    return Collection(store, Settings(collection=store.uri), FakeEncoder())


def test_vectors_come_as_units_in_the_order_of_ids(collection, features):
    image_ids, vectors = space_vectors(collection, collection.space_map("clip"))
    np.testing.assert_array_equal(image_ids, np.arange(30))
    np.testing.assert_allclose(vectors, normalised(features), atol=1e-6)


def test_a_condition_selects(collection):
    image_ids, vectors = space_vectors(
        collection, collection.space_map("clip"), where="image_id > 27 or image_id = 2"
    )
    assert image_ids.tolist() == [2, 28, 29]
    assert vectors.shape == (3, FEATURES)


def test_the_centre_is_that_of_the_whole_collection(collection, features):
    _, vectors = space_vectors(collection, collection.space_map("trunk"), where="image_id = 3")
    expected = normalised(features[3] - features.mean(axis=0))
    np.testing.assert_allclose(vectors[0], expected, atol=1e-5)


def test_nothing_selected_is_an_empty_matrix_of_the_right_width(tmp_path):
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(2, 5, FEATURES)).astype(np.float32)
    store = new_store(
        tmp_path / "c",
        projectors=Projectors(weights[0], weights[1]),
        features=random_features(3),
        model=FakeEncoder().description.model_copy(update={"embedding_dim": 5}),
    )
    collection = Collection(store, Settings(collection=store.uri))
    image_ids, vectors = space_vectors(
        collection, collection.space_map("clip"), where="image_id < 0"
    )
    assert (image_ids.shape, vectors.shape) == ((0,), (0, 5))


def test_a_condition_that_is_none_is_refused(collection):
    with pytest.raises(FilterError):
        space_vectors(collection, collection.space_map("clip"), where="no such")


def test_files_get_the_vectors_that_indexing_gives_them(tmp_path):
    (tmp_path / "photos").mkdir()
    collection = indexed_colours(tmp_path / "photos", tmp_path / "c")
    space_map = collection.space_map("clip")
    paths = sorted((tmp_path / "photos").iterdir())
    stored = space_vectors(collection, space_map)[1]
    np.testing.assert_allclose(encoded_vectors(collection, paths, space_map), stored, atol=1e-3)
    assert encoded_vectors(collection, [], space_map).shape == (0, FEATURES)


def test_a_file_that_is_no_photo_is_named(collection, tmp_path):
    (tmp_path / "a.jpg").write_text("words")
    with pytest.raises(InputError, match=r"a\.jpg .*"):
        encoded_vectors(collection, [tmp_path / "a.jpg"], collection.space_map("clip"))

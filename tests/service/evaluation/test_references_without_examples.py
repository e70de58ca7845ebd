import numpy as np
import pytest

from indexer.scoring.detection import auroc
from indexer.scoring.similarity import normalised
from indexer.settings import Settings
from schemas.errors import InputError
from service.collection import Collection
from service.evaluation.references_without_examples import (
    NAMES_ONLY,
    NOTHING,
    CorrectedScoring,
    neighbours_without_examples,
    references_without_examples,
)
from tests.fakes import COLOURS, FakeEncoder
from tests.makers.stores import new_store

WORDS = ("red", "blue", "green", "yellow", "black")


def texts(*names):
    return normalised(FakeEncoder().encode_texts(names))


def photos_of(names, *, noise=0.2):
    generator = np.random.default_rng(0)
    colours = np.array([np.tile(np.array(COLOURS[name]) / 127.5 - 1, 4) for name in names])
    return normalised((colours + generator.normal(0, noise, colours.shape)).astype(np.float32))


@pytest.fixture
def scoring():
    return CorrectedScoring(texts(*WORDS), external_weight=0.75, k=2)


@pytest.fixture
def collection(tmp_path):
    store = new_store(tmp_path / "c")
    return Collection(store, Settings(collection=str(tmp_path / "c")), FakeEncoder())


def test_names_alone_find_a_few_photos_of_another_class(collection, scoring):
    names = ["red"] * 20 + ["blue"] * 20 + ["green"] * 3
    rate = references_without_examples(collection, scoring)[NAMES_ONLY]
    scores = rate(photos_of(names), texts("red", "blue"))
    assert auroc(scores, np.array(names) == "green") == 1


def test_nothing_does_not_look_at_the_names(collection, scoring):
    photos = photos_of(["red"] * 20 + ["blue"] * 20)
    rate = references_without_examples(collection, scoring)[NOTHING]
    assert np.array_equal(rate(photos, texts("red")), rate(photos, texts("green", "black")))


def test_nothing_needs_a_model_that_embeds_its_names(tmp_path, scoring):
    store = new_store(tmp_path / "i", source=None)
    imported = Collection(store, Settings(collection=str(tmp_path / "i")))
    assert list(references_without_examples(imported, scoring)) == [NAMES_ONLY]


def test_neighbours_leave_out_the_photo_itself():
    photos = photos_of(["red", "red", "blue", "blue", "green"])
    scores = neighbours_without_examples(k=1)(photos, texts("red"))
    for row, photo in enumerate(photos.astype(np.float64)):
        others = [1 - photo @ other for number, other in enumerate(photos) if number != row]
        assert scores[row] == pytest.approx(min(others), abs=1e-6)


def test_more_neighbours_than_photos_are_all_of_them():
    photos = photos_of(["red", "red", "blue"])
    scores = neighbours_without_examples(k=10)(photos, texts("red"))
    assert scores[0] == pytest.approx(1 - photos[0] @ photos[2], abs=1e-6)


def test_photos_that_are_all_the_same_give_no_spread(collection, scoring):
    rate = references_without_examples(collection, scoring)[NAMES_ONLY]
    with pytest.raises(InputError, match="no class of a split gets two photos that differ"):
        rate(photos_of(["red"] * 5, noise=0), texts("red", "blue"))

import numpy as np
import pytest

from indexer.lock import writer_lock
from indexer.references import NeighbourReference, TextReference, load_reference
from indexer.settings import Settings
from indexer.store import open_store
from schemas.anomalies import TextScoring
from schemas.errors import InputError, LockedError, UnknownModelError
from service.anomalies import score_photos
from service.anomaly_references import (
    NeighbourChoice,
    TextChoice,
    fit_reference,
    list_references,
    remove_reference,
)
from service.collection import Collection
from service.normal_photos import ANOMALY_TEMPLATE, NormalChoice
from tests.makers.shades import copied_shades, indexed_shades
from tests.makers.stores import described, new_store, random_features, random_projectors

REDS = NormalChoice(examples="folders", where="path like 'red%' or path like 'blue%'")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Twelve reds and blues and a green one."""
    folder = tmp_path_factory.mktemp("shades")
    return indexed_shades(folder / "photos", folder / "c")


@pytest.fixture
def shades(template, tmp_path):
    """A copy that a test may change."""
    return copied_shades(template, tmp_path / "c")


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("red\ngreen\nblue\nyellow\nwhite\nblack")
    return path


def fitted(collection, words, name="usual", normal=REDS, **options):
    scoring = TextChoice(dictionary=words, **{"neighbours": 2, **options})
    return fit_reference(collection, name, normal=normal, scoring=scoring)


def scored(collection, name):
    return score_photos(collection, name, report=lambda _: None)


def test_what_a_reference_was_made_of_is_recorded(shades, words):
    made = fitted(shades, words, external_weight=0.5)
    (listed,) = list_references(shades).references
    assert listed.settings == made.settings
    assert (listed.name, listed.is_active, listed.n_scored) == ("usual", False, 0)
    settings = listed.settings
    assert settings.scoring.method == "bliss"
    assert (settings.scoring.external_weight, settings.scoring.neighbours) == (0.5, 2)
    assert (settings.origin, settings.examples, settings.where) == (
        "examples",
        "folders",
        REDS.where,
    )
    assert [(normal.name, normal.n_examples) for normal in settings.classes] == [
        ("blue", 12),
        ("red", 12),
    ]
    assert (settings.n_normal, settings.confident, settings.cover) == (24, None, None)
    dictionary = settings.scoring.dictionary
    assert (dictionary.n_texts, dictionary.origin) == (6, str(words))
    assert (dictionary.template, dictionary.embeddings) == (ANOMALY_TEMPLATE, None)
    assert len(dictionary.digest) == 16


def test_the_digest_tells_dictionaries_apart(shades, words):
    first = fitted(shades, words).settings.scoring.dictionary.digest
    words.write_text("red\nblue")
    assert fitted(shades, words).settings.scoring.dictionary.digest != first


def test_classes_with_one_photo_are_named_and_left_out(shades, words):
    settings = fitted(shades, words, normal=NormalChoice(examples="folders")).settings
    assert [normal.name for normal in settings.skipped] == ["green"]
    assert settings.n_normal == 24


def test_statistics_are_those_of_the_normal_photos(shades, words):
    fitted(shades, words)
    reference = load_reference(shades.store, "usual")
    assert isinstance(reference, TextReference)
    statistics = reference.statistics
    # Reds are more similar to "red" than to any other word, and blues to "blue".
    assert statistics.external_mean.argmax(axis=1).tolist() == [2, 0]
    np.testing.assert_allclose(statistics.internal_mean[0], statistics.external_mean[0, 2])


def test_neighbours_of_all_photos_need_no_text(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(30))
    collection = Collection(store, Settings(collection=store.uri))
    choice = NeighbourChoice(nearest=3, sample=8, seed=4)
    made = fit_reference(collection, "near", normal=NormalChoice(), scoring=choice)
    assert made.settings.scoring.model_dump() == {
        "method": "knn",
        "nearest": 3,
        "sample": 8,
        "seed": 4,
    }
    assert (made.settings.origin, made.settings.n_normal) == ("all", 8)
    drawn = load_reference(store, "near")
    fit_reference(collection, "near", normal=NormalChoice(), scoring=choice)
    again = load_reference(store, "near")
    assert isinstance(drawn, NeighbourReference)
    assert isinstance(again, NeighbourReference)
    np.testing.assert_array_equal(again.image_ids, drawn.image_ids)
    assert (np.diff(drawn.image_ids) > 0).all()


def test_neighbours_count_classes_of_one_photo(shades):
    normal = NormalChoice(examples="folders")
    made = fit_reference(shades, "near", normal=normal, scoring=NeighbourChoice(nearest=1))
    assert (made.settings.n_normal, made.settings.skipped) == (25, ())


def test_a_namesake_is_replaced_and_its_scores_are_cleared(shades, words):
    fitted(shades, words)
    scored(shades, "usual")
    made = fitted(shades, words, external_weight=0)
    assert (made.n_cleared, made.is_active) == (25, False)
    (listed,) = list_references(shades).references
    assert (listed.is_active, listed.n_scored) == (False, 0)
    assert shades.store.count_images("anomaly is not null") == 0


def test_removing_a_reference_takes_its_scores_and_no_others(shades, words):
    fitted(shades, words, "it's")
    scored(shades, "it's")
    fitted(shades, words, "other")
    removed = remove_reference(shades, "other")
    assert (removed.was_active, removed.n_cleared) == (False, 0)
    assert shades.store.count_images("anomaly is not null") == 25
    removed = remove_reference(shades, "it's")
    assert (removed.was_active, removed.n_cleared) == (True, 25)
    assert list_references(shades).references == []
    columns = ["anomaly", "anomaly_reference", "anomaly_class", "anomaly_internal"]
    rows = shades.store.images([*columns, "anomaly_external", "anomaly_words"]).to_pylist()
    assert {value for row in rows for value in row.values()} == {None}


def test_an_unknown_name_is_told_with_the_known_ones(shades, words):
    with pytest.raises(InputError, match="no anomaly reference yet; make one with `isophote"):
        remove_reference(shades, "lost")
    fitted(shades, words)
    with pytest.raises(InputError, match="no anomaly reference 'lost'; name one of 'usual'"):
        remove_reference(shades, "lost")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[31m", "x" * 101])
def test_names_that_cannot_be_read_are_refused(shades, words, name):
    with pytest.raises(InputError, match="cannot name a reference; give up to 100 letters"):
        fitted(shades, words, name)


def test_more_neighbours_than_texts_are_refused(shades, words):
    with pytest.raises(InputError, match="--neighbours 7 is more than the 6 texts"):
        fitted(shades, words, neighbours=7)


def test_more_neighbours_than_other_normal_photos_are_refused(shades):
    normal = NormalChoice(where="path like 'red%'")
    with pytest.raises(InputError, match=r"--nearest 12 needs more than 12 normal photos.* are 12"):
        fit_reference(shades, "near", normal=normal, scoring=NeighbourChoice(nearest=12))
    fit_reference(shades, "near", normal=normal, scoring=NeighbourChoice(nearest=11))


def test_a_writer_elsewhere_is_waited_for_by_the_user(shades, words, tmp_path):
    with writer_lock(tmp_path / "c"), pytest.raises(LockedError, match="is being written by"):
        fitted(shades, words)


class TestVectorsWithoutAModel:
    """As `isophote import` makes them: `raw_embedding` and nothing that can encode."""

    @pytest.fixture
    def imported(self, tmp_path):
        model = described(
            linear_image_head=False, spaces=("clip",), preprocessing=None, embedding_dim=8
        )
        store = new_store(
            tmp_path / "v",
            model=model,
            projectors=random_projectors(),
            features=random_features(40),
            source=None,
            origin="vectors",
        )
        return Collection(open_store(store.uri), Settings(collection=store.uri))

    @pytest.fixture
    def texts(self, tmp_path):
        names = [f"word {number}" for number in range(20)]
        embeddings = np.random.default_rng(0).normal(size=(20, 8))
        np.savez(tmp_path / "texts.npz", names=np.array(names), embeddings=embeddings)
        return tmp_path / "texts.npz"

    def test_embeddings_from_files_are_enough(self, imported, texts):
        made = fit_reference(
            imported,
            "usual",
            normal=NormalChoice(label_embeddings=texts),
            scoring=TextChoice(dictionary_embeddings=texts),
        )
        assert made.settings.origin == "cover"
        assert isinstance(made.settings.scoring, TextScoring)
        assert made.settings.scoring.labels.embeddings == str(texts)
        assert scored(imported, "usual").n_scored == 40

    def test_texts_without_embeddings_say_what_is_missing(self, imported):
        with pytest.raises(UnknownModelError, match="known by its vectors only"):
            fit_reference(imported, "usual", normal=NormalChoice(), scoring=TextChoice())

    def test_neighbours_need_nothing_else(self, imported):
        fit_reference(imported, "near", normal=NormalChoice(), scoring=NeighbourChoice(nearest=1))
        assert scored(imported, "near").n_scored == 40

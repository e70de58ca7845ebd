import numpy as np
import pytest

from indexer.encoders.encoder import EncodedImages, Projectors
from indexer.references import ANOMALY_COLUMNS, active_name
from indexer.settings import Settings
from indexer.store import open_store
from schemas.errors import FilterError, InputError
from service.anomalies import rank_anomalies, score_photos
from service.anomaly_references import NeighbourChoice, TextChoice, fit_reference
from service.collection import Collection
from service.normal_photos import NormalChoice
from tests.fakes import FEATURES, FakeEncoder
from tests.makers.shades import copied_shades, draw_shades, indexed_shades
from tests.makers.stores import described, new_store, random_features

NORMAL = NormalChoice(examples="folders")


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


def fitted(collection, words, name="usual", **options):
    scoring = TextChoice(dictionary=words, **{"neighbours": 1, **options})
    fit_reference(collection, name, normal=NORMAL, scoring=scoring)


def scored(collection, name=None):
    return score_photos(collection, name, report=lambda _: None)


def anomaly_rows(collection, where=None):
    table = collection.store.images(["image_id", *ANOMALY_COLUMNS], where)
    return table.sort_by("image_id").to_pylist()


def unnamed(rows):
    return [
        {key: value for key, value in row.items() if key != "anomaly_reference"} for row in rows
    ]


class TestAStoryOfColours:
    """Reds and blues are normal; a green one is among them."""

    def test_the_green_one_is_the_outlier_and_the_words_say_green(self, shades, words):
        fitted(shades, words)
        assert scored(shades, "usual").n_scored == 25
        ranked = rank_anomalies(shades, top_k=3)
        green, *others = ranked.photos
        assert green.path.endswith("/photos/green/0-0.png")
        assert green.words == ["green"]
        assert green.anomaly > 5 > max(photo.anomaly for photo in others)
        assert green.internal is not None
        assert green.external is not None
        assert green.anomaly == pytest.approx(green.internal + 0.75 * green.external, rel=1e-5)
        assert green.reason == (
            f"far from {green.anomaly_class!r} (internal {green.internal:.1f}), and closer than "
            f"its examples to: green (external {green.external:.1f})"
        )

    def test_normal_photos_belong_to_their_own_class(self, shades, words):
        fitted(shades, words)
        scored(shades, "usual")
        for colour in ("red", "blue"):
            rows = anomaly_rows(shades, f"path like '{colour}/%'")
            assert {row["anomaly_class"] for row in rows} == {colour}
            assert {row["anomaly_words"] for row in rows} == {colour}

    def test_a_new_photo_is_scored_when_it_is_indexed(self, shades, words, tmp_path):
        fitted(shades, words)
        scored(shades, "usual")
        draw_shades(tmp_path / "new", "yellow", count=1)
        indexed_shades(tmp_path / "new", tmp_path / "c")
        worst = rank_anomalies(shades, top_k=2).photos
        assert {photo.words[0] for photo in worst} == {"green", "yellow"}

    def test_distances_tell_the_green_one_as_well_but_not_why(self, shades):
        choice = NormalChoice(examples="folders", where="path not like 'green%'")
        fit_reference(shades, "near", normal=choice, scoring=NeighbourChoice(nearest=2))
        scored(shades)
        (green,) = rank_anomalies(shades, top_k=1).photos
        assert "green" in green.path
        assert green.reason == f"{green.anomaly:.3f} from the 2nd nearest of 24 normal photos"
        assert (green.anomaly_class, green.internal, green.external) == (None, None, None)
        assert green.words == []


class Projecting(FakeEncoder):
    """The fake encoder with features and projectors as wide as those of a real one.

    In a product of this width the order of the terms, and with it the rounding, depends on the
    number of rows.
    """

    def __init__(self):
        super().__init__(described(feature_dim=256, text_feature_dim=256, embedding_dim=64))
        generator = np.random.default_rng(0)
        self.mixture = generator.normal(size=(FEATURES, 256)).astype(np.float32)
        weight, text_weight = generator.normal(size=(2, 64, 256)).astype(np.float32)
        bias, text_bias = generator.normal(size=(2, 64)).astype(np.float32)
        self.projectors = Projectors(weight, text_weight, bias, text_bias)

    def encode_images(self, pixels):
        return EncodedImages(super().encode_images(pixels).features @ self.mixture)

    def encode_texts(self, texts):
        return super().encode_texts(texts) @ self.mixture


@pytest.mark.parametrize("method", ["bliss", "knn"])
def test_a_photo_scored_as_it_is_indexed_has_the_bits_of_a_later_score(tmp_path, words, method):
    folder, place = tmp_path / "photos", tmp_path / "c"
    shades = indexed_shades(folder, place, encoder=Projecting())
    if method == "bliss":
        fitted(shades, words, neighbours=3)
    else:
        fit_reference(shades, "usual", normal=NORMAL, scoring=NeighbourChoice(nearest=1))
    scored(shades, "usual")
    for seed in (1, 2, 3):  # one photo in a batch of its own, then many together
        draw_shades(folder, "yellow", count=1, seed=seed, spread=255)
        indexed_shades(folder, place, encoder=Projecting())
    draw_shades(folder, "yellow", count=40, seed=4, spread=255)
    indexed_shades(folder, place, encoder=Projecting())
    at_ingest = anomaly_rows(shades)
    assert len(at_ingest) == 25 + 3 + 40
    assert {row["anomaly_reference"] for row in at_ingest} == {"usual"}
    scored(shades, "usual")
    assert anomaly_rows(shades) == at_ingest


def test_blocks_of_the_store_change_no_bit(tmp_path, monkeypatch):
    encoder = Projecting()
    store = new_store(
        tmp_path / "c",
        model=encoder.description,
        projectors=encoder.projectors,
        features=random_features(50, dimension=256),
    )
    collection = Collection(store, Settings(collection=store.uri), encoder)
    fit_reference(collection, "usual", normal=NormalChoice(), scoring=TextChoice())
    scored(collection)
    whole = anomaly_rows(collection)
    monkeypatch.setattr("indexer.store.READ_ROWS", 7)
    monkeypatch.setattr("service.anomalies.ROWS_PER_UPDATE", 20)
    assert scored(collection).n_scored == 50
    assert anomaly_rows(collection) == whole


def test_an_interrupted_run_leaves_rows_that_name_their_reference(shades, words, monkeypatch):
    monkeypatch.setattr("indexer.store.READ_ROWS", 4)
    monkeypatch.setattr("service.anomalies.ROWS_PER_UPDATE", 4)
    fitted(shades, words, "first")
    scored(shades, "first")
    first = unnamed(anomaly_rows(shades))
    fitted(shades, words, "second", external_weight=0)
    told = []

    def interrupt_after_two(progress):
        told.append((progress.n_done, progress.n_total))
        if progress.n_done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_photos(shades, "second", report=interrupt_after_two)
    assert told == [(0, 25), (4, 25), (8, 25)]
    assert active_name(shades.store) == "first"
    names = [row["anomaly_reference"] for row in anomaly_rows(shades)]
    assert sorted(names) == ["first"] * 17 + ["second"] * 8
    of_first = anomaly_rows(shades, "anomaly_reference = 'first'")
    assert all(row in first for row in unnamed(of_first))
    assert rank_anomalies(shades).n_unscored == 8
    scored(shades, "second")
    assert active_name(shades.store) == "second"
    assert {row["anomaly_reference"] for row in anomaly_rows(shades)} == {"second"}


class TestRanking:
    def test_is_by_score_and_then_by_id(self, shades, words):
        fitted(shades, words)
        scored(shades)
        photos = rank_anomalies(shades, top_k=100).photos
        keys = [(-photo.anomaly, photo.image_id) for photo in photos]
        assert len(keys) == 25
        assert keys == sorted(keys)

    def test_is_of_the_photos_that_match(self, shades, words):
        fitted(shades, words)
        scored(shades)
        ranked = rank_anomalies(shades, where="path like 'red/%'", top_k=100)
        assert len(ranked.photos) == 12
        assert rank_anomalies(shades, where="path = 'none'").photos == []

    def test_counts_photos_without_a_score(self, shades, words, tmp_path):
        fitted(shades, words)
        scored(shades)
        shades.store.activate_reference(None)
        draw_shades(tmp_path / "new", "white", count=1)
        indexed_shades(tmp_path / "new", tmp_path / "c")
        assert rank_anomalies(shades, "usual").n_unscored == 1

    def test_shows_a_wrong_condition_as_it_was_given(self, shades, words):
        fitted(shades, words)
        scored(shades)
        with pytest.raises(FilterError, match="the filter 'colour = 1' is not valid"):
            rank_anomalies(shades, where="colour = 1")

    def test_without_scores_says_what_to_run(self, shades, words):
        fitted(shades, words, "my holiday")
        with pytest.raises(InputError, match="run `isophote anomalies score 'my holiday'`"):
            rank_anomalies(shades)


class TestWhichReference:
    def test_none_yet(self, shades):
        with pytest.raises(InputError, match="no anomaly reference yet; make one with `isophote"):
            rank_anomalies(shades)
        with pytest.raises(InputError, match="no anomaly reference yet; make one with `isophote"):
            scored(shades)

    def test_an_unknown_one(self, shades, words):
        fitted(shades, words)
        with pytest.raises(InputError, match="no anomaly reference 'lost'; name one of 'usual'"):
            scored(shades, "lost")

    def test_several_of_which_none_is_active(self, shades, words):
        fitted(shades, words, "a")
        fitted(shades, words, "b")
        with pytest.raises(
            InputError, match="no anomaly reference is active; make one of 'a', 'b'"
        ):
            scored(shades)
        scored(shades, "b")
        assert scored(shades).reference == "b"


@pytest.mark.parametrize(
    ("nearest", "expected"),
    [
        (1, "the nearest"),
        (3, "the 3rd nearest"),
        (11, "the 11th nearest"),
        (21, "the 21st nearest"),
    ],
)
def test_places_of_neighbours_are_ordinal_numbers(tmp_path, nearest, expected):
    store = new_store(tmp_path / "c", features=random_features(30))
    collection = Collection(open_store(store.uri), Settings(collection=store.uri))
    choice = NeighbourChoice(nearest=nearest)
    fit_reference(collection, "near", normal=NormalChoice(), scoring=choice)
    scored(collection)
    assert f"from {expected} of 30" in rank_anomalies(collection, top_k=1).photos[0].reason


def test_scores_outlive_what_else_is_known_of_a_photo(shades, words):
    before = shades.store.images(["image_id", "path", "quality", "content_hash"])
    vectors = np.concatenate([vectors for _, vectors in shades.store.vector_blocks("features")])
    fitted(shades, words)
    scored(shades)
    after = shades.store.images(["image_id", "path", "quality", "content_hash"])
    assert after.sort_by("image_id").equals(before.sort_by("image_id"))
    stored = np.concatenate([vectors for _, vectors in shades.store.vector_blocks("features")])
    np.testing.assert_array_equal(np.sort(stored, axis=0), np.sort(vectors, axis=0))

import numpy as np
import pyarrow as pa
import pytest

from indexer.references import (
    ANOMALY_COLUMNS,
    NeighbourReference,
    TextReference,
    active_name,
    active_scorer,
    anomaly_columns,
    load_reference,
    reference_row,
)
from indexer.scoring.anomaly import anomaly_scores, neighbour_distances, normal_statistics
from indexer.scoring.similarity import normalised
from schemas.anomalies import (
    NeighbourScoring,
    NormalClass,
    ReferenceSettings,
    TextScoring,
    TextSource,
)
from schemas.errors import CollectionDamagedError
from schemas.tables import REFERENCES_SCHEMA
from tests.makers.stores import NOON, new_store

TEXTS = TextSource(n_texts=2, origin="a test", digest="0" * 16)
WORDS = ("a cat", "dog; or puppy", "čáp", "boat")


def random_units(seed, n_rows, dimension=12):
    return normalised(np.random.default_rng(seed).normal(size=(n_rows, dimension)).astype("f4"))


def text_reference(name="usual"):
    scoring = TextScoring(external_weight=0.5, neighbours=2, labels=TEXTS, dictionary=TEXTS)
    settings = ReferenceSettings(
        scoring=scoring,
        origin="examples",
        classes=tuple(NormalClass(name=label, n_examples=5) for label in ("red", "blue's")),
        n_normal=10,
    )
    statistics = normal_statistics(
        random_units(0, 10),
        np.arange(10) % 2,
        label_embeddings=random_units(1, 2),
        dictionary=random_units(2, 4),
    )
    return TextReference(name, settings, scoring, statistics, WORDS)


def neighbour_reference(name="near", *, nearest=1):
    scoring = NeighbourScoring(nearest=nearest, sample=100, seed=0)
    settings = ReferenceSettings(scoring=scoring, origin="all", n_normal=6)
    return NeighbourReference(name, settings, scoring, random_units(3, 6), np.arange(6) - 1)


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "c")


@pytest.mark.parametrize("reference", [text_reference(), neighbour_reference()])
def test_what_is_stored_comes_back_whole(store, reference):
    row = reference_row(reference, NOON)
    assert row.schema == REFERENCES_SCHEMA
    assert row["is_active"].to_pylist() == [False]
    store.save_reference(row)
    loaded = load_reference(store, reference.name)
    assert (loaded.name, loaded.settings) == (reference.name, reference.settings)
    photos = random_units(4, 5)
    expected = anomaly_columns(reference, photos)
    found = anomaly_columns(loaded, photos)
    for column in ANOMALY_COLUMNS:
        assert pa.array(found[column]).equals(pa.array(expected[column]))


def test_columns_of_texts_say_why():
    reference, photos = text_reference(), random_units(5, 3)
    scored = anomaly_scores(photos, reference.statistics, external_weight=0.5, k=2)
    columns = anomaly_columns(reference, photos)
    assert set(columns) == set(ANOMALY_COLUMNS)
    np.testing.assert_array_equal(columns["anomaly"], scored.scores)
    np.testing.assert_array_equal(columns["anomaly_internal"], scored.internal)
    np.testing.assert_array_equal(columns["anomaly_external"], scored.external)
    assert columns["anomaly_reference"].to_pylist() == ["usual"] * 3
    assert columns["anomaly_class"].to_pylist() == [
        ("red", "blue's")[number] for number in scored.classes
    ]
    assert columns["anomaly_words"].to_pylist() == [
        "; ".join(WORDS[row] for row in rows) for rows in scored.words
    ]


def test_columns_of_neighbours_have_a_distance_and_nothing_else():
    reference, photos = neighbour_reference(nearest=2), random_units(6, 3)
    columns = anomaly_columns(reference, photos)
    expected = neighbour_distances(photos, reference.normal, k=2)
    np.testing.assert_array_equal(columns["anomaly"], expected)
    for name in ("anomaly_class", "anomaly_internal", "anomaly_external", "anomaly_words"):
        assert columns[name].to_pylist() == [None] * 3


def test_a_normal_photo_is_not_its_own_neighbour():
    reference = neighbour_reference()  # its ids are -1 and 0 to 4
    columns = anomaly_columns(reference, reference.normal, np.array([7, 0, 1, 2, 3, 4]))
    own = neighbour_distances(reference.normal, reference.normal, k=2)
    assert columns["anomaly"][0] == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(columns["anomaly"][1:], own[1:])


@pytest.mark.parametrize("reference", [text_reference(), neighbour_reference()])
def test_no_photos_have_no_values(reference):
    columns = anomaly_columns(reference, random_units(0, 0), np.arange(0))
    assert {len(values) for values in columns.values()} == {0}


def test_the_active_reference_is_what_new_photos_are_scored_by(store):
    assert active_name(store) is None
    assert active_scorer(store) is None
    for name in ("usual", "other"):
        store.save_reference(reference_row(text_reference(name), NOON))
    assert active_scorer(store) is None
    store.activate_reference("other")
    assert active_name(store) == "other"
    score = active_scorer(store)
    assert score is not None
    scored = score(random_units(7, 2))
    assert scored["anomaly_reference"].to_pylist() == ["other", "other"]


def test_an_unknown_reference_is_the_callers_bug(store):
    with pytest.raises(ValueError, match="there is no anomaly reference 'lost'"):
        load_reference(store, "lost")


@pytest.mark.parametrize(
    "damage", [{"settings": "{}"}, {"arrays": b"PK\x03\x04damaged"}, {"arrays": b""}]
)
def test_a_damaged_reference_is_named_with_the_way_out(store, damage):
    row = reference_row(text_reference(), NOON).to_pylist()[0] | damage
    store.save_reference(pa.Table.from_pylist([row], schema=REFERENCES_SCHEMA))
    with pytest.raises(CollectionDamagedError, match=r"'usual' in .* make it anew with `isophote"):
        load_reference(store, "usual")

"""The bench of anomaly scores, on made-up photos of four colours."""

import csv

import numpy as np
import pyarrow as pa
import pytest

from indexer.settings import Settings
from indexer.store import create_store
from schemas.errors import InputError
from schemas.tables import imported_schema
from service.collection import Collection
from service.evaluation.anomaly import AnomalyChoice, AnomalyTexts, evaluate_anomaly
from service.evaluation.anomaly_photos import drawn_ranks
from service.evaluation.anomaly_splits import CIFAR10_CLASSES
from tests.fakes import COLOURS, FAKE_DESCRIPTION, FakeEncoder
from tests.makers.stores import collection_info, image_rows

CLASSES = ("blue", "green", "red", "yellow")
N_OF_CLASS = 9
# Colours alone and in mixtures, which the fake encoder takes for a picture of both.
WORDS = (
    "red",
    "green",
    "blue",
    "yellow",
    "white",
    "black",
    "red green",
    "blue white",
    "yellow red",
)


def photos_of(names, *, seed=0, noise=0.5):
    """Features of photos of colours, with noise that makes them hard to tell apart."""
    generator = np.random.default_rng(seed)
    colours = np.array([np.tile(np.array(COLOURS[name]) / 127.5 - 1, 4) for name in names])
    return (colours + generator.normal(0, noise, colours.shape)).astype(np.float32)


def made_collection(place, labels, *, split=None, features=None):
    """A collection whose column `label` says what its photos show."""
    given = [] if split is None else [pa.field("split", pa.string())]
    columns = imported_schema(FAKE_DESCRIPTION, given)
    projectors = FakeEncoder().projectors
    store = create_store(str(place), collection_info(), projectors, columns=columns)
    rows = image_rows(
        store, photos_of(labels) if features is None else features, label=list(labels)
    )
    if split is not None:
        rows = rows.append_column("split", pa.array(split))
    store.append_images(rows.cast(columns))
    return Collection(store, Settings(collection=str(place)), FakeEncoder())


@pytest.fixture
def texts(tmp_path):
    """A dictionary of the nine words."""
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS))
    return AnomalyTexts(dictionary=path)


@pytest.fixture
def collection(tmp_path):
    return made_collection(tmp_path / "colours", list(CLASSES) * N_OF_CLASS)


def unit(vector):
    return vector / np.sqrt((vector**2).sum())


def text_of(name):
    return unit(FakeEncoder().encode_texts([name])[0].astype(np.float64))


def slow_parts(photo, examples, label, k):
    """I and E of one photo for one class, from the formulas of arXiv:2407.17083, section 3."""
    to_label = [example @ label for example in examples]
    internal = -(photo @ label - np.mean(to_label)) / (np.std(to_label) + 1e-8)
    words = sorted((text_of(word) for word in WORDS), key=lambda word: -(photo @ word))[:k]
    terms = []
    for word in words:
        to_word = [example @ word for example in examples]
        terms.append((photo @ word - np.mean(to_word)) / (np.std(to_word) + 1e-8))
    return internal, np.mean(terms)


def slow_auroc(scores, is_outlier):
    normal = [score for score, outlier in zip(scores, is_outlier, strict=True) if not outlier]
    outlying = [score for score, outlier in zip(scores, is_outlier, strict=True) if outlier]
    wins = [(high > low) + (high == low) / 2 for high in outlying for low in normal]
    return sum(wins) / len(wins)


def slow_table(collection, *, normal, shots, draws, weight, k):
    """AUROC by method, mean over draws: one photo, one class and one formula at a time."""
    table = collection.store.images(["image_id", "features", "label"]).sort_by("image_id")
    vectors = [unit(np.array(row, np.float64)) for row in table["features"].to_pylist()]
    labels = table["label"].to_pylist()
    class_of = np.array([CLASSES.index(label) for label in labels])
    found: dict[str, list[float]] = {}
    for draw in range(draws):
        ranks = drawn_ranks(class_of, np.ones(len(class_of), bool), seed=0, draw=draw)
        tested = [
            row for row, label in enumerate(labels) if label not in normal or ranks[row] >= shots
        ]
        names = ("BLISS", "internal only", "external only", "near", "text")
        scores: dict[str, list[float]] = {name: [] for name in names}
        for row in tested:
            parts, near, text = [], [], []
            for name in normal:
                examples = [
                    vectors[other]
                    for other in range(len(labels))
                    if labels[other] == name and ranks[other] < shots
                ]
                parts.append(slow_parts(vectors[row], examples, text_of(name), k))
                near += [1 - vectors[row] @ example for example in examples]
                text.append(1 - vectors[row] @ text_of(name))
            scores["BLISS"].append(min(own + weight * other for own, other in parts))
            scores["internal only"].append(min(own for own, _ in parts))
            scores["external only"].append(min(other for _, other in parts))
            scores["near"].append(min(near))
            scores["text"].append(min(text))
        is_outlier = [labels[row] not in normal for row in tested]
        for name, values in scores.items():
            found.setdefault(name, []).append(slow_auroc(values, is_outlier))
    return {name: np.mean(values) for name, values in found.items()}


def rated(collection, texts, **changes):
    choice = AnomalyChoice(**{"shots": 4, "draws": 2, "k": 3, "texts": texts, **changes})
    return evaluate_anomaly(collection, "column:label", choice)


def test_every_row_agrees_with_the_formulas_taken_one_photo_at_a_time(collection, texts):
    found = rated(collection, texts, normal=("red", "blue"))
    expected = slow_table(collection, normal=("red", "blue"), shots=4, draws=2, weight=0.75, k=3)
    assert [row.auroc for row in found.rows] == pytest.approx(list(expected.values()), abs=1e-6)
    assert [row.method for row in found.rows][3:] == ["nearest example", "maximum text similarity"]
    assert min(expected.values()) < 1  # hard enough to tell the methods apart


def test_colours_that_differ_are_told_apart(tmp_path, texts):
    labels = ["red", "blue", "green"] * 8
    made = made_collection(tmp_path / "c", labels, features=photos_of(labels, noise=0.05))
    found = rated(made, texts)
    assert found.protocol == "one-class"
    assert found.splits == ["blue", "green", "red"]
    assert (found.mean_normal, found.mean_anomalous) == (4, 16)
    best = {row.method: row for row in found.rows}
    assert best["nearest example"].auroc == 1
    assert best["nearest example"].fpr_at_95_tpr == 0
    assert best["nearest example"].auroc_std_splits == 0
    assert best["internal only"].auroc == 1


def test_one_normal_class_leaves_its_text_and_the_internal_part_in_one_order(collection, texts):
    by_method = {row.method: row for row in rated(collection, texts).rows}
    internal, text = by_method["internal only"], by_method["maximum text similarity"]
    assert internal.auroc == pytest.approx(text.auroc, abs=1e-9)


def test_a_sweep_repeats_the_main_row_at_its_value(collection, texts):
    found = rated(collection, texts, protocol="leave-one-out", sweep="lambda=0:0.75:0.25")
    rows = {(row.method, row.setting): row.auroc for row in found.rows}
    assert rows["BLISS", "lambda=0.75"] == rows["BLISS", None]
    assert rows["BLISS", "lambda=0"] == rows["internal only", None]
    assert rows["BLISS", "lambda=0.25"] != rows["BLISS", None]
    found = rated(collection, texts, protocol="leave-one-out", sweep="K=1,3,9")
    rows = {(row.method, row.setting): row.auroc for row in found.rows}
    assert rows["BLISS", "K=3"] == rows["BLISS", None]
    assert len({rows["BLISS", f"K={k}"] for k in (1, 3, 9)}) > 1


def test_a_sweep_of_shots_tests_all_rows_on_the_same_photos(collection, texts):
    found = rated(collection, texts, shots=3, sweep="shots=3,7")
    rows = {(row.method, row.setting): row.auroc for row in found.rows}
    assert (found.mean_normal, found.mean_anomalous) == (N_OF_CLASS - 7, 3 * N_OF_CLASS)
    for method in ("BLISS", "internal only", "nearest example"):
        assert rows[method, "shots=3"] == rows[method, None]
    assert any("largest number of shots" in note for note in found.notes)


def test_the_seed_decides_and_the_order_of_the_labels_does_not(collection, texts, tmp_path):
    first, again = rated(collection, texts), rated(collection, texts)
    assert first.model_copy(update={"seconds": 0}) == again.model_copy(update={"seconds": 0})
    other = rated(collection, texts, seed=1)
    assert [row.auroc for row in other.rows] != [row.auroc for row in first.rows]
    path = tmp_path / "labels.csv"
    labels = list(CLASSES) * N_OF_CLASS
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "label"])
        writer.writerows(reversed(list(enumerate(labels))))
    choice = AnomalyChoice(shots=4, draws=2, k=3, texts=texts)
    assert evaluate_anomaly(collection, str(path), choice).rows == first.rows


def test_one_draw_has_no_deviation_over_draws_and_one_split_none_over_splits(collection, texts):
    row = rated(collection, texts, draws=1, normal=("red",)).rows[0]
    assert (row.auroc_std_draws, row.auroc_std_splits) == (None, None)
    row = rated(collection, texts, draws=2).rows[0]
    assert row.auroc_std_draws is not None
    assert row.auroc_std_splits is not None


class TestSmallClasses:
    LABELS = (*(["red"] * 8), *(["blue"] * 8), "green", "green")

    def test_are_only_anomalous_where_one_class_is_normal(self, tmp_path, texts):
        found = rated(made_collection(tmp_path / "c", self.LABELS), texts)
        assert found.splits == ["blue", "red"]
        assert (found.mean_normal, found.mean_anomalous) == (4, 10)
        assert "Too few photos for examples and a test in 1 of 3 classes" in found.notes[0]

    def test_take_no_part_where_all_but_one_are_normal(self, tmp_path, texts):
        made = made_collection(tmp_path / "c", self.LABELS)
        found = rated(made, texts, protocol="leave-one-out")
        assert found.splits == ["blue", "red"]
        assert (found.mean_normal, found.mean_anomalous) == (4, 8)

    def test_cannot_be_normal_in_a_given_split(self, tmp_path, texts):
        with pytest.raises(InputError, match="'green' has too few photos"):
            rated(made_collection(tmp_path / "c", self.LABELS), texts, normal=("green", "red"))


class TestSplitColumn:
    LABELS = ("red", "blue") * 10
    SIDES = ("train",) * 8 + ("test",) * 10 + ("other",) * 2

    def test_examples_come_from_train_and_tests_from_test(self, tmp_path, texts):
        made = made_collection(tmp_path / "c", self.LABELS, split=self.SIDES)
        found = rated(made, texts, shots=None)
        assert found.shots is None
        assert (found.mean_normal, found.mean_anomalous) == (5, 5)
        assert any("column split" in note for note in found.notes)
        assert found.draws == 1  # all examples are the same each time
        swept = rated(made, texts, shots=None, sweep="shots=2,4")
        assert swept.draws == 2
        by_setting = {(row.method, row.setting): row for row in swept.rows}
        assert by_setting["BLISS", None].auroc_std_draws == 0
        assert by_setting["BLISS", "shots=4"].auroc == by_setting["BLISS", None].auroc

    def test_can_be_ignored(self, tmp_path, texts):
        made = made_collection(tmp_path / "c", self.LABELS, split=self.SIDES)
        found = rated(made, texts, uses_split_column=False)
        assert (found.mean_normal, found.mean_anomalous) == (6, 10)

    def test_says_nothing_without_both_sides(self, tmp_path, texts):
        made = made_collection(tmp_path / "c", self.LABELS, split=["train"] * 20)
        assert rated(made, texts).mean_normal == 6

    def test_all_photos_as_examples_need_it(self, collection, texts):
        with pytest.raises(InputError, match="leave none to test on; give a number of --shots"):
            rated(collection, texts, shots=None)


def test_the_papers_splits_are_rated_beside_its_figure(tmp_path, texts):
    labels = list(CIFAR10_CLASSES) * 6
    generator = np.random.default_rng(3)
    features = generator.normal(size=(60, 12)).astype(np.float32)
    made = made_collection(tmp_path / "c", labels, features=features)
    found = rated(made, texts, splits="cifar10-6", shots=2)
    assert len(found.splits) == 5
    assert (found.mean_normal, found.mean_anomalous) == (24, 24)
    assert [score.value for score in found.published] == [0.991]
    assert rated(made, texts, normal=("cat", "dog"), shots=2).published == []


def test_references_without_examples_are_rated_on_the_same_photos(collection, texts):
    found = rated(collection, texts, without_examples=True, normal=("red", "green"))
    methods = [row.method for row in found.rows][-3:]
    assert methods == [
        "BLISS, by names only",
        "BLISS, from nothing",
        "nearest photos, from nothing",
    ]
    assert all(row.auroc_std_draws is None for row in found.rows[-3:])
    assert any("of the tested photos without their labels" in note for note in found.notes)


def test_given_embeddings_need_no_model(collection, texts, tmp_path):
    expected = rated(collection, texts)
    for name, names in (("labels", CLASSES), ("words", WORDS)):
        embeddings = FakeEncoder().encode_texts(names)
        np.savez(tmp_path / f"{name}.npz", names=np.array(names), embeddings=embeddings)
    given = AnomalyTexts(
        label_embeddings=tmp_path / "labels.npz", dictionary_embeddings=tmp_path / "words.npz"
    )
    without_model = Collection(collection.store, collection.settings)
    assert rated(without_model, given).rows == expected.rows


def test_further_spaces_have_a_nearest_example(collection, texts):
    found = rated(collection, texts, spaces=("trunk",))
    spaces = [row.space for row in found.rows if row.method == "nearest example"]
    assert spaces == ["clip", "trunk"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"shots": 1}, "at least 2 --shots to know its spread, got 1"),
            ({"sweep": "shots=1,5"}, "at least 2 --shots to know its spread, got 1"),
            ({"draws": 0}, "--draws must be at least 1, got 0"),
            ({"external_weight": -1.0}, "lambda must be a number from 0, got -1"),
            ({"sweep": "lambda=-1,0"}, "lambda must be a number from 0, got -1"),
            ({"k": 10}, r"K must be in \[1, 9\], the dictionary, got 10"),
            ({"shots": 9}, "0 of 4 classes have more photos than --shots"),
            ({"normal": ("red", "violet")}, "no photo has the label 'violet' of --normal"),
            ({"normal": CLASSES}, "must leave some classes normal and some anomalous"),
            ({"splits": "cifar10-6"}, "need the ten classes of CIFAR-10"),
            ({"sweep": "band=1/2"}, "cannot sweep 'band' here"),
        ],
    )
    def test_of_numbers_and_classes(self, collection, texts, changes, message):
        with pytest.raises(InputError, match=message):
            rated(collection, texts, **changes)

    def test_of_examples_that_are_all_the_same(self, tmp_path, texts):
        labels = ["red"] * 6 + ["blue"] * 6
        made = made_collection(tmp_path / "c", labels, features=photos_of(labels, noise=0))
        with pytest.raises(InputError, match="4 examples drawn of 'blue' are all the same"):
            rated(made, texts)

    def test_of_two_labels_of_one_photo(self, collection, texts, tmp_path):
        path = tmp_path / "labels.csv"
        path.write_text("image_id,label\n3,red\n3,blue\n4,red\n")
        with pytest.raises(InputError, match="id:3 has more than one label"):
            evaluate_anomaly(collection, str(path), AnomalyChoice(texts=texts))


def test_labelled_photos_outside_the_collection_are_counted_and_left_out(
    collection, texts, tmp_path
):
    (tmp_path / "other.jpg").write_bytes(b"a photo that was never indexed")
    rows = [f"/photos/{number:05}.jpg,{label}" for number, label in enumerate(CLASSES * 9)]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["path,label", *rows, f"{tmp_path}/other.jpg,red"]))
    choice = AnomalyChoice(shots=4, draws=2, k=3, texts=texts)
    found = evaluate_anomaly(collection, str(path), choice)
    assert found.rows == rated(collection, texts).rows
    assert found.notes[0].startswith("Left out: 1 labelled photos that are not in the collection")


def test_blocks_of_cifar100_are_rated_beside_the_papers_figure(tmp_path, texts):
    classes = ("apple", "maple_tree", *(f"n{number:02}" for number in range(97)), "worm")
    features = np.random.default_rng(4).normal(size=(300, 12)).astype(np.float32)
    made = made_collection(tmp_path / "c", classes * 3, features=features)
    found = rated(made, texts, splits="cifar100-20", shots=2)
    assert (found.mean_normal, found.mean_anomalous) == (20, 240)
    assert [score.value for score in found.published] == [0.957]

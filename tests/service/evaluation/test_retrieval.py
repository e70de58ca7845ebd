import numpy as np
import pytest
from PIL import Image

from indexer.settings import Settings
from schemas.errors import InputError, UnknownModelError, UnsupportedSpaceError
from service.axes import AxesChoice
from service.collection import Collection
from service.evaluation.measured_spaces import SWEPT_SETTINGS, SpaceChoice
from service.evaluation.retrieval import QueryChoice, evaluate_retrieval
from service.evaluation.sweep import parse_sweep
from tests.makers.labelled import labelled_colours, labelled_store, write_colour_embeddings
from tests.makers.stores import described, new_store, random_features

CLIP = SpaceChoice(("clip",))


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return labelled_colours(tmp_path_factory.mktemp("place") / "collection")


@pytest.fixture
def axes(tmp_path):
    return AxesChoice(label_embeddings=write_colour_embeddings(tmp_path / "axes.npz"))


def swept(text, spaces=(), axes=AxesChoice()):  # noqa: B008 - it is frozen
    return SpaceChoice(spaces, axes, parse_sweep(text, allowed=SWEPT_SETTINGS))


class TestSpaces:
    def test_all_stand_side_by_side(self, collection, axes):
        found = evaluate_retrieval(collection, "folders", spaces=SpaceChoice(axes=axes))
        assert [row.space for row in found.rows] == ["clip", "isoclip", "trunk", "semantic"]
        assert found.unusable == []
        for row in found.rows:
            assert row.setting is None
            assert row.mean_average_precision == row.recall_at_1 == 1
            assert row.mean_average_precision_at_r == row.precision_at_r == 1
        # Six colours of three channels span three axes.
        assert [row.n_dimensions for row in found.rows] == [12, 12, 12, 3]

    def test_counts_queries_labels_and_distractors(self, collection):
        found = evaluate_retrieval(collection, "folders", spaces=CLIP)
        assert (found.n_photos, found.n_queries, found.n_labels) == (6, 5, 2)
        assert (found.n_distractors, found.n_outside, found.seed) == (1, 0, None)
        assert found.labels == "folders"

    @pytest.fixture
    def without_model(self, tmp_path):
        store = labelled_store(tmp_path / "collection", source=None)
        return Collection(store, Settings(collection=store.uri))

    def test_one_that_cannot_be_used_is_named_with_the_reason(self, without_model):
        found = evaluate_retrieval(without_model, "folders")
        assert [row.space for row in found.rows] == ["clip", "isoclip", "trunk"]
        (unusable,) = found.unusable
        assert unusable.space == "semantic"
        assert "known by its vectors only" in unusable.reason

    @pytest.mark.parametrize(
        "choice", [SpaceChoice(("semantic",)), SpaceChoice(axes=AxesChoice(n_axes=2))]
    )
    def test_one_that_was_asked_for_must_be_usable(self, without_model, choice):
        with pytest.raises(UnknownModelError, match="known by its vectors only"):
            evaluate_retrieval(without_model, "folders", spaces=choice)

    def test_a_model_without_a_projector_serves_what_it_can(self, tmp_path):
        model = described(spaces=("clip",), linear_image_head=False)
        features = random_features(6)
        store = new_store(tmp_path / "c", model=model, band=None, features=features, source=None)
        collection = Collection(store, Settings(collection=str(tmp_path / "c")))
        found = evaluate_retrieval(collection, "column:format")
        assert [row.space for row in found.rows] == ["clip"]
        with pytest.raises(UnsupportedSpaceError, match="cannot serve the space 'isoclip'"):
            evaluate_retrieval(collection, "column:format", spaces=SpaceChoice(("isoclip",)))

    def test_a_space_asked_for_twice_is_measured_once(self, collection):
        found = evaluate_retrieval(collection, "folders", spaces=SpaceChoice(("clip", "clip")))
        assert len(found.rows) == 1


class TestLabels:
    def test_hand_worked_mean_average_precision(self, tmp_path):
        # red red red green green blue: the first red photo is called green, too.
        labels = ("green", "red", "red", "green", "green", None)
        collection = labelled_colours(tmp_path / "c", labels=labels)
        found = evaluate_retrieval(collection, "column:label", spaces=CLIP)
        assert (found.n_photos, found.n_queries, found.n_distractors) == (5, 5, 0)
        # A red photo finds the other red one first or second; a green one the green one first,
        # and the misnamed one last.
        (row,) = found.rows
        assert 0.4 < row.mean_average_precision < 1
        vectors = collection.store.images(["embedding"])["embedding"].to_pylist()
        products = np.array(vectors, float) @ np.array(vectors, float).T
        expected = [self.average_precision(products[q], labels, q) for q in range(5)]
        assert row.mean_average_precision == pytest.approx(np.mean(expected))

    @staticmethod
    def average_precision(similarities, labels, query):
        ranked = sorted(set(range(5)) - {query}, key=lambda row: -similarities[row])
        hits = [place for place, row in enumerate(ranked, 1) if labels[row] == labels[query]]
        return np.mean([n / place for n, place in enumerate(hits, 1)])

    def test_photos_that_are_not_in_the_collection_are_counted(self, collection, tmp_path):
        Image.new("RGB", (8, 8)).save(tmp_path / "new.png")
        labels = tmp_path / "labels.csv"
        lines = ["path,label", "red/0.png,r", "red/1.png,r", "green/3.png,", "new.png,r"]
        labels.write_text("\n".join(lines))
        found = evaluate_retrieval(collection, str(labels), spaces=CLIP)
        assert (found.n_photos, found.n_queries, found.n_outside) == (2, 2, 1)

    def test_a_condition_narrows_both_sides(self, collection):
        found = evaluate_retrieval(collection, "folders", where="path not like 'red%'", spaces=CLIP)
        assert (found.n_photos, found.n_queries, found.n_distractors) == (3, 2, 1)

    def test_small_labels_distract(self, collection):
        found = evaluate_retrieval(
            collection, "folders", spaces=CLIP, queries=QueryChoice(min_members=3)
        )
        assert (found.n_queries, found.n_labels, found.n_distractors) == (3, 1, 3)

    def test_a_photo_named_twice_counts_once(self, collection, tmp_path):
        labels = tmp_path / "labels.csv"
        labels.write_text("image_id,label\n0,r\n1,r\n0,r\n")
        found = evaluate_retrieval(collection, str(labels), spaces=CLIP)
        assert (found.n_photos, found.n_queries) == (2, 2)

    def test_a_photo_with_two_labels_is_refused(self, collection, tmp_path):
        labels = tmp_path / "labels.csv"
        labels.write_text("image_id,label\n0,r\n1,r\n0,g\n")
        with pytest.raises(InputError, match="gives photo id:0 more than one label, 'r' and 'g'"):
            evaluate_retrieval(collection, str(labels))

    def test_nothing_to_find_is_refused(self, collection):
        with pytest.raises(InputError, match=r"no label of column:path has 2 photos .*6 labels"):
            evaluate_retrieval(collection, "column:path")
        with pytest.raises(InputError, match="has 4 photos in the collection"):
            evaluate_retrieval(collection, "folders", queries=QueryChoice(min_members=4))


class TestLimit:
    def test_draws_queries_by_seed(self, collection):
        draws = [
            evaluate_retrieval(
                collection, "folders", spaces=CLIP, queries=QueryChoice(limit=3, seed=seed)
            )
            for seed in (0, 0, 1)
        ]
        assert [draw.n_queries for draw in draws] == [3, 3, 3]
        assert [draw.seed for draw in draws] == [0, 0, 1]
        assert draws[0].rows == draws[1].rows
        assert draws[0].n_photos == 6

    def test_does_not_depend_on_the_order_of_the_source(self, tmp_path):
        labels = ("green", "red", "red", "green", "green", None)
        collection = labelled_colours(tmp_path / "c", labels=labels)
        lines = [f"{image_id},{label}" for image_id, label in enumerate(labels) if label]
        found = []
        for name, ordered in (("up.csv", lines), ("down.csv", lines[::-1])):
            (tmp_path / name).write_text("\n".join(["image_id,label", *ordered]))
            found.append(
                evaluate_retrieval(
                    collection,
                    str(tmp_path / name),
                    spaces=CLIP,
                    queries=QueryChoice(limit=2, seed=3),
                ).rows
            )
        assert found[0] == found[1]

    def test_a_limit_above_the_queries_draws_nothing(self, collection):
        choice = QueryChoice(limit=5, seed=9)
        found = evaluate_retrieval(collection, "folders", spaces=CLIP, queries=choice)
        assert (found.n_queries, found.seed) == (5, None)


class TestSweep:
    def test_measures_bands(self, collection):
        found = evaluate_retrieval(collection, "folders", spaces=swept("band=0/0,4/3,9/9"))
        assert [(row.space, row.setting) for row in found.rows] == [
            ("isoclip", "band=0/0"),
            ("isoclip", "band=4/3"),
        ]
        (unusable,) = found.unusable
        assert unusable.setting == "band=9/9"
        assert "leaves nothing of rank 12" in unusable.reason

    def test_a_band_of_nothing_is_the_plain_space(self, collection):
        spaces = swept("band=0/0", spaces=("clip",))
        plain, kept = evaluate_retrieval(collection, "folders", spaces=spaces).rows
        assert plain.space == "clip"
        assert kept.mean_average_precision == plain.mean_average_precision

    def test_measures_numbers_of_axes(self, collection, axes):
        spaces = swept("axes=1:4:1", axes=axes)
        found = evaluate_retrieval(collection, "folders", spaces=spaces)
        assert [row.n_dimensions for row in found.rows] == [1, 2, 3]
        assert [row.setting for row in found.rows] == ["axes=1", "axes=2", "axes=3"]
        assert "only 3 axes can be made" in found.unusable[0].reason

    def test_axes_may_be_centred(self, collection, axes):
        centred = AxesChoice(label_embeddings=axes.label_embeddings, is_centred=True)
        spaces = swept("axes=2", axes=centred)
        (row,) = evaluate_retrieval(collection, "folders", spaces=spaces).rows
        assert row.n_dimensions == 2

    def test_without_any_row_says_why(self, collection):
        with pytest.raises(InputError, match="leaves nothing of rank 12"):
            evaluate_retrieval(collection, "folders", spaces=swept("band=6/6,12/0"))


def test_published_figures_are_told(collection):
    found = evaluate_retrieval(collection, "folders", spaces=CLIP)
    assert {score.value for score in found.published} == {0.409, 0.451, 0.416, 0.490}
    assert all("other data sets" in score.note for score in found.published)

from pathlib import Path

import numpy as np
import pytest

from indexer.settings import Settings
from schemas.errors import InputError, UnknownModelError
from service.axes import AxesChoice
from service.collection import Collection
from service.evaluation.captions import CaptionChoice, evaluate_captions
from service.evaluation.measured_spaces import SpaceChoice
from tests.makers.labelled import labelled_colours, labelled_store, write_colour_embeddings

CLIP = SpaceChoice(("clip",))
RIGHT = ("3,green", "3,all green", "5,blue")
WRONG = ("3,blue", "5,green")


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Photos 0 to 2 are red, 3 and 4 green, 5 blue."""
    return labelled_colours(tmp_path_factory.mktemp("place") / "collection")


@pytest.fixture
def write(tmp_path):
    def write_captions(*lines):
        path = tmp_path / "captions.csv"
        path.write_text("\n".join(["image_id,caption", *lines]))
        return path

    return write_captions


@pytest.fixture
def axes(tmp_path):
    return AxesChoice(label_embeddings=write_colour_embeddings(tmp_path / "axes.npz"))


class TestRows:
    def test_captions_that_fit_are_found(self, collection, write, axes):
        found = evaluate_captions(collection, write(*RIGHT), spaces=SpaceChoice(axes=axes))
        assert [row.space for row in found.rows] == ["clip", "semantic"]
        for row in found.rows:
            assert row.text_to_image == row.image_to_text == {1: 1.0, 5: 1.0, 10: 1.0}
        assert (found.n_photos, found.n_captions, found.n_outside) == (2, 3, 0)
        assert [row.n_dimensions for row in found.rows] == [12, 3]

    def test_captions_that_do_not_fit_are_not(self, collection, write):
        (row,) = evaluate_captions(collection, write(*WRONG), spaces=CLIP).rows
        assert row.text_to_image == row.image_to_text == {1: 0.0, 5: 1.0, 10: 1.0}

    def test_hand_worked_recall(self, collection, write):
        # Of the captions two of three find their photo; both photos find one of their own first.
        captions = write("3,green", "5,blue", "5,green")
        (row,) = evaluate_captions(collection, captions, spaces=CLIP).rows
        assert row.text_to_image[1] == pytest.approx(2 / 3)
        assert row.image_to_text[1] == pytest.approx(1 / 2)

    def test_centred_axes_take_texts(self, collection, write, axes):
        centred = AxesChoice(label_embeddings=axes.label_embeddings, is_centred=True)
        choice = SpaceChoice(("semantic",), centred)
        (row,) = evaluate_captions(collection, write(*RIGHT), spaces=choice).rows
        assert row.text_to_image[1] == 1

    def test_photos_are_found_whatever_their_order(self, collection, write):
        forward = evaluate_captions(collection, write(*RIGHT, *WRONG), spaces=CLIP)
        back = evaluate_captions(collection, write(*WRONG[::-1], *RIGHT[::-1]), spaces=CLIP)
        assert forward.rows == back.rows

    def test_spaces_without_texts_are_refused(self, collection, write):
        with pytest.raises(InputError, match="no place in the space 'trunk'; use clip or semantic"):
            evaluate_captions(collection, write(*RIGHT), spaces=SpaceChoice(("trunk",)))


class TestChoice:
    def test_a_condition_narrows_both_sides(self, collection, write):
        found = evaluate_captions(collection, write(*RIGHT), where="image_id = 3", spaces=CLIP)
        assert (found.n_photos, found.n_captions) == (1, 2)

    def test_captions_of_other_photos_are_counted(self, collection, write):
        found = evaluate_captions(collection, write("5,blue", "99,gone"), spaces=CLIP)
        assert (found.n_photos, found.n_captions, found.n_outside) == (1, 1, 1)

    @pytest.mark.parametrize("where", [None, "image_id > 90"])
    def test_no_photo_is_refused(self, collection, write, where):
        captions = write("99,gone") if where is None else write(*RIGHT)
        with pytest.raises(InputError, match=r"captions in .* is of a photo of the collection"):
            evaluate_captions(collection, captions, where=where, spaces=CLIP)

    def test_a_limit_draws_photos_with_all_their_captions(self, collection, write):
        lines = [f"{image_id},red" for image_id in (0, 0, 1, 1, 2, 2)]
        draws = [
            evaluate_captions(
                collection, write(*lines), spaces=CLIP, captions=CaptionChoice(limit=2, seed=seed)
            )
            for seed in (4, 4)
        ]
        assert (draws[0].n_photos, draws[0].n_captions, draws[0].seed) == (2, 4, 4)
        assert draws[0].rows == draws[1].rows


class TestGivenEmbeddings:
    @pytest.fixture
    def without_model(self, tmp_path):
        store = labelled_store(tmp_path / "collection", source=None)
        return Collection(store, Settings(collection=store.uri))

    def test_replace_the_model(self, without_model, write, tmp_path):
        given = write_colour_embeddings(tmp_path / "c.npz", names=("blue", "all green", "green"))
        found = evaluate_captions(
            without_model, write(*RIGHT), captions=CaptionChoice(embeddings=given)
        )
        assert [row.space for row in found.rows] == ["clip"]
        assert found.rows[0].text_to_image[1] == 1
        assert [space.space for space in found.unusable] == ["semantic"]

    def test_must_hold_all_captions(self, without_model, write, tmp_path):
        given = write_colour_embeddings(tmp_path / "c.npz", names=("blue", "green"))
        with pytest.raises(InputError, match="has no embedding of 1 captions, 'all green' among"):
            evaluate_captions(
                without_model, write(*RIGHT), captions=CaptionChoice(embeddings=given)
            )

    def test_are_needed_where_the_model_is_unknown(self, without_model, write):
        with pytest.raises(UnknownModelError, match="known by its vectors only"):
            evaluate_captions(without_model, write(*RIGHT))


def test_equal_captions_are_embedded_once(collection, write):
    evaluate_captions(collection, write("3,white", "4,white", "5,white"), spaces=CLIP)
    cached = Path(collection.store.uri, "texts").glob("*.npy")
    assert 1 in [len(np.load(file)) for file in cached]

import numpy as np
import pytest

from indexer.scoring.zero_shot import Assignment
from schemas.anomalies import NormalClass
from schemas.errors import FilterError, InputError
from service.normal_photos import (
    NormalChoice,
    NormalPhotos,
    _covering,
    all_photos,
    confident_examples,
    normal_photos,
    with_spread,
)
from service.texts import imagenet_names
from tests.makers.shades import draw_shades, indexed_shades


@pytest.fixture(scope="module")
def shades(tmp_path_factory):
    """Twelve reds and blues and a green one; read only."""
    folder = tmp_path_factory.mktemp("shades")
    return indexed_shades(folder / "photos", folder / "c"), folder / "photos"


def counted(photos):
    return {normal.name: normal.n_examples for normal in photos.classes}


def names_file(tmp_path, *names):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names))
    return path


class TestExamples:
    def test_are_those_of_the_source_by_class(self, shades):
        collection, _ = shades
        photos = normal_photos(collection, NormalChoice(examples="folders"))
        assert (photos.origin, counted(photos)) == ("examples", {"blue": 12, "green": 1, "red": 12})
        assert photos.labels is None
        paths = collection.store.images_by_id(photos.image_ids, ["path"])["path"].to_pylist()
        names = [photos.classes[number].name for number in photos.class_of]
        assert [path.split("/")[0] for path in paths] == names

    def test_may_lie_outside_the_collection(self, shades, tmp_path):
        draw_shades(tmp_path, "yellow", count=3)
        photos = normal_photos(shades[0], NormalChoice(examples=str(tmp_path)))
        assert counted(photos) == {"yellow": 3}
        assert photos.image_ids.tolist() == [-1, -1, -1]

    def test_are_only_those_that_match_a_condition(self, shades):
        choice = NormalChoice(examples="folders", where="path like 'red%'")
        assert counted(normal_photos(shades[0], choice)) == {"red": 12}


class TestLabels:
    def test_draw_the_surest_half_of_each_class_and_ten_at_least(self, shades, tmp_path):
        labels = names_file(tmp_path, "yellow", "blue", "red")
        photos = normal_photos(shades[0], NormalChoice(labels=labels, template="{}"))
        assert photos.origin == "labels"
        # The green one is as near to yellow as its class; nothing is sure of it but its place.
        assert counted(photos) == {"yellow": 1, "blue": 10, "red": 10}
        assert photos.labels is not None
        assert photos.labels.names == ("yellow", "blue", "red")

    def test_confident_is_the_share_that_is_taken(self, shades, tmp_path):
        labels = names_file(tmp_path, "blue", "red")
        choice = NormalChoice(
            labels=labels, template="{}", confident=1.0, where="not path like 'g%'"
        )
        assert counted(normal_photos(shades[0], choice)) == {"blue": 12, "red": 12}

    def test_embeddings_from_a_file_need_no_model(self, shades, tmp_path):
        names, place = np.array(["blue", "red"]), tmp_path / "labels.npz"
        np.savez(place, names=names, embeddings=shades[0].encoder.encode_texts(names.tolist()))
        choice = NormalChoice(labels=names_file(tmp_path, "red"), label_embeddings=place)
        assert list(counted(normal_photos(shades[0], choice))) == ["red"]


class TestCover:
    def test_takes_the_most_frequent_names_of_a_file_of_embeddings(self, shades, tmp_path):
        names = ["white", "green", "blue", "red"]
        place = tmp_path / "labels.npz"
        embeddings = shades[0].encoder.encode_texts(names)
        np.savez(place, names=np.array(names), embeddings=embeddings)
        photos = normal_photos(shades[0], NormalChoice(label_embeddings=place))
        # The green one is alone with its name, and goes to the next.
        assert photos.origin == "cover"
        assert sorted(counted(photos).values()) == [12, 13]
        assert list(counted(photos)) == ["blue", "red"]
        assert photos.labels is not None
        expected = embeddings[2:] / np.linalg.norm(embeddings[2:], axis=1, keepdims=True)
        np.testing.assert_allclose(photos.labels.embeddings, expected, atol=1e-6)

    def test_without_one_takes_the_names_of_imagenet(self, shades):
        photos = normal_photos(shades[0], NormalChoice())
        assert photos.origin == "cover"
        assert set(counted(photos)) <= set(imagenet_names(synonyms=False))
        assert sum(counted(photos).values()) == len(photos.vectors) == 25

    def test_leaves_one_name_at_least(self, shades, tmp_path):
        names = ["blue", "red"]
        place = tmp_path / "labels.npz"
        embeddings = shades[0].encoder.encode_texts(names)
        np.savez(place, names=np.array(names), embeddings=embeddings)
        choice = NormalChoice(label_embeddings=place, least=1.0)
        assert list(counted(normal_photos(shades[0], choice)).values()) == [25]

    @pytest.mark.parametrize(
        ("share", "expected"), [(0.5, [2]), (0.51, [0, 2]), (0.9, [0, 2]), (1.0, [0, 1, 2])]
    )
    def test_is_reached_by_the_fewest_classes(self, share, expected):
        assert _covering(np.array([8, 2, 10, 0]), share).tolist() == expected


def test_the_surest_of_a_class_are_taken_and_similarity_decides_among_equals():
    assigned = Assignment(
        classes=np.array([0] * 24 + [1] * 2),
        confidences=np.array([1.0] * 12 + [0.5] * 12 + [0.3, 0.2], np.float32),
        similarities=np.arange(26, dtype=np.float32),
    )
    kept = confident_examples(assigned, 0.25)  # a quarter of 24 is six, but ten at least
    assert np.flatnonzero(kept).tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 24, 25]
    assert confident_examples(assigned, 0.5)[:12].all()


class TestWithSpread:
    def test_leaves_out_classes_whose_photos_do_not_differ(self):
        vectors = np.eye(4, dtype=np.float32)[[0, 1, 2, 2, 3, 1]]
        photos = NormalPhotos(
            "examples",
            vectors,
            np.arange(6),
            np.array([2, 0, 1, 1, 2, 3]),
            tuple(NormalClass(name=name, n_examples=1) for name in "abcd"),
        )
        kept = with_spread(photos)
        assert [normal.name for normal in kept.classes] == ["c"]
        assert [normal.name for normal in kept.skipped] == ["a", "b", "d"]
        assert (kept.image_ids.tolist(), kept.class_of.tolist()) == ([0, 4], [0, 0])

    def test_keeps_texts_and_classes_together(self, shades, tmp_path):
        labels = names_file(tmp_path, "yellow", "blue", "red")
        photos = normal_photos(shades[0], NormalChoice(labels=labels, template="{}"))
        kept = with_spread(photos)
        assert counted(kept) == {"blue": 10, "red": 10}
        assert kept.labels is not None
        assert photos.labels is not None
        assert kept.labels.names == ("blue", "red")
        np.testing.assert_array_equal(kept.labels.embeddings, photos.labels.embeddings[1:])
        np.testing.assert_array_equal(
            kept.vectors[kept.class_of == 1], photos.vectors[photos.class_of == 2]
        )

    def test_refuses_when_nothing_is_left(self, shades):
        choice = NormalChoice(examples="folders", where="path like 'green%'")
        with pytest.raises(InputError, match="no class has two photos that differ"):
            with_spread(normal_photos(shades[0], choice))


class TestAllPhotos:
    def test_are_one_class_without_a_name(self, shades):
        photos = all_photos(shades[0], where="path like 'red%'")
        assert (photos.origin, len(photos.vectors), photos.classes) == ("all", 12, ())

    def test_refuses_too_few(self, shades):
        with pytest.raises(InputError, match="--where selects 1 photos, and what is normal takes"):
            all_photos(shades[0], where="path like 'green%'")

    def test_refuses_a_condition_that_is_none(self, shades):
        with pytest.raises(FilterError, match="no_column"):
            all_photos(shades[0], where="no_column > 1")

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from indexer.scoring.anomaly import (
    AnomalyScores,
    anomaly_scores,
    class_scores,
    label_distances,
    nearest_texts,
    neighbour_distances,
    normal_statistics,
)
from indexer.scoring.similarity import normalised

SEEDS = st.integers(0, 2**32 - 1)
PARTS = ("scores", "classes", "internal", "external", "words")


def random_units(seed, n_rows, dimension=7):
    return normalised(np.random.default_rng(seed).normal(size=(n_rows, dimension)).astype("f4"))


def random_case(seed, *, n_classes=3, n_words=40, n_examples=12, dimension=7):
    """Examples of each class in turn, texts, and photos to score."""
    return {
        "photos": random_units(seed, 9, dimension),
        "examples": random_units(seed + 1, n_classes * n_examples, dimension),
        "class_of": np.arange(n_classes * n_examples) % n_classes,
        "label_embeddings": random_units(seed + 2, n_classes, dimension),
        "dictionary": random_units(seed + 3, n_words, dimension),
    }


def statistics_of(case):
    return normal_statistics(
        case["examples"],
        case["class_of"],
        label_embeddings=case["label_embeddings"],
        dictionary=case["dictionary"],
    )


def slow_score(photo, case, external_weight, k):
    """The formulas, one class, one text and one example at a time."""
    photo = photo.astype(float)
    similarities = [float(photo @ text.astype(float)) for text in case["dictionary"]]
    words = sorted(range(len(similarities)), key=lambda row: (-similarities[row], row))[:k]
    answers = []
    for number, label in enumerate(case["label_embeddings"]):
        examples = [
            example.astype(float)
            for example, of_class in zip(case["examples"], case["class_of"], strict=True)
            if of_class == number
        ]

        def standardised(text, examples=examples):
            bank = [float(example @ text.astype(float)) for example in examples]
            mean = sum(bank) / len(bank)
            std = (sum((value - mean) ** 2 for value in bank) / len(bank)) ** 0.5
            return (float(photo @ text.astype(float)) - mean) / (std + 1e-8)

        internal = -standardised(label)
        external = sum(standardised(case["dictionary"][row]) for row in words) / k
        answers.append((internal + external_weight * external, number, internal, external))
    return *min(answers), words


def assert_same_bits(scored, expected, rows=slice(None)):
    for part in PARTS:
        np.testing.assert_array_equal(getattr(scored, part), getattr(expected, part)[rows])


def joined(scored):
    return AnomalyScores(*(np.concatenate([getattr(s, part) for s in scored]) for part in PARTS))


class TestAnomalyScores:
    @given(SEEDS, st.integers(1, 4), st.integers(1, 40), st.floats(0, 2))
    @settings(max_examples=40)
    def test_agree_with_the_formulas(self, seed, n_classes, k, external_weight):
        case = random_case(seed, n_classes=n_classes)
        scored = anomaly_scores(
            case["photos"], statistics_of(case), external_weight=external_weight, k=k
        )
        for row, photo in enumerate(case["photos"]):
            score, number, internal, external, words = slow_score(photo, case, external_weight, k)
            assert scored.classes[row] == number
            assert scored.words[row].tolist() == words
            for found, expected in (
                (scored.scores[row], score),
                (scored.internal[row], internal),
                (scored.external[row], external),
            ):
                assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)

    def test_hand_worked_values(self):
        """Examples at cosines .8 and .6 to the label: mean .7, std .1; to the words 0, .6 / .8."""
        statistics = normal_statistics(
            np.array([[0.8, 0.6, 0], [0.6, 0.8, 0]], dtype=np.float32),
            np.array([0, 0]),
            label_embeddings=np.array([[1, 0, 0]], dtype=np.float32),
            dictionary=np.array([[0, 1, 0], [0.6, 0, 0.8]], dtype=np.float32),
        )
        np.testing.assert_allclose(statistics.internal_mean, [0.7], atol=1e-7)
        np.testing.assert_allclose(statistics.internal_std, [0.1], atol=1e-7)
        np.testing.assert_allclose(statistics.external_mean, [[0.7, 0.42]], atol=1e-7)
        np.testing.assert_allclose(statistics.external_std, [[0.1, 0.06]], atol=1e-7)
        photos = np.array([[0.8, 0.6, 0], [0.6, 0, 0.8]], dtype=np.float32)
        scored = anomaly_scores(photos, statistics, external_weight=0.5, k=1)
        np.testing.assert_array_equal(scored.words, [[0], [1]])
        # The first: -(.8 - .7) / .1 and (.6 - .7) / .1; the second: .1 / .1 and (1 - .42) / .06.
        np.testing.assert_allclose(scored.internal, [-1, 1], rtol=1e-5)
        np.testing.assert_allclose(scored.external, [-1, 0.58 / 0.06], rtol=1e-5)
        np.testing.assert_allclose(scored.scores, [-1.5, 1 + 0.29 / 0.06], rtol=1e-5)

    def test_the_class_that_comes_closest_gives_the_score(self):
        case = random_case(5)
        whole = anomaly_scores(case["photos"], statistics_of(case))
        alone = []
        for number in range(3):
            rows = case["class_of"] == number
            one = {
                **case,
                "examples": case["examples"][rows],
                "class_of": np.zeros(rows.sum(), np.int64),
                "label_embeddings": case["label_embeddings"][[number]],
            }
            alone.append(anomaly_scores(case["photos"], statistics_of(one)).scores)
        np.testing.assert_array_equal(whole.scores, np.min(alone, axis=0))
        np.testing.assert_array_equal(whole.classes, np.argmin(alone, axis=0))

    def test_the_first_class_stands_among_equals(self):
        case = random_case(6, n_classes=2)
        case["label_embeddings"][1] = case["label_embeddings"][0]
        case["examples"][1::2] = case["examples"][::2]
        assert anomaly_scores(case["photos"], statistics_of(case)).classes.tolist() == [0] * 9

    @pytest.mark.parametrize("n_words", [12, 700], ids=["few-texts", "many-texts"])
    def test_the_first_texts_stand_among_equals(self, n_words):
        case = random_case(7)
        case["dictionary"] = np.tile(case["dictionary"][:1], (n_words, 1))
        scored = anomaly_scores(case["photos"], statistics_of(case), k=10)
        np.testing.assert_array_equal(scored.words, np.tile(np.arange(10), (9, 1)))

    @given(SEEDS, st.integers(320, 900), st.integers(1, 10))
    @settings(max_examples=20)
    def test_words_of_a_long_dictionary_with_ties_are_those_of_sorting(self, seed, n_words, k):
        generator = np.random.default_rng(seed)
        case = random_case(seed)
        # A few distinct texts, so that nearly all of the dictionary ties with others.
        case["dictionary"] = case["dictionary"][generator.integers(0, 12, n_words)]
        words = anomaly_scores(case["photos"], statistics_of(case), k=k).words
        similarities = case["photos"].astype(float) @ case["dictionary"].astype(float).T
        distinct = np.round(similarities, 6)
        expected = np.argsort(-distinct, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(words, expected)

    def test_the_whole_dictionary_may_be_asked_for(self):
        case = random_case(8, n_words=5)
        scored = anomaly_scores(case["photos"], statistics_of(case), k=5)
        np.testing.assert_array_equal(np.sort(scored.words, axis=1), np.tile(np.arange(5), (9, 1)))

    def test_a_zero_vector_is_similar_to_no_text(self):
        case = random_case(9)
        zero = np.zeros((1, 7), np.float32)
        scored = anomaly_scores(zero, statistics_of(case), k=3)
        score, number, internal, external, words = slow_score(zero[0], case, 0.75, 3)
        assert scored.words.tolist() == [words] == [[0, 1, 2]]
        assert scored.classes.tolist() == [number]
        assert scored.scores[0] == pytest.approx(score, rel=1e-6)
        assert (scored.internal[0], scored.external[0]) == pytest.approx((internal, external))

    def test_no_photos_have_no_scores(self):
        case = random_case(10)
        scored = anomaly_scores(case["photos"][:0], statistics_of(case), k=4)
        assert (scored.scores.shape, scored.words.shape) == ((0,), (0, 4))

    def test_types_are_those_of_the_columns(self):
        scored = anomaly_scores(random_case(11)["photos"], statistics_of(random_case(11)))
        types = [getattr(scored, part).dtype for part in PARTS]
        assert types == [np.float32, np.int64, np.float32, np.float32, np.int64]


class TestTheSameBits:
    """In any company, order, block and number of threads, with texts that nearly tie."""

    @pytest.fixture
    def case(self):
        case = random_case(12, n_classes=5, n_words=600, n_examples=20, dimension=64)
        case["photos"] = random_units(13, 300, 64)
        # Copies that differ by less than the rounding errors of a product in float32.
        copies = case["dictionary"][::2] * np.float32(1 - 2**-23)
        case["dictionary"][1::2] = copies
        return case

    @pytest.fixture
    def whole(self, case):
        return anomaly_scores(case["photos"], statistics_of(case))

    @pytest.mark.parametrize("batch", [1, 7, 100])
    def test_in_batches(self, case, whole, batch):
        photos, statistics = case["photos"], statistics_of(case)
        starts = range(0, len(photos), batch)
        batches = [anomaly_scores(photos[start : start + batch], statistics) for start in starts]
        assert_same_bits(joined(batches), whole)

    def test_in_another_order(self, case, whole):
        order = np.random.default_rng(0).permutation(len(case["photos"]))
        assert_same_bits(anomaly_scores(case["photos"][order], statistics_of(case)), whole, order)

    @pytest.mark.parametrize("block_values", [1, 5000])
    def test_in_other_blocks(self, case, whole, block_values, monkeypatch):
        statistics = statistics_of(case)
        monkeypatch.setattr("indexer.scoring.anomaly.BLOCK_VALUES", block_values)
        assert_same_bits(anomaly_scores(case["photos"], statistics), whole)

    def test_on_one_thread(self, case, whole):
        with threadpool_limits(limits=1, user_api="blas"):
            assert_same_bits(anomaly_scores(case["photos"], statistics_of(case)), whole)

    def test_of_neighbours(self, case, monkeypatch):
        photos, normal = case["photos"], case["examples"]
        whole = neighbour_distances(photos, normal, k=3)
        batches = [neighbour_distances(photo[np.newaxis], normal, k=3)[0] for photo in photos]
        np.testing.assert_array_equal(batches, whole)
        shuffled = normal[np.random.default_rng(1).permutation(len(normal))]
        np.testing.assert_array_equal(neighbour_distances(photos, shuffled, k=3), whole)
        monkeypatch.setattr("indexer.scoring.anomaly.BLOCK_VALUES", 700)
        np.testing.assert_array_equal(neighbour_distances(photos, normal, k=3), whole)

    def test_of_labels(self, case):
        photos, labels = case["photos"], case["label_embeddings"]
        batches = [label_distances(photo[np.newaxis], labels)[0] for photo in photos]
        np.testing.assert_array_equal(batches, label_distances(photos, labels))


class TestNormalStatistics:
    @given(SEEDS)
    @settings(max_examples=20)
    def test_agree_with_numpy(self, seed):
        case = random_case(seed)
        statistics = statistics_of(case)
        for number in range(3):
            bank = case["examples"][case["class_of"] == number].astype(float)
            own = bank @ case["label_embeddings"][number].astype(float)
            others = bank @ case["dictionary"].T.astype(float)
            assert statistics.internal_mean[number] == pytest.approx(own.mean(), abs=1e-6)
            assert statistics.internal_std[number] == pytest.approx(own.std(), abs=1e-6)
            np.testing.assert_allclose(statistics.external_mean[number], others.mean(0), atol=1e-6)
            np.testing.assert_allclose(statistics.external_std[number], others.std(0), atol=1e-6)

    def test_small_spreads_survive_large_similarities(self):
        generator = np.random.default_rng(3)
        offsets = 1e-4 * generator.normal(size=(500, 4))
        bank = normalised((np.array([1, 0, 0, 0]) + offsets).astype(np.float32))
        text = np.array([[0.6, 0.8, 0, 0]], dtype=np.float32)
        class_of = np.zeros(500, np.int64)
        statistics = normal_statistics(bank, class_of, label_embeddings=text, dictionary=text)
        expected = (bank.astype(float) @ text[0].astype(float)).std()
        assert statistics.internal_std[0] == pytest.approx(expected, rel=1e-3)

    def test_blocks_of_a_large_class_change_nothing(self, monkeypatch):
        case = random_case(14)
        whole = statistics_of(case)
        monkeypatch.setattr("indexer.scoring.anomaly.BLOCK_VALUES", 100)
        blocked = statistics_of(case)
        np.testing.assert_allclose(blocked.external_mean, whole.external_mean, rtol=1e-12)
        np.testing.assert_allclose(blocked.external_std, whole.external_std, rtol=1e-9)

    def test_a_class_of_one_photo_is_refused(self):
        case = random_case(15)
        case["class_of"] = np.where(case["class_of"] == 1, 0, case["class_of"])
        case["class_of"][4] = 1
        with pytest.raises(ValueError, match="class 1 needs at least 2 examples, got 1"):
            statistics_of(case)

    def test_a_class_of_equal_photos_is_refused(self):
        case = random_case(16)
        case["examples"][case["class_of"] == 2] = case["examples"][0]
        with pytest.raises(ValueError, match="class 2 has 12 examples that are all the same"):
            statistics_of(case)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"class_of": np.zeros(5, np.int64)}, r"class_of must have shape \(36,\), got \(5,\)"),
            ({"class_of": np.full(36, 3)}, r"class_of must be in \[0, 3\), got 3 to 3"),
            ({"class_of": np.full(36, -1)}, r"class_of must be in \[0, 3\), got -1 to -1"),
            ({"dictionary": np.ones((4, 6), np.float32)}, r"dictionary must be a matrix \(n, 7\)"),
            ({"dictionary": np.ones((0, 7), np.float32)}, "dictionary must hold at least one"),
            ({"label_embeddings": np.ones((0, 7), np.float32)}, "label_embeddings must hold at"),
            ({"examples": 2 * random_units(0, 36)}, "embeddings must be unit length, row 0 has"),
            ({"examples": np.ones(7, np.float32)}, r"embeddings must be a matrix"),
        ],
    )
    def test_refuses_what_does_not_fit(self, changes, message):
        with pytest.raises(ValueError, match=message):
            statistics_of({**random_case(17), **changes})


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["examples", "label_embeddings", "dictionary"])
def test_what_is_no_number_is_refused_when_learning(name, value):
    case = random_case(18)
    case[name][1, 2] = value
    with pytest.raises(ValueError, match=r"must be finite, row 1 is not"):
        statistics_of(case)


class TestRefusals:
    @pytest.fixture
    def case(self):
        return random_case(19)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_photos_that_are_no_numbers(self, case, value):
        statistics = statistics_of(case)
        case["photos"][2, 0] = value
        for call in (
            lambda photos: anomaly_scores(photos, statistics),
            lambda photos: neighbour_distances(photos, case["examples"]),
            lambda photos: label_distances(photos, case["label_embeddings"]),
        ):
            with pytest.raises(ValueError, match="embeddings must be finite, row 2 is not"):
                call(case["photos"])

    @pytest.mark.parametrize("k", [0, 41])
    def test_more_words_than_the_dictionary_has(self, case, k):
        with pytest.raises(ValueError, match=rf"k must be in \[1, 40\] texts .*, got {k}"):
            anomaly_scores(case["photos"], statistics_of(case), k=k)

    @pytest.mark.parametrize("weight", [-0.1, np.nan, np.inf])
    def test_weights_that_are_none(self, case, weight):
        with pytest.raises(ValueError, match="external_weight must be finite and at least 0"):
            anomaly_scores(case["photos"], statistics_of(case), external_weight=weight)

    def test_photos_of_another_width(self, case):
        with pytest.raises(ValueError, match=r"label_embeddings must be a matrix \(n, 6\)"):
            anomaly_scores(random_units(0, 2, 6), statistics_of(case))

    def test_statistics_that_do_not_belong_together(self, case):
        statistics = replace(statistics_of(case), external_std=np.ones((3, 39)))
        with pytest.raises(ValueError, match=r"external_std must have shape \(3, 40\)"):
            anomaly_scores(case["photos"], statistics)

    @pytest.mark.parametrize("k", [0, 37])
    def test_more_neighbours_than_normal_photos(self, case, k):
        with pytest.raises(ValueError, match=rf"k must be in \[1, 36\] normal photos, got {k}"):
            neighbour_distances(case["photos"], case["examples"], k=k)

    def test_no_labels(self, case):
        with pytest.raises(ValueError, match="label_embeddings must hold at least one text"):
            label_distances(case["photos"], case["label_embeddings"][:0])


class TestDistances:
    @given(SEEDS, st.integers(1, 15))
    def test_neighbour_distances_agree_with_sorting(self, seed, k):
        photos, normal = random_units(seed, 4), random_units(seed + 1, 15)
        distances = neighbour_distances(photos, normal, k=k)
        for row, photo in enumerate(photos):
            expected = sorted(1 - float(photo.astype(float) @ other) for other in normal)[k - 1]
            assert distances[row] == pytest.approx(expected, abs=1e-6)

    @given(SEEDS, st.integers(1, 5))
    def test_label_distances_agree_with_the_definition(self, seed, n_labels):
        photos, labels = random_units(seed, 4), random_units(seed + 1, n_labels)
        expected = [
            min(1 - float(photo.astype(float) @ other) for other in labels) for photo in photos
        ]
        np.testing.assert_allclose(label_distances(photos, labels), expected, atol=1e-6)

    def test_a_normal_photo_is_at_no_distance_and_a_zero_vector_at_one(self):
        normal = random_units(20, 3)
        photos = np.concatenate([normal, np.zeros((1, 7), np.float32)])
        np.testing.assert_allclose(neighbour_distances(photos, normal), [0, 0, 0, 1], atol=1e-6)
        assert (neighbour_distances(photos, normal) >= 0).all()
        assert label_distances(photos, normal)[3] == 1


class TestParts:
    """What `anomaly_scores` takes the least of, for a bench that tries many choices."""

    @pytest.mark.parametrize("external_weight", [0.0, 0.5, 2.0])
    def test_the_least_over_the_classes_is_the_score_bit_for_bit(self, external_weight):
        case = random_case(21)
        statistics = statistics_of(case)
        nearest = nearest_texts(case["photos"], case["dictionary"], k=4)
        parts = class_scores(case["photos"], nearest, statistics)
        scored = anomaly_scores(case["photos"], statistics, external_weight=external_weight, k=4)
        np.testing.assert_array_equal(nearest.rows, scored.words)
        of_classes = parts.internal + external_weight * parts.external
        np.testing.assert_array_equal(of_classes.min(axis=1).astype("f4"), scored.scores)
        np.testing.assert_array_equal(of_classes.argmin(axis=1), scored.classes)

    def test_refuses_texts_of_other_photos(self):
        case = random_case(22)
        nearest = nearest_texts(case["photos"][:3], case["dictionary"], k=4)
        with pytest.raises(ValueError, match=r"nearest must have shape \(9, 4\), got \(3, 4\)"):
            class_scores(case["photos"], nearest, statistics_of(case))

    @pytest.mark.parametrize("k", [0, 41])
    def test_refuses_more_texts_than_there_are(self, k):
        case = random_case(23)
        with pytest.raises(ValueError, match=rf"k must be in \[1, 40\] texts .*, got {k}"):
            nearest_texts(case["photos"], case["dictionary"], k=k)

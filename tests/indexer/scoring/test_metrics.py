import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring.metrics import (
    caption_recall,
    caption_recall_of_vectors,
    recall_at_k,
    recall_at_ranks,
)
from indexer.scoring.similarity import normalised

SEEDS = st.integers(0, 2**32 - 1)


def slow_recall_at_k(retrieved, relevant, k):
    shares = []
    for hits, wanted in zip(retrieved.tolist(), relevant.tolist(), strict=True):
        shares.append(len(set(wanted) & set(hits[:k]) - {-1}) / len(wanted))
    return sum(shares) / len(shares)


def slow_rank(values, wanted):
    """Place, from 1, of the first wanted position when sorted, last among equals."""
    order = sorted(range(len(values)), key=lambda place: (-values[place], place in set(wanted)))
    return min(order.index(place) for place in wanted) + 1


class TestRecallAtK:
    @pytest.mark.parametrize(
        ("retrieved", "expected"),
        [
            pytest.param([[1, 2]], 1.0, id="all-found"),
            pytest.param([[2, 1]], 1.0, id="order-does-not-matter"),
            pytest.param([[1, 1]], 0.5, id="a-repeat-counts-once"),
            pytest.param([[1, -1]], 0.5, id="minus-one-is-no-hit"),
            pytest.param([[7, 9, 1]], 0.0, id="found-too-late"),
        ],
    )
    def test_of_the_first_two(self, retrieved, expected):
        assert recall_at_k(np.array(retrieved), np.array([[1, 2]]), k=2) == expected

    def test_minus_one_is_not_found_even_where_it_is_asked_for(self):
        assert recall_at_k(np.array([[-1, 3]]), np.array([[-1, 3]]), k=2) == 0.5

    @given(SEEDS, st.integers(1, 6))
    def test_agrees_with_the_definition(self, seed, k):
        generator = np.random.default_rng(seed)
        retrieved = np.stack([generator.permutation(10)[:6] - 1 for _ in range(4)])
        relevant = np.stack([generator.permutation(9)[:3] for _ in range(4)])
        expected = slow_recall_at_k(retrieved, relevant, k)
        assert recall_at_k(retrieved, relevant, k=k) == pytest.approx(expected)

    @pytest.mark.parametrize("k", [0, 4])
    def test_refuses_a_k_without_hits(self, k):
        with pytest.raises(ValueError, match=rf"k must be in \[1, 3\], got {k}"):
            recall_at_k(np.array([[3, 1, 9]]), np.array([[1]]), k=k)

    @pytest.mark.parametrize(
        ("n_retrieved", "n_relevant"), [((2, 3), (1, 3)), ((0, 3), (0, 3)), ((1, 3), (1, 0))]
    )
    def test_refuses_other_query_counts_and_empty_ones(self, n_retrieved, n_relevant):
        with pytest.raises(ValueError, match="must have one row per query and not be empty"):
            recall_at_k(np.zeros(n_retrieved, np.int64), np.zeros(n_relevant, np.int64), k=1)

    def test_refuses_a_single_ranking(self):
        with pytest.raises(ValueError, match="retrieved must be a matrix"):
            recall_at_k(np.array([1, 2]), np.array([[1, 2]]), k=1)


class TestCaptionRecall:
    def test_hand_worked_values(self):
        # Captions 0 and 1 belong to image 0, caption 2 to image 1; image 2 has none.
        similarities = np.array([[9, 1, 2], [3, 8, 7], [6, 5, 4]], dtype=np.float32)
        recall = caption_recall(similarities, np.array([0, 0, 1]), ks=(1, 2, 3))
        # Text to image: ranks 1, 3, 2. Image to text: image 0 at once, image 1 after caption 1.
        assert recall.text_to_image == pytest.approx({1: 1 / 3, 2: 2 / 3, 3: 1.0})
        assert recall.image_to_text == {1: 0.5, 2: 1.0, 3: 1.0}

    def test_equal_similarities_are_no_success(self):
        n_pairs = 10
        recall = caption_recall(np.zeros((n_pairs, n_pairs), np.float32), np.arange(n_pairs))
        assert recall.text_to_image == recall.image_to_text == {1: 0.0, 5: 0.0, 10: 1.0}

    @given(SEEDS, st.integers(1, 8), st.integers(1, 6))
    def test_agrees_with_sorting(self, seed, n_texts, n_images):
        generator = np.random.default_rng(seed)
        similarities = generator.integers(0, 4, (n_texts, n_images)).astype(np.float32)
        relevant_images = generator.integers(0, n_images, n_texts)
        recall = caption_recall(similarities, relevant_images, ks=(1, 2))
        text_ranks = [
            slow_rank(row, [image])
            for row, image in zip(similarities.tolist(), relevant_images.tolist(), strict=True)
        ]
        image_ranks = [
            slow_rank(
                similarities[:, image].tolist(), np.flatnonzero(relevant_images == image).tolist()
            )
            for image in set(relevant_images.tolist())
        ]
        for k in (1, 2):
            assert recall.text_to_image[k] == pytest.approx(np.mean(np.array(text_ranks) <= k))
            assert recall.image_to_text[k] == pytest.approx(np.mean(np.array(image_ranks) <= k))

    @pytest.mark.parametrize(("shape", "n_texts"), [((3, 2), 2), ((0, 2), 0)])
    def test_refuses_captions_without_an_image_each(self, shape, n_texts):
        with pytest.raises(ValueError, match="need one relevant image per text"):
            caption_recall(np.zeros(shape, np.float32), np.zeros(n_texts, np.int64))

    @pytest.mark.parametrize("image", [-1, 2])
    def test_refuses_images_that_do_not_exist(self, image):
        with pytest.raises(ValueError, match=rf"must be in \[0, 2\), got {image} to {image}"):
            caption_recall(np.zeros((1, 2), np.float32), np.array([image]))


class TestCaptionRecallOfVectors:
    def draw(self, seed, *, n_texts, n_images, dimension=3):
        """Vectors of few directions, so that many similarities are equal."""
        generator = np.random.default_rng(seed)
        vectors = generator.integers(-1, 2, (n_texts + n_images, dimension)).astype(np.float32)
        units = normalised(vectors)
        return units[:n_texts], units[n_texts:], generator.integers(0, n_images, n_texts)

    @given(SEEDS, st.integers(1, 12), st.integers(1, 8))
    def test_agrees_with_the_similarities(self, seed, n_texts, n_images):
        texts, images, relevant_images = self.draw(seed, n_texts=n_texts, n_images=n_images)
        similarities = (texts.astype(np.float64) @ images.T.astype(np.float64)).astype(np.float32)
        expected = caption_recall(similarities, relevant_images, ks=(1, 3))
        assert caption_recall_of_vectors(texts, images, relevant_images, ks=(1, 3)) == expected

    @pytest.mark.parametrize("block_values", [1, 7, 90, 10**6])
    def test_does_not_depend_on_blocks(self, block_values):
        texts, images, relevant_images = self.draw(3, n_texts=60, n_images=30, dimension=40)
        expected = caption_recall_of_vectors(texts, images, relevant_images)
        found = caption_recall_of_vectors(texts, images, relevant_images, block_values=block_values)
        assert found == expected

    def test_does_not_depend_on_order(self):
        texts, images, relevant_images = self.draw(4, n_texts=60, n_images=30)
        generator = np.random.default_rng(5)
        text_order, image_order = generator.permutation(60), generator.permutation(30)
        new_place = np.argsort(image_order)
        found = caption_recall_of_vectors(
            texts[text_order], images[image_order], new_place[relevant_images[text_order]]
        )
        assert found == caption_recall_of_vectors(texts, images, relevant_images)

    def test_does_not_write_into_its_arguments(self):
        similarities = np.eye(3, dtype=np.float32)
        caption_recall(similarities, np.arange(3))
        assert np.array_equal(similarities, np.eye(3))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_refuses_what_is_not_finite(self, value):
        texts = np.array([[value, 0]], np.float32)
        with pytest.raises(ValueError, match="texts must be finite"):
            caption_recall_of_vectors(texts, np.eye(2, dtype=np.float32), np.array([0]))

    def test_refuses_other_widths_and_images_that_do_not_exist(self):
        square, wide = np.eye(2, dtype=np.float32), np.eye(3, dtype=np.float32)
        with pytest.raises(ValueError, match=r"images must be a matrix \(n, 2\)"):
            caption_recall_of_vectors(square, wide, np.array([0, 1]))
        with pytest.raises(ValueError, match=r"must be in \[0, 2\), got 0 to 2"):
            caption_recall_of_vectors(square, square, np.array([0, 2]))


class TestRecallAtRanks:
    @pytest.mark.parametrize("ranks", [[], [0, 1]])
    def test_refuses_no_ranks_and_rank_zero(self, ranks):
        with pytest.raises(ValueError, match="ranks must be one or more numbers from 1"):
            recall_at_ranks(np.array(ranks, dtype=np.int64), ks=(1,))

    def test_refuses_k_zero(self):
        with pytest.raises(ValueError, match=r"every k must be at least 1, got \(5, 0\)"):
            recall_at_ranks(np.array([1]), ks=(5, 0))

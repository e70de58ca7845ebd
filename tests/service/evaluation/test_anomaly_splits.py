import numpy as np
import pytest

from schemas.errors import InputError
from service.evaluation.anomaly_photos import drawn_ranks, is_reserved
from service.evaluation.anomaly_splits import (
    CIFAR10_CLASSES,
    class_splits,
    given_splits,
    is_cifar10,
    is_cifar100,
    named_split,
    spoken,
)

ALL = np.ones(3, bool)


def names_of(splits, classes):
    return [{classes[row] for row in split.normal} for split in splits]


class TestClassSplits:
    def test_one_class_is_normal_in_turn(self):
        splits = class_splits("abc", ALL, protocol="one-class")
        assert names_of(splits, "abc") == [{"a"}, {"b"}, {"c"}]
        assert splits[1].anomalous.tolist() == [0, 2]

    def test_one_class_is_the_anomaly_in_turn(self):
        splits = class_splits("abc", ALL, protocol="leave-one-out")
        assert names_of(splits, "abc") == [{"b", "c"}, {"a", "c"}, {"a", "b"}]
        assert [split.name for split in splits] == ["a", "b", "c"]
        assert splits[2].anomalous.tolist() == [2]

    @pytest.mark.parametrize(
        ("classes", "may_be_normal", "protocol"),
        [
            ("a", [True], "one-class"),
            ("ab", [False, False], "one-class"),
            ("ab", [True, False], "leave-one-out"),
        ],
    )
    def test_refuse_what_leaves_one_side_empty(self, classes, may_be_normal, protocol):
        with pytest.raises(InputError, match="does not suffice; give labels of two classes"):
            class_splits(classes, np.array(may_be_normal), protocol=protocol)


class TestGivenSplits:
    def test_the_papers_splits_of_cifar10_go_by_its_numbers(self):
        classes = tuple(sorted(CIFAR10_CLASSES))
        splits = given_splits(classes, "cifar10-6")
        assert [len(split.normal) for split in splits] == [6] * 5
        # {0, 1, 9, 7, 3, 2} of the paper.
        first = {"airplane", "automobile", "truck", "horse", "cat", "bird"}
        assert names_of(splits, classes)[0] == first
        assert splits[4].name == "cifar10-6 5"

    def test_cifar100_is_cut_into_five_blocks_by_name(self):
        classes = ("apple", "maple_tree", *(f"n{number:02}" for number in range(97)), "worm")
        splits = given_splits(classes, "cifar100-20")
        assert [split.normal.tolist() for split in splits] == [
            list(range(start, start + 20)) for start in range(0, 100, 20)
        ]

    def test_a_file_has_one_split_a_line(self, tmp_path):
        path = tmp_path / "splits.txt"
        path.write_text("\ufeff# normal classes\n a, b\n\nb, c with\t a\n", encoding="utf-8")
        classes = ("a", "b", "b, c with", "d")
        splits = given_splits(classes, str(path))
        assert names_of(splits, classes) == [{"a", "b"}, {"b, c with", "a"}]
        assert splits[0].anomalous.tolist() == [2, 3]

    @pytest.mark.parametrize("source", ["cifar10-6", "cifar100-20"])
    def test_the_papers_need_the_papers_classes(self, source):
        with pytest.raises(InputError, match=f"the splits {source} need the"):
            given_splits(("cat", "dog"), source)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(InputError, match=r"no such file.*or one of cifar10-6, cifar100-20"):
            given_splits("ab", str(tmp_path / "none.txt"))

    def test_a_file_without_a_split(self, tmp_path):
        path = tmp_path / "splits.txt"
        path.write_text("# none\n\n")
        with pytest.raises(InputError, match="has no split"):
            given_splits("ab", str(path))

    def test_a_file_that_is_no_text(self, tmp_path):
        path = tmp_path / "splits.txt"
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match="no UTF-8 text"):
            given_splits("ab", str(path))


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        (["x"], "no photo has the label 'x' of mine; there are a, b"),
        (["a", "b"], "mine must leave some classes normal and some anomalous"),
        ([], "mine must leave some"),
    ],
)
def test_a_named_split_needs_both_sides(normal, message):
    with pytest.raises(InputError, match=message):
        named_split("ab", normal, name="mine")


def test_data_sets_are_known_by_their_classes():
    assert is_cifar10(CIFAR10_CLASSES[::-1])
    assert not is_cifar10(CIFAR10_CLASSES[:9])
    assert not is_cifar100([f"n{number}" for number in range(100)])
    assert spoken("maple_tree") == "maple tree"


class TestDrawnRanks:
    CLASS_OF = np.array([0, 1, 0, 1, 0, 2])

    def test_number_the_photos_of_each_class(self):
        ranks = drawn_ranks(self.CLASS_OF, np.ones(6, bool), seed=0, draw=0)
        for number, count in ((0, 3), (1, 2), (2, 1)):
            assert sorted(ranks[number == self.CLASS_OF]) == list(range(count))

    def test_leave_out_what_may_not_be_drawn(self):
        allowed = np.array([True, True, False, True, True, False])
        ranks = drawn_ranks(self.CLASS_OF, allowed, seed=0, draw=0)
        assert is_reserved(ranks, 2).tolist() == [True, True, False, True, True, False]
        assert is_reserved(ranks, None).tolist() == allowed.tolist()

    def test_do_not_depend_on_the_photos_of_other_classes(self):
        class_of = np.zeros(20, np.int64)
        alone = drawn_ranks(class_of, np.ones(20, bool), seed=3, draw=1)
        class_of = np.append(class_of, [1] * 7)
        assert drawn_ranks(class_of, np.ones(27, bool), seed=3, draw=1)[:20].tolist() == (
            alone.tolist()
        )

    def test_differ_by_draw_and_by_seed(self):
        class_of = np.zeros(50, np.int64)
        drawn = {
            tuple(drawn_ranks(class_of, np.ones(50, bool), seed=seed, draw=draw))
            for seed in (0, 1)
            for draw in (0, 1)
        }
        assert len(drawn) == 4

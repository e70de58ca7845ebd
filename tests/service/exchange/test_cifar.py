"""The original files of CIFAR, and files that only look like them."""

import os
import pickle

import numpy as np
import pytest

from schemas.errors import InputError
from service.exchange.cifar import CifarSplit, open_cifar
from tests.makers.cifar import (
    COARSE_NAMES,
    COARSE_OF,
    NAMES,
    binary_cifar10,
    binary_cifar100,
    cifar_pictures,
    pickled_cifar10,
    pickled_cifar100,
    planes,
)

BOTH: tuple[CifarSplit, CifarSplit] = ("train", "test")


@pytest.mark.parametrize("write", [pickled_cifar10, binary_cifar10])
def test_cifar10_is_five_files_for_training_and_one_for_tests(tmp_path, write):
    cifar = open_cifar(write(tmp_path / "c"), kind="cifar10")
    assert (cifar.names, cifar.coarse_names) == (NAMES, ())
    files = list(cifar.files(BOTH))
    assert [file.split for file in files] == ["train"] * 5 + ["test"]
    assert [file.first_number for file in files] == [0, 3, 6, 9, 12, 0]
    for seed, file in enumerate(files):
        np.testing.assert_array_equal(file.pixels, cifar_pictures(3, seed=seed))
        assert file.labels.tolist() == [0, 1, 2]
        assert file.coarse_labels is None
    assert [file.path for file in cifar.files(["test"])] == [files[-1].path]


@pytest.mark.parametrize("write", [pickled_cifar100, binary_cifar100])
def test_cifar100_has_coarse_labels_too(tmp_path, write):
    cifar = open_cifar(write(tmp_path / "c"), kind="cifar100")
    assert (cifar.names, cifar.coarse_names) == (NAMES, COARSE_NAMES)
    train, test = cifar.files(BOTH)
    assert (train.split, test.split, test.first_number) == ("train", "test", 0)
    np.testing.assert_array_equal(test.pixels, cifar_pictures(4, seed=1))
    assert test.labels.tolist() == [0, 1, 2, 0]
    assert test.coarse_labels is not None
    assert test.coarse_labels.tolist() == [COARSE_OF[label] for label in (0, 1, 2, 0)]


@pytest.mark.parametrize(
    ("write", "below", "kind"),
    [
        (pickled_cifar10, "cifar-10-batches-py", "cifar10"),
        (binary_cifar10, "cifar-10-batches-bin", "cifar10"),
        (pickled_cifar100, "cifar-100-python", "cifar100"),
        (binary_cifar100, "cifar-100-binary", "cifar100"),
    ],
)
def test_the_folder_above_does_too(tmp_path, write, below, kind):
    write(tmp_path / below)
    assert open_cifar(tmp_path, kind=kind).folder == tmp_path / below


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read(tmp_path, protocol):
    cifar = open_cifar(pickled_cifar10(tmp_path / "c", protocol=protocol), kind="cifar10")
    (file,) = cifar.files(["test"])
    np.testing.assert_array_equal(file.pixels, cifar_pictures(3, seed=5))


def test_text_keys_and_pictures_by_column_are_read(tmp_path):
    folder = pickled_cifar10(tmp_path / "c")
    data = np.asfortranarray(planes(cifar_pictures(2)))
    content = {"labels": [2, 1], "data": data}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    (file,) = open_cifar(folder, kind="cifar10").files(["test"])
    np.testing.assert_array_equal(file.pixels, cifar_pictures(2))


# What must not happen


class _Runs:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class _Evaluates:
    def __reduce__(self):
        return eval, ("__import__('os').getcwd()",)


class _Encodes:
    def __reduce__(self):
        import _codecs

        return _codecs.encode, ("abc", "rot13")


@pytest.mark.parametrize(
    ("make", "asked"),
    [
        (lambda path: _Runs(path), "mkdir"),
        (lambda _: _Evaluates(), "eval"),
        (lambda _: _Encodes(), "encoding"),
        (lambda _: np.random.default_rng(0), "it asks for numpy"),
        (lambda _: np.array([{}], dtype=object), "not one of bytes"),
        (lambda _: np.zeros(3), "not one of bytes"),
        (lambda _: np.ndarray, "its array|state|NoneType|subscript|holds no pictures"),
    ],
)
def test_a_hostile_pickle_runs_nothing(tmp_path, make, asked):
    folder = pickled_cifar10(tmp_path / "c")
    content = {b"labels": [0], b"data": make(tmp_path / "made")}
    (folder / "test_batch").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=asked):
        list(open_cifar(folder, kind="cifar10").files(["test"]))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({b"a": 1})[:-3],
        b"\x80\x04\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94)\x81}b.",
        b"cnumpy\nndarray\n(I1000000000000\ntR.",
    ],
)
def test_what_is_no_dictionary_is_refused(tmp_path, content):
    folder = pickled_cifar10(tmp_path / "c")
    (folder / "test_batch").write_bytes(content)
    with pytest.raises(InputError, match="not one of the original files of CIFAR"):
        list(open_cifar(folder, kind="cifar10").files(["test"]))


def test_a_state_that_is_too_short_is_refused(tmp_path):
    folder = pickled_cifar10(tmp_path / "c")
    content = pickle.dumps({b"labels": [0], b"data": np.zeros((1, 3072), np.uint8)}, protocol=2)
    (folder / "test_batch").write_bytes(content.replace(b"M\x00\x0c", b"M\x00\x0d"))
    with pytest.raises(InputError, match="cannot reshape"):
        list(open_cifar(folder, kind="cifar10").files(["test"]))


# What is wrong with a folder


@pytest.mark.parametrize(("kind", "shown"), [("cifar10", "CIFAR-10"), ("cifar100", "CIFAR-100")])
def test_a_folder_of_something_else_is_refused(tmp_path, kind, shown):
    with pytest.raises(InputError, match=f"holds no {shown}: there is no .*; give the folder"):
        open_cifar(tmp_path, kind=kind)


@pytest.mark.parametrize("write", [pickled_cifar10, binary_cifar10])
def test_a_file_that_is_missing_is_named(tmp_path, write):
    folder = write(tmp_path / "c")
    next(folder.glob("data_batch_3*")).unlink()
    with pytest.raises(InputError, match=r"cannot read .*data_batch_3.*; unpack the whole archive"):
        list(open_cifar(folder, kind="cifar10").files(["train"]))


@pytest.mark.parametrize("content", [b"", b"1234"])
def test_a_binary_file_of_another_size_is_refused(tmp_path, content):
    folder = binary_cifar10(tmp_path / "c")
    (folder / "test_batch.bin").write_bytes(content)
    with pytest.raises(InputError, match=r"bytes, which are no records of 3,073"):
        list(open_cifar(folder, kind="cifar10").files(["test"]))


def test_a_giant_is_not_read(tmp_path):
    folder = binary_cifar10(tmp_path / "c")
    os.truncate(folder / "test_batch.bin", 2**30)
    with pytest.raises(InputError, match=r"test_batch.bin has 1,074 MB; no file of CIFAR is so"):
        list(open_cifar(folder, kind="cifar10").files(["test"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({b"data": None}, "holds no pictures of 32 x 32"),
        ({b"data": np.zeros((2, 100), np.uint8)}, "holds no pictures of 32 x 32"),
        ({b"labels": [0, 1]}, "has 1 pictures but 2 labels"),
        ({b"labels": "cat"}, "has no list of labels"),
        ({b"labels": [3]}, "has labels from 3 to 3 for 3 names"),
        ({b"labels": [-1]}, "has labels from -1 to -1 for 3 names"),
    ],
)
def test_batches_that_make_no_sense_are_refused(tmp_path, changes, message):
    folder = pickled_cifar10(tmp_path / "c")
    content = {b"labels": [0], b"data": planes(cifar_pictures(1)), **changes}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match=message):
        list(open_cifar(folder, kind="cifar10").files(["test"]))


def test_names_that_are_none_are_refused(tmp_path):
    folder = pickled_cifar10(tmp_path / "c")
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [1]}))
    with pytest.raises(InputError, match="has no list of label_names"):
        open_cifar(folder, kind="cifar10")

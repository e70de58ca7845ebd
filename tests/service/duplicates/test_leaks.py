"""Pairs between two sets: a folder and the rest of a collection, or two collections."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from schemas.errors import InputError, MismatchError
from service.duplicates.leaks import find_leaks
from service.duplicates.material import Asked
from tests.fakes import FakeEncoder
from tests.makers.libraries import indexed_folder
from tests.service.duplicates.copied_photos import COPIES, photo, write, write_family


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Photos 1 to 4 for training; for tests copies of 1 and 2, the bytes of 3, and another."""
    root = tmp_path_factory.mktemp("photos")
    for seed in (1, 2, 3, 4):
        write_family(root / "train", seed)
    for seed, kind in ((1, "half.jpg"), (1, "mirrored.jpg"), (2, "cut.jpg")):
        alter, options = COPIES[kind]
        write(root / "test", f"{seed}-{kind}", alter(photo(seed)), **options)
    shutil.copy(root / "train/photo3.png", root / "test/again.png")
    write_family(root / "test", 5)
    return root


@pytest.fixture(scope="module")
def collection(root, tmp_path_factory):
    return indexed_folder(root, tmp_path_factory.mktemp("collection"))


def leaks(collection, other, **options):
    return find_leaks(collection, str(other), report=lambda _: None, **options)


def shown(pairs):
    return {(Path(pair.left.path).name, Path(pair.right.path).name, pair.tier) for pair in pairs}


EXPECTED = {
    ("photo1.png", "1-half.jpg", "near"),
    ("photo1.png", "1-mirrored.jpg", "near"),
    ("photo2.png", "2-cut.jpg", "near"),
    ("photo3.png", "again.png", "bytes"),
}


def test_a_folder_is_compared_with_all_other_photos(root, collection):
    found = leaks(collection, root / "test")
    assert shown(found.pairs) == EXPECTED
    assert (found.n_left, found.n_right) == (4, 5)
    assert (found.n_left_alike, found.n_right_alike) == (3, 4)
    assert found.right == str(root / "test")
    assert [pair.similarity for pair in found.pairs] == sorted(
        (pair.similarity for pair in found.pairs), reverse=True
    )


def test_another_collection_gives_the_same(root, collection, tmp_path):
    train = indexed_folder(root / "train", tmp_path / "train")
    indexed_folder(root / "test", tmp_path / "test")
    found = leaks(train, tmp_path / "test")
    assert shown(found.pairs) == EXPECTED
    assert (found.left, found.right) == (str(tmp_path / "train"), str(tmp_path / "test"))


def test_photos_of_one_set_are_not_compared_with_each_other(root, collection):
    pairs = leaks(collection, root / "test").pairs
    assert all("/train/" in pair.left.path and "/test/" in pair.right.path for pair in pairs)


@pytest.mark.parametrize("tier", ["bytes", "pixels"])
def test_stricter_tiers(root, collection, tier):
    found = leaks(collection, root / "test", tier=tier)
    assert shown(found.pairs) == {("photo3.png", "again.png", "bytes")}
    assert found.threshold is None


def test_all_pairs_come_and_not_only_the_nearest(tmp_path):
    """Equal pictures, plain ones among them: every one with every one."""
    folder = tmp_path / "photos"
    for name in ("a", "b", "c"):
        write(folder, f"train/{name}.png", photo(1))
        write(folder, f"train/plain-{name}.png", Image.new("RGB", (64, 48), (9, 9, 9)))
    for name in ("d", "e"):
        write(folder, f"test/{name}.png", photo(1))
        write(folder, f"test/plain-{name}.png", Image.new("RGB", (64, 48), (9, 9, 9)))
    found = leaks(indexed_folder(folder, tmp_path / "c"), folder / "test")
    assert len(found.pairs) == 2 * 3 * 2
    assert len(shown(found.pairs)) == 12


def test_similar_pairs_by_a_given_cosine(root, collection):
    found = leaks(collection, root / "test", tier="similar", asked=Asked(similarity=0.999))
    assert shown(found.pairs) >= {("photo3.png", "again.png", "bytes")}
    assert all(pair.similarity >= 0.999 for pair in found.pairs)
    everything = leaks(collection, root / "test", tier="similar", asked=Asked(similarity=0.01))
    assert len(everything.pairs) > len(found.pairs)
    assert ("photo2.png", "photo5.png", "similar") in shown(everything.pairs)


def test_a_condition_leaves_photos_out(root, collection):
    found = leaks(collection, root / "test", where="path not like '%photo1%'")
    assert shown(found.pairs) == EXPECTED - {pair for pair in EXPECTED if pair[0] == "photo1.png"}


def test_another_place_is_refused(collection, tmp_path):
    with pytest.raises(InputError, match=r"nowhere is neither a collection nor a folder that has"):
        leaks(collection, tmp_path / "nowhere")


def test_an_empty_side_is_refused(root, collection):
    with pytest.raises(InputError, match=r"without .*test has no photos to compare"):
        leaks(collection, root / "test", where="path like 'test/%'")


def test_collections_of_other_models_are_refused(root, collection, tmp_path):
    other = FakeEncoder(digest="e" * 64)
    indexed_folder(root / "test", tmp_path / "test", encoder=other)
    with pytest.raises(MismatchError, match=r"other weights \(e{16}, not f{16}\).*--tier bytes"):
        leaks(collection, tmp_path / "test")
    found = leaks(collection, tmp_path / "test", tier="bytes")
    # The collection of everything holds the test photos, too.
    assert ("photo3.png", "again.png", "bytes") in shown(found.pairs)

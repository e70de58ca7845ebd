"""Groups of real files that were altered in known ways."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from indexer.ingest import IngestProgress
from indexer.scoring.similarity_join import JoinPlan
from indexer.settings import Settings
from indexer.store import create_store, vectors_of
from schemas.errors import FilterError, InputError
from schemas.tables import imported_schema
from service.collection import Collection
from service.duplicates import copies
from service.duplicates.finding import find_duplicates
from service.duplicates.keepers import Preference
from service.duplicates.material import Asked, Material, default_map
from service.duplicates.photos import load_photos
from service.duplicates.searching import first_of_equal
from tests.fakes import FAKE_DESCRIPTION, FakeEncoder
from tests.makers.libraries import indexed_folder
from tests.makers.stores import collection_info, image_rows
from tests.makers.vectors import unit_vectors
from tests.service.duplicates.copied_photos import (
    COPIES,
    found,
    names,
    photo,
    write,
    write_family,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("collection")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A photo with all kinds of copies, one with two, one with its bytes again, two without."""
    folder = tmp_path_factory.mktemp("photos")
    write_family(folder, 1, *COPIES)
    write_family(folder, 2, "half.jpg", "turned.jpg")
    for seed in (3, 4, 5):
        write_family(folder, seed)
    shutil.copy(folder / "photo3.png", folder / "photo3 (1).png")
    return folder


@pytest.fixture(scope="module")
def collection(folder, place):
    return indexed_folder(folder, place)


def test_bytes_are_the_same_files_only(collection):
    listed = found(collection, tier="bytes")
    assert names(listed.groups) == [["photo3.png", "photo3 (1).png"]]
    assert [copy.tier for copy in listed.groups[0].copies] == ["bytes"]
    assert listed.threshold is None
    assert (listed.n_compared, listed.n_copies, listed.recall) == (15, 1, 1.0)


def test_pixels_are_the_same_pictures_in_other_files(collection):
    listed = found(collection, tier="pixels")
    assert sorted(names(listed.groups)) == [
        ["photo1.png", "photo1-same.png"],
        ["photo3.png", "photo3 (1).png"],
    ]
    tiers = {Path(copy.photo.path).name: copy.tier for g in listed.groups for copy in g.copies}
    assert tiers == {"photo1-same.png": "pixels", "photo3 (1).png": "bytes"}


def test_near_holds_every_kind_of_copy_and_no_other_photo(collection):
    listed = found(collection)
    assert sorted(names(listed.groups)) == [
        ["photo1.png", *sorted(f"photo1-{kind}" for kind in COPIES)],
        ["photo2.png", "photo2-half.jpg", "photo2-turned.jpg"],
        ["photo3.png", "photo3 (1).png"],
    ]
    assert listed.tier == "near"
    assert listed.n_copies == 10
    assert listed.n_unmeasured == 0
    assert listed.threshold is not None
    assert listed.threshold.strictness == "normal"
    assert listed.threshold.agreement is not None


def test_copies_tell_their_tier_and_what_sets_them_apart(collection):
    groups = {Path(group.keeper.path).name: group for group in found(collection).groups}
    told = {
        Path(copy.photo.path).name.removeprefix("photo1-"): (copy.tier, copy.difference)
        for copy in groups["photo1.png"].copies
    }
    assert told == {
        "same.png": ("pixels", "same pixels, other metadata or compression"),
        "resaved.jpg": ("near", "as JPEG"),
        "half.jpg": ("near", "50% as wide, as JPEG"),
        "mirrored.jpg": ("near", "mirrored, as JPEG"),
        "turned.jpg": ("near", "turned left, as JPEG"),
        "cut.jpg": ("near", "cropped to 81%, 90% as wide, as JPEG"),
        "framed.jpg": ("near", "with a frame, or less cropped, 110% as wide, as JPEG"),
    }


def test_the_smallest_similarity_is_that_of_any_two_of_a_group(collection):
    group = max(found(collection).groups, key=lambda group: len(group.copies))
    ids = [group.keeper.image_id, *(copy.photo.image_id for copy in group.copies)]
    rows = collection.store.images_by_id(np.array(ids), ["embedding"])
    vectors = vectors_of(rows["embedding"]).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ vectors.T / np.outer(lengths, lengths)
    assert group.smallest_similarity == pytest.approx(float(cosines.min()), abs=1e-3)
    assert group.smallest_similarity < min(copy.similarity for copy in group.copies)


def test_the_reason_compares_with_the_best_of_the_copies(tmp_path):
    for width in (640, 320, 160):
        write(tmp_path / "photos", f"{width}.png", photo(8).resize((width, width * 3 // 4)))
    listed = found(indexed_folder(tmp_path / "photos", tmp_path / "collection"))
    assert names(listed.groups) == [["640.png", "160.png", "320.png"]]
    assert listed.groups[0].reason == "most pixels: 640 x 480, not 320 x 240"


def test_groups_that_free_most_come_first(collection):
    listed = found(collection)
    sizes = [sum(copy.photo.file_size or 0 for copy in group.copies) for group in listed.groups]
    assert sizes == sorted(sizes, reverse=True)
    assert listed.n_bytes == sum(sizes)


def test_a_condition_leaves_photos_out(collection):
    listed = found(collection, where="path not like 'photo1%'")
    assert [group[0] for group in names(listed.groups)] == ["photo3.png", "photo2.png"]
    assert listed.n_compared == 7
    with pytest.raises(FilterError, match="nonsense"):
        found(collection, where="nonsense")


def test_a_condition_that_no_photo_meets_finds_nothing(collection):
    listed = found(collection, where="width > 100000")
    assert (listed.groups, listed.n_compared) == ([], 0)


def test_a_given_cosine_is_heeded(collection):
    similar = found(collection, tier="similar", asked=Asked(similarity=1.0))
    assert similar.threshold is not None
    assert similar.threshold.strictness is None
    assert similar.threshold.similarity == 1.0
    for group in similar.groups:
        assert all(copy.similarity == pytest.approx(1.0) for copy in group.copies)
    near = found(collection, asked=Asked(similarity=0.9999))
    assert all(copy.similarity >= 0.9999 for group in near.groups for copy in group.copies)
    assert near.n_copies < found(collection).n_copies


def test_similar_photos_are_within_the_threshold_of_their_keeper(collection):
    listed = found(collection, tier="similar", asked=Asked(similarity=0.97))
    copies = [copy for group in listed.groups for copy in group.copies]
    assert min(copy.similarity for copy in copies) >= 0.97
    assert {copy.tier for copy in copies} == {"bytes", "pixels", "near"}


def test_the_order_of_indexing_does_not_matter(folder, collection, tmp_path):
    """The same files, of which every second one comes in a second run, in reverse."""
    other = tmp_path / "photos"
    other.mkdir()
    paths = sorted(folder.iterdir())
    for path in paths[::2]:
        shutil.copy2(path, other)
    indexed_folder(other, tmp_path / "collection")
    for path in reversed(paths[1::2]):
        shutil.copy2(path, other)
        again = indexed_folder(other, tmp_path / "collection")
    assert names(found(again).groups) == names(found(collection).groups)


def test_progress_is_told_in_photos(collection):
    told: list[IngestProgress] = []
    find_duplicates(collection, report=told.append)
    done = [progress.n_done for progress in told]
    assert done == sorted(done)
    assert done[-1] == told[-1].n_total
    assert told[-1].n_total == 15


def test_blank_pictures_are_copies_of_the_same_blank_only(tmp_path):
    """Plain surfaces agree with nothing: what is known of them is whether they are the same."""
    folder = tmp_path / "photos"
    for name, colour in (("a", 10), ("b", 10), ("c", 12)):
        write(folder, f"{name}.png", Image.new("RGB", (64, 48), (colour,) * 3))
    listed = found(indexed_folder(folder, tmp_path / "collection"))
    assert names(listed.groups) == [["a.png", "b.png"]]


def test_photos_of_an_older_release_are_counted_and_told_by_their_hashes(tmp_path):
    folder = tmp_path / "photos"
    write_family(folder, 1, "half.jpg", "same.png")
    collection = indexed_folder(folder, tmp_path / "collection")
    ids = collection.store.matching_ids("image_id >= 0")
    nothing = pa.nulls(len(ids), pa.binary(1024))
    collection.store.update_images(pa.table({"image_id": ids, "luma_thumbnail": nothing}))
    listed = found(collection)
    assert names(listed.groups) == [["photo1.png", "photo1-same.png"]]
    assert listed.n_unmeasured == 2


def imported(place: Path) -> Collection:
    schema = imported_schema(FAKE_DESCRIPTION)
    info = collection_info(origin="vectors", source=None)
    store = create_store(str(place), info, FakeEncoder().projectors, columns=schema)
    vectors = unit_vectors(6, dim=12)
    vectors[4] = vectors[1]
    rows = image_rows(store, vectors, path=[f"{n}" for n in range(6)], root=[""] * 6)
    known = ("image_id", "root", "path", "indexed_at", "features", "embedding")
    columns = [
        rows[field.name] if field.name in known else pa.nulls(6, field.type) for field in schema
    ]
    store.append_images(pa.table(columns, schema=schema))
    return Collection(store, Settings(collection=str(place)))


@pytest.mark.parametrize("tier", ["bytes", "pixels", "near"])
def test_imported_vectors_have_no_tiers_of_files(tmp_path, tier):
    with pytest.raises(InputError, match=f"imported vectors.*no tier {tier}; give --tier similar"):
        found(imported(tmp_path / "c"), tier=tier)


def test_imported_vectors_have_similar_ones(tmp_path):
    listed = found(imported(tmp_path / "c"), tier="similar", asked=Asked(similarity=0.99))
    assert names(listed.groups) == [["1", "4"]]
    copy = listed.groups[0].copies[0]
    assert (copy.tier, copy.similarity) == ("similar", 1.0)
    assert (copy.photo.file_size, listed.n_bytes) == (None, 0)


def test_an_unknown_value_is_equal_to_none(tmp_path):
    photos = load_photos(imported(tmp_path / "c"), where=None, preference=Preference())
    distinct, place = first_of_equal(photos, "pixel_hash")
    assert distinct.tolist() == place.tolist() == list(range(6))


def test_no_group_chains(tmp_path):
    """Each picture is near its neighbours, the ends are not near each other."""
    folder = tmp_path / "photos"
    whole = photo(7)
    for step in range(8):
        left = 12 * step
        write(folder, f"{step}.png", whole.crop((left, 0, left + 230, 240)))
    listed = found(indexed_folder(folder, tmp_path / "collection"))
    assert len(listed.groups) > 1
    for group in listed.groups:
        steps = [int(name[0]) for name in names([group])[0]]
        assert max(abs(step - steps[0]) for step in steps) <= 3


def test_close_pairs_are_judged_once_only_where_all_were_compared(collection, monkeypatch):
    """Cells may miss a pair that its thumbnails lead to, whatever a sample says of them."""
    photos = load_photos(collection, where=None, preference=Preference())
    material = Material.of(photos, np.arange(len(photos)), default_map(collection))
    judge = copies._Judge.of(material, material, Asked())
    assert judge.after_embeddings().turned_ceiling == judge.floor
    monkeypatch.setattr(copies, "DEFAULT_PLAN", JoinPlan(exact_limit=len(photos) - 1))
    assert judge.after_embeddings().turned_ceiling == np.inf

"""Which raw file belongs to which photo of a folder."""

import pytest

from indexer.pairs import RAW_EXTENSIONS, raw_companions


@pytest.mark.parametrize("raw", ["IMG_1.CR2", "img_1.cr3", "Img_1.Dng"])
@pytest.mark.parametrize("photo", ["IMG_1.JPG", "img_1.jpeg", "IMG_1.HEIC", "IMG_1.hif"])
def test_files_of_one_stem_are_one_shot(raw, photo):
    assert raw_companions([raw, photo]) == {photo: [raw]}


@pytest.mark.parametrize(
    "name",
    [
        "IMG_1.CR2.jpg",
        "IMG_1-1.jpg",
        "IMG_1_edit.jpg",
        "IMG_10.jpg",
        "IMG_1.tif",
        "IMG_1.png",
        "IMG_1",
        "IMG_1.jpg.xmp",
    ],
)
def test_other_names_are_no_pair(name):
    assert raw_companions(["IMG_1.CR2", name]) == {}


def test_all_raw_files_of_a_shot_belong_to_its_photo():
    names = ["b.nef", "a.dng", "a.cr2", "a.jpg", "b.jpg", "c.jpg", "d.orf"]
    assert raw_companions(names) == {"a.jpg": ["a.cr2", "a.dng"], "b.jpg": ["b.nef"]}


def test_a_raw_file_belongs_to_the_first_photo_of_its_stem():
    assert raw_companions(["a.heic", "a.JPG", "A.jpg", "a.cr2"]) == {"A.jpg": ["a.cr2"]}


@pytest.mark.parametrize("extension", sorted(RAW_EXTENSIONS))
def test_every_raw_extension_is_paired(extension):
    assert raw_companions([f"a.{extension}", "a.jpg"]) == {"a.jpg": [f"a.{extension}"]}

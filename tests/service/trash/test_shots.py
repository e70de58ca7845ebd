"""What belongs to a photo, from the names of its folder."""

import pytest

from service.trash.shots import Company, folder_shots, forget_name, leaving_with, lying_beside


@pytest.fixture
def shots_of(tmp_path):
    def shots_of(*names):
        for name in names:
            (tmp_path / name).touch()
        return folder_shots(tmp_path)

    return shots_of


@pytest.mark.parametrize(
    ("names", "raws", "sidecars"),
    [
        pytest.param(["A.jpg", "B.CR2", "B.xmp"], [], [], id="of-another-photo"),
        pytest.param(["A.jpg", "a.CR2"], ["a.CR2"], [], id="raw-file"),
        pytest.param(["A.jpg", "A.heic", "A.CR2"], [], [], id="raw-that-another-photo-stands-for"),
        pytest.param(["A.jpg", "A.png", "A.CR2"], ["A.CR2"], [], id="a-png-stands-for-no-raw"),
        pytest.param(["A.jpg", "A.xmp"], [], ["A.xmp"], id="sidecar-of-the-stem"),
        pytest.param(["A.jpg", "A.XMP", "A.mov"], [], ["A.XMP"], id="a-film-needs-no-sidecar"),
        pytest.param(["A.jpg", "A.png", "A.xmp"], [], [], id="sidecar-of-two-photos"),
        pytest.param(["A.jpg", "A.png", "A.jpg.xmp"], [], ["A.jpg.xmp"], id="sidecar-of-the-name"),
        pytest.param(
            ["A.jpg", "A.nef", "A.nef.dop", "A.jpg.pp3", "A.aae"],
            ["A.nef"],
            ["A.jpg.pp3", "A.nef.dop", "A.aae"],
            id="all-kinds",
        ),
        pytest.param(["A.jpg", "A.jpg.png"], [], [], id="no-sidecar"),
        pytest.param(["A.jpg", ".xmp", "xmp"], [], [], id="hidden-or-without-extension"),
    ],
)
def test_what_leaves_with_a_photo(shots_of, names, raws, sidecars):
    assert leaving_with("A.jpg", shots_of(*names)) == Company(raws, sidecars)


def test_a_photo_without_extension_has_sidecars_too(shots_of):
    assert leaving_with("A", shots_of("A", "A.xmp", ".xmp")) == Company([], ["A.xmp"])


def test_the_last_photo_of_a_shot_takes_the_raw_file_along(shots_of):
    shots = shots_of("A.jpg", "A.heic", "A.CR2", "A.xmp")
    assert leaving_with("A.heic", shots) == Company([], [])
    forget_name("A.heic", shots)
    assert leaving_with("A.jpg", shots) == Company(["A.CR2"], ["A.xmp"])
    forget_name("B.jpg", shots)


def test_what_lies_beside_belongs_to_whichever_photo(shots_of):
    shots = shots_of("A.jpg", "A.heic", "A.CR2", "A.xmp", "A.cr2.xmp", "A.heic.xmp")
    assert lying_beside("A.jpg", shots) == Company(["A.CR2"], ["A.xmp", "A.cr2.xmp"])
    assert lying_beside("A.CR2", shots) == Company([], ["A.xmp", "A.cr2.xmp"])


def test_folders_without_either_take_no_memory(shots_of):
    assert shots_of("A.jpg", "A.png", "B.jpg") == {}

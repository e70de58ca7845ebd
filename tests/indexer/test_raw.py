"""Camera raw files through their preview: told by content, upright once, or one PhotoError."""

import multiprocessing
import struct
import sys
import time
import warnings
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from indexer.decode import decode_photo
from indexer.prepare import PhotoFailure, prepare_photo
from indexer.raw import is_raw_support_installed, is_raw_tiff, read_preview
from indexer.scan import ScannedFile, scan
from schemas.errors import MissingExtraError, PhotoError
from tests.fakes import FAKE_DESCRIPTION
from tests.makers.photos import STORED_AS, drawn_photo, exif_block, image_file
from tests.makers.raw import dng_file, tiff_file

ORIENTATION, SUB_DIRECTORIES, PHOTOMETRIC = 0x0112, 330, 262
WIDTH, HEIGHT = 96, 64
LAYOUTS = ("preview first", "sensor first", "chained")

pytestmark = pytest.mark.skipif(
    not is_raw_support_installed(), reason='needs rawpy: pip install "isophote[raw]"'
)


def preview_file(upright, orientation=1, *, exif=None):
    """A JPEG of an upright picture as a camera embeds it: stored turned, and without JFIF."""
    turn = STORED_AS[orientation]
    stored = Image.fromarray(upright)
    stored = stored if turn is None else stored.transpose(turn)
    content = image_file(
        stored, "JPEG", quality=95, subsampling=0, **({} if exif is None else {"exif": exif})
    )
    assert content[2:4] == b"\xff\xe0"
    return content[:2] + content[4 + int.from_bytes(content[4:6]) :]


def decoded(content, min_side=224, **options):
    return decode_photo(content, min_side=min_side, **options)


def mean_difference(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


def refusal(content, **options):
    with pytest.raises(PhotoError) as caught:
        decoded(content, **options)
    assert caught.value.stage == "decode"
    return caught.value


# What is seen


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_a_raw_file_is_seen_through_its_preview(layout, byte_order):
    drawn = drawn_photo(1, width=WIDTH, height=HEIGHT)
    photo = decoded(dng_file(preview_file(drawn), layout=layout, byte_order=byte_order))
    assert (photo.format, photo.frames, photo.jpeg_quality) == ("RAW", 1, None)
    assert (photo.width, photo.height) == (64, 48)  # what the sensor took, not the preview
    assert photo.pixels.shape == (HEIGHT, WIDTH, 3)
    assert mean_difference(photo.pixels, drawn) < 3


def test_a_preview_of_plain_pixels():
    drawn = drawn_photo(1, width=WIDTH, height=HEIGHT)
    np.testing.assert_array_equal(decoded(dng_file(drawn)).pixels, drawn)


def test_a_large_preview_is_decoded_at_a_reduced_scale():
    drawn = drawn_photo(3, width=400, height=320)
    photo = decoded(dng_file(preview_file(drawn)), min_side=40)
    assert photo.pixels.shape == (80, 100, 3)


def test_a_tiny_preview_is_better_than_none():
    assert decoded(dng_file(drawn_photo(1, width=16, height=12))).pixels.shape == (12, 16, 3)


# Upright exactly once


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("with_exif", [False, True])
def test_a_preview_is_turned_exactly_once(orientation, with_exif):
    drawn = drawn_photo(2, width=WIDTH, height=HEIGHT)
    exif = exif_block({ORIENTATION: orientation}) if with_exif else None
    size = (64, 48) if orientation < 5 else (48, 64)
    content = dng_file(
        preview_file(drawn, orientation, exif=exif), size=size, orientation=orientation
    )
    photo = decoded(content)
    assert (photo.width, photo.height) == (64, 48)
    assert mean_difference(photo.pixels, drawn) < 3


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_plain_pixels_are_turned_as_the_raw_data(orientation):
    drawn = drawn_photo(2, width=WIDTH, height=HEIGHT)
    turn = STORED_AS[orientation]
    stored = Image.fromarray(drawn) if turn is None else Image.fromarray(drawn).transpose(turn)
    size = (64, 48) if orientation < 5 else (48, 64)
    content = dng_file(np.asarray(stored), size=size, orientation=orientation)
    np.testing.assert_array_equal(decoded(content).pixels, drawn)


@pytest.mark.parametrize(
    ("preview_says", "raw_says", "is_turned_by"),
    [
        pytest.param(3, 1, 3, id="the-preview-speaks-of-its-own-pixels"),
        pytest.param(8, 6, 8, id="both-sideways"),
        pytest.param(None, 6, 6, id="without-a-tag"),
        pytest.param(9, 6, 6, id="out-of-range"),
        pytest.param(1, 6, 6, id="turned-later-by-a-program"),
        pytest.param(6, 1, 1, id="turned-back-later"),
    ],
)
def test_which_orientation_counts(preview_says, raw_says, is_turned_by):
    stored = drawn_photo(2, width=WIDTH, height=HEIGHT)
    exif = exif_block({0x010F: "Maker"} if preview_says is None else {ORIENTATION: preview_says})
    photo = decoded(dng_file(preview_file(stored, exif=exif), orientation=raw_says))
    back = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}
    turn = {**back, 8: Image.Transpose.ROTATE_90}[is_turned_by]
    upright = stored if turn is None else np.asarray(Image.fromarray(stored).transpose(turn))
    assert photo.pixels.shape == upright.shape
    assert mean_difference(photo.pixels, upright) < 3


@pytest.mark.parametrize("exif", [None, exif_block({ORIENTATION: 6})])
def test_a_preview_that_is_upright_already_is_not_turned(exif):
    upright = drawn_photo(2, width=HEIGHT, height=WIDTH)
    photo = decoded(dng_file(preview_file(upright, exif=exif), orientation=6))
    assert (photo.width, photo.height) == (48, 64)
    assert mean_difference(photo.pixels, upright) < 3


@pytest.mark.parametrize(("preview", "sensor"), [((64, 64), (64, 48)), ((64, 48), (48, 48))])
def test_a_square_does_not_tell_how_a_preview_lies(preview, sensor):
    drawn = drawn_photo(2, width=preview[0], height=preview[1])
    photo = decoded(dng_file(preview_file(drawn), size=sensor, orientation=6))
    turned = np.rot90(drawn, -1)
    assert photo.pixels.shape == turned.shape
    assert mean_difference(photo.pixels, turned) < 3


# What the file says


def test_the_facts_are_those_of_the_raw_file():
    tags = {
        0x010F: "Pentax",
        0x0110: "K-3",
        0x8769: {0x9003: "2020:01:02 03:04:05"},
        0x8825: {1: "N", 2: [48.0, 30.0, 0.0], 3: "W", 4: [2.0, 15.0, 0.0]},
    }
    other = exif_block({0x010F: "Other"}, camera={0x9003: "1999:01:01 00:00:00"})
    photo = decoded(dng_file(preview_file(drawn_photo(1), exif=other), tags=tags))
    assert photo.taken_at == datetime.fromisoformat("2020-01-02T03:04:05")
    assert photo.camera == "Pentax K-3"
    assert (photo.latitude, photo.longitude) == (48.5, -2.25)


def test_facts_that_a_raw_file_lacks_are_those_of_its_preview():
    exif = exif_block(
        {0x010F: "Fujifilm", 0x0110: "X-T5"},
        camera={0x9003: "2021:06:07 08:09:10"},
        gps={1: "S", 2: (33.0, 51.0, 0.0), 3: "E", 4: (151.0, 12.0, 0.0)},
    )
    photo = decoded(dng_file(preview_file(drawn_photo(1), exif=exif)))
    assert photo.taken_at == datetime.fromisoformat("2021-06-07T08:09:10")
    assert photo.camera == "Fujifilm X-T5"
    assert (photo.latitude, photo.longitude) == pytest.approx((-33.85, 151.2))


# What is no raw file


def test_an_ordinary_tiff_is_a_tiff():
    for options in ({}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"big_tiff": True}):
        content = image_file(drawn_photo(1), "TIFF", **options)
        assert not is_raw_tiff(content)
        assert decoded(content).format == "TIFF"


def test_pages_and_their_sizes_do_not_make_a_tiff_raw():
    page = Image.fromarray(drawn_photo(1))
    content = image_file(page, "TIFF", save_all=True, append_images=[page] * 70)
    assert not is_raw_tiff(content)


@pytest.mark.parametrize("photometric", [32803, 34892])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize(
    "directories",
    [
        pytest.param(lambda sensor: [sensor], id="main"),
        pytest.param(lambda sensor: [{PHOTOMETRIC: 2}, sensor], id="second"),
        pytest.param(lambda sensor: [{SUB_DIRECTORIES: [sensor]}], id="below"),
        pytest.param(lambda sensor: [{SUB_DIRECTORIES: [{254: 1}, {254: 1}, sensor]}], id="third"),
        pytest.param(lambda sensor: [{SUB_DIRECTORIES: [{330: [sensor]}]}], id="deep"),
    ],
)
def test_a_sensor_in_any_directory_makes_a_tiff_raw(photometric, byte_order, directories):
    content = tiff_file(directories({PHOTOMETRIC: photometric}), byte_order=byte_order)
    assert is_raw_tiff(content)


def test_a_dng_is_known_by_its_version_where_the_sensor_is_cut_off():
    whole = dng_file(preview_file(drawn_photo(1)))
    assert is_raw_tiff(whole[:400])
    assert refusal(whole[:400]).reason.startswith("is a camera raw file")


def looping_tiff():
    content = bytearray(tiff_file([{254: 1, SUB_DIRECTORIES: [{254: 1}]}, {254: 0}]))
    (first,) = struct.unpack_from("<I", content, 4)
    content += struct.pack("<HHHII", 1, SUB_DIRECTORIES, 4, 1, first) + struct.pack("<I", first)
    struct.pack_into("<I", content, first + 2 + 24, len(content) - 18)
    return bytes(content)


def crowded_tiff():
    """Directories that overlap, each of them with the largest number of entries."""
    return b"II*\0\x08\0\0\0" + b"\xff\xff" * 500_000


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"II*\0", id="nothing-follows"),
        pytest.param(b"II*\0\xff\xff\xff\xff", id="beyond-the-end"),
        pytest.param(b"II*\0\x08\0\0\0", id="cut-before-the-directory"),
        pytest.param(b"II*\0\x08\0\0\0\xff\xff" + bytes(13), id="absurd-count"),
        pytest.param(looping_tiff(), id="loop"),
        pytest.param(
            b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 330, 4, 2**32 - 1, 0), id="absurd-table"
        ),
        pytest.param(crowded_tiff(), id="crowded"),
    ],
)
def test_absurd_directories_end_soon(content):
    started = time.perf_counter()
    assert not is_raw_tiff(content)
    assert time.perf_counter() - started < 0.5


# What cannot be read


def test_a_file_without_a_preview_is_refused_with_a_way_out():
    error = refusal(dng_file(None))
    assert error.reason == (
        "is a camera raw file without a preview that can be read; "
        "export it as a JPEG of the same name beside it"
    )


@pytest.mark.parametrize(
    "head",
    [
        b"II*\0\x10\0\0\0CR\x02\0",
        b"\0\0\0\x18ftypcrx \0\0\0\x01",
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\0\0\0",
        b"IIU\0\x18\0\0\0",
        b"FOVb\0\0\x02\0",
        b"\0MRM\0\0\0\0",
    ],
)
def test_the_head_of_a_raw_file_alone_is_refused(head):
    reason = refusal(head + bytes(2000)).reason
    assert reason.startswith("is a camera raw file that cannot be read (")
    assert reason.endswith("export it as a JPEG of the same name beside it")


@pytest.mark.parametrize(("tag", "claimed"), [(256, 4000), (257, 65000), (279, 100)])
def test_plain_pixels_that_are_not_all_there_are_refused(tag, claimed):
    content = bytearray(dng_file(drawn_photo(1, width=48, height=32)))
    entry = content.index(struct.pack("<HHI", tag, 4, 1))
    struct.pack_into("<I", content, entry + 8, claimed)
    assert "without a preview that can be read" in refusal(bytes(content)).reason


def test_a_damaged_preview_is_refused():
    content = dng_file(preview_file(drawn_photo(1))[:1500])
    assert "damaged" in refusal(content).reason


def test_the_pixel_limit_is_that_of_the_preview():
    content = dng_file(image_file(Image.new("RGB", (2000, 1500)), "JPEG"))
    assert (
        "is 2000 x 1500 = 3 MP, over the limit of 2 MP"
        in refusal(content, max_pixels=2_000_000).reason
    )
    small = dng_file(preview_file(drawn_photo(1)), size=(128, 96))
    assert decoded(small, max_pixels=WIDTH * HEIGHT).width == 128


@pytest.mark.parametrize("layout", LAYOUTS)
def test_truncation_anywhere_raises_nothing_but_photo_errors(layout):
    whole = dng_file(
        preview_file(drawn_photo(6, width=48, height=32), exif=exif_block({0x010F: "Maker"})),
        layout=layout,
        tags={0x8769: {0x9003: "2020:01:02 03:04:05"}},
    )
    for length in [*range(16, 600, 7), *range(600, len(whole), 211)]:
        try:
            photo = decoded(whole[:length])
        except PhotoError as error:
            assert error.reason  # noqa: PT017 - either outcome is right
        else:
            assert photo.format in {"RAW", "TIFF"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_damage_raises_nothing_but_photo_errors(layout):
    whole = dng_file(
        preview_file(drawn_photo(6, width=48, height=32)), layout=layout, tags={0x8769: {254: 1}}
    )
    generator = np.random.default_rng(8)
    for _ in range(150):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = generator.integers(8, 700, 3)
        damaged[places] = generator.integers(0, 256, 3)
        try:
            decoded(damaged.tobytes(), max_pixels=10**6)
        except PhotoError as error:
            assert error.reason  # noqa: PT017 - either outcome is right


# The extra


def test_without_rawpy_the_reason_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    error = refusal(dng_file(preview_file(drawn_photo(1))))
    assert error.reason == (
        "is a camera raw file: rawpy is needed to read it but is not installed; "
        'run `pip install "isophote[raw]"`'
    )
    assert isinstance(error.__cause__, MissingExtraError)


def test_a_file_that_waits_for_the_extra_is_recorded_as_such(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    (tmp_path / "a.dng").write_bytes(dng_file(preview_file(drawn_photo(1))))
    (file,) = scan(tmp_path)
    assert isinstance(file, ScannedFile)
    failure = prepare_photo(
        file,
        preprocessing=FAKE_DESCRIPTION.require_preprocessing(),
        max_pixels=10**6,
        known_hashes=(),
    )
    assert isinstance(failure, PhotoFailure)
    assert (failure.stage, failure.error_class) == ("decode", "MissingExtraError")


def test_whether_the_extra_is_installed_is_looked_up(monkeypatch):
    is_installed = is_raw_support_installed.__wrapped__
    assert is_installed()
    monkeypatch.setitem(sys.modules, "rawpy", None)
    assert not is_installed()


def preview_size(content):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_preview(content).width


def test_a_process_of_a_fork_server_reads_without_a_warning():
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        assert pool.apply(preview_size, [dng_file(preview_file(drawn_photo(1)))]) == 64

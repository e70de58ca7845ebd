"""Upright sRGB pixels and honest facts from any file, or one PhotoError."""

import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from indexer.decode import decode_photo
from indexer.preprocess import preprocess
from schemas.errors import PhotoError
from tests.fakes import FAKE_DESCRIPTION
from tests.makers.photos import (
    STORED_AS,
    black_only_cmyk_profile,
    drawn_photo,
    exif_block,
    image_file,
    swapped_rgb_profile,
)

FAITHFUL: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "GIF", "BMP", "JPEG2000")
ORIENTATION = 0x0112


@pytest.fixture(scope="module", autouse=True)
def _heif_writer():
    import pillow_heif

    pillow_heif.register_heif_opener()


def as_stored(upright, orientation):
    turn = STORED_AS[orientation]
    return upright if turn is None else upright.transpose(turn)


def decoded(content, min_side=224, **options):
    return decode_photo(content, min_side=min_side, **options)


def mean_difference(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_gives_the_drawn_pixels(format_name):
    drawn = drawn_photo(1)
    photo = decoded(image_file(drawn, format_name, **FAITHFUL.get(format_name, {})))
    assert (photo.format, photo.width, photo.height, photo.frames) == (format_name, 96, 64, 1)
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.shape == (64, 96, 3)
    assert mean_difference(photo.pixels, drawn) < 8


def test_a_progressive_jpeg_is_decoded_at_a_reduced_scale_too():
    drawn = drawn_photo(1, width=400, height=320)
    plain, progressive = (
        decoded(image_file(drawn, "JPEG", quality=95, progressive=progressive), min_side=40)
        for progressive in (False, True)
    )
    assert progressive.pixels.shape == (80, 100, 3)
    np.testing.assert_array_equal(progressive.pixels, plain.pixels)


@pytest.mark.parametrize("min_side", [16, 224])
def test_a_thumbnail_in_the_exif_is_never_taken_for_the_photo(min_side):
    drawn = drawn_photo(1)
    # 16:9 with black bars, as cameras write it into photos of any shape.
    barred = np.zeros((90, 160, 3), np.uint8)
    photo = decoded(with_thumbnail(drawn, image_file(barred, "JPEG")), min_side=min_side)
    assert (photo.width, photo.height, photo.frames) == (96, 64, 1)
    assert photo.pixels.shape[:2] in {(64, 96), (32, 48)}
    assert abs(photo.pixels.mean() - drawn.mean()) < 3


def with_thumbnail(pixels, thumbnail):
    """A JPEG whose EXIF holds a second directory with a thumbnail, as EXIF 2.3, 4.5.8 has it."""
    head = b"MM\0*" + struct.pack(">I", 8)
    main = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 1, 0, 26)
    second = struct.pack(">H", 3)
    second += struct.pack(">HHIHH", 0x0103, 3, 1, 6, 0)
    second += struct.pack(">HHII", 0x0201, 4, 1, 26 + 42)
    second += struct.pack(">HHII", 0x0202, 4, 1, len(thumbnail)) + bytes(4)
    block = b"Exif\0\0" + head + main + second + thumbnail
    return image_file(pixels, "JPEG", quality=95, exif=block)


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_exactly_once(format_name, orientation):
    upright = Image.fromarray(drawn_photo(2))
    stored = as_stored(upright, orientation)
    exif = exif_block({ORIENTATION: orientation})
    photo = decoded(image_file(stored, format_name, exif=exif, **FAITHFUL.get(format_name, {})))
    assert (photo.width, photo.height) == (96, 64)
    assert mean_difference(photo.pixels, np.asarray(upright)) < 5


@pytest.mark.parametrize("orientation", STORED_AS)
def test_heif_is_not_turned_twice(orientation):
    upright = Image.fromarray(drawn_photo(2))
    stored = as_stored(upright, orientation)
    # As bytes: pillow_heif writes the turn into the container only from these.
    exif = exif_block({ORIENTATION: orientation}).tobytes()
    photo = decoded(image_file(stored, "HEIF", exif=exif))
    assert (photo.width, photo.height) == (96, 64)
    assert mean_difference(photo.pixels, np.asarray(upright)) < 8


def test_orientation_out_of_range_means_upright():
    photo = decoded(image_file(drawn_photo(2), exif=exif_block({ORIENTATION: 9})))
    np.testing.assert_array_equal(photo.pixels, drawn_photo(2))


def test_a_large_jpeg_is_decoded_at_a_reduced_scale_but_reports_its_size():
    drawn = drawn_photo(3, width=1000, height=800)
    turned = image_file(drawn, "JPEG", quality=95, exif=exif_block({ORIENTATION: 6}))
    photo = decoded(turned, min_side=96)
    assert (photo.width, photo.height) == (800, 1000)
    assert photo.pixels.shape == (250, 200, 3)
    small = Image.fromarray(drawn).resize((250, 200), Image.Resampling.BOX).rotate(-90, expand=True)
    assert mean_difference(photo.pixels, np.asarray(small)) < 3


@pytest.mark.parametrize(
    ("orientation", "extent"),
    [
        (1, (0, 0, 125.375, 75.625)),
        (2, (0.625, 0, 126, 75.625)),
        (3, (0.625, 0.375, 126, 76)),
        (4, (0, 0.375, 125.375, 76)),
        (5, (0, 0, 75.625, 125.375)),
        (6, (0.375, 0, 76, 125.375)),
        (7, (0.375, 0.625, 76, 126)),
        (8, (0, 0.625, 75.625, 126)),
    ],
)
def test_a_scaled_jpeg_says_where_in_its_pixels_the_photo_ends(orientation, extent):
    stored = drawn_photo(3, width=1003, height=605)
    exif = exif_block({ORIENTATION: orientation})
    content = image_file(stored, "JPEG", quality=95, exif=exif)
    whole, scaled = decoded(content, min_side=600), decoded(content, min_side=32)
    assert whole.extent == (0, 0, whole.width, whole.height)
    assert scaled.extent == extent
    target = FAKE_DESCRIPTION.require_preprocessing().model_copy(update={"width": 32, "height": 32})
    inputs = [preprocess(photo.pixels, target, extent=photo.extent) for photo in (whole, scaled)]
    assert mean_difference(*inputs) < 0.5
    stretched = preprocess(scaled.pixels, target)
    assert mean_difference(inputs[0], stretched) > 2 * mean_difference(*inputs)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (9000, 2), (2, 9000)])
def test_extreme_shapes_decode(width, height):
    drawn = np.full((height, width, 3), 77, np.uint8)
    photo = decoded(image_file(drawn, "JPEG"))
    assert photo.pixels.shape == (height, width, 3)


def test_a_profile_is_converted_to_srgb():
    drawn = drawn_photo(4)
    photo = decoded(image_file(drawn, icc_profile=swapped_rgb_profile()))
    assert np.abs(photo.pixels[..., [1, 0, 2]].astype(int) - drawn).max() <= 3


def test_an_srgb_profile_changes_no_pixel():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = decoded(image_file(drawn_photo(4), icc_profile=profile))
    np.testing.assert_array_equal(photo.pixels, drawn_photo(4))


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(b"no profile at all" * 20, id="garbage"),
        pytest.param(swapped_rgb_profile()[:200], id="truncated"),
        pytest.param(black_only_cmyk_profile(), id="for-another-mode"),
    ],
)
def test_an_unusable_profile_is_ignored(profile):
    photo = decoded(image_file(drawn_photo(4), icc_profile=profile))
    np.testing.assert_array_equal(photo.pixels, drawn_photo(4))


def test_an_rgb_profile_in_a_grey_file_is_ignored():
    grey = drawn_photo(4)[..., 0]
    photo = decoded(image_file(Image.fromarray(grey), icc_profile=swapped_rgb_profile()))
    np.testing.assert_array_equal(photo.pixels, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile(format_name):
    cmyk = Image.fromarray(drawn_photo(5)).convert("CMYK")
    photo = decoded(image_file(cmyk, format_name))
    assert mean_difference(photo.pixels, drawn_photo(5)) < 8


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk_with_a_profile(format_name):
    inks = np.zeros((32, 32, 4), np.uint8)
    inks[:, :16, 0] = 255  # full cyan, which this press does not show
    inks[:, 16:, 3] = 255
    profile = black_only_cmyk_profile()
    cmyk = Image.frombytes("CMYK", (32, 32), inks.tobytes())
    photo = decoded(image_file(cmyk, format_name, icc_profile=profile))
    assert photo.pixels[:, :12].min() > 245
    assert photo.pixels[:, 20:].max() < 20


def test_lab_is_converted():
    red = Image.frombytes("LAB", (4, 4), bytes((136, 81, 70)) * 16)  # sRGB red is L 54, a 81, b 70
    assert np.abs(decoded(image_file(red, "TIFF")).pixels - np.array([255.0, 0, 0])).max() < 12


def test_sixteen_bit_grey_is_scaled_not_clipped():
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    for format_name in ("PNG", "TIFF"):
        photo = decoded(image_file(Image.fromarray(ramp), format_name))
        np.testing.assert_array_equal(photo.pixels[..., 1].ravel(), np.arange(256))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255], id="share"),
        pytest.param(np.array([[-9.0, 51.0, 255.0]], np.float32), [0, 51, 255], id="bytes"),
        pytest.param(np.array([[np.nan, np.inf, 1.0]], np.float32), [0, 0, 255], id="not-finite"),
        pytest.param(np.array([[0.0, 1e12, 2e12]], np.float32), [0, 128, 255], id="beyond-32-bit"),
        pytest.param(np.array([[0, 25700, 65535]], np.int32), [0, 100, 255], id="16-in-32-bit"),
    ],
)
def test_wide_pixels_are_scaled_by_the_white_level_that_holds_them(values, expected):
    photo = decoded(image_file(Image.fromarray(values), "TIFF"))
    np.testing.assert_array_equal(photo.pixels[0, :, 0], expected)


def test_sixteen_bit_colour_is_scaled_not_clipped():
    rows = np.repeat(np.arange(0, 65536, 257, dtype=">u2")[:, None], 3, axis=1)
    scanlines = b"".join(b"\0" + row.tobytes() for row in rows.reshape(16, 48))
    photo = decoded(png_of(16, 16, depth=16, colour_type=2, scanlines=scanlines))
    np.testing.assert_array_equal(photo.pixels[..., 1].ravel(), np.arange(256))


def png_of(width, height, *, depth, colour_type, scanlines):
    """Pillow writes no PNG with 16 bits per colour."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(scanlines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def test_one_bit_becomes_black_and_white():
    bits = Image.fromarray(np.eye(8, dtype=bool))
    np.testing.assert_array_equal(decoded(image_file(bits)).pixels[..., 2], np.eye(8) * 255)


@pytest.mark.parametrize(
    ("mode", "clear", "solid", "expected"),
    [
        ("RGBA", (9, 9, 9, 0), (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (9, 9, 9, 0), (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (9, 0), (40, 255), (40, 40, 40)),
    ],
)
def test_transparency_is_composited_on_white(mode, clear, solid, expected):
    image = Image.new(mode, (2, 1), clear)
    image.putpixel((1, 0), solid)
    np.testing.assert_array_equal(decoded(image_file(image)).pixels, [[(255,) * 3, expected]])


@pytest.mark.parametrize("transparency", [0, bytes((0, 255))])
def test_a_transparent_palette_is_composited_on_white(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 100, 0])
    image.putpixel((1, 0), 1)
    pixels = decoded(image_file(image, transparency=transparency)).pixels
    np.testing.assert_array_equal(pixels, [[(255, 255, 255), (0, 100, 0)]])


@pytest.mark.parametrize("format_name", ["GIF", "TIFF", "WEBP", "PNG", "AVIF", "HEIF"])
def test_the_first_frame_is_taken_and_the_others_are_counted(format_name):
    frames = [Image.new("RGB", (32, 32), (shade, shade, shade)) for shade in (10, 130, 250)]
    content = image_file(frames[0], format_name, save_all=True, append_images=frames[1:])
    photo = decoded(content)
    assert photo.frames == 3
    assert abs(int(photo.pixels.mean()) - 10) <= 2


def test_a_multi_picture_jpeg_is_a_jpeg():
    frames = [Image.fromarray(drawn_photo(seed, width=900, height=600)) for seed in (1, 2)]
    photo = decoded(
        image_file(frames[0], "MPO", save_all=True, append_images=frames[1:]), min_side=64
    )
    assert (photo.format, photo.frames, photo.width) == ("JPEG", 2, 900)
    assert photo.pixels.shape == (150, 225, 3)


@pytest.mark.parametrize("quality", [10, 49, 50, 75, 85, 95, 100])
def test_jpeg_quality_is_read_from_the_tables(quality):
    assert decoded(image_file(drawn_photo(1), "JPEG", quality=quality)).jpeg_quality == quality


def test_other_formats_have_no_jpeg_quality():
    assert decoded(image_file(drawn_photo(1))).jpeg_quality is None


def with_exif(entries=None, **directories):
    return decoded(image_file(drawn_photo(1), "JPEG", exif=exif_block(entries, **directories)))


@pytest.mark.parametrize(
    ("main", "digitized", "original", "expected"),
    [
        ("2020:01:02 03:04:05", None, None, "2020-01-02T03:04:05"),
        ("2020:01:02 03:04:05", "2019:05:06 07:08:09", None, "2019-05-06T07:08:09"),
        (None, "2019:05:06 07:08:09", "2018:01:01 00:00:00", "2018-01-01T00:00:00"),
        ("2020:01:02 03:04:05", None, "0000:00:00 00:00:00", "2020-01-02T03:04:05"),
        (None, None, "2018:13:01 00:00:00", None),
        (None, None, "2018:02:30 00:00:00", None),
        (None, None, "9999:01:01 00:00:00", None),
        (None, None, "    :  :     :  :  ", None),
        (None, None, None, None),
    ],
)
def test_taken_at(main, digitized, original, expected):
    entries = {} if main is None else {0x0132: main}
    camera = {tag: text for tag, text in ((0x9003, original), (0x9004, digitized)) if text}
    taken_at = with_exif(entries, camera=camera).taken_at
    assert taken_at == (None if expected is None else datetime.fromisoformat(expected))


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("NIKON CORPORATION", "NIKON D750", "NIKON D750"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("SAMSUNG \x00junk", "  SM-G991B\n", "SAMSUNG SM-G991B"),
        ("Canon", None, "Canon"),
        (None, None, None),
        (" ", "", None),
    ],
)
def test_camera(make, model, expected):
    entries = {tag: text for tag, text in ((0x010F, make), (0x0110, model)) if text is not None}
    assert with_exif(entries).camera == expected


@pytest.mark.parametrize(
    ("north", "latitude", "east", "longitude", "expected"),
    [
        ("N", (48.0, 51.0, 29.88), "E", (2.0, 17.0, 40.2), (48.8583, 2.2945)),
        ("S", (33.0, 51.0, 24.48), "W", (151.0, 12.0, 54.72), (-33.8568, -151.2152)),
        ("N", (0.0, 0.0, 0.0), "E", (0.0, 0.0, 0.0), (None, None)),
        ("N", (91.0, 0.0, 0.0), "E", (2.0, 0.0, 0.0), (None, None)),
        ("N", (48.0, 51.0), "E", (2.0, 17.0, 40.2), (None, None)),
    ],
)
def test_position(north, latitude, east, longitude, expected):
    photo = with_exif(gps={1: north, 2: latitude, 3: east, 4: longitude})
    assert (photo.latitude, photo.longitude) == pytest.approx(expected, abs=1e-4)


def test_damaged_exif_neither_fails_nor_warns():
    damaged = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x09\x00\x0f\x01\x02\x00\xff\xff\xff\x7f\x00"
    photo = decoded(image_file(drawn_photo(1), "JPEG", exif=damaged))
    assert (photo.taken_at, photo.camera, photo.width) == (None, None, 96)


def test_pillow_warnings_are_silent_but_others_are_not():
    decoded(image_file(drawn_photo(1)))
    with pytest.raises(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (bytes(4000), "is nothing but zero bytes, not an image"),
        ("Liebe Grüße aus Köln".encode(), "is text, not an image"),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF document"),
        (b"PK\x03\x04\x14\x00", "is a ZIP archive"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00", "is a video"),
        (b"\x1a\x45\xdf\xa3\x01\x00", "is a video"),
        (b"8BPS\x00\x01", "is a Photoshop document"),
        (b"<!doctype html><html>", "is a web page"),
        (b"\x01\x02\x03\x00", "starts with the bytes 01 02 03 00"),
    ],
)
def test_a_file_that_is_no_image_is_named(content, reason):
    with pytest.raises(PhotoError, match=reason) as caught:
        decoded(content)
    assert caught.value.stage == "decode"


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_a_truncated_file_is_refused(format_name, share):
    content = image_file(drawn_photo(6, width=200, height=150), format_name)
    with pytest.raises(PhotoError, match=f"{format_name}|starts with") as caught:
        decoded(content[: max(int(len(content) * share), 20)])
    assert "\n" not in caught.value.reason


@pytest.mark.parametrize("format_name", FORMATS)
def test_random_damage_raises_nothing_but_photo_errors(format_name):
    content = image_file(
        drawn_photo(6), format_name, exif=exif_block({0x010F: "Canon"}, gps={1: "N"})
    )
    generator = np.random.default_rng(8)
    for _ in range(25):
        damaged = np.frombuffer(content, np.uint8).copy()
        places = generator.integers(12, min(len(damaged), 400), 4)
        damaged[places] = generator.integers(0, 256, 4)
        try:
            photo = decoded(damaged.tobytes(), max_pixels=10**6)
        except PhotoError as error:
            assert error.reason  # noqa: PT017 - either outcome is right
        else:
            assert photo.pixels.ndim == 3


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_pixel_limit_is_read_from_the_header(format_name):
    content = image_file(Image.new("RGB", (2000, 1500)), format_name)
    with pytest.raises(
        PhotoError, match=r"is 2000 x 1500 = 3 MP, over the limit of 2 MP; raise ISOPHOTE_MAX"
    ):
        decoded(
            content[: len(content) // 2] if format_name == "JPEG" else content, max_pixels=2_000_000
        )


@pytest.mark.parametrize("options", [{"min_side": 0}, {"min_side": 1, "max_pixels": 0}])
def test_limits_below_one_are_the_callers_bug(options):
    with pytest.raises(ValueError, match="must be >= 1, got"):
        decode_photo(b"", **options)


def test_threads_decode_at_the_same_time():
    contents = [image_file(drawn_photo(seed), name, **FAITHFUL.get(name, {}))
                for seed, name in enumerate(FORMATS * 4)]  # fmt: skip
    alone = [decoded(content).pixels for content in contents]
    gate = threading.Barrier(6)

    def decode_together(share):
        gate.wait()
        return [decoded(content).pixels for content in share]

    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(decode_together, [contents[n::6] for n in range(6)]))
    for n, share in enumerate(together):
        for pixels, expected in zip(share, alone[n::6], strict=True):
            np.testing.assert_array_equal(pixels, expected)

"""The planted copies, and how the benchmark judges what is said of them."""

import csv
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from click import ClickException
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from schemas.duplicates import DuplicateCopy, DuplicateGroup, DuplicateList, DuplicatePhoto
from tests.benchmarks.planted_duplicates import (
    Answer,
    NoAnswerError,
    ask_script,
    drawn_photos,
    judge,
    keepers_with_copies,
    output_of,
    table_lines,
    verdict,
    write_false_pairs,
)
from tests.makers.photos import drawn_photo, image_file
from tests.makers.planted import (
    BORDER_SHARE,
    BRIGHTNESS_STEP,
    COPY_QUALITY,
    TRANSFORMS,
    Planted,
    plant,
    write_manifest,
)

WIDTH, HEIGHT = 240, 160


def write_photos(folder: Path, *, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(image_file(drawn_photo(number, width=WIDTH, height=HEIGHT)))
    return paths


def altered(transform: str, *, seed: int = 0) -> np.ndarray:
    photo = Image.fromarray(drawn_photo(0, width=WIDTH, height=HEIGHT))
    return np.asarray(TRANSFORMS[transform].alter(photo, np.random.default_rng(seed)))


def test_photos_and_distractors_are_copied_byte_for_byte(tmp_path):
    photos = write_photos(tmp_path / "photos", count=3)
    planted = plant(photos[:2], tmp_path / "planted", seed=0, distractors=photos[2:])
    unaltered = [each for each in planted if each.transform is None]
    assert [each.path.read_bytes() for each in unaltered] == [path.read_bytes() for path in photos]
    assert all(each.original == each.path for each in unaltered)


def test_every_photo_but_no_distractor_gets_a_copy_by_each_transform(tmp_path):
    photos = write_photos(tmp_path / "photos", count=3)
    planted = plant(photos[:2], tmp_path / "planted", seed=0, distractors=photos[2:])
    copies = [(each.original.name, each.transform) for each in planted if each.transform]
    expected = [(name, by) for name in ("00000-0.png", "00001-1.png") for by in TRANSFORMS]
    assert copies == expected
    assert {each.path for each in planted} == set((tmp_path / "planted").iterdir())


def test_copies_depend_on_the_seed_and_the_place_only(tmp_path):
    photos = write_photos(tmp_path / "photos", count=2)
    both = plant(photos, tmp_path / "both", seed=5)
    first = plant(photos[:1], tmp_path / "first", seed=5)
    other = plant(photos[:1], tmp_path / "other", seed=6)
    contents = {each.path.name: each.path.read_bytes() for each in both}
    assert all(contents[each.path.name] == each.path.read_bytes() for each in first)
    drawn = {each.transform for each in other if contents[each.path.name] != each.path.read_bytes()}
    assert {"crop-5", "crop-10"} <= drawn <= {"crop-5", "crop-10", "brightness", "border", "text"}


@pytest.mark.parametrize(
    ("transform", "quality"),
    [("jpeg-30", 30), ("jpeg-60", 60), ("jpeg-90", 90), ("mirror", COPY_QUALITY)],
)
def test_copies_are_saved_with_the_quality_of_their_transform(tmp_path, transform, quality):
    planted = plant(write_photos(tmp_path / "photos", count=1), tmp_path / "planted", seed=0)
    path = next(each.path for each in planted if each.transform == transform)
    expected = tmp_path / "expected.jpg"
    Image.new("RGB", (8, 8)).save(expected, quality=quality)
    with JpegImageFile(path) as copy, JpegImageFile(expected) as wanted:
        assert copy.quantization == wanted.quantization


def test_copies_of_a_photo_that_lies_on_its_side_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(drawn_photo(0, width=WIDTH, height=HEIGHT))
    stored.save(tmp_path / "side.jpg", exif=exif)
    planted = plant([tmp_path / "side.jpg"], tmp_path / "planted", seed=0)
    with Image.open(next(each.path for each in planted if each.transform == "jpeg-90")) as copy:
        assert copy.size == (HEIGHT, WIDTH)
        assert not copy.getexif()


@pytest.mark.parametrize(
    ("transform", "size"),
    [
        ("resize-25", (60, 40)),
        ("resize-50", (120, 80)),
        ("rotate-90", (160, 240)),
        ("crop-5", (228, 152)),
        ("crop-10", (216, 144)),
        ("border", (256, 176)),
        ("text", (240, 160)),
    ],
)
def test_transforms_leave_so_many_pixels(transform, size):
    height, width = altered(transform).shape[:2]
    assert (width, height) == size


def test_mirrored_and_turned_copies_hold_the_same_pixels():
    photo = altered("jpeg-90")
    assert np.array_equal(altered("mirror"), photo[:, ::-1])
    assert np.array_equal(altered("rotate-90"), np.rot90(photo))
    assert np.array_equal(altered("rotate-180"), photo[::-1, ::-1])


def test_crops_are_windows_at_different_places():
    windows = np.lib.stride_tricks.sliding_window_view(altered("jpeg-90")[..., 0], (144, 216))
    places = set()
    for seed in range(4):
        crop = altered("crop-10", seed=seed)[..., 0]
        candidates = np.argwhere(windows[..., 0, 0] == crop[0, 0])
        places.add(next((y, x) for y, x in candidates if np.array_equal(windows[y, x], crop)))
    assert len(places) == 4


def test_half_of_the_copies_are_a_quarter_brighter_and_half_darker():
    photo = altered("jpeg-90")
    middle = (photo > 20) & (photo < 200)
    ratios = [
        np.mean(altered("brightness", seed=seed)[middle] / photo[middle]) for seed in range(20)
    ]
    brighter = [ratio > 1 for ratio in ratios]
    assert 5 <= sum(brighter) <= 15
    expected = np.where(brighter, 1 + BRIGHTNESS_STEP, 1 - BRIGHTNESS_STEP)
    assert ratios == pytest.approx(expected, abs=0.02)


def test_frames_are_white_or_black_around_the_whole_photo():
    width = round(BORDER_SHARE * HEIGHT)
    colours = set()
    for seed in range(8):
        framed = altered("border", seed=seed)
        inside = framed[width:-width, width:-width]
        assert np.array_equal(inside, altered("jpeg-90"))
        frame = np.ones(framed.shape[:2], dtype=bool)
        frame[width:-width, width:-width] = False
        colours |= {tuple(map(int, colour)) for colour in framed[frame]}
    assert colours == {(0, 0, 0), (255, 255, 255)}


def test_text_changes_a_band_above_the_lower_edge_only():
    kinds = set()
    for seed in range(8):
        changed = np.any(altered("text", seed=seed) != altered("jpeg-90"), axis=2)
        rows = np.flatnonzero(changed.any(axis=1))
        assert 0.86 * HEIGHT <= rows.min() < rows.max() < 0.98 * HEIGHT
        # A bar covers the width, a watermark leaves the photo between and beside its letters.
        kinds.add("bar" if changed[rows].mean() > 0.9 else "watermark")
        assert changed[:, WIDTH // 4 : -WIDTH // 4].any()
    assert kinds == {"bar", "watermark"}


def test_text_is_made_small_enough_for_an_upright_photo():
    photo = Image.new("RGB", (90, 400), (128, 128, 128))
    for seed in range(4):
        changed = np.asarray(TRANSFORMS["text"].alter(photo, np.random.default_rng(seed)))[..., 0]
        ink = (changed != 128) & (changed != 255)
        assert ink.any()
        assert not ink[:, [0, -1]].any()


def test_the_manifest_names_each_file_its_original_and_transform(tmp_path):
    planted = plant(write_photos(tmp_path / "photos", count=1), tmp_path / "planted", seed=0)
    write_manifest(planted, tmp_path / "manifest.csv")
    with (tmp_path / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    original = str(planted[0].path)
    assert rows[0] == (original, original, "")
    assert rows[1] == (str(planted[1].path), original, "jpeg-30")
    assert len(rows) == 1 + len(TRANSFORMS)


ORIGINALS = {"a": "a", "a1": "a", "a2": "a", "b": "b", "b1": "b", "c": "c"}
"""Two copies of a, one of b, and a distractor."""


def test_found_are_copies_in_a_group_with_their_original():
    outcome = judge({"a1": ["a", "b1"], "b": [], "c": ["a2"]}, ORIGINALS)
    assert outcome.found == {"a1"}


def test_a_copy_is_found_through_a_third_photo_of_its_group():
    assert judge({"a1": ["a", "a2"]}, ORIGINALS).found == {"a1", "a2"}
    assert judge({"c": ["b", "b1"]}, ORIGINALS).found == {"b1"}


def test_pairs_count_once_whichever_file_names_them():
    outcome = judge({"a": ["a1", "c"], "a1": ["a"], "c": ["a"]}, ORIGINALS)
    assert outcome.true_pairs == {("a", "a1")}
    assert outcome.false_pairs == {("a", "c")}


def test_false_pairs_of_copies_confuse_their_originals_once():
    outcome = judge({"b1": ["a1"], "a2": ["b1", "b"]}, ORIGINALS)
    assert outcome.false_pairs == {("a1", "b1"), ("a2", "b1"), ("a2", "b")}
    assert outcome.confused == {("a", "b")}


def test_recall_and_precision_of_some_files():
    outcome = judge({"a": ["a1", "a2", "c"], "b": ["a2"]}, ORIGINALS)
    assert outcome.recall(["a1", "a2", "b1"]) == pytest.approx(2 / 3)
    assert outcome.precision(ORIGINALS) == 0.5
    assert outcome.precision(["a1"]) == 1
    assert outcome.precision(["a2"]) == 0.5
    assert math.isnan(outcome.precision(["b1"]))


def duplicate_photo(path: str) -> DuplicatePhoto:
    unknown = dict.fromkeys(DuplicatePhoto.model_fields)
    return DuplicatePhoto.model_validate({**unknown, "image_id": 0, "path": path})


def test_keepers_are_read_with_their_copies_by_file_name():
    copies = [
        DuplicateCopy(
            photo=duplicate_photo(path), tier="near", similarity=0.9, difference="smaller"
        )
        for path in ("/photos/a1", "/photos/b1")
    ]
    group = DuplicateGroup(
        keeper=duplicate_photo("/photos/a"), reason="", copies=copies, smallest_similarity=0.8
    )
    listed = DuplicateList(
        collection="", tier="near", threshold=None, n_compared=6, n_unmeasured=0, recall=1,
        n_copies=2, n_bytes=0, groups=[group], seconds=0,
    )  # fmt: skip
    assert keepers_with_copies(listed) == {"a": ["a1", "b1"]}


def test_a_peer_answers_through_the_file_named_last(tmp_path):
    script = tmp_path / "peer.py"
    script.write_text(
        "import json, sys\n"
        "content = {'version': sys.argv[1], 'duplicates': {'a': ['a1']}}\n"
        "json.dump(content, open(sys.argv[2], 'w'))\n"
    )
    answer = ask_script(Path(sys.executable), script, "1.2")
    assert (answer.version, answer.duplicates) == ("1.2", {"a": ["a1"]})
    assert 0 < answer.seconds < 30


def test_a_peer_that_crashes_is_reported_with_its_last_line(tmp_path):
    script = tmp_path / "peer.py"
    script.write_text("raise OSError('no libGL')")
    with pytest.raises(NoAnswerError, match=r"^exit status 1 of .*/peer.py .*: OSError: no libGL$"):
        ask_script(Path(sys.executable), script)


def test_a_program_that_ends_silently_is_reported():
    with pytest.raises(NoAnswerError, match=r"^exit status 3 of .*: without a word$"):
        output_of(sys.executable, "-c", "raise SystemExit(3)")


def planted_by_hand() -> list[Planted]:
    """One photo with a copy by each transform, and a distractor."""
    copies = [Planted(Path(transform), Path("a"), transform) for transform in TRANSFORMS]
    return [
        Planted(Path("a"), Path("a"), None),
        *copies,
        Planted(Path("c"), Path("c"), None),
    ]


def test_the_table_has_a_line_for_each_transform_and_a_column_for_each_program():
    planted = planted_by_hand()
    originals = {each.path.name: each.original.name for each in planted}
    answers = {
        "ours": Answer({"a": list(TRANSFORMS)}, "1", 1.4),
        "peer": Answer({"a": ["mirror", "c"], "c": ["mirror"]}, "1", 20),
    }
    outcomes = {name: judge(answer.duplicates, originals) for name, answer in answers.items()}
    lines = table_lines(planted, answers, outcomes)
    assert lines[:3] == [
        "| recall / precision | ours | peer |",
        "| --- | --- | --- |",
        "| jpeg-30 | 1.000 / 1.000 | 0.000 / - |",
    ]
    assert len(lines) == 2 + len(TRANSFORMS) + 5
    assert "| mirror | 1.000 / 1.000 | 1.000 / 0.500 |" in lines
    assert lines[-5:] == [
        "| all | 1.000 / 1.000 | 0.077 / 0.333 |",
        "| pairs | 13 | 3 |",
        "| false pairs | 0 | 2 |",
        "| pairs of photos these confuse | 0 | 1 |",
        "| seconds | 1 | 20 |",
    ]


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        pytest.param(
            list(TRANSFORMS),
            "recall 1.0000, at least 0.95 met; precision 1.0000, at least 0.99 met",
            id="all-found",
        ),
        pytest.param(
            [*list(TRANSFORMS)[:12], "c"],
            "recall 0.9231, at least 0.95 missed; precision 0.9231, at least 0.99 missed",
            id="one-missed-and-one-false",
        ),
    ],
)
def test_the_verdict_compares_with_the_targets(copies, expected):
    planted = planted_by_hand()
    originals = {each.path.name: each.original.name for each in planted}
    assert verdict(judge({"a": copies}, originals), planted) == expected


def test_false_pairs_are_written_by_program(tmp_path):
    outcomes = {
        "ours": judge({"a": ["a1"]}, ORIGINALS),
        "peer": judge({"c": ["b", "a2"]}, ORIGINALS),
    }
    write_false_pairs(outcomes, tmp_path / "false.csv")
    assert (tmp_path / "false.csv").read_text().split() == [
        "program,left,right",
        "peer,a2,c",
        "peer,b,c",
    ]


def test_photos_are_drawn_without_repetition_by_seed(tmp_path):
    photos = write_photos(tmp_path / "photos", count=6)
    drawn = drawn_photos(tmp_path / "photos", count=6, seed=0)
    assert sorted(drawn) == photos
    assert drawn_photos(tmp_path / "photos", count=3, seed=0) == drawn[:3]
    assert drawn_photos(tmp_path / "photos", count=6, seed=1) != drawn


def test_too_few_photos_are_refused(tmp_path):
    write_photos(tmp_path / "photos", count=2)
    with pytest.raises(ClickException, match="has 2 photos and 3 are needed; lower --count"):
        drawn_photos(tmp_path / "photos", count=3, seed=0)

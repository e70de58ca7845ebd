"""Photos by quality, why, and thresholds of a collection's own."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image

from indexer.scoring.pixel_quality import PIXEL_CUES
from indexer.settings import Settings
from indexer.store import create_store
from schemas.errors import FilterError, InputError, MismatchError
from schemas.tables import imported_schema
from service.cli import cli
from service.collection import Collection, open_collection
from service.indexing import QualityChoice, index_photos
from service.quality import PERCENTS, quality_thresholds, rank_quality, recompute_quality
from tests.fakes import FakeEncoder
from tests.makers import photos as makers
from tests.makers.stores import (
    collection_info,
    described,
    image_rows,
    new_store,
    random_features,
)

GOOD: dict[str, float] = {
    "width": 900, "height": 600, "sharpness": 3.0, "coarse_sharpness": 3.3, "contrast": 0.2,
    "brightness": 0.45, "shadows_clipped": 0.0, "highlights_clipped": 0.0, "noise": 0.3,
    "blockiness": 0.0, "jpeg_quality": 95, "tonal_entropy": 7.5, "white_background": 0.0,
    "black_background": 0.0,
}  # fmt: skip
FAULTS: dict[str, dict[str, float]] = {
    "": {},
    "blurred": {"sharpness": 0.5, "coarse_sharpness": 1.5},
    "noisy": {"noise": 20.0, "sharpness": 3.6},
    "dark": {"brightness": 0.05, "contrast": 0.04, "tonal_entropy": 5.0, "sharpness": 2.0},
    "overexposed": {"brightness": 0.9, "highlights_clipped": 0.7, "tonal_entropy": 3.0},
    "low contrast": {"contrast": 0.01, "tonal_entropy": 5.0},
    "compressed": {"jpeg_quality": 8, "blockiness": 0.7},
    "few pixels": {"width": 90, "height": 60},
}


def collection_of(place, **columns):
    """A collection of made-up rows; all columns are lists of one length."""
    model = columns.pop("model", described())
    length = len(next(iter(columns.values())))
    store = new_store(place / "c", model=model)
    store.append_images(image_rows(store, random_features(length), **columns))
    return Collection(store, Settings(collection=str(place / "c")))


def of_qualities(place, qualities, **columns):
    measures: dict[str, Any] = {name: [value] * len(qualities) for name, value in GOOD.items()}
    return collection_of(place, quality=list(qualities), **{**measures, **columns})


def of_faults(place):
    rows = [{**GOOD, **change} for change in FAULTS.values()]
    columns = {name: [row[name] for row in rows] for name in GOOD}
    return collection_of(place, quality=[n / 10 for n in range(len(rows))], **columns)


def ids(listed):
    return [photo.image_id for photo in listed.photos]


def test_the_worst_come_first_and_the_best_with_best(tmp_path):
    collection = of_qualities(tmp_path, [0.5, 0.1, 0.9, 0.3])
    assert ids(rank_quality(collection)) == [1, 3, 0, 2]
    assert ids(rank_quality(collection, order="best")) == [2, 0, 3, 1]
    assert [p.quality for p in rank_quality(collection).photos] == pytest.approx(
        [0.1, 0.3, 0.5, 0.9]
    )


def test_photos_of_one_quality_come_by_id_in_both_orders(tmp_path):
    collection = of_qualities(tmp_path, [0.5] * 30)
    assert ids(rank_quality(collection, top_k=4)) == [0, 1, 2, 3]
    assert ids(rank_quality(collection, order="best", top_k=4)) == [0, 1, 2, 3]


@pytest.mark.parametrize(("percent", "length"), [(5, 2), (1, 1), (10, 3), (100, 30), (0.01, 1)])
def test_a_percentage_is_rounded_up(tmp_path, percent, length):
    collection = of_qualities(tmp_path, np.linspace(0, 1, 30))
    listed = rank_quality(collection, percent=percent)
    assert len(listed.photos) == length
    assert (listed.n_rated, listed.n_unrated) == (30, 0)


def test_ten_are_listed_by_default_and_more_than_all_are_all(tmp_path):
    collection = of_qualities(tmp_path, np.linspace(0, 1, 12))
    assert len(rank_quality(collection).photos) == 10
    assert len(rank_quality(collection, top_k=100).photos) == 12


def test_a_condition_narrows_the_list_and_what_a_percentage_is_of(tmp_path):
    collection = of_qualities(tmp_path, np.linspace(0, 1, 30))
    listed = rank_quality(collection, percent=50, where="quality > 0.5")
    assert listed.n_rated == 15
    assert ids(listed) == list(range(15, 23))
    assert rank_quality(collection, where="quality > 2").photos == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "the number of photos must be at least 1, got 0"),
        ({"percent": 0}, "the percentage must be above 0 and at most 100, got 0"),
        ({"percent": 101}, "at most 100, got 101"),
        ({"percent": 5, "top_k": 3}, "either a number of photos or a percentage, not both"),
    ],
)
def test_lengths_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        rank_quality(of_qualities(tmp_path, [0.5]), **options)


def test_a_wrong_condition_is_refused(tmp_path):
    with pytest.raises(FilterError):
        rank_quality(of_qualities(tmp_path, [0.5]), where="colour = 'red'")


def test_reasons_name_the_fault(tmp_path):
    listed = rank_quality(of_faults(tmp_path), top_k=20)
    assert [photo.reason for photo in listed.photos] == list(FAULTS)
    assert all(0 <= cue <= 1 for photo in listed.photos for cue in photo.cues.values())


def test_reasons_of_a_model_with_magnitude_are_its_lower_cue(tmp_path):
    collection = collection_of(
        tmp_path,
        model=described(quality_cue="magnitude"),
        quality=[0.1, 0.2, 0.3],
        quality_sim=[0.1, 0.6, 0.9],
        quality_mag=[0.5, 0.1, 0.9],
    )
    photos = rank_quality(collection).photos
    assert [photo.reason for photo in photos] == [
        "described as poor (prompts)",
        "weak features (magnitude)",
        "described as poor (prompts)",
    ]
    assert photos[1].cues == {"quality_sim": pytest.approx(1 / 3), "quality_mag": 0.0}


def without_quality(place):
    """A collection as an import leaves it: two of four have no quality and none any measure."""
    model = described()
    schema = imported_schema(model)
    store = create_store(
        str(place / "c"),
        collection_info(model, origin="vectors"),
        FakeEncoder().projectors,
        columns=schema,
    )
    rows = image_rows(new_store(place / "other"), random_features(4))
    unknown = {name: pa.nulls(4, schema.field(name).type) for name in PIXEL_CUES}
    unknown["quality"] = pa.array([None, 0.4, None, 0.2], pa.float32())
    columns = [unknown.get(name, rows[name]) for name in rows.column_names]
    store.append_images(pa.table(columns, names=rows.column_names).cast(schema))
    return Collection(store, Settings(collection=str(place / "c")))


def test_photos_without_a_quality_are_left_out_and_counted(tmp_path):
    collection = without_quality(tmp_path)
    listed = rank_quality(collection)
    assert ids(listed) == [3, 1]
    assert (listed.n_rated, listed.n_unrated) == (2, 2)
    assert ids(rank_quality(collection, order="best")) == [1, 3]
    found = quality_thresholds(collection)
    assert (found.n_rated, found.n_unrated) == (2, 2)


def test_thresholds_select_what_they_say(tmp_path):
    qualities = np.random.default_rng(5).beta(2, 2, 1000).astype(np.float32)
    collection = of_qualities(tmp_path, qualities)
    found = quality_thresholds(collection)
    assert [threshold.percent for threshold in found.thresholds] == list(PERCENTS)
    for threshold in found.thresholds:
        assert threshold.n_photos == round(10 * threshold.percent)
        assert collection.store.count_images(threshold.where) == threshold.n_photos
        assert threshold.quality == pytest.approx(
            np.quantile(qualities, threshold.percent / 100), abs=0.01
        )


def test_thresholds_of_equal_qualities_select_fewer(tmp_path):
    collection = of_qualities(tmp_path, [0.25] * 9 + [0.75])
    thresholds = {t.percent: t for t in quality_thresholds(collection).thresholds}
    assert (thresholds[5].n_photos, thresholds[90].n_photos) == (0, 9)
    assert thresholds[5].quality == 0.25
    for threshold in thresholds.values():
        assert collection.store.count_images(threshold.where) == threshold.n_photos


def test_thresholds_keep_the_condition_they_were_made_under(tmp_path):
    collection = of_qualities(tmp_path, np.linspace(0, 1, 40))
    for threshold in quality_thresholds(collection, where="format = 'PNG' or width > 1").thresholds:
        assert threshold.where.startswith("(format = 'PNG' or width > 1) and quality < ")
        assert collection.store.count_images(threshold.where) == threshold.n_photos


def test_no_photos_have_no_thresholds(tmp_path):
    with pytest.raises(InputError, match="no photo that matches has a quality"):
        quality_thresholds(of_qualities(tmp_path, [0.5]), where="quality > 1")


def test_quality_is_recomputed_from_the_stored_measures(tmp_path):
    collection = of_faults(tmp_path)
    done = recompute_quality(collection)
    assert (done.n_images, done.n_changed) == (len(FAULTS), len(FAULTS))
    anew = collection.store.images(["quality"])["quality"].to_pylist()
    assert max(anew) == anew[0]
    assert recompute_quality(collection).n_changed == 0


def test_recomputing_leaves_photos_without_measures_alone(tmp_path):
    collection = without_quality(tmp_path)
    assert recompute_quality(collection).n_changed == 0
    assert collection.store.images(["quality"])["quality"].null_count == 2


def test_there_is_nothing_to_recompute_for_a_model_with_magnitude(tmp_path):
    collection = collection_of(
        tmp_path, model=described(quality_cue="magnitude"), quality=[0.1], quality_sim=[0.2]
    )
    with pytest.raises(InputError, match="there is nothing to recompute"):
        recompute_quality(collection)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    sharp = makers.drawn_photo(3, width=384, height=256)
    Image.fromarray(sharp).save(folder / "sharp.png")
    Image.fromarray(makers.blurred(sharp, 5)).save(folder / "blurred.png")
    Image.fromarray(makers.exposed(sharp, -5)).save(folder / "dark.png")
    return folder


def invoke(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)


def test_quality_on_the_command_line(photos, tmp_path):
    place = tmp_path / "c"
    assert invoke("index", photos, "-c", place, "--threads", 1).exit_code == 0
    listed = invoke("quality", "list", "-c", place)
    lines = [line.split() for line in listed.stdout.splitlines()]
    assert [(line[2], line[-1].rsplit("/")[-1]) for line in lines][-1][1] == "sharp.png"
    assert {(line[2], line[-1].rsplit("/")[-1]) for line in lines[:2]} == {
        ("blurred", "blurred.png"),
        ("dark", "dark.png"),
    }
    best = json.loads(invoke("quality", "list", "--best", "-k", 1, "-c", place, "--json").stdout)
    assert best["order"] == "best"
    assert best["photos"][0]["path"].endswith("sharp.png")
    told = invoke("quality", "thresholds", "-c", place)
    assert "worst 50 %          2 photos" in told.stdout
    condition = next(line for line in told.stdout.splitlines() if "50 %" in line).split('"')[1]
    worst = invoke("quality", "list", "-c", place, "--where", condition)
    assert len(worst.stdout.splitlines()) == 2
    assert "Of 3 photos" in told.stderr
    assert invoke("quality", "recompute", "-c", place).stdout == (
        "Of 3 photos 0 have another quality now.\n"
    )
    nothing = invoke("quality", "list", "-c", place, "--where", "quality > 2")
    assert (nothing.stdout, nothing.stderr) == ("", "No photo with a quality matches.\n")
    wrong = CliRunner().invoke(cli, ["quality", "list", "--percent", "5", "--top-k", "3"])
    assert wrong.exit_code == 2
    assert "give one of --percent and --top-k" in wrong.stderr


def test_the_quality_mode_is_chosen_once(photos, tmp_path):
    settings = Settings(collection=str(tmp_path / "c"), threads=1)
    options: dict[str, Any] = {"settings": settings, "report": lambda _: None}
    index_photos([photos], quality=QualityChoice("crops", "drop"), **options)
    info = open_collection(settings).store.info
    assert (info.quality_mode, info.crop_edges) == ("crops", "drop")
    index_photos([photos], **options)
    index_photos([photos], quality=QualityChoice("crops", "drop"), **options)
    with pytest.raises(MismatchError, match="made with quality mode crops, not single; leave out"):
        index_photos([photos], quality=QualityChoice("single"), **options)
    with pytest.raises(MismatchError, match="made with crop edges drop, not pad"):
        index_photos([photos], quality=QualityChoice("crops", "pad"), **options)


def test_crop_edges_need_crops(photos, tmp_path):
    settings = Settings(collection=str(tmp_path / "c"), threads=1)
    with pytest.raises(InputError, match="are for the quality mode crops; add --quality-mode"):
        index_photos(
            [photos],
            settings=settings,
            quality=QualityChoice(edges="drop"),
            report=lambda _: None,
        )
    assert not (tmp_path / "c").exists()


def test_crops_are_chosen_on_the_command_line(photos, tmp_path):
    place = tmp_path / "c"
    done = invoke("index", photos, "-c", place, "--threads", 1, "--quality-mode", "crops")
    assert done.exit_code == 0
    told = invoke("info", "-c", place).stdout
    assert "crops mode" in told
    again = CliRunner().invoke(
        cli, ["index", str(photos), "-c", str(place), "--quality-mode", "single"]
    )
    assert again.exit_code == 1
    assert "was made with quality mode crops, not single" in again.stderr

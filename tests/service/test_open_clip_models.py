"""The whole way with open_clip models: small ones of each kind, with random weights."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.scoring.projection import project
from indexer.scoring.similarity import normalised
from indexer.settings import Settings
from indexer.store import vectors_of
from service.cli import cli
from service.collection import open_collection
from tests.indexer.encoders.small_models import write_local_directory
from tests.makers.photos import drawn_photo, image_file

N_PHOTOS = 12


def run(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def ran(*arguments: object):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(N_PHOTOS):
        (folder / f"{seed:02}.jpg").write_bytes(image_file(drawn_photo(seed), "JPEG"))
    return folder


@pytest.fixture(scope="module", params=["vit", "siglip"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model_directory(family, tmp_path_factory):
    return write_local_directory(tmp_path_factory.mktemp("models") / family, family)


@pytest.fixture(scope="module")
def place(photos, model_directory, tmp_path_factory):
    place = tmp_path_factory.mktemp("place") / "collection"
    ran("index", photos, "-c", place, "--model", f"local-dir:{model_directory}")
    return place


def test_the_intra_modal_space_is_the_default_for_photos(photos, place):
    found = json.loads(ran("search", photos / "00.jpg", "-c", place, "--json").stdout)
    assert found["space"] == "isoclip"
    assert len(found["hits"]) == 10


def test_words_are_compared_with_the_librarys_own_embeddings(place):
    collection = open_collection(Settings(collection=str(place)))
    info, projectors = collection.store.info, collection.store.projectors
    column = "features" if info.model.linear_image_head else "raw_embedding"
    stored = collection.store.images(["image_id", column])
    raw = vectors_of(stored[column])
    if info.model.linear_image_head:
        assert projectors.image_weight is not None
        raw = project(raw, projectors.image_weight, projectors.image_bias)
    features = collection.encoder.encode_texts(["a red circle"])
    text = normalised(project(features, projectors.text_weight, projectors.text_bias))[0]
    expected = dict(
        zip(stored["image_id"].to_pylist(), (normalised(raw) @ text).tolist(), strict=True)
    )

    found = json.loads(ran("search", "a red circle", "-c", place, "--json", "-k", 20).stdout)

    assert len(found["hits"]) == N_PHOTOS
    for hit in found["hits"]:
        assert hit["similarity"] == pytest.approx(expected[hit["image_id"]], abs=1e-5)


@pytest.mark.parametrize("space", ["clip", "isoclip", "trunk"])
def test_all_spaces_serve_photos(photos, place, space):
    options = ("-c", place, "--space", space, "--json", "--include-self", "-k", 1)
    (hit,) = json.loads(ran("search", photos / "03.jpg", *options).stdout)["hits"]
    assert hit["path"] == str(photos / "03.jpg")
    assert hit["similarity"] == pytest.approx(1, abs=2e-3)


def test_quality_is_the_magnitude_aware_one(place):
    store = open_collection(Settings(collection=str(place))).store
    rows = store.images(["quality", "quality_sim", "quality_mag"]).to_pylist()
    for row in rows:
        low, high = sorted([row["quality_sim"], row["quality_mag"]])
        assert low - 1e-6 <= row["quality"] <= high + 1e-6
    assert len({row["quality"] for row in rows}) == N_PHOTOS


def test_other_weights_under_the_same_name_are_refused(photos, family, tmp_path):
    directory = write_local_directory(tmp_path / "model", family)
    place = tmp_path / "collection"
    ran("index", photos, "-c", place, "--model", f"local-dir:{directory}")
    import torch

    weights = directory / "open_clip_pytorch_model.bin"
    changed = {name: tensor + 0.01 for name, tensor in torch.load(weights).items()}
    torch.save(changed, weights)

    refused = run("search", "a red circle", "-c", place)

    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: the collection")
    assert "other weights" in refused.stderr
    assert run("search", "id:0", "-c", place).exit_code == 0  # stored vectors need no model


def test_other_preprocessing_under_the_same_name_is_refused(photos, family, tmp_path):
    directory = write_local_directory(tmp_path / "model", family)
    place = tmp_path / "collection"
    ran("index", photos, "-c", place, "--model", f"local-dir:{directory}")
    config = directory / "open_clip_config.json"
    config.write_text(config.read_text().replace("bilinear", "bicubic"))
    (photos_too := tmp_path / "photos").mkdir()
    (photos_too / "new.jpg").write_bytes(image_file(drawn_photo(99), "JPEG"))

    refused = run("index", photos_too, "-c", place)

    assert refused.exit_code == 1
    assert "other preprocessing" in refused.stderr
    assert json.loads(ran("info", "-c", place, "--json").stdout)["n_images"] == N_PHOTOS


def test_an_exported_model_gives_the_same_hits_without_torch(
    photos, model_directory, place, tmp_path
):
    target = tmp_path / "exported"
    exported = ran(
        "model", "export", target, "--model", f"local-dir:{model_directory}", "--photos", photos
    )
    assert "images 1.00000 at least" in exported.stdout
    other = tmp_path / "collection"
    ran("index", photos, "-c", other, "--model", target)

    for query in (photos / "05.jpg", "a red circle"):
        first, second = (
            json.loads(ran("search", query, "-c", where, "--json").stdout)
            for where in (place, other)
        )
        assert first["space"] == second["space"]
        np.testing.assert_allclose(
            [hit["similarity"] for hit in first["hits"]],
            [hit["similarity"] for hit in second["hits"]],
            atol=2e-3,
        )


def test_an_existing_target_is_not_overwritten(photos, tmp_path):
    (tmp_path / "target").mkdir()
    refused = run("model", "export", tmp_path / "target", "--model", "ViT-B-32", "--photos", photos)
    assert refused.exit_code == 1
    assert "exists already" in refused.stderr


def test_an_export_needs_photos_to_compare_on(model_directory, tmp_path):
    (tmp_path / "empty").mkdir()
    refused = run(
        *("model", "export", tmp_path / "target", "--model", f"local-dir:{model_directory}"),
        *("--photos", tmp_path / "empty"),
    )
    assert refused.exit_code == 1
    assert "0 readable photos" in refused.stderr
    assert not (tmp_path / "target").exists()

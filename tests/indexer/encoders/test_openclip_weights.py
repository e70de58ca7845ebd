"""Names, tags, checkpoints and the preprocessing that belongs to them."""

import json
import time

import numpy as np
import pytest
from PIL import Image

from indexer.encoders.openclip import open_openclip_model
from indexer.encoders.openclip_weights import (
    PUBLISHED_BANDS,
    Weights,
    find_weights,
    load_model,
    preprocessing_of,
)
from indexer.preprocess import preprocess
from schemas.errors import InputError, MissingExtraError, ModelError
from tests.indexer.encoders.small_models import small_model, write_local_directory

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


@pytest.fixture
def local_directory(tmp_path):
    return write_local_directory(tmp_path / "tiny-clip", "vit")


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """An empty cache, and a hub at a local port where nothing listens."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def test_a_local_directory_is_opened_with_its_own_preprocessing(local_directory):
    encoder = open_openclip_model(
        f"local-dir:{local_directory}", pretrained=None, device="cpu", n_threads=1
    )
    about = encoder.description
    assert about.id == "tiny-clip"
    assert about.require_preprocessing().mean == (0.5, 0.5, 0.5)
    assert about.require_preprocessing().interpolation == "bilinear"
    assert about.require_preprocessing().resize == "squash"
    assert encoder.encode_texts(["a dog"]).shape == (1, 64)


def test_a_local_directory_without_statistics_is_refused(local_directory):
    config = json.loads((local_directory / "open_clip_config.json").read_text())
    del config["preprocess_cfg"]
    (local_directory / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="add mean and std of the training under preprocess_cfg"):
        find_weights(f"local-dir:{local_directory}", pretrained=None)


@pytest.mark.parametrize("content", [None, "{"], ids=["missing", "not-json"])
def test_a_local_directory_without_description_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(ModelError, match=r"needs open_clip_config\.json and a checkpoint"):
        find_weights(f"local-dir:{tmp_path}", pretrained=None)


def test_a_local_directory_without_weights_is_not_filled_with_random_ones(local_directory):
    (local_directory / "open_clip_pytorch_model.bin").unlink()
    weights = find_weights(f"local-dir:{local_directory}", pretrained=None)
    with pytest.raises(ModelError, match="the weights of tiny-clip cannot be loaded"):
        load_model(weights)


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_damaged_weights_are_a_model_error(local_directory, content):
    (local_directory / "open_clip_pytorch_model.bin").write_bytes(content)
    weights = find_weights(f"local-dir:{local_directory}", pretrained=None)
    with pytest.raises(ModelError, match="check that they are complete"):
        load_model(weights)


def test_damaged_safetensors_are_a_model_error(local_directory):
    (local_directory / "open_clip_model.safetensors").write_bytes(b"damaged")
    weights = find_weights(f"local-dir:{local_directory}", pretrained=None)
    with pytest.raises(ModelError, match="check that they are complete"):
        load_model(weights)


def test_weights_of_another_architecture_are_a_model_error(local_directory):
    torch.save(small_model("resnet").state_dict(), local_directory / "open_clip_pytorch_model.bin")
    weights = find_weights(f"local-dir:{local_directory}", pretrained=None)
    with pytest.raises(ModelError, match="belong to this architecture"):
        load_model(weights)


def test_a_missing_package_of_a_text_tower_is_named(monkeypatch):
    def fail(*args, **options):
        raise ImportError("no", name="transformers")

    monkeypatch.setattr(open_clip, "create_model", fail)
    with pytest.raises(MissingExtraError, match="transformers is needed to open small"):
        load_model(Weights("small", "roberta-ViT-B-32", None, {}))


def test_pretrained_with_a_local_directory_is_refused(local_directory):
    with pytest.raises(InputError, match="leave out --pretrained openai"):
        find_weights(f"local-dir:{local_directory}", pretrained="openai")


def test_an_unknown_architecture_gets_close_names():
    with pytest.raises(ModelError, match=r"'ViT-B32' is no open_clip architecture; try .*ViT-B-32"):
        find_weights("ViT-B32", pretrained="openai")


def test_an_unknown_tag_gets_close_tags():
    with pytest.raises(ModelError, match=r"'opnai' is neither a tag of ViT-B-32 .* openai"):
        find_weights("ViT-B-32", pretrained="opnai")


def test_no_weights_list_the_tags():
    with pytest.raises(ModelError, match=r"ViT-B-32 needs weights: give --pretrained openai, "):
        find_weights("ViT-B-32", pretrained=None)


def test_no_weights_of_an_unpublished_architecture_ask_for_a_checkpoint():
    with pytest.raises(ModelError, match="give --pretrained the path of a checkpoint"):
        find_weights("ViT-S-32", pretrained=None)


@pytest.mark.usefixtures("no_network")
def test_weights_that_cannot_be_downloaded_fail_at_once():
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"ViT-B-32/openai are not in the cache .* give --pretrai"):
        find_weights("ViT-B-32", pretrained="openai")
    assert time.monotonic() - start < 5


def cached_weights(tmp_path, monkeypatch, name, tag):
    """Return what is found when the cache has the tag's file."""
    path = tmp_path / "weights.safetensors"
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *names: str(path))
    return path, find_weights(name, pretrained=tag)


def test_cached_weights_need_no_network(tmp_path, monkeypatch):
    path, weights = cached_weights(tmp_path, monkeypatch, "ViT-B-32", "OpenAI")
    assert weights.checkpoint == str(path)
    assert weights.id == "ViT-B-32/openai"
    assert weights.quick_gelu
    assert weights.band == PUBLISHED_BANDS["ViT-B-32", "openai"]


def test_a_tag_trained_with_gelu_keeps_it(tmp_path, monkeypatch):
    _, weights = cached_weights(tmp_path, monkeypatch, "ViT-B-32", "laion2b_s34b_b79k")
    assert not weights.quick_gelu
    assert weights.band is None


@pytest.mark.parametrize(
    ("name", "tag", "mean", "interpolation", "resize"),
    [
        pytest.param("ViT-B-16-SigLIP", "webli", (0.5, 0.5, 0.5), "bicubic", "squash", id="siglip"),
        pytest.param("PE-Core-B-16", "meta", (0.5, 0.5, 0.5), "bilinear", "squash", id="pe"),
        pytest.param(
            "MobileCLIP-S1", "datacompdr", (0.0, 0.0, 0.0), "bilinear", "shortest", id="mobileclip"
        ),
    ],
)
def test_tags_and_bare_checkpoints_have_the_familys_preprocessing(  # noqa: PLR0913
    tmp_path, monkeypatch, name, tag, mean, interpolation, resize
):
    _, tagged = cached_weights(tmp_path, monkeypatch, name, tag)
    (tmp_path / "my.pt").touch()
    bare = find_weights(name, pretrained=str(tmp_path / "my.pt"))
    for weights in (tagged, bare):
        assert weights.preprocessing["mean"] == mean
        assert weights.preprocessing["interpolation"] == interpolation
        assert weights.preprocessing["resize_mode"] == resize
    assert bare.id == f"{name}/my"


def test_a_bare_checkpoint_whose_family_disagrees_is_refused(tmp_path):
    (tmp_path / "my.pt").touch()
    with pytest.raises(ModelError, match=r"published weights of ViT-L-14 differ in theirs"):
        find_weights("ViT-L-14", pretrained=str(tmp_path / "my.pt"))


def test_a_bare_checkpoint_of_an_unpublished_architecture_gets_the_training_defaults(tmp_path):
    (tmp_path / "my.pt").touch()
    assert find_weights("ViT-S-32", pretrained=str(tmp_path / "my.pt")).preprocessing == {}


def test_published_bands_name_published_weights():
    for name, tag in PUBLISHED_BANDS:
        assert open_clip.get_pretrained_cfg(name, tag), (name, tag)


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(301, 200), (90, 240), (64, 64)])
def test_our_preprocessing_equals_open_clips(resize, interpolation, size):
    model = small_model("vit")
    stated = {"resize_mode": resize, "interpolation": interpolation, "fill_color": 7}
    model.visual.preprocess_cfg |= stated
    preprocessing = preprocessing_of(model.visual)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    transform = open_clip.image_transform(
        (64, 64),
        is_train=False,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        resize_mode=resize,
        interpolation=interpolation,
        fill_color=7,
    )
    expected = transform(Image.fromarray(pixels)).permute(1, 2, 0).numpy() * 255
    actual = preprocess(pixels, preprocessing).astype(np.float32)
    assert np.abs(actual - expected).max() <= 1

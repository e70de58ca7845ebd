"""The encoder over small random open_clip models."""

import copy
import sys

import numpy as np
import pytest

from indexer.encoders.batches import ShrinkingBatches
from indexer.encoders.openclip import OpenClipEncoder, open_openclip_model, weights_digest
from indexer.encoders.openclip_weights import Weights
from schemas.errors import InputError, MissingExtraError, ModelError
from schemas.model import Band
from tests.indexer.encoders.small_models import WEIGHTS, small_model

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

TEXTS = ["a photo of a dog", "", "two red boats at sunset, seen from above"]


@pytest.fixture(scope="module", params=["vit", "resnet", "siglip"])
def original(request):
    return small_model(request.param)


@pytest.fixture(scope="module")
def encoder(original):
    return OpenClipEncoder(copy.deepcopy(original), WEIGHTS, device="cpu")


def random_pixels(encoder, n):
    about = encoder.description.preprocessing
    shape = (n, about.height, about.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@torch.inference_mode()
def test_image_embeddings_equal_the_librarys_on_the_same_pixels(original, encoder):
    pixels = random_pixels(encoder, 3)
    about = encoder.description.preprocessing
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (about.mean, about.std))
    expected = original.encode_image((images - mean) / std, normalize=False).numpy()
    encoded = encoder.encode_images(pixels)
    embeddings = encoded.raw_embeddings
    if embeddings is None:
        bias = encoder.projectors.image_bias
        embeddings = encoded.features @ encoder.projectors.image_weight.T
        embeddings = embeddings if bias is None else embeddings + bias
    np.testing.assert_allclose(embeddings, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@torch.inference_mode()
def test_text_embeddings_equal_the_librarys(original, encoder):
    tokens = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    expected = original.encode_text(tokens, normalize=False).numpy()
    embeddings = encoder.encode_texts(TEXTS) @ encoder.projectors.text_weight.T
    bias = encoder.projectors.text_bias
    embeddings = embeddings if bias is None else embeddings + bias
    np.testing.assert_allclose(embeddings, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_results_do_not_depend_on_the_batch(encoder):
    pixels = random_pixels(encoder, 5)
    together = encoder.encode_images(pixels).features
    alone = np.concatenate([encoder.encode_images(pixels[[row]]).features for row in range(5)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    texts = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, rtol=1e-4, atol=1e-5)


def test_nothing_gives_no_rows(encoder):
    encoded = encoder.encode_images(random_pixels(encoder, 0))
    assert encoded.features.shape == (0, encoder.description.feature_dim)
    if encoded.raw_embeddings is not None:
        assert encoded.raw_embeddings.shape == (0, encoder.description.embedding_dim)
    assert encoder.encode_texts([]).shape == (0, encoder.description.text_feature_dim)


def test_small_batches_give_the_same_rows(encoder):
    pixels = random_pixels(encoder, 5)
    expected = encoder.encode_images(pixels)
    limited = copy.copy(encoder)
    limited._image_batches = ShrinkingBatches(release=lambda: None, limit=2)
    encoded = limited.encode_images(pixels)
    np.testing.assert_allclose(encoded.features, expected.features, rtol=1e-4, atol=1e-5)


def test_description_of_a_linear_head():
    model = small_model("vit")
    weights = Weights("ViT-B-32/openai", "ViT-B-32", None, {}, band=Band(k_top=150, k_bottom=50))
    about = OpenClipEncoder(model, weights, device="cpu").description
    assert (about.feature_dim, about.text_feature_dim, about.embedding_dim) == (64, 64, 32)
    assert about.logit_scale == pytest.approx(float(model.logit_scale.exp()))
    assert (about.require_preprocessing().height, about.require_preprocessing().width) == (64, 64)
    assert about.default_image_space == "isoclip"
    assert about.band == Band(k_top=150, k_bottom=50)
    assert about.linear_image_head


def test_the_cpu_is_no_gpu(encoder):
    assert not encoder.on_gpu


def test_description_of_a_residual_head():
    about = OpenClipEncoder(small_model("siglip"), WEIGHTS, device="cpu").description
    assert not about.linear_image_head
    assert about.spaces == ("clip", "isoclip", "trunk")


class WholeTower(torch.nn.Module):  # type: ignore[misc, name-defined]
    """An image tower of no known family: the mean colour, mapped to 32 dimensions."""

    def __init__(self, stated):
        super().__init__()
        self.preprocess_cfg = stated
        self.linear = torch.nn.Linear(3, 32)

    def forward(self, images):
        return self.linear(images.mean(dim=(2, 3)))


def test_an_unknown_tower_serves_the_plain_space_only():
    model = small_model("vit")
    model.visual = WholeTower(model.visual.preprocess_cfg)
    encoder = OpenClipEncoder(model.requires_grad_(requires_grad=False), WEIGHTS, device="cpu")
    encoded = encoder.encode_images(random_pixels(encoder, 2))
    assert encoder.projectors.image_weight is None
    assert encoder.description.spaces == ("clip",)
    assert encoder.description.default_image_space == "clip"
    assert encoded.raw_embeddings is not None
    np.testing.assert_array_equal(encoded.features, encoded.raw_embeddings)


def test_digest_is_of_the_weights():
    model = small_model("vit")
    assert weights_digest(model) == weights_digest(small_model("vit"))
    before = weights_digest(model)
    model.ln_final.bias[0] += 1
    assert weights_digest(model) != before


def test_digest_is_taken_before_the_towers_are_cut():
    digest = weights_digest(small_model("vit"))
    assert OpenClipEncoder(small_model("vit"), WEIGHTS, device="cpu").weights_digest == digest


def test_pixels_of_another_size_are_refused(encoder):
    with pytest.raises(ValueError, match="pixels must be uint8 of shape"):
        encoder.encode_images(np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        pytest.param(
            ImportError("no", name="transformers"), MissingExtraError, "transformers", id="package"
        ),
        pytest.param(OSError("no network"), ModelError, "no network; put it beside", id="hub"),
    ],
)
def test_tokenizer_that_cannot_be_opened(monkeypatch, failure, error, message):
    def fail(name):
        raise failure

    encoder = OpenClipEncoder(small_model("vit"), WEIGHTS, device="cpu")
    monkeypatch.setattr(open_clip, "get_tokenizer", fail)
    with pytest.raises(error, match=message):
        encoder.encode_texts(["a"])


def test_unknown_device_is_refused():
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu' or 'cuda', got 'mps'"):
        open_openclip_model("ViT-B-32", pretrained=None, device="mps", n_threads=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(InputError, match="torch sees none; use --device cpu"):
        open_openclip_model("ViT-B-32", pretrained=None, device="cuda", n_threads=1)


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="n_threads must be at least 1, got 0"):
        open_openclip_model("ViT-B-32", pretrained=None, device="cpu", n_threads=0)


@pytest.mark.parametrize("package", ["torch", "open_clip"])
def test_missing_packages_name_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'{package} .*"isophote\[clip\]"'):
        open_openclip_model("ViT-B-32", pretrained=None, device="cpu", n_threads=1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_agrees_with_the_cpu(original):
    on_cpu = OpenClipEncoder(copy.deepcopy(original), WEIGHTS, device="cpu")
    on_cuda = OpenClipEncoder(copy.deepcopy(original), WEIGHTS, device="cuda")
    pixels = random_pixels(on_cpu, 4)
    expected, actual = on_cpu.encode_images(pixels).features, on_cuda.encode_images(pixels).features
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
    assert ((expected * actual).sum(axis=1) / norms).min() > 0.999
    assert on_cuda.weights_digest == on_cpu.weights_digest
    assert on_cuda.on_gpu

"""Exported models against their originals."""

import random
import sys

import numpy as np
import pytest

from indexer.encoders import export
from indexer.encoders.export import export_onnx, measure_agreement
from indexer.encoders.onnx import OnnxModelFile, open_onnx_model
from indexer.encoders.openclip import OpenClipEncoder
from indexer.encoders.openclip_tokenizer import convert_tokenizer
from schemas.errors import InputError, MissingExtraError, ModelError
from tests.indexer.encoders.small_models import CONFIGS, WEIGHTS, small_model

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
pytest.importorskip("onnx")

TEXTS = ["a photo of a dog", "", "two red boats at sunset"]


def photos(encoder, n, *, seed):
    """Smooth pictures, so that calibration sees other ranges than those of white noise."""
    about = encoder.description.preprocessing
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    repeats = (about.height // 4, about.width // 4)
    return coarse.repeat(repeats[0], axis=1).repeat(repeats[1], axis=2)


def encoder_of(family):
    return OpenClipEncoder(small_model(family), WEIGHTS, device="cpu")


def export_small(encoder, directory, **options):
    options = {"precision": "float32", "texts": TEXTS} | options
    return export_onnx(encoder, directory, pixels=photos(encoder, 10, seed=0), **options)


SLOW_FAMILIES = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in CONFIGS
    # CoCa's text tower has a shorter context, for which its tokenizer here is not made.
    if name not in ("vit", "siglip", "coca")
]


@pytest.fixture(scope="module", params=["vit", "siglip", *SLOW_FAMILIES])
def original(request):
    return encoder_of(request.param)


@pytest.fixture(scope="module")
def exported(original, tmp_path_factory):
    """The written directory and its agreement."""
    directory = tmp_path_factory.mktemp("models") / "new" / "small"
    return directory, export_small(original, directory)


def test_float32_gives_the_originals_vectors(original, exported):
    directory, agreement = exported
    assert agreement.image_minimum > 1 - 1e-6
    assert agreement.text_minimum > 1 - 1e-6
    encoder = open_onnx_model(directory, n_threads=1)
    pixels = photos(original, 3, seed=1)
    expected, actual = original.encode_images(pixels), encoder.encode_images(pixels)
    scale = np.abs(expected.features).max()
    np.testing.assert_allclose(actual.features, expected.features, rtol=1e-4, atol=1e-4 * scale)
    np.testing.assert_allclose(
        encoder.encode_texts(TEXTS), original.encode_texts(TEXTS), rtol=1e-4, atol=1e-4
    )
    if expected.raw_embeddings is not None:
        assert actual.raw_embeddings is not None
        np.testing.assert_allclose(
            actual.raw_embeddings, expected.raw_embeddings, rtol=1e-4, atol=1e-4
        )


def test_the_description_is_the_originals_under_another_id(original, exported):
    model_file = OnnxModelFile.read(exported[0])
    expected = original.description.model_copy(update={"id": "small/random-onnx-float32"})
    assert model_file.description() == expected
    assert model_file.version == original.weights_digest
    assert model_file.max_tokens == 77


def test_projectors_are_the_originals(original, exported):
    projectors = open_onnx_model(exported[0], n_threads=1).projectors
    for name in ("image_weight", "image_bias", "text_weight", "text_bias"):
        np.testing.assert_equal(getattr(projectors, name), getattr(original.projectors, name))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["vit", "resnet", "siglip"])
def test_int8_stays_close_and_is_smaller(tmp_path, family):
    encoder = encoder_of(family)
    calibration = photos(encoder, 24, seed=2)
    agreement = export_small(
        encoder, tmp_path / "int8", precision="int8", calibration_pixels=calibration
    )
    assert 0.97 < agreement.image_minimum <= agreement.image_mean < 1
    assert agreement.text_minimum > 1 - 1e-6
    n_weights = sum(tensor.numel() for tensor in encoder.image_tower.trunk.parameters())
    assert (tmp_path / "int8" / "image.onnx").stat().st_size < 2 * n_weights


def test_the_original_works_on_after_an_export(tmp_path):
    encoder = encoder_of("resnet")
    pixels = photos(encoder, 2, seed=3)
    before = encoder.encode_images(pixels).features
    export_small(encoder, tmp_path / "small")
    np.testing.assert_allclose(encoder.encode_images(pixels).features, before, rtol=1e-5)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.slow
def test_weights_beyond_the_limit_of_one_file_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MAX_GRAPH_BYTES", 1000)
    encoder = encoder_of("vit")
    agreement = export_small(encoder, tmp_path / "small")
    assert agreement.image_minimum > 1 - 1e-6
    assert (tmp_path / "small" / "image.onnx.data").stat().st_size > 100_000
    (tmp_path / "small" / "image.onnx.data").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"image\.onnx\.data in .* is damaged"):
        open_onnx_model(tmp_path / "small", n_threads=1).encode_images(photos(encoder, 1, seed=0))


class Turned:
    """An encoder whose image embeddings are turned by 60 degrees."""

    def __init__(self, encoder):
        self.description = encoder.description
        self.weights_digest = encoder.weights_digest
        self.on_gpu = False
        self.projectors = encoder.projectors
        self.encode_texts = encoder.encode_texts
        self.encoder = encoder

    def encode_images(self, pixels):
        encoded = self.encoder.encode_images(pixels)
        turned = [turn(row) for row in encoded.raw_embeddings]
        return type(encoded)(encoded.features, np.stack(turned).astype(np.float32))


def turn(vector):
    across = np.zeros_like(vector)
    across[0], across[1] = -vector[1], vector[0]
    across *= np.linalg.norm(vector) / np.linalg.norm(across)
    return np.cos(np.pi / 3) * vector + np.sin(np.pi / 3) * across


def test_agreement_is_the_cosine_of_embeddings():
    encoder = encoder_of("siglip")
    pixels = photos(encoder, 9, seed=4)
    agreement = measure_agreement(encoder, Turned(encoder), pixels=pixels, texts=TEXTS)
    assert agreement.image_minimum == pytest.approx(0.5, abs=1e-5)
    assert agreement.image_mean == pytest.approx(0.5, abs=1e-5)
    assert agreement.text_mean == pytest.approx(1)


def test_an_existing_directory_is_refused_and_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists already; give another directory"):
        export_small(encoder_of("vit"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(export, "_write_description", fail)
    with pytest.raises(OSError, match="disk full"):
        export_small(encoder_of("vit"), tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("calibration", [None, np.zeros((0, 64, 64, 3), np.uint8)])
def test_int8_without_photos_is_refused(tmp_path, calibration):
    with pytest.raises(InputError, match="int8 needs photos to calibrate it"):
        export_small(
            encoder_of("vit"), tmp_path / "m", precision="int8", calibration_pixels=calibration
        )


def test_unknown_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match="precision must be 'float32' or 'int8', got 'int4'"):
        export_small(encoder_of("vit"), tmp_path / "m", precision="int4")


def test_no_texts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must not be empty, got 10 and 0"):
        export_small(encoder_of("vit"), tmp_path / "m", texts=[])


def test_an_encoder_on_a_gpu_is_refused(tmp_path):
    encoder = encoder_of("vit")
    encoder._device = "cuda"
    with pytest.raises(ValueError, match="must be on the CPU"):
        export_onnx(
            encoder,
            tmp_path / "m",
            precision="float32",
            pixels=np.zeros((1, 64, 64, 3), np.uint8),
            texts=TEXTS,
        )


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "tokenizers"])
def test_missing_packages_name_the_extra(tmp_path, monkeypatch, package):
    encoder = encoder_of("vit")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'{package} .*"isophote\[export\]"'):
        export_small(encoder, tmp_path / "m")


def test_a_tokenizer_that_cannot_be_written_is_refused(tmp_path):
    encoder = encoder_of("vit")
    with pytest.raises(ModelError, match="'ﬁne' would get other tokens"):
        export_small(encoder, tmp_path / "m", texts=["ﬁne"])


LETTERS = (
    "abcdefghijklmnopqrstuvwxyz        ABCXYZ0123456789'!?,.-_\t\n"
    "éèßçÑü你好привет😀🏖️\u2019\u201c\u201d"
)


def random_texts(n):
    """Texts without sequences that ftfy takes for wrongly decoded ones and repairs."""
    import ftfy

    generator = random.Random(0)
    texts = ["".join(generator.choices(LETTERS, k=generator.randrange(80))) for _ in range(n)]
    return [text for text in texts if ftfy.fix_encoding(text) == text]


@pytest.mark.parametrize("clean", ["lower", "canonicalize", "whitespace"])
def test_clips_tokenizer_gives_the_same_ids(clean):
    original = open_clip.tokenizer.SimpleTokenizer(context_length=32, clean=clean)
    converted = convert_tokenizer(original)
    texts = [*export.TOKENIZER_TRIALS, *random_texts(300), "nul \0 byte", "e\u0301 combining"]
    for text in texts:
        assert converted.encode(text).ids == original([text])[0].tolist(), text


class HubTokenizer:
    """What open_clip's HFTokenizer is: a cleaning function and a tokenizer from the hub."""

    def __init__(self, clean):
        from tokenizers import Tokenizer, models, pre_tokenizers, processors

        words = ["<pad>", "</s>", "<unk>", "a", "dog", "Dog", "two", "dogs", "!"]
        vocabulary = {word: row for row, word in enumerate(words)}
        self.backend_tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        self.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        self.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 1)]
        )
        self.tokenizer = self
        self.pad_token_id = 1
        self.context_length = 6
        self.clean_fn = open_clip.tokenizer.get_clean_fn(clean)

    def __call__(self, texts):
        rows = []
        for text in texts:
            ids = self.backend_tokenizer.encode(self.clean_fn(text), add_special_tokens=False).ids
            row = [*ids[: self.context_length - 1], 1]
            rows.append(row + [self.pad_token_id] * (self.context_length - len(row)))
        return torch.tensor(rows)


@pytest.mark.parametrize("clean", ["lower", "canonicalize", "whitespace"])
def test_a_hub_tokenizer_gives_the_same_ids(clean):
    original = HubTokenizer(clean)
    converted = convert_tokenizer(original)
    for text in ["", "a dog", " A  Dog! ", "two_dogs!", "a " * 20, *random_texts(20)]:
        assert converted.encode(text).ids == original([text])[0].tolist(), text

"""The ONNX encoder over model directories that are small enough to work out by hand."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from indexer.encoders import onnx as onnx_encoder
from indexer.encoders.onnx import OnnxModelFile, file_digest, open_onnx_model
from schemas.errors import MissingExtraError, ModelError

IMAGE_PROJECTOR = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], dtype=np.float32)
TEXT_PROJECTOR = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)


@dataclass(frozen=True)
class Variant:
    """What a model directory may have or lack."""

    raw_embeddings: bool = False
    attention_mask: bool = False
    n_padded_tokens: int = 0


def write_image_graph(path, *, raw_embeddings):
    """Features are each channel's mean on the scale 0..1; raw embeddings their first two."""
    from onnx import TensorProto, helper, numpy_helper, save

    constants = [
        numpy_helper.from_array(np.float32(255), "white"),
        numpy_helper.from_array(np.array([1, 2]), "axes"),
        numpy_helper.from_array(np.array([0, 1]), "first_two"),
    ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "white"], ["shares"]),
        helper.make_node("ReduceMean", ["shares", "axes"], ["features"], keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])]
    if raw_embeddings:
        gather = helper.make_node("Gather", ["features", "first_two"], ["raw_embeddings"], axis=1)
        nodes.append(gather)
        outputs.append(helper.make_tensor_value_info("raw_embeddings", TensorProto.FLOAT, ["n", 2]))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 4, 6, 3])
    save(model_of(nodes, [pixels], outputs, constants), path)


def write_text_graph(path, *, attention_mask):
    """Features are the sum and the maximum of the ids, masked ids counted as 0."""
    from onnx import TensorProto, helper, numpy_helper, save

    names = ["input_ids", "attention_mask"] if attention_mask else ["input_ids"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in names]
    nodes = [
        helper.make_node("Mul", [names[0], names[-1]], ["kept"])
        if attention_mask
        else helper.make_node("Identity", ["input_ids"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["values", "axes"], ["total"]),
        helper.make_node("ReduceMax", ["values", "axes"], ["largest"]),
        helper.make_node("Concat", ["total", "largest"], ["features"], axis=1),
    ]
    outputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 2])]
    save(model_of(nodes, inputs, outputs, [numpy_helper.from_array(np.array([1]), "axes")]), path)


def model_of(nodes, inputs, outputs, constants):
    from onnx import helper

    graph = helper.make_graph(nodes, "tower", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


def write_tokenizer(path, *, n_padded_tokens):
    """One id per letter of "abc"; 4 begins and 5 ends a text; 9 pads."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {"a": 1, "b": 2, "c": 3, "<s>": 4, "</s>": 5, "?": 6, "<pad>": 9}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 4), ("</s>", 5)]
    )
    if n_padded_tokens:
        tokenizer.enable_padding(pad_id=9, pad_token="<pad>", length=n_padded_tokens)
    tokenizer.save(str(path))


def write_model(directory, variant=None):
    variant = variant or Variant()
    directory.mkdir()
    write_image_graph(directory / "image.onnx", raw_embeddings=variant.raw_embeddings)
    write_text_graph(directory / "text.onnx", attention_mask=variant.attention_mask)
    write_tokenizer(directory / "tokenizer.json", n_padded_tokens=variant.n_padded_tokens)
    np.savez(directory / "projectors.npz", image_weight=IMAGE_PROJECTOR, text_weight=TEXT_PROJECTOR)
    write_description(directory)
    return directory


def write_description(directory, **changes):
    """Write model.json with the hashes of the files as they are now."""
    content = {
        "format": 1,
        "id": "tiny",
        "family": "by hand",
        "feature_dim": 3,
        "text_feature_dim": 2,
        "embedding_dim": 2,
        "logit_scale": 100.0,
        "max_tokens": 5,
        "preprocessing": {
            "height": 4,
            "width": 6,
            "resize": "squash",
            "interpolation": "bicubic",
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
        },
        "default_image_space": "trunk",
        "files": {name: file_digest(directory / name) for name in onnx_encoder.REQUIRED_FILES},
    }
    (directory / "model.json").write_text(json.dumps(content | changes), encoding="utf-8")


@pytest.fixture
def directory(tmp_path):
    return write_model(tmp_path / "tiny")


def random_pixels(n):
    return np.random.default_rng(0).integers(0, 256, (n, 4, 6, 3), dtype=np.uint8)


def test_image_features_are_what_the_graph_says(directory):
    pixels = random_pixels(3)
    encoded = open_onnx_model(directory, n_threads=1).encode_images(pixels)
    np.testing.assert_allclose(encoded.features, pixels.mean(axis=(1, 2)) / 255, rtol=1e-6)
    assert encoded.features.dtype == np.float32
    assert encoded.raw_embeddings is None


def test_raw_embeddings_come_from_the_same_run(tmp_path):
    directory = write_model(tmp_path / "tiny", Variant(raw_embeddings=True))
    encoded = open_onnx_model(directory, n_threads=1).encode_images(random_pixels(2))
    assert encoded.raw_embeddings is not None
    np.testing.assert_array_equal(encoded.raw_embeddings, encoded.features[:, :2])


def test_no_images_give_no_rows(directory):
    encoder = open_onnx_model(directory, n_threads=1)
    assert encoder.encode_images(random_pixels(0)).features.shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "total"),
    [
        pytest.param("ab", 4 + 1 + 2 + 5, id="tokens"),
        pytest.param("", 4 + 5, id="empty"),
        pytest.param("abcabcabc", 4 + 1 + 2 + 3 + 5, id="cut-to-five-tokens"),
    ],
)
def test_text_features_are_what_the_graph_says(directory, text, total):
    features = open_onnx_model(directory, n_threads=1).encode_texts([text])
    np.testing.assert_array_equal(features, [[total, 5]])


@pytest.mark.parametrize("attention_mask", [False, True])
def test_texts_of_other_lengths_do_not_change_a_row(tmp_path, attention_mask):
    variant = Variant(attention_mask=attention_mask)
    encoder = open_onnx_model(write_model(tmp_path / "tiny", variant), n_threads=1)
    texts = ["ab", "", "c", "abc", "ba"]
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_array_equal(encoder.encode_texts(texts), alone)


@pytest.mark.parametrize(
    ("attention_mask", "total"),
    [
        pytest.param(False, 4 + 1 + 5 + 9 + 9, id="padding-counts"),
        pytest.param(True, 4 + 1 + 5, id="padding-masked"),
    ],
)
def test_padding_of_the_tokenizer_file_is_obeyed(tmp_path, attention_mask, total):
    variant = Variant(attention_mask=attention_mask, n_padded_tokens=5)
    encoder = open_onnx_model(write_model(tmp_path / "tiny", variant), n_threads=1)
    assert encoder.encode_texts(["a"])[0, 0] == total


def test_more_texts_than_one_run_keep_their_order(directory):
    texts = ["a", "b", "c"] * onnx_encoder.TEXTS_PER_RUN
    features = open_onnx_model(directory, n_threads=1).encode_texts(texts)
    np.testing.assert_array_equal(features[:, 0], [10, 11, 12] * onnx_encoder.TEXTS_PER_RUN)


def test_no_texts_give_no_rows(directory):
    assert open_onnx_model(directory, n_threads=1).encode_texts([]).shape == (0, 2)


def test_projectors_are_read(directory):
    projectors = open_onnx_model(directory, n_threads=1).projectors
    np.testing.assert_array_equal(projectors.image_weight, IMAGE_PROJECTOR)
    np.testing.assert_array_equal(projectors.text_weight, TEXT_PROJECTOR)
    assert projectors.image_bias is None


def test_an_unknown_image_projector_is_none(directory):
    np.savez(directory / "projectors.npz", text_weight=TEXT_PROJECTOR)
    write_description(directory)
    assert open_onnx_model(directory, n_threads=1).projectors.image_weight is None


def test_description_leaves_out_the_files(directory):
    description = open_onnx_model(directory, n_threads=1).description
    assert description.id == "tiny"
    assert set(description.model_dump()).isdisjoint({"format", "version", "files", "max_tokens"})


def test_texts_load_no_image_tower(directory):
    encoder = open_onnx_model(directory, n_threads=1)
    (directory / "image.onnx").write_bytes(b"damaged")
    encoder.encode_texts(["a"])
    with pytest.raises(ModelError, match=r"image\.onnx in .*tiny is damaged"):
        encoder.encode_images(random_pixels(1))


def test_weights_digest_follows_the_files_and_not_the_description(directory):
    before = open_onnx_model(directory, n_threads=1).weights_digest
    write_description(directory, prompt_template="{}")
    assert open_onnx_model(directory, n_threads=1).weights_digest == before
    np.savez(
        directory / "projectors.npz", image_weight=2 * IMAGE_PROJECTOR, text_weight=TEXT_PROJECTOR
    )
    write_description(directory)
    assert open_onnx_model(directory, n_threads=1).weights_digest != before


def test_model_file_round_trips(directory):
    model_file = OnnxModelFile.read(directory)
    (directory / "model.json").write_text(model_file.model_dump_json(), encoding="utf-8")
    assert OnnxModelFile.read(directory) == model_file


@pytest.mark.parametrize("name", onnx_encoder.REQUIRED_FILES)
def test_a_missing_file_is_named(directory, name):
    (directory / name).unlink()
    with pytest.raises(ModelError, match=rf"{name} is missing in .*tiny"):
        open_onnx_model(directory, n_threads=1)


def test_damaged_projectors_are_refused_when_opened(directory):
    (directory / "projectors.npz").write_bytes(b"")
    with pytest.raises(ModelError, match=r"projectors\.npz in .* is damaged"):
        open_onnx_model(directory, n_threads=1)


def test_damaged_tokenizer_is_refused_when_used(directory):
    encoder = open_onnx_model(directory, n_threads=1)
    (directory / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json in .* is damaged"):
        encoder.encode_texts(["a"])


def test_a_directory_without_description_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="is not a model directory"):
        open_onnx_model(tmp_path, n_threads=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "cannot be read", id="not-json"),
        pytest.param("[]", "has format None", id="not-an-object"),
        pytest.param('{"format": 2}', "has format 2 but this release reads format 1", id="newer"),
        pytest.param('{"format": 1}', "is not valid: id: Field required", id="fields-missing"),
    ],
)
def test_unusable_descriptions_are_refused(directory, content, message):
    (directory / "model.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        open_onnx_model(directory, n_threads=1)


def test_an_unlisted_file_is_refused(directory):
    write_description(directory, files={"image.onnx": "0"})
    with pytest.raises(ModelError, match=r"does not list text\.onnx"):
        open_onnx_model(directory, n_threads=1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        pytest.param({"image_weight": IMAGE_PROJECTOR}, "text_weight of shape None", id="none"),
        pytest.param({"text_weight": np.eye(3)}, r"shape \(3, 3\) where .* \(2, 2\)", id="shape"),
        pytest.param(
            {"text_weight": TEXT_PROJECTOR, "other": np.eye(2)}, "holds other", id="unknown"
        ),
    ],
)
def test_projectors_that_do_not_fit_are_refused(directory, arrays, message):
    np.savez(directory / "projectors.npz", **arrays)
    write_description(directory)
    with pytest.raises(ModelError, match=message):
        open_onnx_model(directory, n_threads=1)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.zeros((1, 6, 4, 3), np.uint8), id="sides-swapped"),
        pytest.param(np.zeros((4, 6, 3), np.uint8), id="one-picture"),
        pytest.param(np.zeros((1, 4, 6, 3), np.float32), id="floats"),
    ],
)
def test_pixels_of_another_shape_or_type_are_refused(directory, pixels):
    with pytest.raises(ValueError, match=r"pixels must be uint8 of shape \(n, 4, 6, 3\), got"):
        open_onnx_model(directory, n_threads=1).encode_images(pixels)


def test_no_threads_are_refused(directory):
    with pytest.raises(ValueError, match="n_threads must be at least 1, got 0"):
        open_onnx_model(directory, n_threads=0)


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_missing_packages_name_the_extra(directory, monkeypatch, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'{package} .*"isophote\[cpu\]"'):
        open_onnx_model(directory, n_threads=1)

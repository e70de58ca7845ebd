"""Writes an open_clip model as a model directory for ONNX Runtime.

The format is that of `indexer.encoders.onnx`. int8 concerns the image tower only: texts are few
and short, and a text tower rounded to 8 bits would move every query.
"""

from __future__ import annotations

import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from indexer.arrays import ByteArray, DoubleArray, FloatArray
from indexer.encoders.encoder import EncodedImages, Encoder, Projectors
from indexer.encoders.onnx import (
    IMAGE_FILE,
    MODEL_FILE,
    PROJECTORS_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    OnnxModelFile,
    file_digest,
    open_onnx_model,
)
from indexer.encoders.openclip_tokenizer import convert_tokenizer
from schemas.errors import InputError, MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from indexer.encoders.openclip import OpenClipEncoder

Precision = Literal["float32", "int8"]

# The first operator set with LayerNormalization as one node.
OPSET = 17
# A protobuf file ends at 2 GB; larger weights lie beside the graph. Some room for the graph.
MAX_GRAPH_BYTES = 2_000_000_000
IMAGES_PER_RUN = 8
# Texts whose ids must not change in the conversion, beside those that the caller gives.
TOKENIZER_TRIALS = (
    "",
    "a photo of a dog",
    "It's 3 dogs & 42 CATS; they\u2019re naïve, \u201cisn't it\u201d? under_score",
    "  spaces\tand\nlines ",
    "日本語 привет 😀",
    "word " * 200,
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cosine similarity of an exported model's embeddings to the original's, in [-1, 1]."""

    image_minimum: float
    image_mean: float
    text_minimum: float
    text_mean: float


def export_onnx(
    encoder: OpenClipEncoder,
    directory: Path,
    *,
    precision: Precision,
    pixels: ByteArray,
    texts: Sequence[str],
    calibration_pixels: ByteArray | None = None,
) -> Agreement:
    """Write a model directory, complete or not at all.

    Parameters
    ----------
    encoder : OpenClipEncoder
        On the CPU.
    directory : Path
        Must not exist; its parents are made.
    precision : {"float32", "int8"}
        Of the image tower. int8 rounds weights per channel and activations per tensor.
    pixels : uint8 of shape (n, height, width, 3), n at least 1
        Preprocessed photos on which the two models are compared.
    texts : sequence of str, at least 1
        Texts for the same.
    calibration_pixels : uint8 of shape (n, height, width, 3), or None
        Photos whose activations set the ranges of int8, needed for int8 only. Others than
        `pixels`, or the agreement flatters.

    Returns
    -------
    Agreement
        Measured on the written files.

    Raises
    ------
    InputError
        If the directory exists, or int8 is asked for without photos to calibrate it.
    ModelError
        If the tokenizer has rules that a `tokenizers` file cannot express.
    MissingExtraError
        If onnx, onnxruntime or tokenizers is not installed.
    ValueError
        If the encoder is on a GPU, precision is unknown, or there are no pixels or texts.
    """
    _check(encoder, precision, n_images=len(pixels), n_texts=len(texts))
    if directory.exists():
        raise InputError(f"{directory} exists already; give another directory or remove it")
    if precision == "int8" and (calibration_pixels is None or not len(calibration_pixels)):
        raise InputError("int8 needs photos to calibrate it; give some, or use float32")
    _require_packages()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".export-") as scratch:
        work = Path(scratch) / "model"
        work.mkdir()
        _write_image_graph(encoder, work, None if precision == "float32" else calibration_pixels)
        _write_text_graph(encoder, work)
        _write_tokenizer(encoder, work / TOKENIZER_FILE, [*TOKENIZER_TRIALS, *texts])
        _write_projectors(encoder.projectors, work / PROJECTORS_FILE)
        _write_description(encoder, work, precision)
        agreement = measure_agreement(
            encoder, open_onnx_model(work, n_threads=1), pixels=pixels, texts=texts
        )
        work.rename(directory)
    return agreement


def measure_agreement(
    original: Encoder, exported: Encoder, *, pixels: ByteArray, texts: Sequence[str]
) -> Agreement:
    """Compare two encoders' embeddings of the same pictures and texts, at least one of each."""
    images = np.concatenate(
        [
            _cosines(_image_embeddings(original, batch), _image_embeddings(exported, batch))
            for batch in _batches(pixels)
        ]
    )
    words = _cosines(_text_embeddings(original, texts), _text_embeddings(exported, texts))
    return Agreement(
        image_minimum=float(images.min()),
        image_mean=float(images.mean()),
        text_minimum=float(words.min()),
        text_mean=float(words.mean()),
    )


def _write_image_graph(
    encoder: OpenClipEncoder, work: Path, calibration_pixels: ByteArray | None
) -> None:
    """Write image.onnx, rounded to int8 where there are pixels to calibrate it."""
    import torch

    about = encoder.description.require_preprocessing()
    example = torch.zeros(2, about.height, about.width, 3, dtype=torch.uint8)
    outputs = ["features"] if encoder.image_tower.head is None else ["features", "raw_embeddings"]
    with tempfile.TemporaryDirectory(dir=work.parent) as folder:
        traced = Path(folder) / IMAGE_FILE
        _trace(_image_graph(encoder), example, traced, inputs=["pixels"], outputs=outputs)
        if calibration_pixels is not None:
            traced = _rounded_to_int8(traced, calibration_pixels)
        _save_in_one_piece(traced, work / IMAGE_FILE)


def _write_text_graph(encoder: OpenClipEncoder, work: Path) -> None:
    tokens = encoder.tokenizer(["", "a"])
    with tempfile.TemporaryDirectory(dir=work.parent) as folder:
        traced = Path(folder) / TEXT_FILE
        trunk = encoder.text_tower.trunk
        _trace(trunk, tokens, traced, inputs=["input_ids"], outputs=["features"])
        _save_in_one_piece(traced, work / TEXT_FILE)


def _image_graph(encoder: OpenClipEncoder) -> nn.Module:
    """Return the module from bytes to features, and to raw embeddings where they are not linear."""
    from torch import nn

    class ImageGraph(nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.head = encoder.image_tower.trunk, encoder.image_tower.head

        def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            features = self.trunk(encoder.normalised_pixels(pixels))
            return features if self.head is None else (features, self.head(features))

    # The tracer puts all parts into the mode of the whole when it is done.
    return ImageGraph().eval()


def _trace(
    module: nn.Module, example: Tensor, path: Path, *, inputs: list[str], outputs: list[str]
) -> None:
    """Write a module as a graph that takes any number of rows."""
    import torch

    with warnings.catch_warnings(), _plain_attention(), torch.no_grad():
        # Shapes other than the number of rows are constants here, which the tracer warns of.
        # The newer exporter needs another package and gives the same numbers.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "n"} for name in (*inputs, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Switch off torch's fused attention for inference, which has no ONNX operator."""
    import torch

    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(value=was_enabled)


def _rounded_to_int8(traced: Path, pixels: ByteArray) -> Path:
    """Quantise products with constant weights; attention itself stays in float32."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Photos(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped here
        def __init__(self) -> None:
            self.batches = _batches(pixels)

        def get_next(self) -> dict[str, ByteArray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"pixels": batch}

    prepared, rounded = traced.with_suffix(".prepared"), traced.with_suffix(".int8")
    quant_pre_process(traced, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        rounded,
        Photos(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        per_channel=True,
        extra_options={"MatMulConstBOnly": True},
    )
    return rounded


def _save_in_one_piece(traced: Path, path: Path) -> None:
    """Write one file, or above the limit two, from what may lie in many."""
    import onnx

    graph = onnx.load(traced)
    n_bytes = sum(file.stat().st_size for file in traced.parent.iterdir())
    onnx.save(
        graph,
        path,
        save_as_external_data=n_bytes > MAX_GRAPH_BYTES,
        location=f"{path.name}.data",
    )


def _write_tokenizer(encoder: OpenClipEncoder, path: Path, trials: Sequence[str]) -> None:
    """Write tokenizer.json once it has given the original's ids for every trial."""
    converted = convert_tokenizer(encoder.tokenizer)
    for text in trials:
        if converted.encode(text).ids != encoder.tokenizer([text])[0].tolist():
            raise ModelError(
                f"the tokenizer of {encoder.description.id} cannot be exported: "
                f"{text[:40]!r} would get other tokens; use the model without exporting it"
            )
    converted.save(str(path))


def _write_projectors(projectors: Projectors, path: Path) -> None:
    arrays: dict[str, Any] = {
        "image_weight": projectors.image_weight,
        "text_weight": projectors.text_weight,
        "image_bias": projectors.image_bias,
        "text_bias": projectors.text_bias,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def _write_description(encoder: OpenClipEncoder, work: Path, precision: Precision) -> None:
    """Write model.json; its version is the digest of the original's weights."""
    about = encoder.description
    model_file = OnnxModelFile(
        **about.model_dump() | {"id": f"{about.id}-onnx-{precision}"},
        version=encoder.weights_digest,
        max_tokens=encoder.tokenizer([""]).shape[1],
        files={path.name: file_digest(path) for path in sorted(work.iterdir())},
    )
    (work / MODEL_FILE).write_text(model_file.model_dump_json(indent=2), encoding="utf-8")


def _batches(pixels: ByteArray) -> Iterator[ByteArray]:
    for start in range(0, len(pixels), IMAGES_PER_RUN):
        yield pixels[start : start + IMAGES_PER_RUN]


def _image_embeddings(encoder: Encoder, pixels: ByteArray) -> FloatArray:
    encoded: EncodedImages = encoder.encode_images(pixels)
    weight = encoder.projectors.image_weight
    if encoded.raw_embeddings is not None or weight is None:
        return encoded.features if encoded.raw_embeddings is None else encoded.raw_embeddings
    return _mapped(encoded.features, weight, encoder.projectors.image_bias)


def _text_embeddings(encoder: Encoder, texts: Sequence[str]) -> FloatArray:
    features = encoder.encode_texts(texts)
    return _mapped(features, encoder.projectors.text_weight, encoder.projectors.text_bias)


def _mapped(features: FloatArray, weight: FloatArray, bias: FloatArray | None) -> FloatArray:
    projected = features @ weight.T
    return projected if bias is None else projected + bias


def _cosines(first: FloatArray, second: FloatArray) -> DoubleArray:
    """Return the cosine similarity of each pair of rows."""
    left, right = first.astype(np.float64), second.astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: DoubleArray = (left * right).sum(axis=1) / norms
    return cosines


def _check(encoder: OpenClipEncoder, precision: str, *, n_images: int, n_texts: int) -> None:
    if precision not in ("float32", "int8"):
        raise ValueError(f"precision must be 'float32' or 'int8', got {precision!r}")
    if encoder.on_gpu:
        raise ValueError("the encoder must be on the CPU, got one on a GPU")
    if n_images < 1 or n_texts < 1:
        raise ValueError(f"pixels and texts must not be empty, got {n_images} and {n_texts}")


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            error.name or "onnx", extra="export", purpose="to export models"
        ) from error

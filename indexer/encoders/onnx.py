"""Models stored as a directory of ONNX graphs, run by ONNX Runtime without torch.

A model directory, format 1::

    model.json        OnnxModelFile: the description, the longest text, a sha256 of each file
    image.onnx        pixels uint8 (n, h, w, 3) -> features (n, p_i) [, raw_embeddings (n, d)]
    text.onnx         input_ids [, attention_mask] int64 (n, t) -> features (n, p_t)
    tokenizer.json    Hugging Face `tokenizers` file; its own padding, if any, is obeyed
    projectors.npz    text_weight (d, p_t) [, image_weight (d, p_i), image_bias, text_bias (d,)]

The graphs take bytes and normalise them themselves. A graph over 2 GB keeps its weights beside it
in `image.onnx.data` or `text.onnx.data`. `indexer.encoders.export` writes such directories, and
the built-in model is one.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from indexer.arrays import ByteArray, FloatArray
from indexer.encoders.batches import check_pixels
from indexer.encoders.encoder import EncodedImages, Projectors
from schemas.errors import MissingExtraError, ModelError
from schemas.model import ModelDescription

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer

POCKET_DIRECTORY = Path(__file__).parent / "pocket"
"""The built-in model."""

MODEL_FORMAT = 1
MODEL_FILE = "model.json"
IMAGE_FILE, TEXT_FILE = "image.onnx", "text.onnx"
TOKENIZER_FILE, PROJECTORS_FILE = "tokenizer.json", "projectors.npz"
REQUIRED_FILES = (IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE, PROJECTORS_FILE)
# More texts per run gain no speed on a CPU and cost memory.
TEXTS_PER_RUN = 64


class OnnxModelFile(ModelDescription):
    """The content of model.json: a model's description and its files.

    `version` is the model maker's own mark. `max_tokens` is the longest text, special tokens
    included; longer ones are cut. `files` maps each file's name to its sha256 (hex).
    """

    format: Literal[1] = 1
    version: str = "1"
    max_tokens: int = Field(gt=0)
    files: dict[str, str]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read and check the description in a model directory.

        Raises
        ------
        ModelError
            If it is missing, not readable, of another format, or does not list a needed file.
        """
        path = directory / MODEL_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ModelError(
                f"{directory} is not a model directory: it has no {MODEL_FILE}; "
                f"make one with `isophote model export`"
            ) from error
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} cannot be read: {error}; copy the model again") from error
        written = content.get("format") if isinstance(content, dict) else None
        if written != MODEL_FORMAT:
            raise ModelError(
                f"{path} has format {written!r} but this release reads format {MODEL_FORMAT}; "
                f"upgrade isophote or export the model again"
            )
        try:
            model_file = cls.model_validate(content)
        except ValidationError as error:
            raise ModelError(f"{path} is not valid: {_first_fault(error)}") from error
        unlisted = [name for name in REQUIRED_FILES if name not in model_file.files]
        if unlisted:
            raise ModelError(f"{path} does not list {unlisted[0]}; export the model again")
        return model_file

    def description(self) -> ModelDescription:
        """Return the part that a collection stores."""
        return ModelDescription(**self.model_dump(include=set(ModelDescription.model_fields)))


def open_pocket(*, n_threads: int) -> "OnnxEncoder":
    """Open the built-in model. Errors are those of `open_onnx_model`."""
    return open_onnx_model(POCKET_DIRECTORY, n_threads=n_threads)


def open_onnx_model(directory: Path, *, n_threads: int) -> "OnnxEncoder":
    """Open a model directory without loading either tower yet.

    Every file must be there. The projectors' sha256 is checked now and a tower's when it is
    first used: hashing costs about 1 ms per MB, and a text search reads no image tower.

    Parameters
    ----------
    directory : Path
        As the module's docstring lays it out.
    n_threads : int
        Threads of one forward pass, at least 1.

    Returns
    -------
    OnnxEncoder

    Raises
    ------
    ModelError
        If the directory is none, is of another format, or a file is missing or damaged.
    MissingExtraError
        If onnxruntime or tokenizers is not installed.
    ValueError
        If n_threads is below 1.
    """
    if n_threads < 1:
        raise ValueError(f"n_threads must be at least 1, got {n_threads}")
    _require_packages()
    model_file = OnnxModelFile.read(directory)
    missing = [name for name in model_file.files if not (directory / name).is_file()]
    if missing:
        raise ModelError(f"{missing[0]} is missing in {directory}; copy the model again")
    return OnnxEncoder(directory, model_file, n_threads=n_threads)


class OnnxEncoder:
    """The encoder over a model directory; see `open_onnx_model`."""

    def __init__(self, directory: Path, model_file: OnnxModelFile, *, n_threads: int) -> None:
        self.description = model_file.description()
        self._directory = directory
        self._model_file = model_file
        self._n_threads = n_threads
        self.projectors = self._read_projectors()

    @property
    def weights_digest(self) -> str:
        """Sha256 (hex) over the names and hashes of all files but model.json."""
        lines = [f"{name} {digest}\n" for name, digest in sorted(self._model_file.files.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def on_gpu(self) -> bool:
        """False: only the CPU is used."""
        return False

    def encode_images(self, pixels: ByteArray) -> EncodedImages:
        """Encode uint8 RGB pictures of shape (n, height, width, 3), already resized.

        Raises
        ------
        ValueError
            If the type or the shape is another.
        ModelError
            If the image tower is damaged.
        """
        check_pixels(pixels, self.description.require_preprocessing())
        names = [output.name for output in self._image_session.get_outputs()]
        outputs = dict(zip(names, self._image_session.run(names, {"pixels": pixels}), strict=True))
        return EncodedImages(outputs["features"], outputs.get("raw_embeddings"))

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode n texts into float32 pre-projection features of shape (n, text_feature_dim).

        Only texts of equal length share a run, so that none is padded for another's sake.

        Raises
        ------
        ModelError
            If the tokenizer or the text tower is damaged.
        """
        features = np.empty((len(texts), self.description.text_feature_dim), dtype=np.float32)
        encodings = self._tokenizer.encode_batch(list(texts))
        for rows in _rows_of_equal_length([len(encoding) for encoding in encodings]):
            features[rows] = self._encode_tokens([encodings[row] for row in rows])
        return features

    def _encode_tokens(self, encodings: Sequence["Encoding"]) -> FloatArray:
        """Run the text tower on texts of equal length."""
        feeds = {"input_ids": np.array([encoding.ids for encoding in encodings])}
        if any(entry.name == "attention_mask" for entry in self._text_session.get_inputs()):
            feeds["attention_mask"] = np.array([encoding.attention_mask for encoding in encodings])
        features: FloatArray = self._text_session.run(["features"], feeds)[0]
        return features

    @cached_property
    def _image_session(self) -> "InferenceSession":
        return _open_session(self._verified(IMAGE_FILE), n_threads=self._n_threads)

    @cached_property
    def _text_session(self) -> "InferenceSession":
        return _open_session(self._verified(TEXT_FILE), n_threads=self._n_threads)

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._verified(TOKENIZER_FILE)))
        tokenizer.enable_truncation(self._model_file.max_tokens)
        return tokenizer

    def _read_projectors(self) -> Projectors:
        with np.load(self._verified(PROJECTORS_FILE), allow_pickle=False) as arrays:
            found = {name: arrays[name].astype(np.float32) for name in arrays.files}
        self._check_shapes(found)
        return Projectors(
            image_weight=found.get("image_weight"),
            text_weight=found["text_weight"],
            image_bias=found.get("image_bias"),
            text_bias=found.get("text_bias"),
        )

    def _check_shapes(self, projectors: dict[str, FloatArray]) -> None:
        """Refuse projectors that do not fit the description."""
        about = self.description
        expected: dict[str, tuple[int, ...]] = {
            "image_weight": (about.embedding_dim, about.feature_dim),
            "text_weight": (about.embedding_dim, about.text_feature_dim),
            "image_bias": (about.embedding_dim,),
            "text_bias": (about.embedding_dim,),
        }
        for name in sorted(projectors.keys() | {"text_weight"}):
            shape = projectors[name].shape if name in projectors else None
            if shape != expected.get(name):
                raise ModelError(
                    f"{PROJECTORS_FILE} in {self._directory} holds {name} of shape {shape} where "
                    f"{MODEL_FILE} says {expected.get(name)}; export the model again"
                )

    def _verified(self, name: str) -> Path:
        """Return the path of a file after comparing its sha256, and that of its `.data` file."""
        for listed in (name, f"{name}.data"):
            expected = self._model_file.files.get(listed)
            if expected is not None and file_digest(self._directory / listed) != expected:
                raise ModelError(
                    f"{listed} in {self._directory} is damaged: its sha256 is not the one in "
                    f"{MODEL_FILE}; copy the model again"
                )
        return self._directory / name


def file_digest(path: Path) -> str:
    """Return the sha256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _require_packages() -> None:
    try:
        import onnxruntime  # noqa: F401
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            error.name or "onnxruntime", extra="cpu", purpose="to run ONNX models"
        ) from error


def _open_session(path: Path, *, n_threads: int) -> "InferenceSession":
    """Load a graph for the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Spinning threads would take the cores from the decoders between two batches.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _rows_of_equal_length(lengths: Sequence[int]) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the rows of each length, at most TEXTS_PER_RUN at a time."""
    for length in sorted(set(lengths)):
        rows = np.flatnonzero(np.array(lengths) == length)
        yield from np.split(rows, range(TEXTS_PER_RUN, len(rows), TEXTS_PER_RUN))


def _first_fault(error: ValidationError) -> str:
    """Return the first fault that pydantic found, as "field: reason"."""
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"

"""Run the towers over photos, views of photos, and texts."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from indexer.arrays import ByteArray, FloatArray
from indexer.encoders.pocket.image_tower import IMAGE_SIZE
from indexer.encoders.pocket.text_tower import MAX_TOKENS

if TYPE_CHECKING:
    import onnx
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

BATCH_SIZE = 16
# Random crops keep this share of the area, with sides stretched by at most e^0.3.
CROP_AREA = (0.35, 0.95)
MAX_LOG_STRETCH = 0.3

Picture = Image.Image
View = Callable[[Picture], Picture]


def open_session(model: "onnx.ModelProto | Path", *, n_threads: int) -> "InferenceSession":
    """Load a tower for the CPU, without threads that spin."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def make_tokenizer(content: dict[str, Any]) -> "Tokenizer":
    """Return the tokenizer that the content of its JSON file describes."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(content))


def encode_photos(session: "InferenceSession", photos: Sequence[Path], view: View) -> FloatArray:
    """Return features, float32 (n, p_i), of a view of each photo."""
    pictures = (view(Image.open(photo).convert("RGB")) for photo in photos)
    return encode_pictures(session, (np.asarray(picture) for picture in pictures))


def encode_pictures(session: "InferenceSession", pictures: Iterator[ByteArray]) -> FloatArray:
    """Return features, float32 (n, p_i), of uint8 pictures of the tower's size."""
    batches = []
    batch: list[ByteArray] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH_SIZE:
            batches.append(session.run(None, {"pixels": np.stack(batch)})[0])
            batch = []
    if batch:
        batches.append(session.run(None, {"pixels": np.stack(batch)})[0])
    return np.concatenate(batches)


def encode_texts(
    session: "InferenceSession", tokenizer: "Tokenizer", texts: Sequence[str]
) -> FloatArray:
    """Return features, float32 (n, p_t), of texts; those of one length share a batch."""
    tokenizer.enable_truncation(MAX_TOKENS)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    width = session.get_outputs()[0].shape[1]
    features = np.empty((len(ids), width), np.float32)
    for rows in _runs_of_equal_length(order, [len(entry) for entry in ids]):
        input_ids = np.array([ids[row] for row in rows])
        feeds: dict[str, Any] = {
            "input_ids": input_ids,
            "attention_mask": np.ones_like(input_ids),
        }
        features[rows] = session.run(None, feeds)[0]
    return features


def _runs_of_equal_length(order: list[int], lengths: list[int]) -> Iterator[list[int]]:
    """Yield rows of equal length, at most BATCH_SIZE at a time; `order` is sorted by length."""
    run: list[int] = []
    for row in order:
        if run and (lengths[row] != lengths[run[0]] or len(run) == BATCH_SIZE):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def whole(picture: Picture) -> Picture:
    """Resize to the tower's size, whatever the shape."""
    return picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)


def mirrored(picture: Picture) -> Picture:
    """Swap left and right."""
    return whole(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def random_crops(generator: np.random.Generator) -> View:
    """Return a view that crops at random and mirrors every second time."""

    def crop(picture: Picture) -> Picture:
        area = generator.uniform(*CROP_AREA)
        stretch = np.exp(generator.uniform(-MAX_LOG_STRETCH, MAX_LOG_STRETCH))
        width = min(picture.width, int(picture.width * np.sqrt(area * stretch)))
        height = min(picture.height, int(picture.height * np.sqrt(area / stretch)))
        left = int(generator.integers(0, picture.width - width + 1))
        top = int(generator.integers(0, picture.height - height + 1))
        part = picture.crop((left, top, left + width, top + height))
        return mirrored(part) if generator.integers(2) else whole(part)

    return crop

"""Write an open_clip model as ONNX and say how well it agrees with the original."""

from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from indexer.arrays import ByteArray
from indexer.encoders.export import export_onnx
from indexer.encoders.openclip import open_openclip_model
from indexer.prepare import prepare_query
from indexer.scan import ScannedFile, absolute_path, resolve_root, scan
from indexer.settings import Settings
from schemas.errors import InputError, PhotoError
from schemas.model import Preprocessing
from schemas.results import ExportAgreement

# 100 photos set the ranges of int8 as well as more do, and are decoded in a few seconds.
MAX_PHOTOS = 200
MIN_PHOTOS = 2

COMPARED_TEXTS = (
    "a photo of a dog",
    "two people on a beach at sunset",
    "Sharp image",
    "blurry image",
    "a red car parked in front of an old brick house in the rain",
)


def export_model(
    target: Path,
    *,
    name: str,
    pretrained: str | None,
    precision: Literal["float32", "int8"],
    photos: Path,
    settings: Settings,
) -> ExportAgreement:
    """Export a model into a new folder.

    Parameters
    ----------
    target : Path
        Must not exist.
    name, pretrained : str
        As open_clip names them, or `local-dir:`.
    precision : {"float32", "int8"}
        Of the image tower.
    photos : Path
        Folder of at least two photos. Every other one calibrates int8, the rest are compared.
    settings : Settings
        For the threads and the pixel limit.

    Raises
    ------
    InputError, ModelError, MissingExtraError
        If the target exists, the photos do not do, or the model cannot be opened or exported.
    """
    if target.exists():
        raise InputError(f"{target} exists already; give another folder or remove it")
    folder = resolve_root(photos)
    encoder = open_openclip_model(
        name, pretrained=pretrained, device="cpu", n_threads=settings.threads
    )
    pixels = _photo_pixels(folder, encoder.description.require_preprocessing(), settings.max_pixels)
    compared = pixels[::2]
    agreement = export_onnx(
        encoder,
        target,
        precision=precision,
        pixels=compared,
        texts=COMPARED_TEXTS,
        calibration_pixels=pixels[1::2] if precision == "int8" else None,
    )
    return ExportAgreement(
        directory=str(target),
        n_images=len(compared),
        image_minimum=agreement.image_minimum,
        image_mean=agreement.image_mean,
        text_minimum=agreement.text_minimum,
        text_mean=agreement.text_mean,
    )


def _photo_pixels(folder: Path, preprocessing: Preprocessing, max_pixels: int) -> ByteArray:
    """Return the encoder inputs uint8 (n, h, w, 3) of the first readable photos of a folder."""
    pixels = []
    files = (found for found in scan(folder) if isinstance(found, ScannedFile))
    for file in islice(files, MAX_PHOTOS):
        path = absolute_path(file.root, file.path)
        try:
            pixels.append(prepare_query(path, preprocessing=preprocessing, max_pixels=max_pixels))
        except PhotoError:
            continue  # a broken photo is of no use here, and none of this command's business
    if len(pixels) < MIN_PHOTOS:
        raise InputError(
            f"{folder} holds {len(pixels)} readable photos; give at least {MIN_PHOTOS}"
        )
    return np.stack(pixels)

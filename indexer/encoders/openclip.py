"""Any open_clip model, run by torch on a CPU or a CUDA device."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from indexer.arrays import ByteArray, FloatArray
from indexer.encoders.batches import ShrinkingBatches, check_pixels
from indexer.encoders.encoder import EncodedImages, Projectors
from indexer.encoders.openclip_towers import ImageTower, TextTower, cut_image_tower, cut_text_tower
from indexer.encoders.openclip_weights import (
    Weights,
    find_weights,
    first_line,
    load_model,
    preprocessing_of,
)
from schemas.errors import InputError, MissingExtraError, ModelError
from schemas.model import ModelDescription

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import Tensor, nn

# Memory for the activations of one run of the text tower stays below 1 GB up to ViT-L.
TEXTS_PER_RUN = 256
WHITE = 255.0


def open_openclip_model(
    name: str, *, pretrained: str | None, device: str, n_threads: int
) -> OpenClipEncoder:
    """Open an open_clip model.

    Parameters
    ----------
    name, pretrained : str, str or None
        As `openclip_weights.find_weights` takes them.
    device : {"auto", "cpu", "cuda"}
        "auto" takes CUDA where torch sees a device. CUDA runs in half precision, the CPU in
        float32.
    n_threads : int
        Torch's threads on the CPU, at least 1. Torch has one such number for the process.

    Returns
    -------
    OpenClipEncoder

    Raises
    ------
    ModelError
        If the model is unknown or its weights are missing or damaged.
    InputError
        If CUDA is asked for and torch sees no such device.
    MissingExtraError
        If torch or open_clip is not installed.
    ValueError
        If device or n_threads is out of range.
    """
    if n_threads < 1:
        raise ValueError(f"n_threads must be at least 1, got {n_threads}")
    _require_packages()
    import torch

    chosen = _chosen_device(device, has_cuda=torch.cuda.is_available())
    torch.set_num_threads(n_threads)
    weights = find_weights(name, pretrained=pretrained)
    return OpenClipEncoder(load_model(weights), weights, device=chosen)


class OpenClipEncoder:
    """The encoder over an open_clip model; see `open_openclip_model`.

    The model is taken over: its towers are cut before their projectors and moved to the device.
    """

    def __init__(self, model: nn.Module, weights: Weights, *, device: str) -> None:
        self.weights_digest = weights_digest(model)
        self._architecture = weights.architecture
        self._device = device
        self.image_tower = cut_image_tower(model.visual)
        self.text_tower = cut_text_tower(model)
        self.projectors = Projectors(
            image_weight=self.image_tower.weight,
            text_weight=self.text_tower.weight,
            image_bias=self.image_tower.bias,
            text_bias=self.text_tower.bias,
        )
        self.description = _description(model, weights, self.image_tower, self.text_tower)
        self._image_batches = ShrinkingBatches(release=self._release)
        self._text_batches = ShrinkingBatches(release=self._release, limit=TEXTS_PER_RUN)
        self._move()

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU, and so wants large batches."""
        return self._device == "cuda"

    def encode_images(self, pixels: ByteArray) -> EncodedImages:
        """Encode uint8 RGB pictures of shape (n, height, width, 3), already resized.

        Raises
        ------
        ValueError
            If the type or the shape is another.
        ModelError
            If the memory does not suffice for one picture.
        """
        check_pixels(pixels, self.description.require_preprocessing())
        parts = self._image_batches.map(lambda rows: self._encode_pixels(pixels[rows]), len(pixels))
        features = _joined([part[0] for part in parts], width=self.description.feature_dim)
        if self.description.linear_image_head:
            return EncodedImages(features)
        raw = _joined([part[1] for part in parts], width=self.description.embedding_dim)
        return EncodedImages(features, raw)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode n texts into float32 pre-projection features of shape (n, text_feature_dim).

        Every text is padded to the model's own length, so that a batch changes nothing.

        Raises
        ------
        ModelError
            If the tokenizer cannot be had, or the memory does not suffice for one text.
        MissingExtraError
            If the tokenizer needs a package that is not installed.
        """
        parts = self._text_batches.map(lambda rows: self._encode_texts(texts[rows]), len(texts))
        return _joined(parts, width=self.description.text_feature_dim)

    @cached_property
    def tokenizer(self) -> Callable[[list[str]], Tensor]:
        """The model's tokenizer: texts to int64 ids (n, t). Some are fetched from the hub."""
        import open_clip

        try:
            tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(self._architecture)
        except ImportError as error:
            raise MissingExtraError(
                error.name or "transformers",
                extra="clip",
                purpose=f"for the tokenizer of {self.description.id}",
            ) from error
        except (OSError, ValueError) as error:
            raise ModelError(
                f"the tokenizer of {self.description.id} cannot be opened: {first_line(error)}; "
                f"put it beside the weights and give --model local-dir:DIRECTORY"
            ) from error
        return tokenizer

    def normalised_pixels(self, pixels: Tensor) -> Tensor:
        """Map uint8 (n, h, w, 3) to what the tower was trained on, float32 (n, 3, h, w)."""
        import torch

        about = self.description.require_preprocessing()
        mean = torch.tensor(about.mean, device=pixels.device)
        std = torch.tensor(about.std, device=pixels.device)
        return ((pixels.float() / WHITE - mean) / std).permute(0, 3, 1, 2)

    def _encode_pixels(self, pixels: ByteArray) -> tuple[FloatArray, FloatArray]:
        """Return features and the model's own raw embeddings, or features twice."""
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(pixels))
        if self.on_gpu:
            # Page-locked memory lets the copy run beside the previous batch.
            batch = batch.pin_memory().to(self._device, non_blocking=True)
        with torch.inference_mode(), self._half_precision():
            features = self.image_tower.trunk(self.normalised_pixels(batch))
            head = self.image_tower.head
            raw = features if head is None else head(features)
        return features.float().cpu().numpy(), raw.float().cpu().numpy()

    def _encode_texts(self, texts: Sequence[str]) -> FloatArray:
        import torch

        tokens = self.tokenizer(list(texts)).to(self._device)
        with torch.inference_mode(), self._half_precision():
            features: FloatArray = self.text_tower.trunk(tokens).float().cpu().numpy()
        return features

    def _half_precision(self) -> torch.autocast:
        """Return the context in which CUDA multiplies in half precision.

        Autocast keeps normalisations and sums in float32, where a model cast to half as a whole
        can overflow.
        """
        import torch

        return torch.autocast("cuda", dtype=torch.float16, enabled=self.on_gpu)

    def _move(self) -> None:
        for module in (self.image_tower.trunk, self.image_tower.head, self.text_tower.trunk):
            if module is not None:
                module.to(self._device)

    def _release(self) -> None:
        """Give memory that torch keeps for later back to the device."""
        import torch

        if self.on_gpu:
            torch.cuda.empty_cache()


def _description(
    model: nn.Module, weights: Weights, image: ImageTower, text: TextTower
) -> ModelDescription:
    """Describe a model whose towers are cut; one without image projector serves `clip` alone."""
    embedding_dim, text_feature_dim = text.weight.shape
    is_known = image.weight is not None
    return ModelDescription(
        id=weights.id,
        family=image.family,
        feature_dim=embedding_dim if image.weight is None else image.weight.shape[1],
        text_feature_dim=text_feature_dim,
        embedding_dim=embedding_dim,
        logit_scale=float(model.logit_scale.exp()),
        preprocessing=preprocessing_of(model.visual),
        default_image_space="isoclip" if is_known else "clip",
        spaces=("clip", "isoclip", "trunk") if is_known else ("clip",),
        band=weights.band,
        linear_image_head=image.head is None,
    )


def weights_digest(model: nn.Module) -> str:
    """Return the sha256 (hex) over the names, shapes and bytes of a model's state, in order."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        array = tensor.cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _joined(parts: Sequence[FloatArray], *, width: int) -> FloatArray:
    """Join rows; no parts give no rows."""
    return np.concatenate(parts) if parts else np.empty((0, width), dtype=np.float32)


def _chosen_device(device: str, *, has_cuda: bool) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}")
    if device == "cuda" and not has_cuda:
        raise InputError("device 'cuda' was asked for but torch sees none; use --device cpu")
    return "cuda" if device != "cpu" and has_cuda else "cpu"


def _require_packages() -> None:
    try:
        import open_clip  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            error.name or "torch", extra="clip", purpose="to run open_clip models"
        ) from error

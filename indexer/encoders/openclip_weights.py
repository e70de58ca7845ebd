"""Finds the weights of an open_clip model, and the preprocessing that belongs to them.

open_clip 3.3 has three traps, each of which gives plausible but wrong vectors:

- For a bare checkpoint it reports OpenAI's mean, std and bicubic interpolation, whatever the model
  (issues 1068, 1069). Here they come from the published weights of the same architecture.
- It only warns when weights were trained with QuickGELU and the architecture says GELU. Here a
  published tag decides. For a checkpoint file the name does: `ViT-B-32-quickgelu` for OpenAI's.
- It fills a model with random numbers when there are no weights. Here that is an error.
"""

from __future__ import annotations

import json
import pickle
import urllib.request
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError, MissingExtraError, ModelError
from schemas.model import Band, Preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

LOCAL_PREFIX = "local-dir:"
LOCAL_CONFIG = "open_clip_config.json"
# A model hub that does not answer within this is taken for not reachable.
HUB_TIMEOUT_SECONDS = 10.0

# Magistri et al., "IsoCLIP", CVPR 2026, arXiv:2603.19862: bands for image-to-image retrieval, in
# open_clip's names of the same weights.
PUBLISHED_BANDS = {
    ("ViT-B-32", "openai"): Band(k_top=150, k_bottom=50),
    ("ViT-B-16", "openai"): Band(k_top=200, k_bottom=50),
    ("ViT-L-14", "openai"): Band(k_top=250, k_bottom=200),
    ("ViT-B-32", "datacomp_xl_s13b_b90k"): Band(k_top=50, k_bottom=50),
    ("ViT-B-16", "datacomp_xl_s13b_b90k"): Band(k_top=100, k_bottom=100),
    ("PE-Core-B-16", "meta"): Band(k_top=300, k_bottom=50),
    ("ViT-B-16-SigLIP2", "webli"): Band(k_top=350, k_bottom=50),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """Which weights to load into which architecture.

    `architecture` and `checkpoint` are open_clip's `model_name` and `pretrained`; checkpoint is
    None for a local directory, which brings its own. `preprocessing` is in open_clip's terms and
    empty where the directory's file states it.
    """

    id: str
    architecture: str
    checkpoint: str | None
    preprocessing: dict[str, Any]
    quick_gelu: bool = False
    band: Band | None = None


def find_weights(name: str, *, pretrained: str | None) -> Weights:
    """Find the weights for a model's name.

    Parameters
    ----------
    name : str
        An open_clip architecture, or ``local-dir:`` and a directory with open_clip_config.json
        and a checkpoint.
    pretrained : str or None
        A published tag or a checkpoint file; None with ``local-dir:``. A tag's weights are
        downloaded unless the Hugging Face cache has them.

    Returns
    -------
    Weights

    Raises
    ------
    ModelError
        If the architecture or the tag is unknown, weights are missing and cannot be downloaded,
        or the preprocessing is not known.
    InputError
        If `pretrained` is given with ``local-dir:``.
    """
    if name.startswith(LOCAL_PREFIX):
        if pretrained is not None:
            raise InputError(f"{name} brings its own weights; leave out --pretrained {pretrained}")
        return _local_weights(Path(name.removeprefix(LOCAL_PREFIX)))
    _require_known(name)
    if pretrained is None:
        raise ModelError(f"{name} needs weights: give --pretrained {_choices(_tags(name))}")
    if tag := _published_tag(name, pretrained):
        return _tagged_weights(name, tag)
    if Path(pretrained).is_file():
        return _checkpoint_weights(name, Path(pretrained))
    raise ModelError(
        f"{pretrained!r} is neither a tag of {name} nor a file; "
        f"give {_choices(get_close_matches(pretrained, _tags(name), cutoff=0.3) or _tags(name))}"
    )


def load_model(weights: Weights) -> nn.Module:
    """Load weights into a model on the CPU, in float32, for inference.

    Raises
    ------
    ModelError
        If the checkpoint is damaged or belongs to another architecture.
    """
    import open_clip
    from safetensors import SafetensorError

    damage = (RuntimeError, OSError, ValueError, KeyError, EOFError, pickle.UnpicklingError)
    try:
        model = open_clip.create_model(
            weights.architecture,
            pretrained=weights.checkpoint,
            force_quick_gelu=weights.quick_gelu,
            force_preprocess_cfg=weights.preprocessing,
            require_pretrained=True,
        )
    except (*damage, SafetensorError) as error:
        raise ModelError(
            f"the weights of {weights.id} cannot be loaded "
            f"from {weights.checkpoint or weights.architecture}: {first_line(error)}; "
            f"check that they are complete and belong to this architecture"
        ) from error
    except ImportError as error:
        raise MissingExtraError(
            error.name or "transformers", extra="clip", purpose=f"to open {weights.id}"
        ) from error
    return model.eval().requires_grad_(requires_grad=False)


def preprocessing_of(visual: nn.Module) -> Preprocessing:
    """Return what open_clip says of a tower's input, in our terms."""
    stated = visual.preprocess_cfg
    size = stated["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return Preprocessing(
        height=height,
        width=width,
        resize=stated["resize_mode"],
        # open_clip takes anything but "bilinear" for bicubic when it does not train.
        interpolation="bilinear" if stated["interpolation"] == "bilinear" else "bicubic",
        fill=stated["fill_color"],
        mean=tuple(stated["mean"]),
        std=tuple(stated["std"]),
    )


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _local_weights(directory: Path) -> Weights:
    """Check the description of a local directory; open_clip finds the checkpoint itself."""
    path = directory / LOCAL_CONFIG
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{LOCAL_PREFIX}{directory} cannot be opened: {first_line(error)}; the directory "
            f"needs {LOCAL_CONFIG} and a checkpoint"
        ) from error
    stated = stated if isinstance(stated, dict) else {}
    if not {"mean", "std"} <= set(stated.get("preprocess_cfg") or {}):
        raise ModelError(
            f"{path} does not say how pictures are prepared; "
            f"add mean and std of the training under preprocess_cfg"
        )
    return Weights(directory.resolve().name, f"{LOCAL_PREFIX}{directory}", None, {})


def _tagged_weights(name: str, tag: str) -> Weights:
    import open_clip

    published = open_clip.get_pretrained_cfg(name, tag)
    return Weights(
        id=f"{name}/{tag}",
        architecture=name,
        checkpoint=_download(f"{name}/{tag}", published),
        preprocessing=_published_preprocessing(name, tag),
        quick_gelu=bool(published.get("quick_gelu")),
        band=PUBLISHED_BANDS.get((name.removesuffix("-quickgelu"), tag)),
    )


def _checkpoint_weights(name: str, path: Path) -> Weights:
    """Take the preprocessing of the architecture's published weights, where they agree.

    An architecture without published weights gets open_clip's own training defaults.
    """
    variants = [_published_preprocessing(name, tag) for tag in _tags(name)]
    if any(variant != variants[0] for variant in variants):
        raise ModelError(
            f"the preprocessing for {path} is not known: published weights of {name} differ in "
            f"theirs; put the file beside an {LOCAL_CONFIG} with preprocess_cfg and give "
            f"--model {LOCAL_PREFIX}DIRECTORY"
        )
    return Weights(f"{name}/{path.stem}", name, str(path), variants[0] if variants else {})


def _published_preprocessing(name: str, tag: str) -> dict[str, Any]:
    """Return what a tag states, without its file and with open_clip's defaults."""
    import open_clip
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    stated = open_clip.get_pretrained_cfg(name, tag)
    merged: dict[str, Any] = merge_preprocess_dict(PreprocessCfg(), stated)
    # The architecture's own picture size holds, as it does in open_clip.
    del merged["size"]
    return merged


def _download(model_id: str, published: dict[str, Any]) -> str:
    """Return the path of published weights in the cache, after a download if need be."""
    import huggingface_hub
    from open_clip.pretrained import download_pretrained

    repository, _, filename = published["hf_hub"].rpartition("/")
    names = (
        [filename] if filename else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    )
    for candidate in names:
        cached = huggingface_hub.try_to_load_from_cache(repository, candidate)
        if isinstance(cached, str):
            return cached
    try:
        # The hub's client retries for 45 seconds without a network; this fails at once.
        address = f"{huggingface_hub.constants.ENDPOINT}/{repository}/resolve/main/{names[-1]}"
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=HUB_TIMEOUT_SECONDS).close()
        path: str = download_pretrained(published)
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"the weights of {model_id} are not in the cache and cannot be downloaded "
            f"({first_line(error)}); give --pretrained PATH or --model {LOCAL_PREFIX}DIRECTORY"
        ) from error
    return path


def _require_known(name: str) -> None:
    import open_clip

    known = open_clip.list_models()
    if name not in known:
        near = get_close_matches(name, known, cutoff=0.4) or ["ViT-B-32"]
        raise ModelError(
            f"{name!r} is no open_clip architecture; try {', '.join(near)}, "
            f"or {LOCAL_PREFIX}DIRECTORY"
        )


def _tags(name: str) -> list[str]:
    import open_clip

    tags: list[str] = open_clip.list_pretrained_tags_by_model(name)
    return tags


def _published_tag(name: str, pretrained: str) -> str | None:
    """Return a tag in open_clip's spelling, which has no capitals and no hyphens."""
    tag = pretrained.lower().replace("-", "_")
    return tag if tag in _tags(name) else None


def _choices(names: Sequence[str]) -> str:
    """Return names for a message, or what to give where there are none."""
    return ", ".join(names) if names else "the path of a checkpoint"

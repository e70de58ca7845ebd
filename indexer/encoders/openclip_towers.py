"""Cuts open_clip towers in front of their projectors.

A cut tower yields pre-projection features in its one forward pass, and the projector is kept as an
array. The last linear map of a tower counts as its projector:

==================================  ================================================
family (open_clip 3.3)              projector
==================================  ================================================
VisionTransformer, CoCa's too       `proj`, a Parameter (p_i, d) applied as ``x @ proj``
ModifiedResNet                      `attnpool.c_proj`, a Linear with bias
timm tower with its own head        `head.proj`, or `head.mlp.fc2` of a projection MLP
timm tower with a classifier        what `trunk.get_classifier()` returns
SigLIP, SigLIP 2                    none: a residual MLP, see `_cut_residual_head`
TextTransformer and CLIP's text     `text_projection`, a Parameter, a Linear, or none
HFTextEncoder                       `proj`, a Linear, an MLP ending in one, or none
==================================  ================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.arrays import DoubleArray, FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ImageTower:
    """An image tower without its projector.

    `trunk` maps normalised pictures (n, 3, h, w) to features (n, p_i). An embedding is
    ``features @ weight.T + bias``; weight is float32 (d, p_i), bias (d,). `head` is set where that
    is not exact, or weight is None: it maps features to the model's own raw embeddings (n, d).
    """

    family: str
    trunk: nn.Module
    weight: FloatArray | None
    bias: FloatArray | None = None
    head: nn.Module | None = None


@dataclass(frozen=True, slots=True)
class TextTower:
    """A text tower without its projector: token ids (n, t) to features (n, p_t)."""

    trunk: nn.Module
    weight: FloatArray
    bias: FloatArray | None


def cut_image_tower(visual: nn.Module) -> ImageTower:
    """Cut an image tower; `visual` itself is changed and becomes the trunk.

    A family that is not known is left whole: its features are its embeddings.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer):
        return _cut_vision_transformer(visual)
    if isinstance(visual, ModifiedResNet):
        return _cut_modified_resnet(visual)
    if isinstance(visual, TimmModel):
        return _cut_timm(visual)
    return _whole(visual, family=type(visual).__name__)


def cut_text_tower(model: nn.Module) -> TextTower:
    """Cut the text tower of a whole model; the model itself is changed.

    A tower without a projector gets the identity: its features are its embeddings.
    """
    text = getattr(model, "text", None)
    owner = model if text is None else text
    # CoCa's towers also return their tokens, which nobody reads here.
    owner.output_tokens = False
    name = "text_projection" if hasattr(owner, "text_projection") else "proj"
    weight, bias = _take_text_projection(owner, name)
    trunk = _text_module(model) if text is None else text
    return TextTower(trunk, weight, bias)


def _cut_vision_transformer(visual: nn.Module) -> ImageTower:
    weight = _array(visual.proj.T)
    visual.proj = None
    visual.output_tokens = False
    return ImageTower("VisionTransformer", visual, weight)


def _cut_modified_resnet(visual: nn.Module) -> ImageTower:
    """Replace `c_proj` by the identity: the attention passes its weights on as arrays."""
    from torch import nn

    projector = visual.attnpool.c_proj
    width = projector.in_features
    identity = nn.Linear(width, width, device=projector.weight.device)
    nn.init.eye_(identity.weight)
    nn.init.zeros_(identity.bias)
    visual.attnpool.c_proj = identity.requires_grad_(requires_grad=False)
    return ImageTower("ModifiedResNet", visual, _array(projector.weight), _array(projector.bias))


def _cut_timm(visual: nn.Module) -> ImageTower:
    """Cut at the adapter's own head, else at the trunk's classifier, else at SigLIP's MLP."""
    from torch import nn

    family = f"timm {type(visual.trunk).__name__}"
    modules = dict(visual.named_modules())
    classifier = visual.trunk.get_classifier()
    for name, module in modules.items():
        ends_head = name in ("head.proj", "head.mlp.fc2")
        ends_trunk = module is classifier and not len(visual.head)
        if isinstance(module, nn.Linear) and (ends_head or ends_trunk):
            visual.set_submodule(name, nn.Identity())
            return ImageTower(family, visual, _array(module.weight), _optional_array(module.bias))
    if _ends_in_residual_head(visual):
        return _cut_residual_head(visual)
    return _whole(visual, family=family)


def _ends_in_residual_head(visual: nn.Module) -> bool:
    """Return whether nothing follows an attention pool with an MLP."""
    from torch import nn

    trunk = visual.trunk
    after_pool = [getattr(trunk, "fc_norm", None), trunk.get_classifier(), *visual.head]
    has_mlp = getattr(getattr(trunk, "attn_pool", None), "mlp", None) is not None
    return has_mlp and all(isinstance(module, nn.Identity) for module in after_pool)


def _cut_residual_head(visual: nn.Module) -> ImageTower:
    """Cut SigLIP's attention pool in front of its residual MLP.

    With features f the embedding is ``f + W2 gelu(W1 LN(f) + b1) + b2``. GELU has slope 1/2 at
    0, which gives the linear map ``I + 1/2 W2 W1 diag(gamma)`` and the bias
    ``1/2 W2 (W1 beta + b1) + b2``, with gamma and beta of the LayerNorm.

    Notes
    -----
    Magistri et al., "IsoCLIP", CVPR 2026, arXiv:2603.19862, on SigLIP. The division of LN(f) by
    the features' spread is left out there, and so it is here: the map serves the intra-modal
    projector only, while embeddings come from the exact head.
    """
    pool = visual.trunk.attn_pool
    norm, mlp = pool.norm, pool.mlp
    pool.mlp = None
    weight, bias = linearised_head(
        gain=_array(norm.weight).astype(np.float64),
        shift=_array(norm.bias).astype(np.float64),
        first=(_array(mlp.fc1.weight), _array(mlp.fc1.bias)),
        second=(_array(mlp.fc2.weight), _array(mlp.fc2.bias)),
    )
    return ImageTower("SigLIP", visual, weight, bias, _residual_module(norm, mlp))


def linearised_head(
    *,
    gain: DoubleArray,
    shift: DoubleArray,
    first: tuple[FloatArray, FloatArray],
    second: tuple[FloatArray, FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """Return the linear map and bias that stand for a residual MLP; see `_cut_residual_head`.

    Parameters
    ----------
    gain, shift : float64 of shape (d,)
        gamma and beta of the LayerNorm in front of the MLP.
    first, second : pairs of float32 arrays
        Weights and biases of the two layers: (h, d) and (h,), then (d, h) and (d,).

    Returns
    -------
    weight, bias : float32 of shape (d, d) and (d,)
    """
    (inner, inner_bias), (outer, outer_bias) = first, second
    half = 0.5 * outer.astype(np.float64)
    weight = np.eye(len(gain)) + half @ inner * gain
    bias = half @ (inner @ shift + inner_bias) + outer_bias
    return weight.astype(np.float32), bias.astype(np.float32)


def _take_text_projection(owner: nn.Module, name: str) -> tuple[FloatArray, FloatArray | None]:
    """Remove the last linear map of a text tower and return its weight (d, p) and bias."""
    from torch import nn

    projection = getattr(owner, name)
    if isinstance(projection, nn.Parameter):
        setattr(owner, name, None)
        return _array(projection.T), None
    if isinstance(projection, nn.Sequential) and isinstance(projection[-1], nn.Linear):
        last, projection[-1] = projection[-1], nn.Identity()
    elif isinstance(projection, nn.Linear):
        last = projection
        # CLIP's text tower asks for None, the Hugging Face one for a module.
        setattr(owner, name, None if name == "text_projection" else nn.Identity())
    else:
        return np.eye(_output_dim(owner), dtype=np.float32), None
    return _array(last.weight), _optional_array(last.bias)


def _output_dim(owner: nn.Module) -> int:
    """Return the width of a text tower that ends without a projector."""
    norm = getattr(owner, "ln_final", None)
    return int(owner.output_dim if norm is None else norm.normalized_shape[0])


def _whole(visual: nn.Module, *, family: str) -> ImageTower:
    from torch import nn

    return ImageTower(family, visual, None, head=nn.Identity())


def _residual_module(norm: nn.Module, mlp: nn.Module) -> nn.Module:
    """Return the module that adds the MLP of the normalised features to them."""
    from torch import nn

    class ResidualHead(nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.mlp = norm, mlp

        def forward(self, features: Tensor) -> Tensor:
            return features + self.mlp(self.norm(features))

    return ResidualHead().eval()


def _text_module(model: nn.Module) -> nn.Module:
    """Return the text half of a model that keeps it among its own attributes."""
    from torch import nn

    class TextTrunk(nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Tensor) -> Tensor:
            return self.model.encode_text(tokens)

    return TextTrunk().eval()


def _array(tensor: Tensor) -> FloatArray:
    array: FloatArray = tensor.detach().float().cpu().numpy().copy()
    return array


def _optional_array(tensor: Tensor | None) -> FloatArray | None:
    return None if tensor is None else _array(tensor)

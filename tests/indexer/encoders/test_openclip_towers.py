"""Features and projectors of every family, against the library's own embeddings."""

import copy

import numpy as np
import pytest

from indexer.encoders.openclip_towers import cut_image_tower, cut_text_tower, linearised_head
from tests.indexer.encoders.small_models import CONFIGS, LINEAR_FAMILIES, small_model

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")


@pytest.fixture(scope="module", params=CONFIGS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def original(family):
    return small_model(family)


def image_size(model):
    size = model.visual.image_size
    return (size, size) if isinstance(size, int) else size


def random_images(model, n):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, *image_size(model), generator=generator)


def random_tokens(model, n):
    length = getattr(model, "text", model).context_length
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 49_000, (n, length), generator=generator)


def projected(features, tower):
    bias = 0 if tower.bias is None else tower.bias
    return features.numpy() @ tower.weight.T + bias


def assert_close(actual, expected):
    expected = expected.numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@torch.inference_mode()
def test_text_features_times_projector_are_the_text_embeddings(original):
    tokens = random_tokens(original, 3)
    expected = original.encode_text(tokens, normalize=False)
    tower = cut_text_tower(copy.deepcopy(original))
    assert_close(projected(tower.trunk(tokens), tower), expected)


@pytest.mark.parametrize("family", LINEAR_FAMILIES, indirect=True)
@torch.inference_mode()
def test_image_features_times_projector_are_the_image_embeddings(original):
    images = random_images(original, 3)
    expected = original.encode_image(images, normalize=False)
    tower = cut_image_tower(copy.deepcopy(original).visual)
    assert tower.head is None
    assert_close(projected(tower.trunk(images), tower), expected)


@pytest.mark.parametrize("family", ["siglip", "siglip-gopt"], indirect=True)
@torch.inference_mode()
def test_a_residual_head_gives_the_image_embeddings(original):
    images = random_images(original, 3)
    expected = original.encode_image(images, normalize=False)
    tower = cut_image_tower(copy.deepcopy(original).visual)
    assert tower.family == "SigLIP"
    assert tower.head is not None
    assert tower.weight is not None
    assert tower.weight.shape == (64, 64)
    assert_close(tower.head(tower.trunk(images)), expected)


def test_linearised_head_is_the_jacobian_at_zero_preactivation():
    """With b1 = -W1 beta the MLP sits at GELU(0) where LN(f) = beta, and its slope is exact."""
    generator = torch.Generator().manual_seed(1)
    width, hidden = 6, 10
    gain, shift = torch.randn(2, width, generator=generator, dtype=torch.float64)
    inner = torch.randn(hidden, width, generator=generator, dtype=torch.float64)
    outer = torch.randn(width, hidden, generator=generator, dtype=torch.float64)
    inner_bias, outer_bias = -inner @ shift, torch.randn(width, generator=generator).double()

    def head(normalised):
        pre_activation = inner @ (gain * normalised + shift) + inner_bias
        return normalised + outer @ torch.nn.functional.gelu(pre_activation) + outer_bias

    zero = torch.zeros(width, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(head, zero)
    weight, bias = linearised_head(
        gain=gain.numpy(),
        shift=shift.numpy(),
        first=(inner.numpy(), inner_bias.numpy()),
        second=(outer.numpy(), outer_bias.numpy()),
    )
    np.testing.assert_allclose(weight, jacobian.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bias, head(zero).numpy(), rtol=1e-5, atol=1e-6)


def test_linearised_head_worked_by_hand():
    """d = 1: weight 1 + 3 * 2 * 5 / 2, bias 3 * (2 * 7 + 11) / 2 + 13."""
    weight, bias = linearised_head(
        gain=np.array([5.0]),
        shift=np.array([7.0]),
        first=(np.array([[2.0]], np.float32), np.array([11.0], np.float32)),
        second=(np.array([[3.0]], np.float32), np.array([13.0], np.float32)),
    )
    np.testing.assert_array_equal(weight, [[16.0]])
    np.testing.assert_array_equal(bias, [50.5])


@torch.inference_mode()
def test_linearised_head_follows_small_changes_of_a_small_head():
    """Where the MLP's input is small, embeddings differ as the map says, up to the spread."""
    visual = small_model("siglip").visual
    pool = visual.trunk.attn_pool
    pool.norm.weight.mul_(1e-3)
    pool.norm.bias.zero_()
    pool.mlp.fc1.bias.zero_()
    tower = cut_image_tower(visual)
    assert tower.head is not None
    # Centred, with unit variance: LayerNorm leaves such features as they are.
    features = torch.randn(5, 64, generator=torch.Generator().manual_seed(2))
    features = torch.nn.functional.layer_norm(features, (64,), eps=0)
    np.testing.assert_allclose(
        projected(features, tower), tower.head(features).numpy(), rtol=1e-4, atol=1e-4
    )


@torch.inference_mode()
def test_an_unknown_image_tower_is_left_whole():
    visual = torch.nn.Flatten()
    tower = cut_image_tower(visual)
    images = torch.arange(12.0).reshape(1, 3, 2, 2)
    assert (tower.family, tower.weight) == ("Flatten", None)
    assert tower.head is not None
    assert torch.equal(tower.head(tower.trunk(images)), visual(images))


@pytest.mark.parametrize("with_norm", ["fc_norm", "mlp_less"])
def test_a_timm_tower_with_another_ending_is_left_whole(with_norm):
    visual = small_model("siglip").visual
    if with_norm == "fc_norm":
        visual.trunk.fc_norm = torch.nn.LayerNorm(64)
    else:
        visual.trunk.attn_pool.mlp = None
    assert cut_image_tower(visual).weight is None


class HuggingFaceText(torch.nn.Module):  # type: ignore[misc, name-defined]
    """What open_clip's HFTextEncoder is to us: a width, and a projection at the end."""

    output_dim = 4

    def __init__(self, projection):
        super().__init__()
        self.proj = projection

    def forward(self, tokens):
        return self.proj(tokens)


class TextOnly(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, text):
        super().__init__()
        self.text = text


@pytest.mark.parametrize(
    "projection",
    [
        pytest.param(torch.nn.Identity(), id="none"),
        pytest.param(torch.nn.Linear(4, 4, bias=False), id="linear"),
        pytest.param(
            torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.GELU(), torch.nn.Linear(6, 4)),
            id="mlp",
        ),
    ],
)
@torch.inference_mode()
def test_hugging_face_text_towers_are_cut_at_their_last_linear_map(projection):
    inputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    expected = projection(inputs)
    tower = cut_text_tower(TextOnly(HuggingFaceText(projection)))
    assert_close(projected(tower.trunk(inputs), tower), expected)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_published_architecture_has_a_known_image_projector(monkeypatch):
    """All configurations of open_clip, without memory for their weights."""
    from open_clip.factory import _MODEL_CONFIGS
    from open_clip.model import _build_vision_tower

    from indexer.encoders import openclip_towers

    def shape_only(tensor):
        return np.broadcast_to(np.float32(0), tuple(tensor.shape))

    monkeypatch.setattr(openclip_towers, "_array", shape_only)
    monkeypatch.setattr(
        openclip_towers, "linearised_head", lambda **parts: (np.eye(len(parts["gain"])), None)
    )
    unknown = []
    for name, config in _MODEL_CONFIGS.items():
        vision = config["vision_cfg"]
        if isinstance(vision.get("layers"), int):
            vision = vision | {"layers": 1}
        with torch.device("meta"):
            visual = _build_vision_tower(config["embed_dim"], vision)
        tower = cut_image_tower(visual)
        if tower.weight is None or len(tower.weight) != config["embed_dim"]:
            unknown.append(name)
    assert len(_MODEL_CONFIGS) > 140
    assert unknown == []

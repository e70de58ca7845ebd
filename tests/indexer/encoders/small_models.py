"""One small model of every open_clip family, with random weights."""

import json
from typing import Any

from indexer.encoders.openclip_weights import Weights

Config = dict[str, Any]

TEXT: Config = {"context_length": 77, "width": 64, "heads": 2, "layers": 2}
VIT: Config = {"image_size": 64, "patch_size": 32, "width": 64, "head_width": 32, "layers": 2}
TIMM: Config = {
    "timm_model_name": "test_vit",
    "image_size": 160,
    "timm_pool": "token",
    "timm_proj": None,
}
SIGLIP = TIMM | {"timm_pool": "map", "timm_proj": "none"}
SIGLIP_TEXT = TEXT | {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
COCA_TEXT = TEXT | {"context_length": 76, "embed_cls": True, "output_tokens": True}
COCA_VIT = VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
COCA_DECODER = TEXT | {"context_length": 76, "heads": 2}
RESNET: Config = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
CONVNEXT: Config = {"timm_model_name": "test_convnext", "image_size": 64, "timm_pool": ""}

CONFIGS: dict[str, Config] = {
    "vit": {"vision_cfg": VIT, "text_cfg": TEXT},
    "vit-average-pool": {
        "vision_cfg": VIT | {"pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": TEXT | {"pool_type": "last", "no_causal_mask": True},
    },
    "resnet": {"vision_cfg": RESNET, "text_cfg": TEXT},
    "convnext": {"vision_cfg": CONVNEXT, "text_cfg": TEXT},
    "convnext-mlp": {"vision_cfg": CONVNEXT | {"timm_proj": "mlp"}, "text_cfg": TEXT},
    "timm-classifier": {"vision_cfg": TIMM, "text_cfg": TEXT, "custom_text": True},
    "perception-encoder": {
        "vision_cfg": TIMM | {"timm_pool": "map"},
        "text_cfg": TEXT | {"proj_bias": True},
        "custom_text": True,
    },
    "mobileclip": {
        "vision_cfg": {
            "timm_model_name": "fastvit_t8",
            "image_size": 64,
            "timm_pool": "avg",
            "timm_proj": None,
        },
        "text_cfg": TEXT | {"no_causal_mask": True},
        "custom_text": True,
    },
    "siglip": {"vision_cfg": SIGLIP, "text_cfg": SIGLIP_TEXT, "custom_text": True, "embed_dim": 64},
    "siglip-gopt": {
        "vision_cfg": SIGLIP,
        "text_cfg": TEXT | {"proj_type": "none"},
        "custom_text": True,
        "embed_dim": 64,
    },
    "coca": {"vision_cfg": COCA_VIT, "text_cfg": COCA_TEXT, "multimodal_cfg": COCA_DECODER},
}
LINEAR_FAMILIES = [name for name in CONFIGS if not name.startswith("siglip")]

WEIGHTS = Weights("small/random", "ViT-B-32", None, {})
"""The architecture names the tokenizer only: CLIP's own, 77 tokens."""


def small_model(family):
    """Return the family's model, with no weight left at 0 or 1, where it would hide a mistake."""
    import open_clip
    import torch
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    config = {"embed_dim": 32} | CONFIGS[family]
    with torch.random.fork_rng():
        torch.manual_seed(7)
        is_custom = config.pop("custom_text", False)
        plain = CustomTextCLIP if is_custom else CLIP
        model = (CoCa if "multimodal_cfg" in config else plain)(**config).eval()
        for tensor in model.parameters():
            tensor.requires_grad_(False).add_(0.05 * torch.randn_like(tensor))
    stated = merge_preprocess_dict(PreprocessCfg(), {"size": model.visual.image_size})
    open_clip.model.set_model_preprocess_cfg(model, stated)
    return model


def write_local_directory(directory, family):
    """Write the family's model as open_clip's `local-dir:` expects it."""
    import torch

    directory.mkdir()
    stated = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    config = {
        "model_cfg": {"embed_dim": 32} | CONFIGS[family],
        "preprocess_cfg": stated | {"resize_mode": "squash"},
    }
    (directory / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save(small_model(family).state_dict(), directory / "open_clip_pytorch_model.bin")
    return directory

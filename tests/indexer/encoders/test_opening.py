import json

import numpy as np
import pytest

from indexer.encoders import onnx, opening
from indexer.encoders.opening import open_encoder
from schemas.errors import InputError, ModelError


@pytest.fixture
def directory(tmp_path):
    """A folder that calls itself a model, of a format that nobody reads."""
    (tmp_path / "model.json").write_text(json.dumps({"format": 99}))
    return tmp_path


def test_a_folder_with_a_description_is_a_model_directory(directory):
    with pytest.raises(ModelError, match="has format 99 but this release reads format 1"):
        open_encoder(str(directory), pretrained=None, device="cpu", n_threads=1)


def test_pocket_is_the_built_in_directory(directory, monkeypatch):
    monkeypatch.setattr(onnx, "POCKET_DIRECTORY", directory)
    with pytest.raises(ModelError, match="has format 99"):
        open_encoder(opening.POCKET, pretrained=None, device="cpu", n_threads=1)


@pytest.mark.skipif(
    not (onnx.POCKET_DIRECTORY / "model.json").is_file(), reason="the built-in model is not made"
)
def test_the_built_in_model_opens_and_encodes():
    encoder = open_encoder("pocket", pretrained=None, device="cpu", n_threads=1)
    about = encoder.description
    shape = (1, about.require_preprocessing().height, about.require_preprocessing().width, 3)
    encoded = encoder.encode_images(np.zeros(shape, np.uint8))
    assert encoded.features.shape == (1, about.feature_dim)
    assert encoder.encode_texts(["a dog"]).shape == (1, about.text_feature_dim)


@pytest.mark.parametrize("model", ["pocket", "directory"])
def test_pretrained_for_a_model_with_its_own_weights_is_refused(directory, model):
    name = str(directory) if model == "directory" else model
    with pytest.raises(InputError, match="brings its own weights; leave out --pretrained openai"):
        open_encoder(name, pretrained="openai", device="cpu", n_threads=1)


def test_any_other_name_is_open_clips():
    pytest.importorskip("open_clip")
    with pytest.raises(ModelError, match="'poket' is no open_clip architecture"):
        open_encoder("poket", pretrained=None, device="cpu", n_threads=1)

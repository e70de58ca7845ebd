import numpy as np

from indexer.encoders.encoder import EncodedImages, Projectors
from indexer.encoders.projected import ProjectingEncoder
from tests.fakes import FEATURES, SIDE, FakeEncoder
from tests.makers.stores import random_projectors

PIXELS = np.full((2, SIDE, SIDE, 3), 200, np.uint8)


def test_embeddings_are_the_projected_features():
    encoder = FakeEncoder()
    projectors = random_projectors(with_biases=True)
    encoder.projectors = projectors
    encoded = ProjectingEncoder(encoder).encode_images(PIXELS)
    features = FakeEncoder().encode_images(PIXELS).features
    expected = features @ projectors.image_weight.T + projectors.image_bias
    np.testing.assert_array_equal(encoded.features, features)
    assert encoded.raw_embeddings is not None
    np.testing.assert_allclose(encoded.raw_embeddings, expected, rtol=1e-6)


def test_embeddings_of_the_encoder_itself_are_kept(monkeypatch):
    encoder, own = FakeEncoder(), np.ones((2, 5), np.float32)
    features = np.zeros((2, FEATURES), np.float32)
    monkeypatch.setattr(encoder, "encode_images", lambda _: EncodedImages(features, own))
    assert ProjectingEncoder(encoder).encode_images(PIXELS).raw_embeddings is own


def test_without_a_projector_there_are_no_embeddings():
    encoder = FakeEncoder()
    encoder.projectors = Projectors(None, np.eye(FEATURES, dtype=np.float32))
    assert ProjectingEncoder(encoder).encode_images(PIXELS).raw_embeddings is None


def test_all_else_is_the_encoders_own():
    encoder = FakeEncoder()
    projecting = ProjectingEncoder(encoder)
    assert projecting.description is encoder.description
    assert projecting.weights_digest == encoder.weights_digest
    assert projecting.projectors is encoder.projectors
    assert projecting.on_gpu is encoder.on_gpu
    np.testing.assert_array_equal(projecting.encode_texts(["red"]), encoder.encode_texts(["red"]))

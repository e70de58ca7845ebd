from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from indexer.encoders.encoder import EncodedImages, Projectors
from indexer.prepare import PreparedPhoto
from indexer.rows import RowMaker, file_columns, file_values
from indexer.scan import ScannedFile
from indexer.scoring.pixel_quality import PIXEL_CUES, pixel_quality
from indexer.scoring.quality import (
    PROMPT_PAIRS,
    fused_quality,
    magnitude,
    magnitude_quality,
    prompt_quality,
)
from indexer.spaces import space_map
from indexer.store import vectors_of
from schemas.tables import images_schema
from tests.fakes import FEATURES, FakeEncoder
from tests.makers.stores import (
    BAND,
    collection_info,
    described,
    random_features,
    random_projectors,
)

INDEXED_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
FILES = [
    ScannedFile("/photos", "a.jpg", 1111, 11),
    ScannedFile("/photos", "b/c.png", 2222, 22),
    ScannedFile("/other", "d.jpg", 3333, 33),
]
TAKEN_AT = datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001 - as cameras write it


class EncoderOf(FakeEncoder):
    """The fake encoder with another description and other projectors."""

    def __init__(self, description, projectors):
        super().__init__(description)
        self.projectors = projectors


def photo(file, number):
    columns = {
        "width": 640 + number,
        "height": 480,
        "format": "JPEG" if file.path.endswith("jpg") else "PNG",
        "frames": 1,
        "taken_at": TAKEN_AT if number else None,
        "camera": None,
        "latitude": None,
        "longitude": 9.5,
        "jpeg_quality": 80 if file.path.endswith("jpg") else None,
        "pixel_hash": f"{number:032x}",
        "perceptual_hash": -(2**63) + number,
        "sharpness": 2.5 + number,
        "contrast": 0.2,
        "brightness": 0.5,
        "shadows_clipped": 0.0,
        "highlights_clipped": 0.1,
        "noise": 1.5,
        "blockiness": 1.0 + number,
        "coarse_sharpness": 3.0,
        "tonal_entropy": 7.0 - number,
        "white_background": 0.0,
        "black_background": 0.1,
    }
    return PreparedPhoto(file, f"{number:064x}", np.zeros((16, 16, 3), np.uint8), columns)


PHOTOS = [photo(file, number) for number, file in enumerate(FILES)]


def made_rows(model, projectors, encoded, photos=PHOTOS):
    encoder = EncoderOf(model, projectors)
    maker = RowMaker(collection_info(model, projectors), encoder)
    image_ids = np.arange(70, 70 + len(photos))
    return maker.rows(photos, encoded, image_ids=image_ids, indexed_at=INDEXED_AT)


def prompt_embeddings(projectors, prompts):
    features = FakeEncoder().encode_texts(prompts)
    return features @ projectors.text_weight.T + projectors.text_bias


def test_rows_hold_what_is_known_of_the_photos():
    model, projectors = described(embedding_dim=8), random_projectors(with_biases=True)
    table = made_rows(model, projectors, EncodedImages(random_features(3)))
    assert table.schema == images_schema(model)
    rows = table.to_pylist()
    assert [row["image_id"] for row in rows] == [70, 71, 72]
    assert [(row["root"], row["path"]) for row in rows] == [(f.root, f.path) for f in FILES]
    assert [(row["file_size"], row["mtime_ns"]) for row in rows] == [
        (f.size, f.mtime_ns) for f in FILES
    ]
    assert [row["content_hash"] for row in rows] == [item.content_hash for item in PHOTOS]
    assert [row["jpeg_quality"] for row in rows] == [80, None, 80]
    assert [row["taken_at"] for row in rows] == [None, TAKEN_AT, TAKEN_AT]
    assert {row["indexed_at"] for row in rows} == {INDEXED_AT}
    assert [row["perceptual_hash"] for row in rows] == [-(2**63), -(2**63) + 1, -(2**63) + 2]
    assert [row["width"] for row in rows] == [640, 641, 642]
    assert {row["anomaly"] for row in rows} == {None}
    assert table["sharpness"].to_pylist() == [2.5, 3.5, 4.5]


def test_vectors_are_those_of_the_encoder_in_half_precision():
    model, projectors = described(embedding_dim=8), random_projectors(with_biases=True)
    features = random_features(3) + np.float32(1e-4)
    table = made_rows(model, projectors, EncodedImages(features))
    embedding = space_map("clip", model=model, projectors=projectors, band=None)
    for name, expected in (
        ("features", features),
        ("embedding", embedding.image_vectors(features)),
    ):
        rounded = expected.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(vectors_of(table[name]), rounded)


def test_the_embedding_is_in_the_default_image_space():
    model = described(embedding_dim=8, default_image_space="isoclip")
    projectors, features = random_projectors(with_biases=True), random_features(3)
    table = made_rows(model, projectors, EncodedImages(features))
    placed = space_map("isoclip", model=model, projectors=projectors, band=BAND)
    np.testing.assert_allclose(
        vectors_of(table["embedding"]), placed.image_vectors(features), atol=1e-3
    )


@pytest.mark.parametrize("cue", ["magnitude", "pixels"])
def test_scores_are_those_of_the_scoring_functions(cue):
    model = described(embedding_dim=8, quality_cue=cue, logit_scale=7.0)
    projectors, features = random_projectors(with_biases=True), random_features(3)
    table = made_rows(model, projectors, EncodedImages(features))
    raw = features @ projectors.image_weight.T + projectors.image_bias
    q_sim = prompt_quality(
        raw,
        prompt_embeddings(projectors, [good for good, _ in PROMPT_PAIRS]),
        prompt_embeddings(projectors, [bad for _, bad in PROMPT_PAIRS]),
        logit_scale=7.0,
    )
    q_mag = magnitude_quality(raw)
    cues = {name: [item.columns[name] for item in PHOTOS] for name in PIXEL_CUES}
    cues["jpeg_quality"] = [80, np.nan, 80]
    from_pixels = pixel_quality({name: np.array(cue, "f4") for name, cue in cues.items()})
    expected = {
        "magnitude": np.linalg.norm(raw, axis=1),
        "quality_sim": q_sim,
        "quality_mag": q_mag,
        "quality": fused_quality(q_sim, q_mag) if cue == "magnitude" else from_pixels,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(table[name].to_numpy(), values, rtol=1e-5, err_msg=name)


def test_scores_do_not_depend_on_the_batch():
    model, projectors = described(embedding_dim=8), random_projectors(with_biases=True)
    features = random_features(3)
    together = made_rows(model, projectors, EncodedImages(features))
    for row in range(3):
        alone = made_rows(
            model, projectors, EncodedImages(features[row : row + 1]), PHOTOS[row : row + 1]
        )
        for name in ("magnitude", "quality_sim", "quality_mag", "quality"):
            assert alone[name][0].as_py() == pytest.approx(together[name][row].as_py(), rel=1e-5)


def with_crops(photos, counts):
    blank = np.zeros((16, 16, 3), np.uint8)
    return [
        replace(photo, crops=np.stack([blank] * count))
        for photo, count in zip(photos, counts, strict=True)
    ]


def rows_of_crops(features, crop_features, photos, cue="magnitude"):
    model, projectors = described(embedding_dim=8, quality_cue=cue), random_projectors()
    maker = RowMaker(collection_info(model, projectors), EncoderOf(model, projectors))
    return maker.rows(
        photos,
        EncodedImages(features),
        image_ids=np.arange(len(photos)),
        indexed_at=INDEXED_AT,
        crops=EncodedImages(crop_features),
    )


def test_in_crops_mode_cues_are_means_over_the_crops_and_vectors_are_those_of_the_photo():
    features, crop_features = random_features(3), random_features(9, seed=4)
    table = rows_of_crops(features, crop_features, with_crops(PHOTOS, [2, 3, 4]))
    model, projectors = described(embedding_dim=8, quality_cue="magnitude"), random_projectors()
    single = made_rows(model, projectors, EncodedImages(features))
    of_crops = made_rows(model, projectors, EncodedImages(crop_features), [PHOTOS[0]] * 9)
    for name in ("quality_sim", "quality_mag", "quality"):
        cue = of_crops[name].to_numpy()
        expected = [cue[:2].mean(), cue[2:5].mean(), cue[5:].mean()]
        np.testing.assert_allclose(table[name].to_numpy(), expected, rtol=1e-6)
    for name in ("magnitude", "features", "embedding"):
        assert table[name].equals(single[name])


def test_in_crops_mode_the_quality_of_pixels_stays_that_of_pixels():
    photos = with_crops(PHOTOS, [1, 1, 1])
    table = rows_of_crops(random_features(3), random_features(3, seed=4), photos, cue="pixels")
    model, projectors = described(embedding_dim=8, quality_cue="pixels"), random_projectors()
    single = made_rows(model, projectors, EncodedImages(random_features(3)))
    assert table["quality"].equals(single["quality"])
    assert not table["quality_mag"].equals(single["quality_mag"])


def test_a_head_that_is_not_linear_scores_and_stores_its_own_embedding():
    model = described(embedding_dim=8, linear_image_head=False, spaces=("clip", "trunk"))
    raw = random_features(3, seed=8, dimension=8)
    text_weight = random_projectors().text_weight
    encoded = EncodedImages(random_features(3), raw)
    table = made_rows(model, Projectors(None, text_weight), encoded)
    np.testing.assert_array_equal(vectors_of(table["raw_embedding"]), raw)
    np.testing.assert_allclose(table["magnitude"].to_numpy(), magnitude(raw), rtol=1e-6)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors_of(table["embedding"]), unit, atol=1e-3)


def test_a_model_with_neither_projector_nor_embedding_is_the_callers_bug():
    model = described(spaces=("trunk",), default_image_space="trunk")
    projectors = Projectors(None, np.eye(FEATURES, dtype=np.float32))
    with pytest.raises(ValueError, match="fake has neither image projector nor raw embeddings"):
        made_rows(model, projectors, EncodedImages(random_features(3)))


def test_no_photos_are_no_rows():
    model, projectors = described(embedding_dim=8), random_projectors()
    table = made_rows(model, projectors, EncodedImages(random_features(0)), [])
    assert table.equals(images_schema(model).empty_table())


class RememberingEncoder(FakeEncoder):
    """The fake encoder with a list of all texts it encoded."""

    def __init__(self):
        super().__init__()
        self.texts: list[str] = []

    def encode_texts(self, texts):
        self.texts.extend(texts)
        return super().encode_texts(texts)


def test_prompts_are_encoded_once():
    encoder = RememberingEncoder()
    maker = RowMaker(collection_info(), encoder)
    for _ in range(2):
        maker.rows(
            PHOTOS,
            EncodedImages(random_features(3)),
            image_ids=np.arange(3),
            indexed_at=INDEXED_AT,
        )
    assert sorted(encoder.texts) == sorted(prompt for pair in PROMPT_PAIRS for prompt in pair)


def test_file_columns_and_values():
    assert file_values(FILES[1]) == {
        "root": "/photos",
        "path": "b/c.png",
        "file_size": 2222,
        "mtime_ns": 22,
    }
    assert file_columns(FILES[:2])["file_size"] == [1111, 2222]
    assert pa.table(file_columns([])).num_rows == 0

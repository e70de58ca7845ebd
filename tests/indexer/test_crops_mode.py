"""The whole way of a photo in `crops` mode, with an encoder that can be followed by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.crops import quality_crops
from indexer.decode import decode_photo
from indexer.embedder import Embedder
from indexer.encoders.encoder import EncodedImages
from indexer.ingest import ingest
from indexer.prepare import prepare_photo
from indexer.scan import ScannedFile, scan
from indexer.scoring.quality import (
    PROMPT_PAIRS,
    fused_quality,
    magnitude,
    magnitude_quality,
    prompt_quality,
)
from indexer.settings import Settings
from indexer.store import create_store, vectors_of
from tests.fakes import FakeEncoder
from tests.makers.photos import drawn_photo
from tests.makers.stores import collection_info, described

MODEL = described(quality_cue="magnitude")
SIZES = {"a.png": (96, 64), "b.jpg": (64, 64), "c.png": (20, 10), "d.jpg": (300, 40)}


class Library:
    """A folder of drawn photos, and collections of them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = place / "photos"
        self.folder.mkdir()
        for seed, (name, (width, height)) in enumerate(SIZES.items()):
            Image.fromarray(drawn_photo(seed, width=width, height=height)).save(self.folder / name)

    def rows(self, encoder=None, *, batch_size=8, **info):
        """Index the photos anew; return the table by path."""
        encoder = encoder or FakeEncoder(MODEL)
        place = str(self.place / f"collection-{len(list(self.place.iterdir()))}")
        settings = Settings(collection=place, threads=1, batch_size=batch_size)
        store = create_store(place, collection_info(MODEL, **info), encoder.projectors)
        summary = ingest(
            [self.folder],
            store=store,
            open_encoder=lambda: encoder,
            settings=settings,
            report=lambda _: None,
        )
        self.failures = summary.failures
        names = [
            "path",
            "magnitude",
            "quality_sim",
            "quality_mag",
            "quality",
            "features",
            "embedding",
        ]
        return store.images(names).sort_by("path")


def prepared(library, crop_edges=None) -> list[Any]:
    """The photos of a library, ready for the encoder."""
    return [
        prepare_photo(
            file,
            preprocessing=MODEL.require_preprocessing(),
            max_pixels=10**6,
            known_hashes=(),
            crop_edges=crop_edges,
        )
        for file in scan(library.folder)
        if isinstance(file, ScannedFile)
    ]


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path)


def expected_cues(path, edges):
    """Cues of the windows of a file, one by one."""
    preprocessing = MODEL.require_preprocessing()
    photo = decode_photo(path.read_bytes(), min_side=16)
    encoder = FakeEncoder(MODEL)
    good, bad = (encoder.encode_texts([pair[side] for pair in PROMPT_PAIRS]) for side in (0, 1))
    cues = []
    for crop in quality_crops(photo.pixels, preprocessing, edges=edges, extent=photo.extent):
        raw = encoder.encode_images(crop[None]).features
        q_sim = prompt_quality(raw, good, bad, logit_scale=MODEL.logit_scale)
        q_mag = magnitude_quality(raw)
        cues.append((q_sim[0], q_mag[0], fused_quality(q_sim, q_mag)[0]))
    return np.mean(cues, axis=0, dtype=np.float64)


@pytest.mark.parametrize("edges", ["pad", "drop"])
def test_quality_is_the_mean_over_the_crops(library, edges):
    table = library.rows(quality_mode="crops", crop_edges=edges)
    assert table["path"].to_pylist() == sorted(SIZES)
    stored = np.stack([table[name] for name in ("quality_sim", "quality_mag", "quality")], axis=1)
    expected = [expected_cues(library.folder / name, edges) for name in sorted(SIZES)]
    np.testing.assert_allclose(stored, expected, rtol=1e-6)


def test_vectors_and_magnitude_are_those_of_single_mode_to_the_bit(library):
    single, crops = library.rows(), library.rows(quality_mode="crops")
    for name in ("features", "embedding", "magnitude"):
        assert crops[name].equals(single[name])
    np.testing.assert_array_equal(
        crops["magnitude"].to_numpy().astype("f2"),
        magnitude(vectors_of(crops["features"])).astype("f2"),
    )
    assert not crops["quality"].equals(single["quality"])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_scores_do_not_depend_on_the_batch_size(library, batch_size):
    usual = library.rows(quality_mode="crops")
    assert library.rows(quality_mode="crops", batch_size=batch_size).equals(usual)


def test_crops_are_encoded_in_full_batches_after_the_photos(library):
    encoder = FakeEncoder(MODEL)
    library.rows(encoder, quality_mode="crops", batch_size=8)
    n_crops = sum(len(photo.crops) for photo in prepared(library, "pad"))
    assert encoder.batch_sizes == [4, *[8] * (n_crops // 8), n_crops % 8]


class BlindEncoder(FakeEncoder):
    """Cannot encode what is bright in the last window of a photo."""

    def encode_images(self, pixels):
        features = super().encode_images(pixels).features
        if len(self.batch_sizes) > 1:
            features[5] = np.nan
        return EncodedImages(features)


def test_a_photo_whose_crop_is_no_number_fails_and_its_neighbours_do_not_move(library):
    table = library.rows(BlindEncoder(MODEL), quality_mode="crops", batch_size=100)
    (failure,) = library.failures
    usual = library.rows(quality_mode="crops", batch_size=100)
    left = [row for row in usual.to_pylist() if not failure.path.endswith(row["path"])]
    assert len(left) == len(SIZES) - 1
    assert table.to_pylist() == left


def test_photos_hold_crops_only_in_crops_mode(library):
    single, crops = prepared(library)[0], prepared(library, "drop")[0]
    assert single.crops is None
    assert crops.crops.shape[1:] == (16, 16, 3)
    np.testing.assert_array_equal(crops.pixels, single.pixels)
    assert crops.columns == single.columns


def test_waiting_crops_are_bounded_where_batches_are_large(library, monkeypatch):
    monkeypatch.setattr("indexer.embedder._MAX_WAITING_CROPS", 20)
    encoder = FakeEncoder(MODEL)
    embedder = Embedder(
        collection_info(MODEL, quality_mode="crops"),
        lambda: encoder,
        Settings(batch_size=100),
    )
    full = [embedder.add(photo) for photo in prepared(library, "drop")]
    assert full.index(True) < len(SIZES) - 1

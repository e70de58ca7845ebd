import numpy as np
import pytest

from indexer.scoring.quality import fused_quality, magnitude_quality
from indexer.settings import Settings
from schemas.errors import InputError
from service.collection import Collection
from service.evaluation.quality import FUSED, evaluate_quality
from tests.makers.stores import image_rows, new_store, random_features

N_PHOTOS = 12
OPINIONS = [float(number) for number in range(N_PHOTOS)]


def made_collection(place, *, info=None, **columns):
    """Twelve photos whose measures rise with their ids, unless columns say otherwise."""
    rising = np.linspace(0.1, 0.9, N_PHOTOS).astype(np.float32)
    names = (
        *("quality_sim", "quality_mag", "quality", "magnitude", "sharpness", "contrast"),
        *("brightness", "shadows_clipped", "highlights_clipped", "noise", "blockiness"),
    )
    store = new_store(place, **(info or {}))
    rows = dict.fromkeys(names, rising)
    features = random_features(N_PHOTOS)
    store.append_images(image_rows(store, features, **{**rows, **columns}))
    return Collection(store, Settings(collection=str(place)))


def opinion_file(path, values=OPINIONS, *, column="mos"):
    lines = [f"{number},{value}" for number, value in enumerate(values)]
    path.write_text("\n".join([f"image_id,{column}", *lines]))
    return path


@pytest.fixture
def collection(tmp_path):
    return made_collection(tmp_path / "c")


def by_measure(found):
    return {(row.measure, row.setting): row for row in found.rows}


def test_measures_of_which_less_is_better_are_turned(collection, tmp_path):
    rows = by_measure(evaluate_quality(collection, opinion_file(tmp_path / "o.csv")))
    for name in ("quality_sim", "quality_mag", FUSED, "quality", "magnitude", "sharpness"):
        assert rows[name, None].good_is == "high"
        assert rows[name, None].srcc == pytest.approx(1)
        assert rows[name, None].krcc == pytest.approx(1)
        assert rows[name, None].plcc == pytest.approx(1, abs=1e-2)
    for name in ("shadows_clipped", "highlights_clipped", "noise", "blockiness"):
        assert rows[name, None].good_is == "low"
        assert rows[name, None].srcc == pytest.approx(-1)
        assert rows[name, None].plcc == pytest.approx(1, abs=1e-6)  # a fit has no direction
    assert rows["brightness", None].good_is == "neither"
    assert rows["brightness", None].srcc == pytest.approx(1)


def test_opinions_of_which_less_is_better_are_turned(collection, tmp_path):
    path = opinion_file(tmp_path / "o.csv", column="DMOS")
    found = evaluate_quality(collection, path, lower_is_better=True)
    assert by_measure(found)["quality", None].srcc == pytest.approx(-1)
    assert found.notes == []
    found = evaluate_quality(collection, path)
    assert by_measure(found)["quality", None].srcc == pytest.approx(1)
    assert "column DMOS is read as higher = better" in found.notes[0]


def test_a_known_rank_correlation(tmp_path):
    order = np.array([0, 1, 3, 2, 4, 5, 6, 7, 8, 9, 11, 10])
    made = made_collection(tmp_path / "c", quality=order.astype(np.float32))
    row = by_measure(evaluate_quality(made, opinion_file(tmp_path / "o.csv")))["quality", None]
    assert row.srcc == pytest.approx(1 - 6 * 4 / (12 * 143))
    assert row.krcc == pytest.approx((64 - 2) / 66)


def test_what_cannot_be_told_is_none(tmp_path):
    made = made_collection(
        tmp_path / "c", noise=[1.0] * N_PHOTOS, jpeg_quality=[80, 90, *[None] * (N_PHOTOS - 2)]
    )
    rows = by_measure(evaluate_quality(made, opinion_file(tmp_path / "o.csv")))
    assert rows["noise", None].n_photos == N_PHOTOS
    assert (rows["noise", None].srcc, rows["noise", None].plcc) == (None, None)
    assert rows["jpeg_quality", None].n_photos == 2
    assert (rows["jpeg_quality", None].krcc, rows["jpeg_quality", None].is_fitted) == (None, None)


def test_few_photos_are_said_to_be_too_few(collection, tmp_path):
    found = evaluate_quality(collection, opinion_file(tmp_path / "o.csv", OPINIONS[:5]))
    assert all(row.srcc is None for row in found.rows)
    assert found.notes == ["Correlations need at least 6 photos."]


def test_conditions_select_photos(collection, tmp_path):
    path = opinion_file(tmp_path / "o.csv")
    found = evaluate_quality(collection, path, where="image_id < 7")
    assert (found.n_opinions, found.n_matched) == (12, 7)
    with pytest.raises(InputError, match="none of the rated photos matches 'image_id > 50'"):
        evaluate_quality(collection, path, where="image_id > 50")


class TestSweeps:
    @pytest.fixture
    def varied(self, tmp_path):
        generator = np.random.default_rng(1)
        q_sim, q_mag = generator.uniform(0, 1, (2, N_PHOTOS)).astype(np.float32)
        return made_collection(tmp_path / "v", quality_sim=q_sim, quality_mag=q_mag)

    def test_of_alpha_hold_the_default(self, varied, tmp_path):
        found = evaluate_quality(varied, opinion_file(tmp_path / "o.csv"), sweep="alpha=0,1,4")
        rows = by_measure(found)
        assert rows[FUSED, "alpha=1"].srcc == rows[FUSED, None].srcc
        assert rows[FUSED, "alpha=1"].plcc == rows[FUSED, None].plcc
        assert rows[FUSED, "alpha=4"].plcc != rows[FUSED, "alpha=0"].plcc

    def test_of_fixed_weights_lead_from_one_cue_to_the_other(self, varied, tmp_path):
        found = evaluate_quality(varied, opinion_file(tmp_path / "o.csv"), sweep="weights=0:1:0.5")
        rows = by_measure(found)
        assert rows[FUSED, "weights=0"].srcc == rows["quality_mag", None].srcc
        assert rows[FUSED, "weights=1"].srcc == rows["quality_sim", None].srcc
        assert rows[FUSED, "weights=0.5"].srcc is not None

    def test_of_the_exponent_start_from_the_stored_vectors(self, tmp_path):
        features = random_features(N_PHOTOS)
        made = made_collection(tmp_path / "c", quality_mag=magnitude_quality(features))
        path = opinion_file(tmp_path / "o.csv")
        rows = by_measure(evaluate_quality(made, path, sweep="box-cox=0,0.5,3"))
        stored = rows["quality_mag", None]
        assert rows["quality_mag", "box-cox=0.5"].srcc == stored.srcc
        assert rows[FUSED, "box-cox=0.5"].plcc == rows[FUSED, None].plcc
        cubes = magnitude_quality(features, box_cox_lambda=3)
        table = made.store.images(["quality_sim"])
        fused = fused_quality(table["quality_sim"].to_numpy().astype(np.float32), cubes)
        ranks = np.argsort(np.argsort(fused))
        assert rows[FUSED, "box-cox=3"].srcc == pytest.approx(
            np.corrcoef(ranks, OPINIONS)[0, 1], abs=1e-6
        )

    def test_of_the_exponent_need_vectors_of_single_passes(self, tmp_path):
        made = made_collection(tmp_path / "c", info={"quality_mode": "crops"})
        path = opinion_file(tmp_path / "o.csv")
        with pytest.raises(InputError, match="mean over crops, whose embeddings are not stored"):
            evaluate_quality(made, path, sweep="box-cox=0,1")
        found = evaluate_quality(made, path, sweep="alpha=0,1")
        assert found.quality_mode == "crops"
        assert "not the mean of the fusions" in found.notes[0]

    @pytest.mark.parametrize(
        ("sweep", "message"),
        [
            ("weights=0,1.5", r"weights are shares of quality_sim in \[0, 1\], got 1.5"),
            ("lambda=1", "cannot sweep 'lambda' here"),
        ],
    )
    def test_of_other_values_are_refused(self, collection, tmp_path, sweep, message):
        with pytest.raises(InputError, match=message):
            evaluate_quality(collection, opinion_file(tmp_path / "o.csv"), sweep=sweep)

    def test_need_the_cues(self, tmp_path):
        nothing = [float("nan")] * N_PHOTOS
        made = made_collection(tmp_path / "c", quality_sim=nothing, quality_mag=nothing)
        with pytest.raises(InputError, match="this collection has no quality_sim"):
            evaluate_quality(made, opinion_file(tmp_path / "o.csv"), sweep="alpha=0,1")


def test_figures_of_the_paper_stand_beside_its_data_sets_only(collection, tmp_path):
    path = tmp_path / "koniq.csv"
    lines = [f"{number:05}.jpg,0,9,{number}" for number in range(N_PHOTOS)]
    path.write_text("\n".join(["image_name,c1,c5,MOS", *lines]))
    found = evaluate_quality(collection, path)
    assert found.dataset == "KonIQ-10k"
    assert [score.value for score in found.published] == [0.685, 0.765]
    assert "RN50" in found.published[0].note
    assert evaluate_quality(collection, opinion_file(tmp_path / "o.csv")).published == []
    turned = evaluate_quality(collection, path, lower_is_better=True)
    assert turned.notes == ["The opinions of KonIQ-10k are higher = better as they come."]

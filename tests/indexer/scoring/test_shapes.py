"""What is no number is refused by name, wherever it would turn into a score."""

import numpy as np
import pytest

from indexer.scoring.metrics import caption_recall
from indexer.scoring.projection import project
from indexer.scoring.quality import (
    fused_quality,
    magnitude,
    magnitude_quality,
    prompt_quality,
)
from indexer.scoring.similarity import (
    composed_query,
    cosine_similarities,
    exact_search,
    top_k,
)

GOOD = np.eye(3, dtype=np.float32)

CALLS = {
    "embeddings": lambda bad: prompt_quality(bad, GOOD, GOOD, logit_scale=1.0),
    "good": lambda bad: prompt_quality(GOOD, bad, GOOD, logit_scale=1.0),
    "bad": lambda bad: prompt_quality(GOOD, GOOD, bad, logit_scale=1.0),
    "raw_embeddings": magnitude,
    "raw_embeddings ": magnitude_quality,
    "q_sim": lambda bad: fused_quality(bad[1], GOOD[1]),
    "q_mag": lambda bad: fused_quality(GOOD[1], bad[1]),
    "features": lambda bad: project(bad, GOOD),
    "queries": lambda bad: cosine_similarities(bad, GOOD),
    "gallery": lambda bad: cosine_similarities(GOOD, bad),
    "queries and gallery": lambda bad: exact_search(GOOD, bad, top_k=1),
    "queries and gallery ": lambda bad: exact_search(bad, GOOD, top_k=1),
    "vectors": lambda bad: composed_query(bad, GOOD[0] + 1),
    "weights": lambda bad: composed_query(GOOD, bad[1]),
    "similarities": lambda bad: caption_recall(bad, np.arange(3)),
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul:RuntimeWarning")
def test_what_is_no_number_is_refused(name, value):
    bad = GOOD.copy()
    bad[1, 1] = value
    with pytest.raises(ValueError, match=f"^{name.strip()} must be finite, got NaN or infinity"):
        CALLS[name](bad)


def test_the_best_of_what_is_no_number_are_refused():
    with pytest.raises(ValueError, match="similarities must be numbers, got NaN"):
        top_k(np.array([[0.5, np.nan]], np.float32), k=1)

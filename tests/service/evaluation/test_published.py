from service.evaluation.published import published_caption_recall, published_retrieval


def told(model_id):
    return {score.method: score.value for score in published_retrieval(model_id)}


def test_a_model_is_told_its_own_figures():
    found = [score.value for score in published_retrieval("ViT-L-14-quickgelu/openai")]
    assert found == [0.543, 0.607, 0.537, 0.613]
    assert told("ViT-B-16/datacomp_xl_s13b_b90k") == {
        "ViT-B-16/datacomp_xl_s13b_b90k, clip": 0.563,
        "ViT-B-16/datacomp_xl_s13b_b90k, isoclip": 0.586,
    }


def test_other_models_are_told_those_of_the_smallest_clip():
    assert all(name.startswith("ViT-B-32/openai") for name in told("pocket"))
    assert published_retrieval("pocket") == published_retrieval("ViT-B-32-quickgelu/openai")


def test_a_card_gives_recall_of_captions():
    found = published_caption_recall("pocket")
    assert [score.value for score in found] == [0.267, 0.553, 0.687, 0.336, 0.636, 0.744]
    assert published_caption_recall("ViT-B-32/openai") == []

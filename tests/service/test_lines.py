import pytest

from service.lines import aligned_lines, counted, shown_share


def test_numbers_stand_under_each_other():
    rows = [["space", "mAP"], ["clip", ".612"], ["isoclip band=150/50", "1.000"]]
    assert aligned_lines(rows) == [
        "space                  mAP",
        "clip                  .612",
        "isoclip band=150/50  1.000",
    ]


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, ".000"), (0.0456, ".046"), (0.9996, "1.000"), (1.0, "1.000")]
)
def test_shares_have_three_decimals(share, shown):
    assert shown_share(share) == shown


def test_nouns_follow_their_count():
    assert counted(1, "photo") == "1 photo"
    assert counted(1200, "photo") == "1,200 photos"
    assert [counted(n, "query", "queries") for n in (0, 1)] == ["0 queries", "1 query"]

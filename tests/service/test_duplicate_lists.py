"""Duplicates and leaks as files and path lists."""

import json
from datetime import datetime

import pytest
from pyarrow import csv, parquet

from schemas.duplicates import DuplicatePair, LeakList
from schemas.errors import InputError
from service import duplicate_lists
from service.duplicate_lists import (
    DUPLICATES_SCHEMA,
    LEAKS_SCHEMA,
    export_duplicates,
    export_leaks,
    nul_separated_copies,
    nul_separated_leaks,
)
from tests.service.review.listed import (
    THRESHOLD,
    listed_duplicates,
    listed_group,
    listed_photo,
)

AWKWARD = '/p/a,"b"\nc.jpg'
UNDECODABLE = "/p/caf\udce9.jpg"
STORED_UNDECODABLE = "/p/caf\U0010ffe9.jpg"

DUPLICATES = listed_duplicates(
    listed_group(listed_photo(1, "/p/a.jpg"), listed_photo(2, AWKWARD, content_hash="0f")),
    listed_group(
        listed_photo(3, "/p/é.jpg"),
        listed_photo(4, UNDECODABLE, width=None, taken_at=None, quality=None),
        listed_photo(5, "/p/d.jpg"),
        tier="bytes",
        difference="same bytes",
    ),
)


def pair(left, right) -> DuplicatePair:
    return DuplicatePair(
        left=left, right=right, tier="pixels", similarity=1.0, difference="same pixels"
    )


def leaks(*pairs: DuplicatePair) -> LeakList:
    return LeakList(
        left="train",
        right="test",
        tier="pixels",
        threshold=THRESHOLD,
        n_left=10,
        n_right=5,
        n_left_alike=len(pairs),
        n_right_alike=len(pairs),
        n_unmeasured=0,
        recall=1.0,
        pairs=list(pairs),
        seconds=0.1,
    )


LEAKS = leaks(
    pair(listed_photo(1, "/train/a.jpg"), listed_photo(8, "/test/x.jpg")),
    pair(listed_photo(2, "/train/b.jpg"), listed_photo(8, "/test/x.jpg")),
    pair(listed_photo(2, "/train/b.jpg"), listed_photo(9, "/test/caf\udce9.jpg")),
)


# Duplicates


def test_every_photo_of_a_group_is_a_row_after_its_keeper(tmp_path):
    export_duplicates(DUPLICATES, tmp_path / "d.parquet")
    rows = parquet.read_table(tmp_path / "d.parquet").to_pylist()
    assert [(row["group"], row["role"], row["path"], row["keeper_path"]) for row in rows] == [
        (1, "keeper", "/p/a.jpg", "/p/a.jpg"),
        (1, "copy", AWKWARD, "/p/a.jpg"),
        (2, "keeper", "/p/é.jpg", "/p/é.jpg"),
        (2, "copy", STORED_UNDECODABLE, "/p/é.jpg"),
        (2, "copy", "/p/d.jpg", "/p/é.jpg"),
    ]


def test_the_columns_keep_their_types_and_say_nothing_where_nothing_is_known(tmp_path):
    export_duplicates(DUPLICATES, tmp_path / "d.parquet")
    table = parquet.read_table(tmp_path / "d.parquet")
    assert table.schema.equals(DUPLICATES_SCHEMA)
    keeper, copy, *_ = rows = table.to_pylist()
    assert keeper == {
        "group": 1,
        "role": "keeper",
        "keeper_path": "/p/a.jpg",
        "reason": "most pixels",
        "tier": None,
        "similarity": None,
        "difference": None,
        "path": "/p/a.jpg",
        "file_size": 2_500_000,
        "width": 1200,
        "height": 800,
        "format": "JPEG",
        "taken_at": datetime(2024, 5, 1, 12, 30, 15),  # noqa: DTZ001 - cameras know no zone
        "quality": 0.713,
        "image_id": 1,
        "content_hash": None,
    }
    assert (copy["reason"], copy["tier"], copy["similarity"]) == (None, "near", 0.99)
    assert (copy["difference"], copy["content_hash"]) == ("half as wide", "0f")
    assert [rows[3][name] for name in ("width", "taken_at", "quality")] == [None] * 3


def test_csv_survives_commas_quotes_and_line_breaks(tmp_path):
    export_duplicates(DUPLICATES, tmp_path / "d.csv")
    read = csv.read_csv(tmp_path / "d.csv", parse_options=csv.ParseOptions(newlines_in_values=True))
    assert read.column_names == DUPLICATES_SCHEMA.names
    assert read["path"].to_pylist()[1] == AWKWARD


def test_json_lines_are_one_photo_a_line(tmp_path):
    export_duplicates(DUPLICATES, tmp_path / "d.jsonl")
    rows = list(map(json.loads, (tmp_path / "d.jsonl").read_text("utf-8").splitlines()))
    assert [row["image_id"] for row in rows] == [1, 2, 3, 4, 5]
    assert (rows[0]["taken_at"], rows[3]["taken_at"]) == ("2024-05-01T12:30:15", None)


def test_a_long_list_is_written_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicate_lists, "BLOCK_ROWS", 2)
    export_duplicates(DUPLICATES, tmp_path / "d.parquet")
    file = parquet.ParquetFile(tmp_path / "d.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [2, 2, 1]
    assert file.read()["image_id"].to_pylist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
def test_no_duplicates_are_a_file_too(tmp_path, extension):
    export_duplicates(listed_duplicates(), tmp_path / f"none.{extension}")
    assert [path.name for path in tmp_path.iterdir()] == [f"none.{extension}"]


def test_duplicates_of_another_kind_of_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot export to .*d\.xlsx; end its name with \.csv"):
        export_duplicates(DUPLICATES, tmp_path / "d.xlsx")


def test_paths_of_copies_are_the_bytes_of_the_file_system():
    assert nul_separated_copies(DUPLICATES) == (b'/p/a,"b"\nc.jpg\0/p/caf\xe9.jpg\0/p/d.jpg\0')
    assert nul_separated_copies(listed_duplicates()) == b""


# Leaks


def test_every_pair_is_a_row_with_both_sides(tmp_path):
    export_leaks(LEAKS, tmp_path / "l.parquet")
    table = parquet.read_table(tmp_path / "l.parquet")
    assert table.schema.equals(LEAKS_SCHEMA)
    assert table["left_image_id"].to_pylist() == [1, 2, 2]
    assert table["right_path"].to_pylist() == ["/test/x.jpg"] * 2 + ["/test/caf\U0010ffe9.jpg"]
    first = table.to_pylist()[0]
    assert (first["tier"], first["similarity"], first["difference"]) == (
        "pixels",
        1.0,
        "same pixels",
    )
    assert (first["left_file_size"], first["right_width"]) == (2_500_000, 1200)


def test_leaks_of_another_kind_of_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot export to .*l\.txt; end its name with \.csv"):
        export_leaks(LEAKS, tmp_path / "l.txt")


def test_paths_of_leaks_are_the_right_photos_each_once():
    assert nul_separated_leaks(LEAKS) == b"/test/x.jpg\0/test/caf\xe9.jpg\0"

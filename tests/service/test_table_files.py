import os

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import InputError
from service.table_files import JSON_ROWS, read_table, write_blocks, write_table

TABLE = pa.table({"n": [1, 2]})


@pytest.mark.parametrize("name", ["list.xlsx", "list", "list.csv.gz"])
def test_another_extension_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=rf"{name}; end its name with .csv, .jsonl, .parquet$"):
        write_table(TABLE, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/list.csv", "folder.csv"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=rf"cannot write .*{name}: .* directory; name a file"):
        write_table(TABLE, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def test_an_older_file_is_replaced_only_when_the_newer_is_complete(tmp_path):
    target = tmp_path / "list.jsonl"
    target.write_text("older")
    unwritable = pa.table({"n": pa.array([b"\xff"], pa.binary())})
    with pytest.raises(ValueError, match="utf-8"):
        write_table(unwritable, target)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("list.jsonl", "older")
    ]
    write_table(TABLE, target)
    assert target.read_text() == '{"n":1}\n{"n":2}\n'


def test_others_may_read_the_file_as_far_as_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        write_table(TABLE, tmp_path / "list.csv")
    finally:
        os.umask(before)
    assert (tmp_path / "list.csv").stat().st_mode & 0o777 == 0o640


def test_json_lines_of_many_rows_and_of_no_numbers(tmp_path):
    values = np.arange(JSON_ROWS + 1, dtype=np.float32)
    values[0] = np.nan
    write_table(pa.table({"x": values}), tmp_path / "list.jsonl")
    lines = (tmp_path / "list.jsonl").read_text().splitlines()
    assert (len(lines), lines[0], lines[-1]) == (1001, '{"x":null}', '{"x":1000.0}')


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.parquet"])
def test_blocks_make_the_file_that_the_whole_table_makes(tmp_path, name):
    table = pa.table({"n": list("0123456"), "text": list('abc,"\nd')})
    write_blocks(table.schema, (table.slice(start, 3) for start in range(0, 7, 3)), tmp_path / name)
    assert read_table(tmp_path / name).equals(table)

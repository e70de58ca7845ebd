import pyarrow as pa
import pytest
from pyarrow import parquet

from schemas.errors import InputError
from service.evaluation.opinion_files import match_opinions, read_opinions
from tests.makers.stores import new_store, random_features

KONIQ = (
    '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"\n'
    "10004473376.jpg,0,0,25,73,7,105,3.828571,0.527278,74.767\n"
    '"10007357496.jpg",0,3,45,47,1,96,3.479167,0.561660,66.155\n'
)
SPAQ = (
    "Image name,MOS,Brightness,Colorfulness,Contrast,Noisiness,Sharpness\n"
    "00001.jpg,67.07,59.13,57.6,60.6,71.93,72.87\n"
)
KADID = "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.57,0.496\n"
TID2013 = "5.51429 I01_01_1.bmp\r\n4.52857 i01_01_5.bmp\r\n"


def written(path, content):
    path.write_text(content, newline="")
    return path


@pytest.mark.parametrize(
    ("name", "content", "dataset", "photos", "values"),
    [
        (
            "koniq10k_scores_and_distributions.csv",
            KONIQ,
            "KonIQ-10k",
            ["10004473376.jpg", "10007357496.jpg"],
            [3.828571, 3.479167],
        ),
        ("spaq.csv", SPAQ, "SPAQ", ["00001.jpg"], [67.07]),
        ("dmos.csv", KADID, "KADID-10k", ["I01_01_01.png"], [4.57]),
        (
            "mos_with_names.txt",
            TID2013,
            "TID2013",
            ["I01_01_1.bmp", "i01_01_5.bmp"],
            [5.51429, 4.52857],
        ),
        ("mine.tsv", "PATH\tScore\n a b.jpg\t-1e-3\n", None, [" a b.jpg"], [-0.001]),
        ("mine.jsonl", '{"file": "a.jpg", "mos": 2}\n', None, ["a.jpg"], [2.0]),
    ],
)
def test_files_are_known_by_their_columns(tmp_path, name, content, dataset, photos, values):
    opinions = read_opinions(written(tmp_path / name, content))
    assert opinions.dataset == dataset
    assert opinions.photos.to_pylist() == photos
    assert opinions.values.tolist() == values


def test_photos_without_a_score_are_left_out(tmp_path):
    content = "image,mos\na.jpg,1\nb.jpg,\nc.jpg, \nd.jpg, 2 \n"
    opinions = read_opinions(written(tmp_path / "mine.csv", content))
    assert opinions.photos.to_pylist() == ["a.jpg", "d.jpg"]
    assert opinions.values.tolist() == [1, 2]


def test_parquet_keeps_its_types(tmp_path):
    table = pa.table({"image_id": [4, 7, 9], "mos": [1.5, float("nan"), 3.0], "path": ["x"] * 3})
    parquet.write_table(table, tmp_path / "mine.parquet")
    opinions = read_opinions(tmp_path / "mine.parquet")
    assert opinions.photos.to_pylist() == [4, 9]  # an id goes before a path
    assert opinions.values.tolist() == [1.5, 3.0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "path,rating\nx.jpg,1\n", "has the columns path, rating; it needs one of"),
        ("a.csv", "name,mos\nx.jpg,1\n", "has the columns name, mos"),
        ("a.csv", "path,mos\nx.jpg,good\n", "has a mos that is no number.*good"),
        ("a.csv", "path,mos\nx.jpg,inf\n", "has a mos that is infinite"),
        ("a.csv", "path,mos\nx.jpg,\n", "holds no opinion score"),
        ("a.csv", "path,mos\n", "holds no opinion score"),
        ("a.csv", "image_id,mos\n4.5,1\n", "has an image_id that is no whole number"),
        ("a.txt", "a.jpg 4\n", "no mos_with_names.txt of TID2013: it has the line 'a.jpg 4'"),
        ("a.txt", "\n", "no mos_with_names.txt of TID2013; give other scores"),
        ("a.xlsx", "", "no plain table; save the sheet as CSV"),
        ("a.mat", "", "no plain table; write names and scores into a CSV"),
        ("a.png", "", "its name must end with"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_opinions(written(tmp_path / name, content))


@pytest.mark.parametrize("name", ["none.csv", "none.txt"])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(InputError, match=r"cannot read .*no such file"):
        read_opinions(tmp_path / name)


def test_a_text_file_that_is_none(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no UTF-8 text"):
        read_opinions(tmp_path / "a.txt")


class TestMatching:
    """Ten photos, /photos/00000.jpg to /photos/00009.jpg, with ids from 0."""

    def matched(self, tmp_path, content, name="mine.csv"):
        store = new_store(tmp_path / "c", features=random_features(10))
        path = written(tmp_path / name, content)
        return match_opinions(store, read_opinions(path), path=path)

    def test_by_full_path_by_relative_path_and_by_name(self, tmp_path):
        content = "path,mos\n/photos/00004.jpg,4\n00001.jpg,1\nelsewhere/00003.JPG,3\nx.jpg,9\n"
        found = self.matched(tmp_path, content)
        assert found.image_ids.tolist() == [4, 1, 3]
        assert found.values.tolist() == [4, 1, 3]

    def test_by_id(self, tmp_path):
        found = self.matched(tmp_path, "image_id,mos\n7,1.5\n700,2\n2,3\n")
        assert found.image_ids.tolist() == [7, 2]
        assert found.values.tolist() == [1.5, 3]

    def test_refuses_two_opinions_of_one_photo(self, tmp_path):
        with pytest.raises(InputError, match=r"more than one opinion of 00001\.jpg"):
            self.matched(tmp_path, "path,mos\na/00001.jpg,1\nb/00001.jpg,2\n")

    def test_refuses_a_file_of_other_photos(self, tmp_path):
        with pytest.raises(InputError, match=r"none of the 2 photos .* names them: x\.jpg, y\.jpg"):
            self.matched(tmp_path, "path,mos\nx.jpg,1\ny.jpg,2\n")

"""The routes of the app on a small collection, as a client meets them."""

import io
import json
import time

import pytest
from PIL import Image

from schemas.http import MAX_FOUND
from service.search import search as find
from service.web.app import API
from tests.fakes import COLOURS
from tests.makers.libraries import indexed_colours, indexed_folder
from tests.service.web.apps import CHANGE, client_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    return folder


@pytest.fixture(scope="module")
def place(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("collection") / "c"
    indexed_colours(folder, place)
    return place


@pytest.fixture(scope="module")
def client(place):
    with client_of(place) as client:
        yield client


@pytest.fixture(scope="module")
def id_of(client):
    images = client.get(f"{API}/images").json()["images"]
    return {
        image["path"].rpartition("/")[2].removesuffix(".png"): image["image_id"] for image in images
    }


def got(client, path, status=200, **parameters):
    response = client.get(f"{API}{path}", params=parameters)
    assert response.status_code == status, response.text
    return response.json()


def names(images):
    return [image["path"].rpartition("/")[2].removesuffix(".png") for image in images]


def error_of(client, path, status, **parameters):
    return got(client, path, status, **parameters)["error"]


def test_words_find_what_they_describe(client):
    found = got(client, "/search", q="red")
    assert names(found["hits"])[0] == "red"
    assert found["hits"][0]["similarity"] == pytest.approx(1.0, abs=1e-3)
    assert (found["n_searched"], found["space"], found["offset"]) == (6, "clip", 0)


def test_the_answer_is_that_of_the_command_line(client, place, folder):
    collection = indexed_folder(folder, place)
    from service.search import parse_query

    expected = find(collection, [parse_query("red"), parse_query("blue^0.5")], top_k=4)
    found = got(client, "/search", q=["red", "blue^0.5"], limit=4)
    assert [hit["image_id"] for hit in found["hits"]] == [hit.image_id for hit in expected.hits]
    assert [hit["similarity"] for hit in found["hits"]] == pytest.approx(
        [hit.similarity for hit in expected.hits], abs=1e-5
    )


def test_queries_are_added_and_subtracted(client, id_of):
    found = got(client, "/search", q=[f"id:{id_of['yellow']}"], minus=["green"])
    assert names(found["hits"])[0] == "red"
    assert "yellow" not in names(found["hits"])
    with_itself = got(client, "/search", q=[f"id:{id_of['yellow']}"], include_self=True)
    assert names(with_itself["hits"])[0] == "yellow"


def test_hits_come_in_pages(client):
    every = got(client, "/search", q="red")["hits"]
    assert got(client, "/search", q="red", offset=2, limit=3)["hits"] == every[2:5]
    assert got(client, "/search", q="red", offset=MAX_FOUND - 1, limit=500)["hits"] == []


def test_a_filter_narrows_a_search(client):
    found = got(client, "/search", q="red", where="path like '%e.png' and width = 48")
    assert sorted(names(found["hits"])) == ["blue", "white"]
    assert found["n_searched"] == 2


def test_a_query_is_never_a_path(client, folder):
    # On the command line the same text is a photo.
    found = got(client, "/search", q=str(folder / "red.png"))
    assert found["space"] == "clip"
    assert got(client, "/search", q="/etc/passwd")["n_searched"] == 6


def test_similar_photos_are_found_without_the_photo_itself(client, id_of):
    found = got(client, f"/images/{id_of['yellow']}/similar", limit=2)
    assert set(names(found["hits"])) == {"red", "green"}


def test_an_upload_can_be_searched_by(client, tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), COLOURS["green"]).save(stream, "PNG")
    response = client.post(f"{API}/uploads", content=stream.getvalue(), headers=CHANGE)
    assert response.status_code == 201
    sent = response.json()
    assert (sent["width"], sent["height"], sent["format"]) == (30, 20, "PNG")
    found = got(client, "/search", q=f"upload:{sent['upload_id']}")
    assert names(found["hits"])[0] == "green"
    assert found["hits"][0]["similarity"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("content", [b"", b"no photo", b"\xff\xd8\xff" + bytes(100), bytes(10**6)])
def test_an_upload_that_is_no_photo_is_refused(client, content):
    response = client.post(f"{API}/uploads", content=content, headers=CHANGE)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "photo"
    assert "the photo that was sent" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("parameters", "status", "code", "message"),
    [
        ({}, 422, "parameter", "q is"),
        ({"q": ""}, 400, "input", "a query is empty"),
        ({"q": "red^0"}, 400, "input", "has weight 0"),
        ({"q": "id:99"}, 404, "not_found", "no photo has the id 99"),
        ({"q": "id:9" + "9" * 30}, 404, "not_found", "no photo has the id"),
        ({"q": "upload:nothing"}, 400, "input", "send the photo again"),
        ({"q": "red", "where": "nonsense = 1"}, 400, "filter", "nonsense"),
        ({"q": "red", "where": "1=1; drop table images"}, 400, "filter", "not valid"),
        ({"q": "red", "space": "trunk"}, 400, "input", "words cannot be compared"),
        ({"q": "red", "space": "other"}, 422, "parameter", "space is 'other'"),
        ({"q": "red", "limit": 501}, 422, "parameter", "limit is '501'"),
        ({"q": "red", "limit": 0}, 422, "parameter", "limit"),
        ({"q": "red", "offset": MAX_FOUND}, 422, "parameter", "offset"),
        ({"q": "red", "top_k": 5}, 422, "parameter", "top_k is '5': extra inputs"),
        ({"q": ["red"] * 21}, 422, "parameter", "q is"),
        ({"q": "x" * 2001}, 422, "parameter", "q.0 is"),
    ],
)
def test_a_search_that_cannot_be_made_says_why(client, parameters, status, code, message):
    error = error_of(client, "/search", status, **parameters)
    assert error["code"] == code
    assert message in error["message"]


def test_photos_are_listed_in_an_order(client):
    page = got(client, "/images", sort="path", limit=2, offset=1)
    assert names(page["images"]) == ["blue", "green"]
    assert page["n_images"] == 6
    assert error_of(client, "/images", 422, sort="size")["code"] == "parameter"
    assert error_of(client, "/images", 400, where="(((")["code"] == "filter"


def test_a_photo_is_told_with_its_reasons(client, id_of, folder):
    record = got(client, f"/images/{id_of['red']}")
    assert record["path"] == str(folder / "red.png")
    assert record["file_state"] == "present"
    assert set(record["quality_reason"]) == {"quality", "reason", "cues", "better_than"}
    assert error_of(client, "/images/99", 404) == {
        "code": "not_found",
        "message": "no photo has the id 99; ids stand beside the hits of a search",
    }
    assert error_of(client, "/images/red", 422)["code"] == "parameter"
    assert error_of(client, f"/images/{2**63}", 422)["code"] == "parameter"


def test_a_thumbnail_is_a_small_jpeg_that_may_be_kept(client, id_of):
    path = f"{API}/images/{id_of['red']}/thumbnail"
    response = client.get(path, params={"v": "2026"})
    assert response.headers["content-type"] == "image/jpeg"
    assert "immutable" in response.headers["cache-control"]
    picture = Image.open(io.BytesIO(response.content))
    assert picture.size == (48, 32)
    assert picture.convert("RGB").getpixel((10, 10)) == (254, 0, 0)
    assert "immutable" not in client.get(path).headers["cache-control"]
    assert client.get(path, params={"side": 1280}).content[:2] == b"\xff\xd8"
    for side in (300, "wide", ""):
        assert client.get(path, params={"side": side}).status_code == 422
    assert client.get(f"{API}/images/99/thumbnail").status_code == 404


def test_an_original_is_the_very_file(client, id_of, folder):
    path = f"{API}/images/{id_of['red']}/original"
    response = client.get(path)
    assert response.content == (folder / "red.png").read_bytes()
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-disposition"] == "inline; filename*=UTF-8''red.png"
    saved = client.get(path, params={"download": True})
    assert saved.headers["content-disposition"].startswith("attachment")


def test_counts_for_filters(client):
    counted = got(client, "/histograms/quality", bins=3)
    assert sum(counted["counts"]) == counted["n_known"] == 6
    assert error_of(client, "/histograms/path", 422)["code"] == "parameter"
    assert got(client, "/dates") == {"months": [], "n_undated": 6}
    (folder,) = got(client, "/folders")["folders"]
    assert (folder["n_images"], folder["folder"]) == (6, "")
    assert got(client, "/images", where=folder["where"])["n_images"] == 6


def test_quality_is_ranked_with_reasons_and_thresholds(client):
    worst = got(client, "/quality", limit=6)["images"]
    best = got(client, "/quality", limit=6, order="best")["images"]
    assert worst[0]["quality"] == best[-1]["quality"]
    assert {"reason", "cues", "path"} <= set(worst[0])
    assert got(client, "/quality/thresholds")["n_rated"] == 6


def test_anomalies_tell_what_is_missing(client):
    assert "isophote anomalies fit" in error_of(client, "/anomalies", 400)["message"]
    assert got(client, "/anomalies/references") == {"references": []}


def test_the_collection_is_described(client, place):
    told = got(client, "/collection")
    assert told["collection"] == str(place)
    assert (told["n_images"], told["n_failures"], told["n_rated"], told["n_scored"]) == (6, 1, 6, 0)
    assert told["formats"] == {"PNG": 6}
    assert told["spaces"] == ["clip", "isoclip", "trunk", "semantic"]
    assert not told["allows_changes"]
    assert told["has_files"]
    assert told["info"]["model"]["id"] == "fake"


def test_failures_are_listed(client, folder):
    page = got(client, "/failures")
    assert page["n_failures"] == 1
    assert page["failures"][0]["path"] == str(folder / "broken.jpg")
    assert got(client, "/failures", stage="read")["failures"] == []
    assert got(client, "/failures", offset=1)["failures"] == []
    assert got(client, "/failures", where="path like '%.png'")["n_failures"] == 0
    assert error_of(client, "/failures", 400, where="width > 3")["code"] == "filter"


def test_a_view_is_exported(client):
    response = client.get(f"{API}/export", params={"format": "jsonl", "sort": "path"})
    rows = [json.loads(line) for line in response.text.splitlines()]
    assert names(rows) == ["black", "blue", "green", "red", "white", "yellow"]
    assert response.headers["content-disposition"] == 'attachment; filename="photos.jsonl"'
    found = client.get(f"{API}/export", params={"format": "csv", "q": "red"}).text.splitlines()
    assert found[0].endswith('"similarity"')
    assert "red.png" in found[1]
    paths = client.get(f"{API}/export", params={"format": "paths", "where": "path = 'red.png'"})
    assert paths.content.endswith(b"/red.png\0")


def test_other_paths_and_methods_are_refused_in_the_same_shape(client):
    assert client.get("/api/v1/nothing").json()["error"]["code"] == "not_found"
    assert client.get("/api/v2/images").status_code == 404
    refused = client.put(f"{API}/images", headers=CHANGE)
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "method")


def test_the_page_and_its_parts_are_served_and_nothing_else(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    style = client.get("/static/style.css")
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    again = client.get("/static/style.css", headers={"If-None-Match": style.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("__init__.py", "..%2fapp.py", "nothing.js", "%2e%2e/app.py"):
        assert client.get(f"/static/{name}").status_code == 404


def test_photos_indexed_meanwhile_are_seen(folder, tmp_path):
    own = tmp_path / "photos"
    own.mkdir()
    indexed_colours(own, tmp_path / "c")
    with client_of(tmp_path / "c") as client:
        before = got(client, "/collection")["version"]
        Image.new("RGB", (40, 40), (255, 40, 0)).save(own / "orange.png")
        indexed_folder(own, tmp_path / "c")
        deadline = time.monotonic() + 20
        while got(client, "/collection")["n_images"] == 6:
            assert time.monotonic() < deadline, "it is never seen"
            time.sleep(0.05)
        found = got(client, "/search", q="red")
        assert names(found["hits"])[:2] == ["red", "orange"]
        assert found["version"] > before
        (own / "red.png").unlink()
        red = found["hits"][0]["image_id"]
        assert got(client, f"/images/{red}")["file_state"] == "vanished"
        assert error_of(client, f"/images/{red}/original", 410)["code"] == "gone"
        assert client.get(f"{API}/images/{red}/thumbnail").status_code == 410


def test_the_api_describes_itself_with_examples(client):
    document = client.get(f"{API}/openapi.json").json()
    paths = {path.removeprefix(API) for path in document["paths"]}
    assert {"/search", "/images/{image_id}/similar", "/duplicates", "/uploads"} <= paths
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            assert described["description"], (method, path)
            assert described["tags"], (method, path)
    q = next(p for p in document["paths"][f"{API}/search"]["get"]["parameters"] if p["name"] == "q")
    assert q["schema"]["examples"]

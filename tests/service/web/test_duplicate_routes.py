"""Duplicates over HTTP: groups, copies that move to the trash, and their way back."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from indexer.ingest import IngestProgress
from indexer.lock import writer_lock
from indexer.settings import Settings
from schemas.duplicates import ReviewedGroup
from schemas.errors import InputError
from schemas.http import DuplicatesPage
from schemas.trash import RestoreSummary, TrashList, TrashSummary
from service.collection import Collection
from service.thumbnail_cache import ThumbnailCache
from service.web.app import build_app
from service.web.jobs import DuplicateAnswer, DuplicateQuestion
from service.web.options import ServingOptions
from tests.fakes import FakeEncoder
from tests.makers.stores import NOON
from tests.service.trash.libraries import hooked_calls
from tests.service.web.copied_files import copied_files, found_in, group, search_by

FIRST = {"keeper_id": 0, "copy_ids": [1, 2]}
SECOND = {"keeper_id": 3, "copy_ids": [4]}


MADE = NOON.isoformat()
"""When the collection was made, as a client says it."""


@pytest.fixture
def copies(tmp_path) -> Collection:
    return copied_files(tmp_path)


@pytest.fixture
def serve(copies, tmp_path) -> Iterator[Callable[..., TestClient]]:
    """Serve the copied files."""
    clients: list[TestClient] = []

    def started(**options: Any) -> TestClient:
        app = build_app(
            copies.settings,
            ServingOptions(**options),
            cache=ThumbnailCache(tmp_path / "thumbnails", max_bytes=10**6),
            encoder=FakeEncoder(),
        )
        client = TestClient(
            app,
            base_url="http://127.0.0.1:8489/api/v1",
            headers={"Isophote-Request": "1"},
            # As a real server does: an error of ours must be an answer.
            raise_server_exceptions=False,
        )
        clients.append(client.__enter__())
        return client

    yield started
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def finding(copies, monkeypatch) -> None:
    """Let searches find the copies."""
    answer = DuplicateAnswer.of(found_in(copies.store), version=copies.store.version)
    search_by(monkeypatch, lambda connection, *_: connection.send(answer))


def got(client: TestClient, **parameters: Any) -> httpx2.Response:
    """Ask for duplicates until there is an answer."""
    deadline = time.monotonic() + 30
    response = client.get("/duplicates", params=parameters)
    parameters.pop("refresh", None)
    while response.status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        response = client.get("/duplicates", params=parameters)
    return response


def page_of(response: httpx2.Response) -> DuplicatesPage:
    assert response.status_code == 200, response.text
    return DuplicatesPage.model_validate_json(response.content)


def error_of(response: httpx2.Response, status: int) -> tuple[str, str]:
    """Code and message of a refusal."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    return error["code"], error["message"]


@pytest.mark.slow
def test_what_a_search_finds_comes_in_pages(serve):
    client = serve()
    page = page_of(got(client, tier="bytes"))
    assert [{photo.image_id for photo in members_of(group)} for group in page.groups] == [
        {0, 1, 2},
        {3, 4},
    ]
    assert (page.state, page.n_groups, page.n_copies, page.is_current) == ("done", 2, 3, True)


def members_of(group: Any) -> list[Any]:
    return [group.keeper, *(copy.photo for copy in group.copies)]


def test_a_search_that_runs_tells_how_far_it_is(serve, monkeypatch, tmp_path):
    def search(connection: Connection, *_: Any) -> None:
        connection.send(IngestProgress(3, 7, 0))
        while not (tmp_path / "open").exists():
            time.sleep(0.005)

    search_by(monkeypatch, search)
    client = serve()
    deadline = time.monotonic() + 20
    while (response := client.get("/duplicates")).json()["n_done"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert response.status_code == 202
    assert response.json() == {"state": "running", "n_done": 3, "n_total": 7}
    (tmp_path / "open").touch()


@pytest.mark.usefixtures("finding")
def test_pages_are_cut_from_one_answer(serve):
    client = serve()
    page = page_of(got(client, offset=1, limit=1))
    assert page.groups == [group(3, 4)]
    assert (page.n_groups, page.offset, page.n_bytes) == (2, 1, 101 + 102 + 104)
    assert page_of(client.get("/duplicates", params={"offset": 2})).groups == []


def test_parameters_become_a_question(serve, monkeypatch, copies):
    def tell(connection: Connection, _: Settings, question: DuplicateQuestion) -> None:
        connection.send(InputError(repr(question)))

    search_by(monkeypatch, tell)
    client = serve()
    created = f"DuplicateQuestion(created_at={copies.store.info.created_at!r}, "
    plain = error_of(got(client), 400)[1]
    assert plain == (
        f"{created}tier='near', asked=Asked(strictness='normal', similarity=None), where=None, "
        "preference=Preference(folders=()))"
    )
    chosen = error_of(
        got(
            client,
            tier="similar",
            strictness="loose",
            similarity=0.5,
            where="width > 100",
            prefer=["/b", "/a"],
        ),
        400,
    )[1]
    assert chosen.startswith(f"{created}tier='similar', asked=Asked(strictness='normal', similari")
    assert "similarity=0.5)" in chosen
    assert "where='`width` > 100'" in chosen
    assert "folders=('/b', '/a')" in chosen
    # Nothing that does not count makes another question of it.
    assert "strictness='normal'" in error_of(got(client, tier="pixels", strictness="loose"), 400)[1]


@pytest.mark.parametrize(
    ("parameters", "status", "code", "told"),
    [
        ({"tier": "alike"}, 422, "parameter", "tier is 'alike'"),
        ({"similarity": 0}, 422, "parameter", "similarity is '0'"),
        ({"similarity": "nan"}, 422, "parameter", "similarity is 'nan'"),
        ({"limit": 501}, 422, "parameter", "limit is '501'"),
        ({"offset": -1}, 422, "parameter", "offset is '-1'"),
        ({"prefer": ["a"] * 21}, 422, "parameter", "prefer is"),
        ({"where": "x" * 8001}, 422, "parameter", "where is"),
        ({"path": "/etc"}, 422, "parameter", "path is '/etc'"),
        ({"tier": "bytes", "similarity": 0.9}, 400, "input", "similarity is not for the tier byte"),
        ({"where": "1; DROP TABLE images"}, 400, "filter", "DROP TABLE"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_search(
    serve, monkeypatch, parameters, status, code, told
):
    search_by(monkeypatch, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    seen_code, message = error_of(serve().get("/duplicates", params=parameters), status)
    assert seen_code == code
    assert told in message


def test_a_search_that_is_lost_is_an_answer(serve, monkeypatch):
    search_by(monkeypatch, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    code, message = error_of(got(serve()), 503)
    assert code == "collection"
    assert "(SIGKILL)" in message


@pytest.mark.usefixtures("finding")
def test_only_the_named_copies_move_and_leave_the_groups(serve, copies, tmp_path):
    client = serve(allows_changes=True)
    before = page_of(got(client))
    response = client.post(
        "/duplicates/apply",
        json={"created_at": MADE, "groups": [{"keeper_id": 0, "copy_ids": [1]}, SECOND]},
    )
    summary = TrashSummary.model_validate_json(response.content)
    assert (response.status_code, summary.n_photos, summary.left) == (200, 2, [])
    names = {path.name for path in (tmp_path / "photos").glob("?/*.jpg")}
    assert names == {"0.jpg", "2.jpg", "3.jpg", "5.jpg"}
    page = page_of(client.get("/duplicates"))
    assert page.groups == [group(0, 2)]
    assert page.is_current
    assert page.version > before.version
    # Lists know of it at once.
    assert client.get("/images").json()["n_images"] == 4


@pytest.mark.usefixtures("finding")
def test_moved_photos_are_listed_and_come_back(serve, tmp_path):
    client = serve(allows_changes=True)
    moved = client.post("/duplicates/apply", json={"created_at": MADE, "groups": [FIRST]}).json()
    listed = TrashList.model_validate_json(client.get("/trash").content)
    assert [(run.run, run.n_photos) for run in listed.runs] == [(moved["run"], 2)]
    response = client.post("/trash/undo", json={"run": moved["run"]})
    summary = RestoreSummary.model_validate_json(response.content)
    assert (response.status_code, summary.n_photos, summary.left) == (200, 2, [])
    assert len(list((tmp_path / "photos").glob("?/*.jpg"))) == 6
    assert client.get("/trash").json()["runs"] == []
    assert client.get("/images").json()["n_images"] == 4  # until they are indexed again
    code, message = error_of(client.post("/trash/undo", json={}), 400)
    assert code == "input"
    assert "there is nothing to undo" in message


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/duplicates/apply", {"created_at": MADE, "groups": [FIRST]}),
        ("/trash/undo", {"run": None}),
    ],
)
def test_a_server_that_allows_no_changes_moves_nothing(serve, tmp_path, path, body):
    code, message = error_of(serve().post(path, json=body), 403)
    assert code == "forbidden"
    assert "start it with `isophote serve --allow-changes`" in message
    assert len(list((tmp_path / "photos").glob("?/*.jpg"))) == 6


@pytest.mark.parametrize("path", ["/duplicates/apply", "/trash/undo"])
def test_nothing_moves_while_another_process_writes(serve, copies, tmp_path, path):
    client = serve(allows_changes=True)
    assert (
        client.post("/duplicates/apply", json={"created_at": MADE, "groups": [SECOND]}).status_code
        == 200
    )
    with writer_lock(Path(copies.store.uri)):
        body = {"created_at": MADE, "groups": [FIRST]} if path == "/duplicates/apply" else {}
        code, message = error_of(client.post(path, json=body), 409)
    assert code == "locked"
    assert f"is being written by process {os.getpid()} " in message
    assert len(list((tmp_path / "photos").glob("?/*.jpg"))) == 5


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"groups": [FIRST]}, id="no collection"),
        pytest.param(
            {"created_at": MADE, "groups": [{"keeper_id": False, "copy_ids": [True]}]},
            id="truth is no id",
        ),
        pytest.param({"created_at": MADE, "groups": []}, id="no groups"),
        pytest.param(
            {"created_at": MADE, "groups": [{"keeper_id": 0, "copy_ids": []}]}, id="no copies"
        ),
        pytest.param(
            {"created_at": MADE, "groups": [{"keeper_id": -1, "copy_ids": [1]}]}, id="negative id"
        ),
        pytest.param(
            {"created_at": MADE, "groups": [{"keeper_id": 0, "copy_ids": [2**63]}]},
            id="id too large",
        ),
        pytest.param(
            {"created_at": MADE, "groups": [FIRST], "trash": "/tmp"}, id="a place of the client's"
        ),
        pytest.param(
            {"created_at": MADE, "groups": [{**FIRST, "path": "/etc/passwd"}]}, id="a path"
        ),
    ],
)
def test_a_body_that_is_none_moves_nothing(serve, tmp_path, body):
    client = serve(allows_changes=True)
    assert error_of(client.post("/duplicates/apply", json=body), 422)[0] == "parameter"
    assert len(list((tmp_path / "photos").glob("?/*.jpg"))) == 6


def test_ids_that_no_photo_has_and_the_keeper_itself_stay(serve, tmp_path):
    client = serve(allows_changes=True)
    body = {
        "created_at": MADE,
        "groups": [{"keeper_id": 0, "copy_ids": [0, 99]}, {"keeper_id": 98, "copy_ids": [3]}],
    }
    summary = client.post("/duplicates/apply", json=body).json()
    assert (summary["n_photos"], len(summary["left"])) == (0, 3)
    assert len(list((tmp_path / "photos").glob("?/*.jpg"))) == 6


def test_what_was_kept_instead_of_another_photo_stays(serve, tmp_path):
    client = serve(allows_changes=True)
    body = {
        "created_at": MADE,
        "groups": [{"keeper_id": 0, "copy_ids": [1]}, {"keeper_id": 1, "copy_ids": [0, 2]}],
    }
    summary = client.post("/duplicates/apply", json=body).json()
    assert (summary["n_photos"], len(summary["left"])) == (1, 2)
    assert not (tmp_path / "photos/1/1.jpg").exists()
    assert (tmp_path / "photos/0/0.jpg").read_text() == "first"


def test_questions_are_answered_while_photos_move(serve, monkeypatch):
    client = serve(allows_changes=True)
    is_moving, may_go_on = Event(), Event()

    def wait(name: str, _: Any) -> None:
        if name == "rename":
            is_moving.set()
            assert may_go_on.wait(20)

    hooked_calls(monkeypatch.setattr, wait)
    serving = client.app.state.serving
    moves = [
        serving.duplicate_searches.trash([ReviewedGroup.model_validate(one)], created_at=NOON)
        for one in (FIRST, SECOND)
    ]
    assert is_moving.wait(20)
    status = client.get("/ingest").json()
    assert (status["is_running"], status["writer"]["pid"]) == (True, os.getpid())
    assert client.get("/trash").status_code == 200
    may_go_on.set()
    assert [move.result().n_photos for move in moves] == [2, 1]


def test_the_document_tells_of_running_searches_and_of_refusals(serve):
    paths = serve().get("/openapi.json").json()["paths"]
    statuses = {
        f"{method} {path.removeprefix('/api/v1')}": set(operation["responses"])
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert {"200", "202", "400"} <= statuses["get /duplicates"]
    assert {"200", "403", "409"} <= statuses["post /duplicates/apply"]
    assert {"200", "403", "409"} <= statuses["post /trash/undo"]

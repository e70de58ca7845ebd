"""Attempts to break a running server, or to get from it what it must not give.

The real app serves a small collection on 127.0.0.1. Beside the folder of photos lies a file that
nobody may get. Whatever is sent, the server stays up, answers others, and logs no fault.
"""

import json
import logging
import random
import resource
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from service.web.guards.lanes import Lane
from service.web.options import ServingOptions
from tests.makers.libraries import indexed_colours
from tests.service.web.apps import app_of
from tests.service.web.servers import (
    TOKEN,
    Answer,
    ask,
    connected,
    read_answer,
    request_bytes,
    running_server,
    small_app,
    wait_until,
)

API = "/api/v1"
CHANGE = "Isophote-Request: 1"
JSON = "Content-Type: application/json"

SECRET = b"nobody may read this"

N_CONNECTIONS = 2_000


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    (folder / "photos").mkdir()
    (folder / "secret.txt").write_bytes(SECRET)
    (folder / "photos" / "secret.txt").write_bytes(SECRET)
    indexed_colours(folder / "photos", folder / "collection")
    return folder


@pytest.fixture(scope="module")
def port(library) -> Iterator[int]:
    """Of a server that everybody of this machine may use, even for changes."""
    options = ServingOptions(allows_changes=True)
    with running_server(app_of(library / "collection", options=options)) as port:
        yield port


@pytest.fixture(scope="module")
def locked_port(library) -> Iterator[int]:
    """Of a server with a token."""
    options = ServingOptions(token=TOKEN)
    with running_server(app_of(library / "collection", options=options)) as port:
        yield port


@pytest.fixture(scope="module")
def slow_port() -> Iterator[int]:
    """Of a server whose patience with bodies a test can wait for."""
    lanes = [
        Lane("/api/v1/uploads", n_at_once=2, max_bytes=10_000, body_seconds=0.5),
        Lane("", n_at_once=64, max_bytes=1_000, body_seconds=0.5),
    ]
    with running_server(small_app(lanes=lanes)) as port:
        yield port


@pytest.fixture(autouse=True)
def _no_faults(caplog):
    """No attempt may end in a fault that only the last resort caught."""
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def is_refused(answer: Answer) -> bool:
    """Whether an answer is an error of the client in the one shape."""
    error = json.loads(answer.body)["error"]
    return 400 <= answer.status < 500 and set(error) == {"code", "message"}


def operations(port: int) -> list[tuple[str, dict[str, str], list[str]]]:
    """Paths that can be asked, their path fields with a usable value, and their query fields."""
    paths = json.loads(ask(port, f"{API}/openapi.json").body)["paths"]
    found = []
    for path, methods in paths.items():
        fields = methods.get("get", {}).get("parameters", [])
        in_path = {field["name"]: "1" for field in fields if field["in"] == "path"}
        found.append((path, in_path, [field["name"] for field in fields if field["in"] == "query"]))
    return found


def traversals(folder: Path) -> list[str]:
    """Ways to name the secret file, as they stand in a URL."""
    up = "../" * 12
    whole = str(folder / "secret.txt")
    return [
        *("secret.txt", "../secret.txt", "..%2fsecret.txt", "%2e%2e%2fsecret.txt"),
        *("..%252fsecret.txt", "..%5csecret.txt", "..\\secret.txt", "....//secret.txt"),
        *("..%c0%afsecret.txt", "..%ef%bc%8fsecret.txt", "secret.txt%00.png", "%00", "."),
        *("..;/secret.txt", "~/secret.txt", "1/../../secret.txt", "1%2f..%2fsecret.txt"),
        *(whole, whole.replace("/", "%2f"), f"/{whole}", f"file://{whole}", f"{up}{whole}"),
        *(f"{up}etc/passwd", f"{up}etc/passwd".replace("/", "%2f"), "C:%5cWindows%5cwin.ini"),
    ]


def test_no_field_of_a_path_leads_to_a_file(port, library):
    fields = [(path, name) for path, in_path, _ in operations(port) for name in in_path]
    templates = [path.replace(f"{{{name}}}", "{}") for path, name in fields]
    assert len(templates) >= 5
    for template in (*templates, "/static/{}", "/login/{}", "/{}", f"{API}/{{}}"):
        for value in traversals(library):
            answer = ask(port, template.format(value))
            assert SECRET not in answer.body
            assert b"root:" not in answer.body
            assert is_refused(answer), (template, value)


def test_no_field_of_a_query_leads_to_a_file(port, library):
    asked = 0
    for path, in_path, names in operations(port):
        for name in names:
            for value in traversals(library)[::3]:
                answer = ask(port, f"{path.format(**in_path)}?{name}={value.replace(' ', '+')}")
                assert SECRET not in answer.body
                assert answer.status < 500, (path, name, value, answer.body)
                asked += 1
    assert asked > 100


def test_a_photo_outside_the_index_cannot_be_asked_with(port, library):
    """A path is words, so that it is not told whether the file exists."""
    there = quote(str(library / "photos" / "red.png"))
    gone = quote(str(library / "photos" / "gone.png"))
    statuses = {ask(port, f"{API}/search?q={path}").status for path in (there, gone)}
    assert len(statuses) == 1


def test_no_run_of_the_trash_can_be_made_up(port, library):
    before = sorted(library.rglob("*"))
    for run in (*traversals(library), "a\x00b", "x" * 200, "x" * 201, ""):
        body = json.dumps({"run": run}).encode()
        lines = (CHANGE, JSON, f"Content-Length: {len(body)}")
        answer = ask(port, f"{API}/trash/undo", *lines, method="POST", body=body)
        assert is_refused(answer), run
    assert sorted(library.rglob("*")) == before


@pytest.mark.parametrize(
    "where",
    [
        "1=1; drop table images",
        "quality > 0.5; --",
        "quality > (select 1)",
        "path in (select path from images)",
        "1) union select * from images --",
        "pg_read_file('/etc/passwd') = 'x'",
        "quality > 0.5 /* comment",
        "'" * 1999,
        "(" * 1999,
        "not " * 499 + "true",
        "path like '" + "%_" * 900 + "'",
        "\x00",
        "quality > 1e999999",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_a_filter_is_a_condition_or_refused(port, where):
    for path in ("images", "search", "quality", "anomalies", "dates", "folders", "export"):
        query = urlencode({"where": where, "q": "red", "format": "csv"})
        answer = ask(port, f"{API}/{path}?{query}")
        assert answer.status < 500, answer.body
        if "like" not in where and "1e9" not in where and "not true" not in where:
            assert is_refused(answer)
    assert json.loads(ask(port, f"{API}/collection").body)["n_images"] == 6


@pytest.mark.parametrize(
    "path",
    [
        f"{API}/images?limit=1000000000",
        f"{API}/images?limit=-1",
        f"{API}/images?offset={10**30}",
        f"{API}/images?offset=9223372036854775807",
        f"{API}/images/{2**63}",
        f"{API}/images/{10**400}",
        f"{API}/images/-1",
        f"{API}/images/%F0%9F%90%95",
        f"{API}/images/1/similar?limit=9999999",
        f"{API}/images/1/similar?offset=10000&limit=1",
        f"{API}/images/1/thumbnail?side=100000",
        f"{API}/search",
        f"{API}/search?q=" + "&q=".join(["a"] * 1000),
        f"{API}/search?q=a%5E{'9' * 400}",
        f"{API}/search?q=a%5E0",
        f"{API}/search?q=" + "x" * 20_000,
        f"{API}/search?q=id:{10**30}",
        f"{API}/search?q=upload:../../etc",
        f"{API}/histograms/quality?bins=100000000",
        f"{API}/histograms/features",
        f"{API}/duplicates?similarity=nan",
        f"{API}/duplicates?prefer=" + "&prefer=".join(["/a"] * 5000),
    ],
)
def test_what_is_out_of_range_is_refused(port, path):
    assert is_refused(ask(port, path)), path


@pytest.mark.parametrize(
    "path",
    [
        "/%0d%0aX-Injected:%201",
        "/login?%0d%0aX-Injected:%201",
        "/?q=%0d%0aX-Injected:%201",
        "/?q=%E2%80%A8%F0%9F%90%95",
        "/?q=%zz%",
        f"{API}/images?where=%0d%0aX-Injected:%201",
        f"{API}/export?format=csv%0d%0aX-Injected:%201",
        "/static/x%0d%0aX-Injected:%201",
    ],
)
def test_no_header_can_be_added_to_an_answer(port, locked_port, path):
    for served in (port, locked_port):
        answer = ask(served, path)
        assert "x-injected" not in answer.headers
        assert answer.status < 500


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


HUGE_PNG = b"\x89PNG\r\n\x1a\n" + chunk(
    b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
)
MULTIPART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../a.png"\r\n\r\n'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", MULTIPART + b"x\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", MULTIPART * 100),
        ("multipart/form-data", b"--\r\n\r\n"),
        ("multipart/form-data; boundary=" + "x" * 10_000, b"--x"),
        ("multipart/form-data; boundary=\xe9", b"\x00" * 1000),
        ("image/png", HUGE_PNG),
        ("image/png", b"\x89PNG\r\n\x1a\n" + bytes(100)),
        ("image/svg+xml", b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg>&e;</svg>'),
        ("image/x-eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n"),
        ("application/x-www-form-urlencoded", b"file=/etc/passwd"),
        ("text/html", b"<script>alert(1)</script>"),
        ("application/json", b'{"path": "/etc/passwd"}'),
        ("image/png", b""),
        ("", random.Random(0).randbytes(10_000)),
    ],
)
def test_what_is_no_photo_is_not_taken_for_one(port, content_type, body):
    lines = (CHANGE, f"Content-Type: {content_type}", f"Content-Length: {len(body)}")
    answer = ask(port, f"{API}/uploads", *lines, method="POST", body=body)
    assert is_refused(answer), answer.body


@pytest.mark.parametrize("depth", [100_000])
def test_a_document_nested_deeply_is_refused(port, depth):
    body = b'{"groups":' + b"[" * depth
    lines = (CHANGE, JSON, f"Content-Length: {len(body)}")
    answer = ask(port, f"{API}/duplicates/apply", *lines, method="POST", body=body)
    assert is_refused(answer)


@pytest.mark.parametrize("path", ["/", "/health", f"{API}/collection", f"{API}/images/1/original"])
def test_a_foreign_name_pointed_here_gets_nothing(port, path):
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.io"):
        assert ask(port, path, host=host).status == 421
    assert ask(port, path, "Host: evil.example").status == 400


CROSS_SITE = [
    ["Content-Type: text/plain"],
    ["Content-Type: application/x-www-form-urlencoded", "Origin: https://evil.example"],
    [JSON, "Origin: null"],
    [JSON, CHANGE, "Origin: https://evil.example"],
    [JSON, CHANGE, "Origin: http://127.0.0.1"],
    [JSON, CHANGE, "Sec-Fetch-Site: cross-site"],
    [JSON, CHANGE, "Sec-Fetch-Site: same-site"],
]


@pytest.mark.parametrize("lines", CROSS_SITE)
def test_another_site_changes_nothing(port, library, lines):
    photos = sorted((library / "photos").iterdir())
    body = b'{"groups": [{"keeper_id": 1, "copy_ids": [2]}]}'
    for path in ("duplicates/apply", "trash/undo", "uploads"):
        length = f"Content-Length: {len(body)}"
        host = f"127.0.0.1:{port}"
        answer = ask(port, f"{API}/{path}", *lines, length, method="POST", host=host, body=body)
        assert answer.status == 403
        assert is_refused(answer)
    assert sorted((library / "photos").iterdir()) == photos


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get"]
)
def test_other_methods_do_nothing(port, method):
    for path in ("/", f"{API}/images/1", f"{API}/uploads"):
        answer = ask(port, path, CHANGE, method=method)
        assert answer.status == 405
        assert SECRET not in answer.body


def test_methods_are_not_taken_from_a_header(port):
    lines = (CHANGE, "X-HTTP-Method-Override: POST", "X-Original-URL: /metrics")
    assert json.loads(ask(port, "/health", *lines).body)["status"] == "ok"


@pytest.mark.parametrize(
    "line",
    [
        "X: y",
        "Authorization:",
        f"Authorization: Basic {TOKEN}",
        f"X-Authorization: Bearer {TOKEN}",
        f"Cookie: isophote={TOKEN}; token={TOKEN}",
        "Cookie: " + "; ".join(f"isophote-{number}=x" for number in range(3000)),
        "X-Forwarded-For: 127.0.0.1",
    ],
)
def test_a_server_with_a_token_shows_nothing_without_it(locked_port, line):
    for path in (f"{API}/collection", f"{API}/images/1/original", "/metrics", "/static/app.js"):
        assert ask(locked_port, path, line).status == 401
    assert ask(locked_port, f"{API}/collection?token={TOKEN}", line).status == 401


def test_wrong_tokens_are_answered_late(locked_port):
    guesses = ("", "x" * 30_000, "\xff\xfe\x80", f"{TOKEN}x", f"{TOKEN}, Bearer x", TOKEN[1:])
    with ExitStack() as stack:
        asked = [stack.enter_context(connected(locked_port)) for _ in guesses]
        started_at = time.monotonic()
        for connection, guess in zip(asked, guesses, strict=True):
            line = f"Authorization: Bearer {guess}"
            connection.sendall(request_bytes(f"{API}/collection", line))
        assert [read_answer(connection).status for connection in asked] == [401] * len(guesses)
    assert time.monotonic() - started_at > 0.9


def test_many_who_guess_do_not_keep_the_owner_out(locked_port):
    cookie = log_in(locked_port)
    with ExitStack() as stack:
        for _ in range(100):
            guess = stack.enter_context(connected(locked_port))
            guess.sendall(request_bytes("/metrics", "Authorization: Bearer wrong"))
        assert ask(locked_port, f"{API}/collection", f"Cookie: {cookie}").status == 200


def log_in(port: int) -> str:
    """The cookie for the token."""
    body = f"token={TOKEN}".encode()
    length = f"Content-Length: {len(body)}"
    answer = ask(port, "/login", length, method="POST", body=body)
    assert answer.status == 303
    return answer.headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 2000"], b""),
        (["Content-Length: 99999999999999999999"], b"x"),
        (["Transfer-Encoding: chunked"], b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], (b"1\r\nx\r\n") * 1001),
    ],
)
def test_a_body_that_is_too_large_is_refused_before_its_end(slow_port, lines, body):
    answer = ask(slow_port, "/echo", CHANGE, *lines, method="POST", body=body)
    assert answer.status == 413
    assert is_refused(answer)


@pytest.mark.parametrize("line", ["Content-Length: 500", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_end_is_given_up(slow_port, line):
    with connected(slow_port) as connection:
        connection.sendall(request_bytes("/echo", CHANGE, line, method="POST", body=b"1\r\nx\r\n"))
        answer = read_answer(connection)
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert connection.recv(1) == b""


def test_a_body_that_drips_is_given_up(slow_port):
    with connected(slow_port) as connection:
        connection.sendall(request_bytes("/echo", CHANGE, "Content-Length: 900", method="POST"))
        started_at = time.monotonic()
        dripping = threading.Thread(target=drip, args=(connection,))
        dripping.start()
        assert read_answer(connection).status == 408
        assert time.monotonic() - started_at < 3
        dripping.join()


def drip(connection: socket.socket) -> None:
    """Send a byte now and then until nobody listens any more."""
    try:
        for _ in range(500):
            connection.sendall(b"x")
            time.sleep(0.02)
    except OSError:
        pass


def test_slow_uploads_hold_up_no_other_request(slow_port):
    with ExitStack() as stack:
        for _ in range(20):
            slow = stack.enter_context(connected(slow_port))
            slow.sendall(
                request_bytes(f"{API}/uploads", CHANGE, "Content-Length: 9000", method="POST")
            )
        started_at = time.monotonic()
        assert ask(slow_port, f"{API}/images/1").status == 200
        assert time.monotonic() - started_at < 2


def test_what_follows_a_body_is_a_request_of_its_own(slow_port):
    """A length that is too short adds a request, but none that has rights of the first."""
    smuggled = request_bytes("/echo", method="POST")
    sent = request_bytes("/echo", CHANGE, "Content-Length: 2", method="POST", body=b"ab" + smuggled)
    with connected(slow_port) as connection:
        connection.sendall(sent + request_bytes("/health", "Connection: close"))
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.count(b"HTTP/1.1 403 ") == 1


def test_two_lengths_that_disagree_are_refused(slow_port):
    lines = (CHANGE, "Content-Length: 5", "Transfer-Encoding: chunked")
    answer = ask(slow_port, "/echo", *lines, method="POST", body=b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert answer.status in (200, 400)
    assert b"<title>" not in answer.body


@pytest.fixture
def _many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * N_CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this process may open {hard} files, and {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


@pytest.mark.usefixtures("_many_files")
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_thousands_of_connections_do_not_keep_others_out(port, sent):
    answered = []
    with ExitStack() as stack:
        for number in range(N_CONNECTIONS):
            connection = stack.enter_context(connected(port))
            connection.sendall(sent)
            if number % 100 == 99:
                started_at = time.monotonic()
                assert ask(port, f"{API}/images?limit=5").status == 200
                answered.append(time.monotonic() - started_at)
    assert len(answered) == N_CONNECTIONS // 100
    assert max(answered) < 3


def test_connections_that_break_off_leave_nothing_behind(port):
    """Half a request, a reset instead of an end, an answer that nobody reads."""
    for number in range(200):
        with connected(port) as connection:
            whole = request_bytes(f"{API}/images?limit=5")
            connection.sendall(whole[: random.Random(number).randrange(len(whole)) + 1])
            reset = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    # The one that asks is under way, and soon none of the others is.
    wait_until(lambda: b"isophote_requests_in_flight 1.0" in ask(port, "/metrics").body)


def test_random_bytes_do_no_harm(port):
    for seed in range(100):
        with connected(port) as connection:
            connection.sendall(random.Random(seed).randbytes(2000) + b"\r\n\r\n")
            assert read_answer(connection).status == 400
    assert ask(port, "/health").status == 200

"""Who is let in, what they may send, and what all answers have in common."""

import asyncio
import logging
import socket
from importlib.resources import files
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.web.guards.answers import OTHER_POLICY, PAGE_POLICY
from service.web.guards.lanes import BUSY, Lane, Lanes
from service.web.guards.origins import HostRule
from service.web.guards.tokens import Door, Guesses
from service.web.login import MESSAGE_MARK
from tests.service.web.servers import TOKEN, small_app

HERE = "http://127.0.0.1:8489"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CHANGE = {"Isophote-Request": "1"}


def client_of(app, **options) -> TestClient:
    return TestClient(app, base_url=HERE, follow_redirects=False, **options)


@pytest.fixture
def client() -> TestClient:
    """Of a server that everybody of this machine may use."""
    return client_of(small_app(names=["Photos.example.org"]))


@pytest.fixture
def locked() -> TestClient:
    """Of a server with a token."""
    return client_of(small_app(token=TOKEN))


def error_of(response) -> tuple[int, str]:
    """The status and the code; the body has nothing but the one shape of errors."""
    (error,) = response.json().values()
    assert set(response.json()) == {"error"}
    assert set(error) == {"code", "message"}
    return response.status_code, error["code"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8489",
        "192.168.1.20",
        "[::1]:8489",
        "[fe80::1]",
        "localhost",
        "LOCALHOST:80",
        "photos.example.org",
        "photos.EXAMPLE.org:443",
        socket.gethostname(),
        f"{socket.gethostname()}.local:8489",
    ],
)
def test_addresses_and_own_names_are_hosts_of_the_server(client, host):
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "photos.example.org.",
        "2130706433",
        "0x7f.1",
        "256.1.1.1",
        "[::1",
        "[127.0.0.1]",
        "[::1]x",
        "127.0.0.1:port",
        "127.0.0.1:123456",
        "user@127.0.0.1",
        "127.0.0.1/",
        "127.0.0.1 evil.example",
        "",
    ],
)
def test_other_hosts_are_refused_whatever_is_asked(client, host):
    """A foreign name that was pointed to this machine must not become our origin."""
    for path in ("/", "/health", "/api/v1/images/1", "/nothing"):
        response = client.get(path, headers={"Host": host})
        assert error_of(response) == (421, "host")
        assert "--allow-host NAME" in response.json()["error"]["message"]


@pytest.mark.parametrize("n_hosts", [0, 2])
def test_a_request_has_one_host(n_hosts):
    scope = {"type": "http", "headers": [(b"host", b"127.0.0.1")] * n_hosts}
    refusal = HostRule.of([]).refusal(scope)
    assert refusal is not None
    assert refusal.message == f"a request needs one Host header, got {n_hosts}"


@pytest.mark.parametrize(
    "headers",
    [
        CHANGE,
        {**CHANGE, "Origin": HERE, "Sec-Fetch-Site": "same-origin"},
        {**CHANGE, "Sec-Fetch-Site": "none"},
        {**CHANGE, "Host": "[::1]:80", "Origin": "http://[::1]:80"},
        # What a proxy with a certificate passes on.
        {**CHANGE, "Host": "photos.example.org", "Origin": "https://photos.example.org"},
    ],
)
def test_a_change_from_the_page_itself_is_made(client, headers):
    assert client.post("/echo", headers=headers, content=b"x").content == b"x"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Isophote-Request": "0"},
        {"Isophote-Request": "1, 1"},
        {**CHANGE, "Origin": "null"},
        {**CHANGE, "Origin": ""},
        {**CHANGE, "Origin": "https://evil.example"},
        {**CHANGE, "Origin": "http://127.0.0.1:3000"},
        {**CHANGE, "Origin": "http://127.0.0.1"},
        {**CHANGE, "Origin": "http://127.0.0.1:8489.evil.example"},
        {**CHANGE, "Origin": "ftp://127.0.0.1:8489"},
        {**CHANGE, "Sec-Fetch-Site": "cross-site"},
        {**CHANGE, "Sec-Fetch-Site": "same-site"},
        {**CHANGE, "Origin": HERE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "FOO"])
def test_a_change_from_elsewhere_is_refused(client, method, headers):
    assert error_of(client.request(method, "/echo", headers=headers)) == (403, "forbidden")


def test_another_site_may_link_to_the_page_and_load_nothing(client):
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    link = {**elsewhere, "Sec-Fetch-Mode": "navigate"}
    picture = {**elsewhere, "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/", headers=link).status_code == 200
    for path, headers in (
        ("/", picture),
        ("/api/v1/images/1", picture),
        ("/api/v1/images/1", link),
    ):
        assert error_of(client.get(path, headers=headers)) == (403, "forbidden")
    script = {"Origin": "https://evil.example"}  # of browsers that send no Sec-Fetch-Site
    assert error_of(client.get("/api/v1/images/1", headers=script)) == (403, "forbidden")


def test_no_answer_shares_anything_with_other_origins(client):
    """A preflight of a browser fails, as no answer has a header that lets another origin in."""
    preflight = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "isophote-request",
    }
    for headers, status in ((preflight, 403), ({}, 405)):
        response = client.options("/echo", headers=headers)
        assert response.status_code == status
        assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/api/v1/images/1", "/metrics", "/nothing", "/openapi.json"])
def test_without_the_token_programs_are_told_how_to_give_it(locked, path):
    response = locked.get(path)
    assert error_of(response) == (401, "token")
    assert response.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer TOKEN" in response.json()["error"]["message"]


def test_the_token_lets_programs_in(locked):
    assert locked.get("/api/v1/images/1", headers=BEARER).json() == {"image_id": 1}
    lower = {"Authorization": f"bearer {TOKEN}"}
    assert locked.get("/api/v1/images/1", headers=lower).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer " + TOKEN[:-1].encode(),
        b"Bearer " + TOKEN.encode() + b"x",
        b"Bearer " + TOKEN.upper().encode(),
        b"Bearer  " + TOKEN.encode(),
        b"Bearer " + b"x" * 8000,
        b"Bearer \xff\xfe\xe9",
        "Bearer Schlüssel-ü-ü-ü-ü".encode(),
        b"Basic " + TOKEN.encode(),
        TOKEN.encode(),
    ],
)
def test_anything_but_the_token_is_refused(locked, authorization):
    response = locked.get("/metrics", headers=[(b"authorization", authorization)])
    assert error_of(response) == (401, "token")
    assert TOKEN not in response.text


@pytest.mark.parametrize("path", ["/health", "/login", "/login/login.css", "/login/login.js"])
def test_what_the_login_page_needs_is_open(locked, path):
    assert locked.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/health/", "/%2Fhealth", "/health/%2e%2e/metrics", "/login/login.css/"]
)
def test_nothing_else_is_open(locked, path):
    assert error_of(locked.get(path)) == (401, "token")


def test_a_browser_is_led_to_the_login_and_on_to_the_view_it_asked_for(locked):
    asked = locked.get("/?q=a+dog&where=quality%3E0.5")
    assert (asked.status_code, asked.headers["location"]) == (
        303,
        "/login?q=a+dog&where=quality%3E0.5",
    )
    assert MESSAGE_MARK not in locked.get(asked.headers["location"]).text
    entered = locked.post(
        asked.headers["location"], data={"token": f" {TOKEN} "}, headers={"Origin": HERE}
    )
    assert (entered.status_code, entered.headers["location"]) == (
        303,
        "/?q=a+dog&where=quality%3E0.5",
    )
    assert locked.get("/").status_code == 200
    assert locked.get("/login?q=x").headers["location"] == "/?q=x"
    assert locked.get("/api/v1/images/1").status_code == 200


def test_the_cookie_is_strict_and_is_not_the_token(locked):
    cookie = locked.post("/login", data={"token": TOKEN}).headers["set-cookie"]
    value, *attributes = cookie.split("; ")
    assert value.startswith("isophote-8489=")
    assert TOKEN not in cookie
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=strict"]


def test_behind_a_proxy_with_a_certificate_the_cookie_needs_one(locked):
    origin = {"Origin": HERE.replace("http:", "https:")}
    cookie = locked.post("/login", data={"token": TOKEN}, headers=origin).headers["set-cookie"]
    assert "Secure" in cookie.split("; ")


def test_a_cookie_lasts_as_long_as_the_run_of_the_server(locked):
    name, value = locked.post("/login", data={"token": TOKEN}).headers["set-cookie"].split("=")[:2]
    again = client_of(small_app(token=TOKEN))
    for cookie in (f"{name}={value.partition(';')[0]}", f"{name}=", f"{name}={TOKEN}", "a;=;;ü"):
        headers = [(b"cookie", cookie.encode())]
        assert error_of(again.get("/metrics", headers=headers)) == (401, "token")


def test_cookies_of_two_servers_on_one_host_do_not_clash(locked):
    cookie = locked.post("/login", data={"token": TOKEN}).headers["set-cookie"].partition(";")[0]
    both = {"Cookie": f"isophote-9999=other; {cookie}; theme=dark"}
    assert client_of(locked.app).get("/", headers=both).status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        b"token=wrong-wrong-wrong-wrong",
        b"token=",
        b"",
        b"token",
        b"token=%ff%fe",
        b"\xff\xfe",
        b"a=1&" * 1000 + b"token=" + TOKEN.encode(),
        b'{"token": "x"}',
        b"token=" + b"x" * 4000,
    ],
)
def test_a_wrong_login_says_so_on_the_page(locked, form):
    response = locked.post("/login", content=form, headers={"Content-Type": "text/plain"})
    assert response.status_code == 401
    assert '<p id="message" role="alert">That is not the token.</p>' in response.text
    assert "set-cookie" not in response.headers


def test_no_other_site_can_log_a_browser_in(locked):
    for origin in ("https://evil.example", "null"):
        response = locked.post("/login", data={"token": TOKEN}, headers={"Origin": origin})
        assert error_of(response) == (403, "forbidden")


def test_a_large_login_is_not_read(locked):
    response = locked.post("/login", content=b"token=" + b"x" * 5000)
    assert error_of(response) == (413, "too_large")


def test_without_a_token_there_is_no_login(client):
    assert client.get("/login").status_code == 404


def test_the_login_page_has_nothing_that_its_policy_forbids():
    page = (files("service.web.pages") / "login.html").read_text()
    assert page.count(MESSAGE_MARK) == 1
    assert "style=" not in page
    assert " on" not in page.replace(" one", "").replace(" only", "")
    assert "http" not in page


def scope_of(address: str) -> dict[str, object]:
    return {"type": "http", "headers": [], "client": (address, 1234), "server": ("127.0.0.1", 1)}


async def refusals(door: Door, *guesses: tuple[str, bytes]) -> list[int | None]:
    """The statuses with which tokens are refused that come at once from these addresses."""
    answers = [door.refusal(token, scope_of(address)) for address, token in guesses]
    return [None if it is None else it.status for it in await asyncio.gather(*answers)]


def test_who_guesses_is_not_listened_to_and_shuts_nobody_else_out():
    door = Door(TOKEN, Guesses(seconds=0.05, n_at_once=3))
    wrong, right = b"wrong", TOKEN.encode()
    guesses = [*[("10.0.0.1", wrong)] * 4, ("10.0.0.1", right), ("10.0.0.2", right)]
    assert asyncio.run(refusals(door, *guesses)) == [401, 401, 401, 429, 429, None]
    # A second later all is forgotten.
    assert asyncio.run(refusals(door, ("10.0.0.1", right))) == [None]


def test_all_addresses_of_one_ipv6_customer_guess_together():
    door = Door(TOKEN, Guesses(seconds=0.05, n_at_once=2))
    guesses = [(f"2001:db8:0:1::{host}", b"wrong") for host in range(1, 4)]
    other = ("2001:db8:0:2::1", TOKEN.encode())
    assert asyncio.run(refusals(door, *guesses, other)) == [401, 401, 429, None]


def test_a_login_after_too_many_guesses_is_told_to_wait():
    client = client_of(small_app(token=TOKEN, guesses=Guesses(n_at_once=0)))
    response = client.post("/login", data={"token": TOKEN})
    assert response.status_code == 429
    assert "Too many attempts" in response.text


def test_guesses_leave_nothing_behind():
    guesses = Guesses(seconds=0)
    for host in range(5):
        asyncio.run(guesses.wait(f"10.0.0.{host}"))
    assert not guesses._pending


@pytest.mark.parametrize(
    ("path", "policy"), [("/", PAGE_POLICY), ("/health", OTHER_POLICY), ("/nothing", OTHER_POLICY)]
)
def test_all_answers_have_strict_headers(client, path, policy):
    headers = client.get(path).headers
    assert headers["content-security-policy"] == policy.decode()
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["cache-control"] == "no-store"


def test_refused_requests_have_them_too(locked):
    for path, headers in (("/metrics", {}), ("/", {"Host": "evil.example"}), ("/fault", BEARER)):
        response = client_of(locked.app, raise_server_exceptions=False).get(path, headers=headers)
        assert response.status_code >= 400
        assert response.headers["content-security-policy"] == OTHER_POLICY.decode()


def test_a_route_decides_how_long_its_answer_is_kept(client):
    assert client.get("/kept").headers.get_list("cache-control") == ["private, max-age=60"]


def test_what_a_browser_has_kept_keeps_its_policy(client):
    """Or the page would be shown with the policy of other answers when it is loaded again."""
    response = client.get("/unchanged")
    assert response.status_code == 304
    assert "content-security-policy" not in response.headers
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_fault_is_logged_and_not_told(client, caplog):
    response = client.get("/fault")
    assert error_of(response) == (500, "unexpected")
    assert "secret" not in response.text
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.message == "GET /fault failed"
    assert "the secret reason" in str(record.exc_info)


Sent = dict[str, Any]


async def call(app, *messages: Sent, headers=(), path="/echo") -> list[Sent]:
    """Send the parts of a body to an ASGI app, and return what it answers."""
    sent: list[Sent] = []
    parts = iter(messages)

    async def receive():
        part = next(parts, None)
        return part if part is not None else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
    await app(scope, receive, send)
    return sent


async def echo(scope, receive, send) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def part(body: bytes, *, more: bool) -> Sent:
    return {"type": "http.request", "body": body, "more_body": more}


CHUNKED = [(b"transfer-encoding", b"chunked")]
LANE = Lane("", n_at_once=1, max_bytes=10, body_seconds=0.05)


def test_a_route_gets_the_whole_body_at_once():
    parts = [part(b"01234", more=True), part(b"", more=True), part(b"56789", more=False)]
    start, body = asyncio.run(call(Lanes(echo, lanes=[LANE]), *parts, headers=CHUNKED))
    assert (start["status"], body["body"]) == (200, b"0123456789")


@pytest.mark.parametrize(
    ("parts", "headers", "status"),
    [
        pytest.param([], [(b"content-length", b"11")], 413, id="refused-before-it-comes"),
        pytest.param([part(b"x" * 11, more=True)], CHUNKED, 413, id="more-than-was-said"),
        pytest.param([part(b"x" * 6, more=True)] * 2, CHUNKED, 413, id="in-parts"),
        pytest.param([part(b"x", more=True)], [(b"content-length", b"2")], 408, id="slow"),
    ],
)
def test_a_body_that_is_too_large_or_too_slow_reaches_no_route(parts, headers, status):
    start, _ = asyncio.run(call(Lanes(echo, lanes=[LANE]), *parts, headers=headers))
    assert start["status"] == status


def test_a_slow_sender_loses_its_connection():
    start, _ = asyncio.run(call(Lanes(echo, lanes=[LANE]), headers=CHUNKED))
    assert (b"connection", b"close") in start["headers"]


def test_a_client_that_goes_while_it_sends_is_not_answered():
    gone: Sent = {"type": "http.disconnect"}
    assert asyncio.run(call(Lanes(echo, lanes=[LANE]), gone, headers=CHUNKED)) == []


def test_the_first_lane_that_fits_counts():
    lanes = Lanes(echo, lanes=[Lane("/echo", 1, 20, 1.0), LANE])
    body = part(b"x" * 15, more=False)
    assert asyncio.run(call(lanes, body, headers=CHUNKED))[0]["status"] == 200
    other = asyncio.run(call(lanes, body, headers=CHUNKED, path="/other"))
    assert other[0]["status"] == 413


def test_more_requests_than_are_answered_at_once_wait_for_their_turn():
    n_running = most_running = 0

    async def counted(scope, receive, send) -> None:
        nonlocal n_running, most_running
        n_running += 1
        most_running = max(most_running, n_running)
        await asyncio.sleep(0.001)
        n_running -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def many() -> list[list[Sent]]:
        lanes = Lanes(counted, lanes=[Lane("", 4, 10, 1.0)])
        return await asyncio.gather(*[call(lanes) for _ in range(20)])

    assert [answer[0]["status"] for answer in asyncio.run(many())] == [200] * 20
    assert most_running == 4


def test_who_waits_too_long_for_a_turn_is_told_that_the_server_is_busy():
    async def crowd() -> list[list[Sent]]:
        lanes = Lanes(echo, lanes=[LANE], wait_seconds=0.01)
        slow = asyncio.create_task(call(lanes, headers=CHUNKED))
        await asyncio.sleep(0)
        return [await call(lanes), await slow, await call(lanes, part(b"x", more=False))]

    refused, slow, after = asyncio.run(crowd())
    assert (refused[0]["status"], slow[0]["status"], after[0]["status"]) == (BUSY.status, 408, 200)
    assert (b"retry-after", b"2") in refused[0]["headers"]

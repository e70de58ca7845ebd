"""A real server: where it listens, how it ends, and how long it waits for whom."""

import re
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from schemas.errors import InputError
from service.web.connections import BoundedConnection
from service.web.options import (
    MIN_TOKEN_LENGTH,
    ServingOptions,
    checked_options,
)
from service.web.serving import (
    WANTED_FILES,
    AnnouncedServer,
    listener_url,
    open_listener,
    raise_file_limit,
)
from tests.service.web.servers import (
    MANY_BYTES,
    TOKEN,
    ask,
    connected,
    read_answer,
    request_bytes,
    running_server,
    seconds_until_closed,
    small_app,
    wait_until,
)


class ShortConnection(BoundedConnection):
    """With limits that a test can wait for."""

    header_seconds = 0.3
    stalled_seconds = 0.3


@pytest.fixture(scope="module")
def port():
    with running_server(small_app(), ShortConnection) as port:
        yield port


def test_a_free_port_is_taken_where_none_is_named():
    with open_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert port > 1023
        assert listener_url(listener) == f"http://127.0.0.1:{port}"


def test_localhost_is_ipv4():
    with open_listener("localhost", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_addresses_of_ipv6_can_be_listened_at():
    with open_listener("::1", 0) as listener:
        port = listener.getsockname()[1]
        assert listener_url(listener) == f"http://[::1]:{port}"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_what_listens_everywhere_is_called_by_the_name_of_the_machine(host):
    with open_listener(host, 0) as listener:
        port = listener.getsockname()[1]
        assert listener_url(listener) == f"http://{socket.gethostname()}:{port}"


def test_a_port_that_is_taken_is_refused():
    with open_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} of 127.0.0.1 is taken, .*--port 0"):
            open_listener("127.0.0.1", port)


def test_a_port_that_needs_more_rights_is_refused(monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refused)
    with pytest.raises(InputError, match=r"port 80 may not be opened .*above 1023"):
        open_listener("127.0.0.1", 80)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-name.invalid", "a" * 300, "..", "\udcff"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(InputError, match=r"cannot listen at .*--host an address of this machine"):
        open_listener(host, 0)


def test_options_are_taken_as_they_are_on_this_machine():
    options = ServingOptions(allowed_hosts=["photos.example.org"])
    assert checked_options(options) == options
    named = ServingOptions(token=TOKEN, host="0.0.0.0")
    assert checked_options(named) == named


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "nas", ""])
def test_a_token_is_made_where_others_can_reach_the_server(host):
    tokens = {checked_options(ServingOptions(host=host)).token for _ in range(5)}
    assert len(tokens) == 5
    assert min(len(token or "") for token in tokens) == 32


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("x" * (MIN_TOKEN_LENGTH - 1), "a token of 15 characters can be guessed"),
        ("", "a token of 0 characters can be guessed"),
        ("a token with spaces in it", "characters that no header can carry"),
        ("schlüssel-schlüssel", "characters that no header can carry"),
        ("sixteen-characters\n", "characters that no header can carry"),
    ],
)
def test_a_weak_or_unusable_token_is_refused_and_not_repeated(token, message):
    with pytest.raises(InputError, match=message) as caught:
        checked_options(ServingOptions(token=token))
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize("name", ["*", "photos.example.org:80", "https://photos", "", "a b"])
def test_what_is_no_name_of_a_host_is_refused(name):
    with pytest.raises(InputError, match="is no name of a host; give --allow-host the name alone"):
        checked_options(ServingOptions(allowed_hosts=[name]))


@pytest.mark.parametrize("path", ["/", "/kept", "/nothing"])
def test_a_head_has_the_headers_of_the_answer_and_no_body(port, path):
    whole, head = ask(port, path), ask(port, path, method="HEAD")
    assert head.status == whole.status
    assert head.headers["content-length"] == str(len(whole.body))
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.body == b""


def test_no_answer_tells_what_server_it_is(port):
    answer = ask(port, "/health")
    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')
    assert "server" not in answer.headers


def test_answers_are_sent_at_once(port):
    """Not after 40 ms, when the client has acknowledged the part before."""
    seconds = []
    with connected(port) as connection:
        for _ in range(20):
            started_at = time.monotonic()
            connection.sendall(request_bytes("/health"))
            assert read_answer(connection).status == 200
            seconds.append(time.monotonic() - started_at)
    assert min(seconds[5:]) < 0.03


def test_who_is_asking_cannot_be_made_up(port):
    """Guesses are limited by address, and a header must not change that address."""
    seen = []

    async def app(scope, receive, send) -> None:
        if scope["type"] == "http":
            seen.append((scope["client"][0], scope["scheme"]))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})

    with running_server(app) as port:
        ask(port, "/", "X-Forwarded-For: 10.9.9.9", "X-Forwarded-Proto: https")
    assert seen == [("127.0.0.1", "http")]


def test_a_connection_without_a_request_is_closed(port):
    with connected(port) as connection:
        assert 0.2 < seconds_until_closed(connection) < 5


def test_headers_that_drip_do_not_hold_a_connection(port):
    with connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        dripping = threading.Thread(target=drip, args=(connection,))
        dripping.start()
        assert 0.2 < seconds_until_closed(connection) < 5
        dripping.join()


def drip(connection: socket.socket) -> None:
    """Send a header forever."""
    try:
        for _ in range(1000):
            connection.sendall(b"X-A: a\r\n")
            time.sleep(0.02)
    except OSError:
        pass


def test_the_headers_of_a_later_request_have_no_more_time(port):
    with connected(port) as connection:
        for _ in range(3):
            connection.sendall(request_bytes("/health"))
            assert read_answer(connection).status == 200
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        assert 0.2 < seconds_until_closed(connection) < 5


def test_a_body_that_was_answered_before_its_end_is_not_listened_to_for_long(port):
    with connected(port) as connection:
        connection.sendall(request_bytes("/", "Content-Length: 9999", method="PUT", body=b"x"))
        assert read_answer(connection).status == 403
        connection.sendall(b"x")
        assert 0.2 < seconds_until_closed(connection) < 5


def test_a_client_that_reads_nothing_loses_its_connection(port):
    with connected(port) as connection:
        connection.sendall(request_bytes("/many-bytes"))
        time.sleep(1.0)
        assert n_received(connection) < MANY_BYTES


def test_a_client_that_reads_slowly_keeps_its_connection(port):
    with connected(port) as connection:
        connection.sendall(request_bytes("/many-bytes", "Connection: close"))
        received = 0
        for _ in range(32):  # for longer than it may stall
            received += len(connection.recv(2**20))
            time.sleep(0.02)
        assert received + n_received(connection) > MANY_BYTES


def n_received(connection: socket.socket) -> int:
    """Return how many bytes come until the server closes a connection."""
    return sum(map(len, iter(lambda: connection.recv(2**20), b"")))


class FewConnections(BoundedConnection):
    most_connections = 20


def test_a_new_connection_takes_the_place_of_the_one_that_waited_longest():
    with running_server(small_app(), FewConnections) as port, ExitStack() as stack:
        idle = [stack.enter_context(connected(port)) for _ in range(20)]
        assert ask(port, "/health").status == 200
        assert idle[0].recv(1) == b""
        idle[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            idle[1].recv(1)


def test_as_many_files_may_be_open_as_there_are_connections():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1000), hard))
    try:
        raise_file_limit()
        raised, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised == (WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, 4096))
        assert raised > 2 * BoundedConnection.most_connections
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the begin of TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n : x\r\n\r\n",
        b"GET /" + b"x" * 2**17 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 2**15 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: gzip\r\n\r\nx",
    ],
)
def test_what_is_no_http_is_refused_in_the_shape_of_all_errors(port, sent, caplog):
    with connected(port) as connection:
        connection.sendall(sent)
        answer = read_answer(connection)
    assert answer.status in (400, 421)
    assert answer.body.startswith(b'{"error":{"code":"')
    assert not caplog.records


def test_rubbish_after_half_a_request_ends_it(port, caplog):
    with connected(port) as connection:
        connection.sendall(
            request_bytes(
                "/echo", "Isophote-Request: 1", "Transfer-Encoding: chunked", method="POST"
            )
        )
        connection.sendall(b"zzz\r\nrubbish\r\n\r\n")
        assert read_answer(connection).status == 400
    assert not caplog.records
    assert ask(port, "/health").status == 200


def test_rubbish_while_an_answer_is_sent_ends_it(port, caplog):
    with connected(port) as connection:
        connection.sendall(request_bytes("/many-bytes") + b"\x00\x01\r\n\r\n")
        answer = read_answer(connection)
        assert len(answer.body) == MANY_BYTES
    assert not caplog.records


def test_pipelined_requests_are_answered_in_order(port):
    with connected(port) as connection:
        connection.sendall(b"".join(request_bytes(f"/api/v1/images/{n}") for n in range(5)))
        connection.sendall(request_bytes("/health", "Connection: close"))
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.findall(rb'"image_id":(\d)', received) == [b"0", b"1", b"2", b"3", b"4"]
    assert received.endswith(b'{"status":"ok"}')


def test_a_websocket_is_answered_as_an_ordinary_request(port):
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x")
    assert ask(port, "/", *upgrade).status == 200


def test_a_stopped_server_lets_an_answer_end(port):
    with open_listener("127.0.0.1", 0) as listener:
        started = threading.Event()
        server = AnnouncedServer(small_app(), on_started=started.set)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        assert started.wait(10)
        with connected(listener.getsockname()[1]) as connection:
            connection.sendall(request_bytes("/many-bytes"))
            wait_until(lambda: bool(server.server_state.tasks))
            server.should_exit = True
            assert len(read_answer(connection).body) == MANY_BYTES
        thread.join(10)
        assert not thread.is_alive()

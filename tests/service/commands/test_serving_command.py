"""`isophote serve` as it is started, read and stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import cli
from tests.makers.libraries import indexed_colours
from tests.processes import PROJECT

# The command, where the model that made the collection is known.
PROGRAM = """
import service.collection
from service.cli import cli
from tests.fakes import FakeEncoder

service.collection.open_encoder = lambda *_, **__: FakeEncoder()
cli()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    indexed_colours(folder, folder / "collection")
    return folder / "collection"


@contextmanager
def served(place: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command with a free port; it must end by itself."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve", "--port", "0", "-c", str(place), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "XDG_CACHE_HOME": str(place.parent / "cache"), **environment},
    )
    try:
        with process:
            yield process
    finally:
        process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def answer(url: str, **headers: str) -> bytes:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        content: bytes = response.read()
        return content


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_serves_and_ends_when_it_is_told_to(place, number):
    with served(place) as process:
        line = first_line(process)
        assert line.startswith(f"Isophote serves {place} at http://127.0.0.1:")
        assert line.endswith(" (Ctrl-C ends it)\n")
        url = line.split()[4]
        assert json.loads(answer(f"{url}/api/v1/collection"))["n_images"] == 6
        process.send_signal(number)
        printed, messages = process.communicate(timeout=20)
        assert (printed, messages) == ("", "Stopped serving.\n")
    assert process.returncode == 0


@pytest.mark.slow
def test_a_token_is_made_and_told_where_others_can_reach_the_server(place):
    with served(place, "--host", "0.0.0.0") as process:
        url = first_line(process).split()[4]
        assert url.startswith(f"http://{socket.gethostname()}:")
        told = first_line(process)
        link = told.split()[1].rstrip(",")
        assert told == f"Open {link}, or enter the token there.\n"
        page, _, token = link.partition("#token=")
        assert (page, len(token)) == (f"{url}/login", 32)
        here = f"http://127.0.0.1:{url.rpartition(':')[2]}/api/v1/collection"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            answer(here)
        assert json.loads(answer(here, Authorization=f"Bearer {token}"))["n_images"] == 6
        process.send_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_given_token_is_not_repeated(place):
    token = "a-token-that-was-given"
    with served(place, ISOPHOTE_TOKEN=token) as process:
        url = first_line(process).split()[4]
        collection = answer(f"{url}/api/v1/collection", Authorization=f"Bearer {token}")
        assert json.loads(collection)["allows_changes"] is False
        process.send_signal(signal.SIGINT)
        printed, messages = process.communicate(timeout=20)
        assert token not in printed + messages


def refused(*arguments: object) -> tuple[int, str]:
    """The exit status, and the last line of stderr."""
    result = CliRunner().invoke(cli, ["serve", *map(str, arguments)])
    assert result.stdout == ""
    return result.exit_code, result.stderr.splitlines()[-1]


def test_a_port_that_is_taken_is_refused(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, message = refused("-c", place, "--port", port)
    assert (status, message.partition(",")[0]) == (1, f"Error: port {port} of 127.0.0.1 is taken")


def test_a_collection_that_is_not_there_is_refused(tmp_path):
    status, message = refused("-c", tmp_path / "nothing")
    assert status == 1
    assert "isophote index" in message


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--token", "short"], 1, "a token of 5 characters can be guessed"),
        (["--allow-host", "*"], 1, "'*' is no name of a host"),
        (["--port", "65536"], 2, "65536 is not in the range 0<=x<=65535"),
        (["--thumbnail-cache-mb", "0"], 2, "0 is not in the range x>=1"),
    ],
)
def test_options_that_cannot_be_used_are_refused(place, arguments, status, message):
    refused_with, sentence = refused("-c", place, *arguments)
    assert refused_with == status
    assert message in sentence

"""What the tests of the trash share."""

import os

import pytest

from tests.service.trash.libraries import Library


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def library(tmp_path) -> Library:
    return Library(tmp_path)

"""What a user can tune, by option or by an ISOPHOTE_* environment variable."""

import os
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from indexer.decode import MAX_PIXELS


def default_collection() -> str:
    """Return the collection of a user who names none."""
    return str(user_data_path("isophote", appauthor=False) / "collection")


def available_cores() -> int:
    """Return the cores this process may use, which a container often limits."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Settings(BaseSettings):
    """Tunables of a run; the environment gives the defaults, options come first.

    Attributes
    ----------
    collection : str
        Folder or object-storage URI.
    device : {"auto", "cpu", "cuda"}
        Where torch models run; "auto" takes CUDA where there is one.
    threads : int
        Photos that are read and decoded at once, each in a process of its own.
    encoder_threads : int or None
        Threads of the encoder on a CPU; None takes as many as `threads`.
    batch_size : int
        Photos per forward pass on a CPU; a GPU takes `gpu_batch_size`. More than the default are
        no faster on a CPU, whose caches they overflow, and take memory.
    queue_photos : int
        Photos read in advance, to bridge one slow file and one forward pass; each holds the
        input of the image tower in memory (150 KB). A sixteenth as many where quality is scored
        on crops, of which each photo has up to 52.
    append_rows, append_seconds : int, float
        A commit is made when so many rows wait, or so many seconds have passed since the last.
    max_pixels : int
        Larger pictures are refused by their header.
    file_seconds : float
        A photo that takes longer to read, or then to decode, fails.
    """

    model_config = SettingsConfigDict(env_prefix="ISOPHOTE_", extra="forbid", frozen=True)

    collection: str = Field(default_factory=default_collection, min_length=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default_factory=available_cores, ge=1)
    encoder_threads: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=8, ge=1)
    gpu_batch_size: int = Field(default=256, ge=1)
    queue_photos: int = Field(default=128, ge=1)
    append_rows: int = Field(default=4096, ge=1)
    append_seconds: float = Field(default=60.0, gt=0)
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    file_seconds: float = Field(default=120.0, gt=0)

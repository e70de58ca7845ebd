"""Says on which machine and with which packages a benchmark ran."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "faiss-cpu", "faiss-gpu", "lancedb", "onnxruntime", "pillow", "torch")


def describe_machine(packages: Sequence[str] = PACKAGES) -> str:
    """Return one line: usable cores, CPU, memory, load, Python, versions of installed packages."""
    versions = [f"{name} {found}" for name in packages if (found := _version(name))]
    return "; ".join(
        [
            f"{_n_usable_cores()} cores of {_cpu_model()}",
            f"{_memory_gib():.0f} GiB memory",
            f"load {os.getloadavg()[0]:.1f}",
            f"Python {platform.python_version()}",
            *versions,
        ]
    )


def _n_usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

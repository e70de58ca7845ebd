"""How long does `isophote --help` take?

python -m tests.benchmarks.startup
"""

import statistics
import subprocess
import sys
import time

import click

from tests.benchmarks.machine import describe_machine

TARGET_SECONDS = 0.3
COMMAND = (sys.executable, "-c", "from service.cli import main; main()", "--help")


@click.command()
@click.option("--repeats", default=20, show_default=True, help="Starts; the median is printed.")
def main(repeats: int) -> None:
    """Time whole processes, the first one, which fills caches, left out."""
    click.echo(describe_machine(("click",)))
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run(COMMAND, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    median, worst = statistics.median(seconds[1:]), max(seconds[1:])
    verdict = "met" if median < TARGET_SECONDS else "missed"
    click.echo(
        f"isophote --help: median {median:.2f} s, worst {worst:.2f} s of {repeats}; "
        f"under {TARGET_SECONDS} s {verdict}"
    )


if __name__ == "__main__":
    main()

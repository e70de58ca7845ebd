"""When the files of a table are worth rewriting, and when its old versions may go."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

# A version stays so long after it was replaced: a reader in the middle of a query needs its files.
KEEP_VERSIONS = timedelta(minutes=10)

# What LanceDB 0.40 adds between being told an age and applying it, at most; local disks take 2 ms.
AGE_MARGIN = timedelta(seconds=1)
FOREVER = timedelta(days=36_500)

# LanceDB compacts every fragment under a million rows, so that a handful of new photos would
# rewrite gigabytes (30,000 rows of 640 float16: 78 MB and 0.4 s after every run). A fragment
# costs a reader 0.3 ms, as 1,500 rows do: one in 10,000 rows is not felt, nor are four.
FULL_FRAGMENT_ROWS = 2**20
ROWS_PER_FRAGMENT = 10_000
MIN_FRAGMENTS = 4
MAX_FRAGMENTS = 64
# Versions go for free once there is one fragment. Where that is long in coming, because runs
# follow each other within the time that versions are kept, so many are worth a compaction.
VERSIONS_PER_FRAGMENT = 4


@dataclass(frozen=True, slots=True)
class TableState:
    """What there is to compact in a table, and which of its versions nobody reads any more.

    `n_partial` fragments are not full, of `n_allowed`; a compaction rewrites all of them.
    `n_removable` versions were made before `needed_since`, and no reader can be at them.
    """

    n_partial: int
    n_allowed: int
    n_removable: int
    needed_since: datetime

    @classmethod
    def of(cls, table: Any, keep_versions: timedelta) -> "TableState":
        """Look at a LanceDB table."""
        stats = table.stats()
        n_rows = stats["num_rows"]
        # LanceDB gives local times without a zone. Its own limit counts from when a version was
        # made: it would drop yesterday's, which a reader opened just before this run replaced it.
        times = [version["timestamp"].astimezone(UTC) for version in table.list_versions()]
        oldest_start = datetime.now(UTC) - keep_versions
        needed_since = max((time for time in times if time <= oldest_start), default=min(times))
        if needed_since < max(times):
            needed_since -= AGE_MARGIN  # LanceDB never drops the latest version
        return cls(
            n_partial=stats["fragment_stats"]["num_fragments"] - n_rows // FULL_FRAGMENT_ROWS,
            n_allowed=min(MIN_FRAGMENTS + n_rows // ROWS_PER_FRAGMENT, MAX_FRAGMENTS),
            n_removable=sum(time < needed_since for time in times),
            needed_since=needed_since,
        )

    @property
    def needs_compaction(self) -> bool:
        """Whether rewriting its small fragments pays."""
        is_scattered = self.n_partial > self.n_allowed
        return is_scattered or self.n_removable > VERSIONS_PER_FRAGMENT * self.n_allowed

    @property
    def is_compact(self) -> bool:
        """Whether a compaction would find nothing to do."""
        return self.n_partial <= 1


def compact(table: Any, keep_versions: timedelta) -> None:
    """Compact a table where it pays, and drop versions where that does not mean to compact it.

    LanceDB does both, and updates indexes, in one call only.
    """
    state = TableState.of(table, keep_versions)
    if state.needs_compaction or state.is_compact:
        # In a call of its own: the age in the next one counts from the end of the compaction.
        table.optimize(cleanup_older_than=FOREVER)
        state = TableState.of(table, keep_versions)
    if state.is_compact and state.n_removable:
        table.optimize(cleanup_older_than=datetime.now(UTC) - state.needed_since)

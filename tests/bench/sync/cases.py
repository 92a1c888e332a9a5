"""Every row of `scripts/bench sync`."""

from tests.bench.goals import at_least_times, at_most, at_most_times
from tests.bench.samples import Source
from tests.bench.specs import Spec

SYNCTHING = "syncthing"
TUNNEL = "connect, 1 flow up"
FILES = 20_000
MANY_FILES = 100_000
LARGE_MIB = 1024

SAVED_P50 = "saved-p50"
SAVED_P99 = "saved-p99"
INITIAL = f"initial-{FILES}"
LARGE = f"file-{LARGE_MIB}MiB"
MEMORY = f"memory-{MANY_FILES}"

SYNC = [
    Spec(SAVED_P50, "ms", goal=at_most(150)),
    Spec(SAVED_P99, "ms", goal=at_most(300)),
    Spec(INITIAL, "s", Source(SYNCTHING, INITIAL), at_most_times(0.5)),
    Spec(LARGE, "MB/s", Source(TUNNEL, LARGE), at_least_times(0.8), is_paired=True),
    Spec(MEMORY, "MB", goal=at_most(150)),
]

"""Every row of `scripts/bench gateway`."""

from collections.abc import Iterable, Mapping, Sequence

from tests.bench.gateway.faults import FAULTS, Fault
from tests.bench.goals import at_most
from tests.bench.samples import Source
from tests.bench.specs import Spec

WITHOUT = "no-gateway"  # the same pod by a Service that nobody intercepts

FIRST_REQUEST, FIRST_REQUEST_KEPT = "exchange-first-request", "exchange-first-request-kept"
READY, IMAGE = "gateway-ready", "gateway-image"
MEMORY, MEMORY_OF_ONE = "gateway-memory", "gateway-memory-1-route"
KINDS, PERCENTS = ("new", "kept"), (50, 99)
RATE = "others-rate"
ADDED = "-added"
UNWATCHED = "unwatched"  # the same exchange while nobody watches it
WATCH_LOST, WATCH_CPU = "watch-lost", "watch-cpu"
WATCH_PERCENTS = (50, 99)


def others(kind: str, percent: int) -> str:
    """Name of the figure: how long a request takes that is not intercepted."""
    return f"others-{kind}-p{percent}"


def watched(percent: int) -> str:
    """Name of the figure: how long a request of an exchange takes that `ktpy watch` shows."""
    return f"watch-p{percent}"


def failed(fault: Fault) -> str:
    return f"{fault.name}-failed"


def slowest(fault: Fault) -> str:
    return f"{fault.name}-slowest"


def outage(fault: Fault) -> str:
    """Name of the figure: from the first request that failed to the last."""
    return f"{fault.name}-outage"


def retried(fault: Fault) -> str:
    """Name of the figure: requests that were sent once more, as their kept connection ended before the answer."""
    return f"{fault.name}-retried"


def figures(fault: Fault) -> tuple[str, str, str, str]:
    """All four."""
    return failed(fault), slowest(fault), outage(fault), retried(fault)


def differences(through: Mapping[str, float], without: Mapping[str, float]) -> dict[str, float]:
    """What the gateway adds to how long requests take."""
    return {f"{name}{ADDED}": value - without[name] for name, value in through.items() if name != RATE}


def _others_rows() -> Iterable[Spec]:
    for kind in KINDS:
        for percent in PERCENTS:
            yield Spec(others(kind, percent), "ms", Source(WITHOUT, others(kind, percent)))
            yield Spec(others(kind, percent) + ADDED, "ms")
    yield Spec(RATE, "1/s", Source(WITHOUT, RATE))


def _watch_rows() -> Iterable[Spec]:
    for percent in WATCH_PERCENTS:
        yield Spec(watched(percent), "ms", Source(UNWATCHED, watched(percent)))
        yield Spec(watched(percent) + ADDED, "ms", goal=at_most(1))
    yield Spec(WATCH_CPU, "ms/request", Source(UNWATCHED, WATCH_CPU))
    yield Spec(WATCH_LOST, "requests", goal=at_most(0), is_worst=True)


def _fault_rows(fault: Fault) -> Iterable[Spec]:
    yield Spec(failed(fault), "requests", goal=at_most(fault.may_fail), is_worst=True)
    yield Spec(slowest(fault), "s", goal=None if fault.kills_gateway else at_most(5), is_worst=True)
    if fault.kills_gateway:
        yield Spec(outage(fault), "s", is_worst=True)
        yield Spec(retried(fault), "requests", is_worst=True)


GATEWAY: Sequence[Spec] = (
    Spec(FIRST_REQUEST, "s", goal=at_most(1.6)),
    Spec(FIRST_REQUEST_KEPT, "s", goal=at_most(0.7)),
    Spec(READY, "s", goal=at_most(1.5)),
    Spec(MEMORY, "MB", goal=at_most(45)),
    Spec(MEMORY_OF_ONE, "MB"),
    Spec(IMAGE, "MB", goal=at_most(120)),
    *_others_rows(),
    *_watch_rows(),
    *(spec for fault in FAULTS for spec in _fault_rows(fault)),
)

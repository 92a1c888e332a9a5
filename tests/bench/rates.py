"""Throughput of several flows at once from what each receiver saw arrive."""

from bisect import bisect_left
from collections.abc import Sequence

# (seconds on the receiver's clock, bytes that had arrived by then), ascending; begins when the flow does, with 0 bytes.
Timeline = Sequence[tuple[float, int]]


def bytes_by(timeline: Timeline, moment_s: float) -> float:
    """How much had arrived at this moment, between two observations in proportion."""
    index = bisect_left(timeline, moment_s, key=lambda seen: seen[0])
    if index == 0:
        return float(timeline[0][1]) if timeline and timeline[0][0] == moment_s else 0.0
    if index == len(timeline):
        return float(timeline[-1][1])
    (earlier_s, earlier_bytes), (later_s, later_bytes) = timeline[index - 1], timeline[index]
    return earlier_bytes + (later_bytes - earlier_bytes) * (moment_s - earlier_s) / (later_s - earlier_s)


def gigabits_per_second(timelines: Sequence[Timeline], *, ramp_s: float, end_s: float) -> float:
    """The rate of all flows together from `ramp_s` to `end_s` after the first of them began.

    Counted at the receiver: what a sender has handed over may still lie in buffers, tens of megabytes of them. The
    ramp is left out (slow start); what arrives after `end_s` (the buffers emptying) is too. A flow that stalls or
    starts late counts as the nothing that it carried. ValueError when no flow began.
    """
    begins = [timeline[0][0] for timeline in timelines if timeline]
    if not begins:
        raise ValueError("no flow began")
    begin_s = min(begins)
    arrived = sum(
        bytes_by(timeline, begin_s + end_s) - bytes_by(timeline, begin_s + ramp_s) for timeline in timelines if timeline
    )
    return arrived * 8 / (end_s - ramp_s) / 1e9

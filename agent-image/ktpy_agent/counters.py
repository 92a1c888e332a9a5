"""The requests that each route served are summed over HAProxy's generations. Pure: text of `show stat` in."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Count(NamedTuple):
    requests: int
    """Answered by the laptop; connections, on a port that is not HTTP, and datagrams for it on one that is UDP."""
    fallbacks: int
    """Answered by the original pods in its place."""
    dropped: int = 0
    """A tap's copies that the laptop did not answer."""
    skipped: int = 0
    """A tap's requests that are of a kind which is not copied."""

    def plus(self, other: "Count") -> "Count":
        return Count(*map(sum, zip(self, other, strict=True)))


_NONE = Count(0, 0)
_RESPONSES = {f"hrsp_{kind}" for kind in ("1xx", "2xx", "3xx", "4xx", "5xx", "other")}


class Counters:
    """Counters add up workers: each reload starts one that counts from zero, while the old one still counts."""

    def __init__(self) -> None:
        self._ended: dict[str, Count] = {}
        self._workers: dict[int, dict[str, Count]] = {}
        self._up: frozenset[str] = frozenset()
        self._up_elsewhere: dict[str, frozenset[str]] = {}

    def update(self, statistics: dict[int, str]) -> None:
        """Take the present `show stat` of each live worker, the newest first.

        For one that is cut short it raises ValueError or LookupError, and takes none.
        """
        readings = {pid: _read(text) for pid, text in statistics.items()}
        for pid in self._workers.keys() - statistics.keys():
            for route, count in self._workers.pop(pid).items():
                self._ended[route] = self._ended.get(route, _NONE).plus(count)
        self._workers |= {pid: counts for pid, (counts, _) in readings.items()}
        self._up = next((up for _, up in readings.values()), frozenset())

    def add(self, counter: str, counts: Mapping[str, Count], up: Iterable[str]) -> None:
        """Add what another than HAProxy has counted, and note which of its routes are up now."""
        for route, count in counts.items():
            self._ended[route] = self._ended.get(route, _NONE).plus(count)
        self._up_elsewhere[counter] = frozenset(up)

    def count(self, route: str) -> Count:
        total = self._ended.get(route, _NONE)
        for counts in self._workers.values():
            total = total.plus(counts.get(route, _NONE))
        return total

    def is_up(self, route: str) -> bool:
        """Return whether requests go to the laptop now."""
        return route in self._up or any(route in up for up in self._up_elsewhere.values())


def _read(text: str) -> tuple[dict[str, Count], frozenset[str]]:
    """Return counts by route, and the routes that are up. Back ends are `route3_h1`, `route3_h2` or `route3_tcp`.

    `origin80`, where a port's requests go that no route takes, counts as a route that has fallbacks only.
    """
    header, *rows = text.removeprefix("# ").splitlines() or [""]
    column = {name: number for number, name in enumerate(header.split(","))}
    answers = [number for name, number in column.items() if name in _RESPONSES]
    counts: dict[str, Count] = {}
    up: dict[str, bool] = {}
    for row in rows:
        cells = row.split(",")
        route, _, variant = cells[0].partition("_")
        if not route.startswith(("route", "origin")):
            continue
        # Responses, where HAProxy understands them, else connections.
        answered = sum(int(cells[number] or 0) for number in ([column["stot"]] if variant == "tcp" else answers))
        is_local = cells[column["svname"]] == "local"
        counts[route] = counts.get(route, _NONE).plus(Count(answered, 0) if is_local else Count(0, answered))
        if is_local:  # each HTTP version has a server, whose first check may be to come
            up[route] = up.get(route, True) and cells[column["status"]].startswith("UP")
    return counts, frozenset(route for route, is_up in up.items() if is_up)

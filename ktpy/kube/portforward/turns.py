"""How much one turn of the event loop takes from a port-forward."""

import math
import time
from collections.abc import Callable
from typing import Final

LONG_BYTES: Final = 256 << 10
"""uvloop would take megabytes of a download, and whatever else there is would wait for all of them."""
SHORT_BYTES: Final = 64 << 10
"""While datagrams are under way: they wait half as long, and a turn costs the same for a fourth of the bytes."""
SHORT_REST_S: Final = 0.002
"""After a short turn: without a rest, the API server, the node and the pod are never done with the download, and each
of a datagram's ten ways through them waits for its turn there."""
SHORT_FOR_S: Final = 0.25


class Turns:
    """Turns are shared by the port-forwards of a session: how long each is, and the rest after it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._short_until_s = -math.inf

    def shorten(self) -> None:
        """Take less in a turn for a while, and rest, as there is something that should not wait."""
        self._short_until_s = self._clock() + SHORT_FOR_S

    @property
    def most_bytes(self) -> int:
        return SHORT_BYTES if self._are_short else LONG_BYTES

    @property
    def rest_s(self) -> float:
        return SHORT_REST_S if self._are_short else 0.0

    @property
    def _are_short(self) -> bool:
        return self._clock() < self._short_until_s

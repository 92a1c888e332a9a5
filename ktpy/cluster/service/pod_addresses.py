"""The addresses of a workload's pods as they are at the moment, the ready ones."""

import random
import time
from collections.abc import Callable, Sequence

from ktpy.cluster.service.running_pod import is_ready, pods_of
from ktpy.cluster.service.workload import Workload
from ktpy.kube.client import Api
from ktpy.kube.objects import status_of
from ktpy.kube.refusals import NotFound

FRESH_S = 1.0


class PodAddresses:
    """A PodAddresses asks the API server once a second at most."""

    def __init__(self, api: Api, workload: Workload, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._workload, self._clock = api, workload, clock
        self._known: list[str] = []
        self._until_s = 0.0

    async def now(self) -> Sequence[str]:
        """Return them in an order of chance, so that connections spread. Raises KtpyError."""
        if self._clock() >= self._until_s:
            try:
                pods = await pods_of(self._api, self._workload)
            except NotFound:
                pods = []
            found = [status_of(pod).get("podIP") for pod in pods if is_ready(pod)]
            self._known = [address for address in found if address]
            self._until_s = self._clock() + FRESH_S
        return random.sample(self._known, len(self._known))

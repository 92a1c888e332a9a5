"""`ktpy exchange`, `mesh` and `preview` in the foreground of a terminal on the laptop, with JSON events."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.lab import Lab, LabError
from tests.lab.sessions.foreground import Foreground

KINDS = {"service": "api/v1", "deployment": "apis/apps/v1", "pod": "api/v1", "lease": "apis/coordination.k8s.io/v1"}
"""What ktpy makes for an intercept, and where the API server has it."""


class Intercept(Foreground):
    """One command; several users, and several commands of one, run side by side."""

    def __init__(
        self,
        lab: Lab,
        kind: str,
        target: str,
        *options: str,
        user: str = "dev",
        program: Sequence[str] = ("ktpy",),
    ) -> None:
        super().__init__(lab, [*program, kind, target, "--output", "json", *options], user=user)
        self.kind, self.target = kind, target

    def wait_ready(self) -> dict[str, Any]:
        """Its status when it stands."""
        self.wait_for('"kind": "ready"')
        return dict(self.events("ready")[0]["status"])

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What it has told of one kind."""
        events = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return [event for event in events if event["kind"] == kind]

    def notices(self) -> str:
        return "\n".join(event["text"] for event in self.events("notice"))

    def leave(self) -> None:
        """`ktpy leave` from another terminal; both must end well."""
        done = self._lab.exec(["ktpy", "leave", self.target], user=self._user)
        assert done.returncode == 0, done.stderr + self.output
        assert self.wait_ended() == 0, self.output

    def close(self) -> None:
        if self.process.poll() is None:
            self._lab.exec(["ktpy", "leave", self.target], user=self._user)
        self.end()


@contextmanager
def intercepting(
    lab: Lab,
    kind: str,
    target: str,
    *options: str,
    user: str = "dev",
    namespace: str = "shop",
    program: Sequence[str] = ("ktpy",),
) -> Iterator[Intercept]:
    """One that stands; it is ended with the block if nobody ended it before."""
    intercept = Intercept(lab, kind, target, "--namespace", namespace, *options, user=user, program=program)
    try:
        intercept.wait_ready()
        yield intercept
    finally:
        intercept.close()


def ktpys_objects(lab: Lab, namespace: str) -> list[str]:
    """All that ktpy has in a namespace, as `kind/name`. It is polled, and costs a tenth of kubectl."""
    api, found = lab.api, []
    for kind, group in KINDS.items():
        listed = api.get(f"/{group}/namespaces/{namespace}/{kind}s?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dktpy")
        if listed is None:
            raise LabError(f"the API server does not tell which {kind}s there are in namespace {namespace}")
        found += [f"{kind}/{item['metadata']['name']}" for item in listed["items"]]
    return found

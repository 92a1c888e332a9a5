"""What a shadow pod tells of its workload: the environment, and the files of the volumes. Pure.

A second container of the agent's image has the workload's environment, and nothing else to do than to write it down for
the agent; so the kubelet resolves it, and no variable of the workload's reaches the agent. The volumes are mounted
below a folder of the agent's. A laptop asks on a channel of its own, beside the session's.
"""

import json
from typing import Final, NamedTuple

COMMAND: Final = "ktpy-agent surroundings"
"""What a laptop asks sshd to run. It sends a `Request`; the agent answers with a `PodEnvironment`, then with files."""
ENVIRONMENT_ROLE: Final = "environment"
"""`ktpy-agent environment PREFIX...` is what the second container runs: each prefix is of a folder in SECRETS_DIR."""
ENVIRONMENT_DIR: Final = "/run/ktpy-environment"
"""The two containers share this emptyDir, which is in memory."""
SECRETS_DIR: Final = "/run/ktpy-secrets"
"""Folder N in it holds the Secret behind the N-th prefix, whose keys are names of variables."""
OWN_VARIABLES: Final = frozenset({"PATH", "LANG", "HOME", "HOSTNAME", "TERM", "container"})
"""Images and container runtimes set these. With the value that the agent has, too, they are not the workload's."""


class PodEnvironment(NamedTuple):
    """A PodEnvironment is what the kubelet made of a container's `env` and `envFrom`, and of the Services' links."""

    variables: dict[str, str]
    secret_names: tuple[str, ...] = ()
    """These variables may have come from Secrets that are taken as a whole (`envFrom`)."""
    host_name: str = ""
    pod_ip: str = ""

    def line(self) -> bytes:
        """Render it. Bytes that are no UTF-8 travel as surrogates (PEP 383)."""
        return json.dumps(self._asdict()).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes | str) -> "PodEnvironment":
        """Read it; keys it does not know are ignored. Raises ValueError for anything else."""
        try:
            message = json.loads(line)
            variables, names = message["variables"], message["secret_names"]
            hosts = str(message["host_name"]), str(message["pod_ip"])
            return cls({str(name): str(value) for name, value in variables.items()}, tuple(names), *hosts)
        except (KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise ValueError(f"what it tells of the environment lacks {exc}") from exc

    def without_own(self, own: dict[str, str]) -> "PodEnvironment":
        """Leave out what a container of this image has anyway; `own` is the environment of the agent's container."""
        variables = {
            name: value for name, value in self.variables.items() if name not in OWN_VARIABLES or own.get(name) != value
        }
        return self._replace(variables=variables, host_name=own.get("HOSTNAME", self.host_name))


def parse_environ(data: bytes) -> dict[str, str]:
    """Read `/proc/PID/environ` (proc(5)): NAME=VALUE, each ended by a NUL. Of two with one name the first counts."""
    pairs = (item.partition("=") for item in data.decode(errors="surrogateescape").split("\0") if item)
    return {name: value for name, _, value in reversed(list(pairs))}

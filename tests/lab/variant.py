"""What can be chosen of a lab's cluster, with `scripts/lab up --kubernetes 1.35 --proxy-mode nftables`."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab import binaries
from tests.lab.errors import LabError
from tests.lab.layout import Layout


def release(text: str) -> str:
    """The version that `--kubernetes` means: 1.35.4 is itself, 1.35 the one of its releases that the tests run on."""
    match = re.fullmatch(r"v?(1\.\d+)(\.\d+)?", text)
    if match is None:
        raise LabError(f"{text!r} is no version of Kubernetes: 1.35.4, or 1.35")
    if match[2]:
        return match[1] + match[2]
    for known in (binaries.DEFAULT_RELEASE, *binaries.OTHER_RELEASES):
        if known.startswith(f"{match[1]}."):
            return known
    raise LabError(f"which release of {match[1]}? Say it with its patch version, such as {match[1]}.0")


@dataclass(frozen=True)
class Variant:
    """What a lab is, or is to be."""

    kubernetes: str = binaries.DEFAULT_RELEASE
    proxy_mode: str = "iptables"
    network_policies: str = "ignored"
    ingress: str = "none"
    containerd: str = "machine"
    """The machine's own with its runc, or "2": both are built."""
    feature_gates: str = ""
    """As the API server and the kubelet are told: `Name=true,Other=false`."""

    @property
    def gates(self) -> dict[str, bool]:
        """Whether each of the gates named is open."""
        pairs = (pair.partition("=") for pair in self.feature_gates.split(",") if pair)
        return {name: value == "true" for name, _, value in pairs}

    @classmethod
    def read(cls, layout: Layout) -> "Variant":
        """Return what the lab is; of one that is not there, what it would be."""
        try:
            return cls(**json.loads(_file(layout).read_text()))
        except FileNotFoundError:
            return cls()

    def write(self, layout: Layout) -> None:
        _file(layout).write_text(json.dumps(asdict(self)))


def _file(layout: Layout) -> Path:
    return layout.run_dir / "variant.json"

"""Names of images: REGISTRY/NAME:TAG. Pure."""

import ipaddress
import re
from typing import Final

from ktpy.errors import UsageError
from ktpy.frozen import dataclass

_PART: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(
    rf"(?P<registry>localhost|[\w-]+(?:\.[\w-]+)+|[\w-]+(?=:[0-9])|\[[0-9a-fA-F:]+\])(?P<port>:[0-9]{{1,5}})?"
    rf"/(?P<repository>{_PART}(?:/{_PART})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?"
)
"""As the OCI distribution specification has it; what is before the first slash is a registry where it has a dot or a
port, or is localhost."""


@dataclass(frozen=True, slots=True)
class ImageName:
    """An ImageName is where an image lies in a registry."""

    registry: str
    """Its host, with the port where one is named."""
    repository: str
    tag: str

    @property
    def host(self) -> str:
        return self.registry.rpartition(":")[0] if re.search(r":[0-9]+$", self.registry) else self.registry

    @property
    def is_here(self) -> bool:
        """Whether the registry is on this laptop's loopback."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"


def parse(text: str, default_tag: str) -> ImageName:
    """Read an image's name. Raises UsageError where it names no registry, or is no name."""
    if found := _NAME.fullmatch(text):
        return ImageName(found["registry"] + (found["port"] or ""), found["repository"], found["tag"] or default_tag)
    is_hubs = re.fullmatch(rf"{_PART}(?:/{_PART})+(?::\w[\w.-]*)?", text)
    raise UsageError(
        f"{text} {'names no registry' if is_hubs else 'is no name of an image'}.",
        hint=f"docker.io/{text} is meant?" if is_hubs else "Such as registry.example.org/team/ktpy-agent:0.1.0.",
    )

"""`ktpy image push`: the agent image comes to where a cluster's nodes pull it from."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from ktpy import __version__
from ktpy.frozen import dataclass
from ktpy.image import archive, login, name
from ktpy.image.registry import Registry


@dataclass(frozen=True, slots=True)
class Pushed:
    """Pushed is what a registry has got."""

    image: str
    digest: str
    platform: str


def push(text: str, file: Path, *, plain_http: bool, authority: Path | None, tell: Callable[[str], None]) -> Pushed:
    """Push the image of an archive under this name, whose tag is ktpy's version unless it has one.

    `authority` is a file of certificates to trust. Raises UsageError, RegistryUnreachable, RegistryRefused.
    """
    target = name.parse(text, __version__)
    registry = Registry(target, login.find(target), plain_http=plain_http, authority=authority)
    with tempfile.TemporaryDirectory(prefix="ktpy-image-") as scratch:
        image = archive.read(file, Path(scratch))
        return Pushed(str(target), registry.push(image, tell), image.platform)

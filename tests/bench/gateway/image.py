"""How large an image is that `docker save` has written."""

import json
import tarfile
from pathlib import Path
from typing import IO

from tests.bench.errors import BenchError


def unpacked_mb(archive: Path) -> float:
    """All files of its layers, in MB; BenchError when it is no such archive."""
    with tarfile.open(archive) as image:
        [manifest] = json.load(_file(image, "manifest.json"))
        total_bytes = 0
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=_file(image, name)) as layer:
                total_bytes += sum(member.size for member in layer)
    return total_bytes / 1e6


def _file(image: tarfile.TarFile, name: str) -> IO[bytes]:
    """Layers may be links to one another."""
    try:
        found = image.extractfile(name)
    except KeyError:
        found = None
    if found is None:
        raise BenchError(f"the image's archive has no file {name}")
    return found

"""The size of an image."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.bench.errors import BenchError
from tests.bench.gateway.image import unpacked_mb


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def layer(directory: Path, size: int) -> bytes:
    return archive(directory / "layer.tar", {"usr/bin/program": bytes(size)}).read_bytes()


def test_the_files_of_all_layers_count(tmp_path: Path) -> None:
    layers = {"one.tar": layer(tmp_path, 1_500_000), "two.tar": layer(tmp_path, 250_000)}
    manifest = json.dumps([{"Layers": list(layers)}]).encode()
    assert unpacked_mb(archive(tmp_path / "image.tar", layers | {"manifest.json": manifest})) == 1.75


def test_another_archive_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"manifest\.json"):
        unpacked_mb(archive(tmp_path / "image.tar", {"file": b""}))

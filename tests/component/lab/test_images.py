"""The archive that containerd imports."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from tests.lab import images


def make_layer(path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("hello")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"hi"))
    return path


def test_manifest_config_and_layer_name_each_other(tmp_path: Path) -> None:
    layer = make_layer(tmp_path / "layer.tar")
    images.write_docker_archive(tmp_path / "image.tar", "localhost/x:1", layer, entrypoint=["/hello"])
    with tarfile.open(tmp_path / "image.tar") as tar:
        contents = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    (manifest,) = json.loads(contents["manifest.json"])
    config = contents[manifest["Config"]]
    assert manifest["RepoTags"] == ["localhost/x:1"]
    assert manifest["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
    assert contents[manifest["Layers"][0]] == layer.read_bytes()
    assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer.read_bytes()).hexdigest()}"]


def test_the_same_layer_gives_the_same_archive(tmp_path: Path) -> None:
    layer = make_layer(tmp_path / "layer.tar")
    for name in ("one.tar", "two.tar"):
        images.write_docker_archive(tmp_path / name, "localhost/x:1", layer, entrypoint=[])
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()

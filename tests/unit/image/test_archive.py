import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from ktpy.errors import UsageError
from ktpy.image import archive
from tests.unit.image.images import make_image, make_layer


def tar(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def of_docker(path: Path, layer: bytes, digest: str | None = None, images: int = 1) -> Path:
    """As Docker before 25 writes it: layers are not compressed."""
    diff_id = digest or f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = json.dumps({"os": "linux", "architecture": "arm64", "rootfs": {"diff_ids": [diff_id]}}).encode()
    manifest = json.dumps([{"Config": "c", "RepoTags": ["a:1"], "Layers": ["l"]}] * images).encode()
    return tar(path, **{"c": config, "l": layer, "manifest.json": manifest})


def test_what_is_written_is_read_as_either_format(tmp_path: Path) -> None:
    image = make_image(b"one", b"two", b"one")
    archive.write(image, "registry.example.org/agent:1", tmp_path / "image.tar")
    assert [one.name for one in tmp_path.iterdir()] == ["image.tar"]
    with tarfile.open(tmp_path / "image.tar") as file:
        parts = {name: file.extractfile(name).read() for name in file.getnames()}  # type: ignore[union-attr]
    (entry,) = json.loads(parts["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "registry.example.org/agent:1"
    assert json.loads(parts["manifest.json"])[0]["RepoTags"] == ["registry.example.org/agent:1"]
    oci = tar(tmp_path / "oci.tar", **{key: value for key, value in parts.items() if key != "manifest.json"})
    for path in (tmp_path / "image.tar", oci):
        assert archive.read(path, tmp_path).manifest.digest == image.manifest.digest == entry["digest"]


def test_layers_that_are_not_compressed_are_always_in_the_same_way(tmp_path: Path) -> None:
    found = [archive.read(of_docker(tmp_path / name, make_layer(b"x")), tmp_path) for name in ("a", "b")]
    assert found[0].manifest.digest == found[1].manifest.digest
    assert found[0].platform == "linux/arm64"
    assert found[0].layers[0].media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
    with found[0].layers[0].open() as file, tarfile.open(fileobj=file, mode="r:gz") as layer:
        assert layer.getnames() == ["file"]


def test_what_is_no_archive_of_one_image(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tar")
    for path, sentence in (
        (tmp_path / "absent", "cannot be read: No such file"),
        (tmp_path / "text", "is no archive of one image"),
        (tar(tmp_path / "empty", other=b""), "is no archive of one image"),
        (of_docker(tmp_path / "two", b"", images=2), "is no archive of one image"),
        (of_docker(tmp_path / "changed", b"x", digest="sha256:0"), "the layer l is not what its digest says"),
    ):
        with pytest.raises(UsageError, match=sentence):
            archive.read(path, tmp_path)

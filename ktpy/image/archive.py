"""Images as archives: the formats of `docker save` and of OCI, read and written.

What is written is both at once, as Docker 25 and later write it: an OCI image layout with Docker's manifest.json
beside, so that whatever imports images takes it.
"""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final, cast

from ktpy.errors import UsageError
from ktpy.frozen import dataclass

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
_COMPRESSIONS: Final = {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"}
"""By the first two bytes."""
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """A Blob is a part of an image, which its digest names. `open` opens it anew each time."""

    media_type: str
    digest: str
    size: int
    open: Callable[[], IO[bytes]]

    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Image:
    """An Image is a configuration and its layers, lowest first."""

    config: Blob
    layers: tuple[Blob, ...]

    @property
    def manifest(self) -> Blob:
        parts = {"config": self.config.descriptor(), "layers": [one.descriptor() for one in self.layers]}
        return of_bytes(MANIFEST_TYPE, _json({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, **parts}))

    @property
    def platform(self) -> str:
        """Its system and processor, such as linux/amd64."""
        with self.config.open() as file:
            config = json.load(file)
        return f"{config.get('os', 'linux')}/{config.get('architecture', '')}"


def of_bytes(media_type: str, content: bytes) -> Blob:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Blob(media_type, digest, len(content), lambda: io.BytesIO(content))


def of_file(media_type: str, path: Path) -> Blob:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Blob(media_type, f"sha256:{digest}", path.stat().st_size, lambda: path.open("rb"))


def compress(source: IO[bytes], target: Path) -> str:
    """Write a layer to a file, compressed and reproducible; return the digest of what it was."""
    digest = hashlib.sha256()
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return f"sha256:{digest.hexdigest()}"


def read(archive: Path, scratch: Path) -> Image:
    """Return the image of an archive. Layers that are not compressed are, into files of `scratch`.

    Raises UsageError where it is no archive of one image, or its parts are not what their digests say.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            return _read(tar, scratch)
    except OSError as error:
        raise UsageError(f"{archive} cannot be read: {error.strerror or error}.") from None
    except (tarfile.TarError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"{archive} is no archive of one image ({error}).") from None


def write(image: Image, name: str, archive: Path) -> None:
    """Write the image under this name. The archive has its name once it is whole."""
    partial = archive.with_name(f".{archive.name}.partial")
    manifest = image.manifest
    named = manifest.descriptor() | {
        "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    }
    docker = {"Config": _path(image.config), "RepoTags": [name], "Layers": [_path(one) for one in image.layers]}
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            for blob in (image.config, manifest, *{one.digest: one for one in image.layers}.values()):
                with blob.open() as file:
                    _add(tar, _path(blob), blob.size, file)
            for member, value in (
                ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
                ("index.json", {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [named]}),
                ("manifest.json", [docker]),
            ):
                content = _json(value)
                _add(tar, member, len(content), io.BytesIO(content))
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)


def _read(tar: tarfile.TarFile, scratch: Path) -> Image:
    names = set(tar.getnames())
    if "manifest.json" in names:
        (described,) = json.loads(_member(tar, "manifest.json").read())
        config, layers = described["Config"], described["Layers"]
    else:
        (entry,) = json.loads(_member(tar, "index.json").read())["manifests"]
        manifest = json.loads(_member(tar, _path(entry["digest"])).read())
        config, layers = _path(manifest["config"]["digest"]), [_path(one["digest"]) for one in manifest["layers"]]
    content = _member(tar, config).read()
    diff_ids = cast(Mapping[str, Any], json.loads(content))["rootfs"]["diff_ids"]
    if len(diff_ids) != len(layers):
        raise ValueError(f"{len(layers)} layers, but {len(diff_ids)} digests of layers")
    parts = [
        _layer(tar, name, diff_id, scratch / f"layer-{number}")
        for number, (name, diff_id) in enumerate(zip(layers, diff_ids, strict=True))
    ]
    return Image(of_bytes(CONFIG_TYPE, content), tuple(parts))


def _layer(tar: tarfile.TarFile, name: str, diff_id: str, file: Path) -> Blob:
    source = _member(tar, name)
    compression = _COMPRESSIONS.get(source.read(2), "")
    source.seek(0)
    if compression:
        with file.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
    found = "" if compression else compress(source, file)
    blob = of_file(LAYER_TYPE + (compression or "+gzip"), file)
    if compression == "+gzip":
        with gzip.open(file) as content:
            found = f"sha256:{hashlib.file_digest(cast(Any, content), 'sha256').hexdigest()}"
    if found and found != diff_id:
        raise ValueError(f"the layer {name} is not what its digest says")
    return blob


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file


def _add(tar: tarfile.TarFile, name: str, size: int, file: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    tar.addfile(member, file)


def _path(blob: Blob | str) -> str:
    digest = blob if isinstance(blob, str) else blob.digest
    return f"blobs/{digest.replace(':', '/')}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

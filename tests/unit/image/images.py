"""Images of a few bytes."""

import gzip
import hashlib
import io
import json
import tarfile

from ktpy.image.archive import CONFIG_TYPE, LAYER_TYPE, Image, of_bytes


def make_layer(content: bytes) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            member = tarfile.TarInfo("file")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        return file.getvalue()


def make_image(*contents: bytes) -> Image:
    """An image with a layer for each content."""
    layers = [make_layer(one) for one in contents]
    diff_ids = [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    packed = [gzip.compress(one, 6, mtime=0) for one in layers]
    return Image(
        of_bytes(CONFIG_TYPE, json.dumps(config).encode()),
        tuple(of_bytes(f"{LAYER_TYPE}+gzip", one) for one in packed),
    )

"""The lab's container images, made without a registry and without a container engine."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from ktpy.image import dockerfile
from tests.lab import binaries, cache, debian
from tests.lab.layout import REPOSITORY
from tests.lab.report import Ticker, say

PAUSE_IMAGE = "localhost/pause:1"
COREDNS_IMAGE = "localhost/coredns:1"
WORKLOAD_IMAGE = "localhost/ktpy-workload:1"

# What the tests' and the demo's pods run: servers and clients of every kind.
WORKLOAD_PACKAGES = [
    "ca-certificates",
    "curl",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "netcat-openbsd",
    "procps",
    "python3",
    "socat",
]
EPOCH = "1970-01-01T00:00:00Z"
KEEP_STDLIB = """set -e
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
mkdir "$1/srv/packages"
cd "$1/srv/packages"
apt-get download "lib$(basename "$1"/usr/lib/python3.[0-9]*)-stdlib"
package=$(echo *.deb)
{
  dpkg-deb --field "$package"
  printf 'Filename: ./%s\\nSize: %s\\n' "$package" "$(stat --format=%s "$package")"
  printf 'SHA256: %s\\n' "$(sha256sum "$package" | cut -c1-64)"
} > Packages
rm -f "$1"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/packages ./' > "$1"/etc/apt/sources.list
"""
"""Makes a folder the only source of packages: with the one that the agent image's Dockerfile unpacks by hand."""


def write_docker_archive(archive: Path, name: str, layer: Path, *, entrypoint: list[str]) -> None:
    """An image of one layer in the format of `docker save`, which containerd imports; reproducible."""
    with layer.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": debian.architecture(),
            "os": "linux",
            "created": EPOCH,
            "config": {"Entrypoint": entrypoint, "Env": [f"PATH={debian.SYSTEM_PATH}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": EPOCH}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_name = f"{digest}/layer.tar"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]).encode()
    with tarfile.open(archive, "w") as tar:
        for member_name, data in ((config_name, config), ("manifest.json", manifest)):
            member = tarfile.TarInfo(member_name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        member = tarfile.TarInfo(layer_name)
        member.size = layer.stat().st_size
        with layer.open("rb") as stream:
            tar.addfile(member, stream)


def single_program_image(kind: str, name: str, program: Path) -> Path:
    """The archive of an image with nothing but this program, which is its entry point."""

    def make(directory: Path) -> None:
        layer = directory / "layer.tar"
        with tarfile.open(layer, "w") as tar:
            member = tar.gettarinfo(program, arcname=program.name)
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            member.mtime = 0
            with program.open("rb") as stream:
                tar.addfile(member, stream)
        write_docker_archive(directory / "image.tar", name, layer, entrypoint=[f"/{program.name}"])
        layer.unlink()

    return cache.artifact(kind, [name, program.parent.name], make) / "image.tar"


def base_tar() -> Path:
    """A Debian root file system with apt, on which images are built."""

    def make(directory: Path) -> None:
        ticker = Ticker()
        say(f"making a {debian.base_release()} root file system, once: up to a minute")
        debian.bootstrap(directory / "base.tar", variant="apt", packages=[])
        say(f"  made in {ticker.elapsed()}")

    inputs = [debian.base_release(), debian.architecture(), "apt"]
    return cache.artifact("base", inputs, make) / "base.tar"


def self_sufficient_base_tar() -> Path:
    """The same with what the agent image's Dockerfile installs, so that it is built without a network."""
    packages = list(dockerfile.parse((REPOSITORY / "agent-image/Dockerfile").read_text()).packages)

    def make(directory: Path) -> None:
        ticker = Ticker()
        say("making the same with the packages of the agent image, once: up to a minute")
        debian.bootstrap(directory / "base.tar", variant="apt", packages=packages, hooks=[KEEP_STDLIB])
        say(f"  made in {ticker.elapsed()}")

    inputs = [debian.base_release(), debian.architecture(), KEEP_STDLIB, *packages]
    return cache.artifact("self-sufficient-base", inputs, make) / "base.tar"


def workload_image() -> Path:
    def make(directory: Path) -> None:
        ticker = Ticker()
        say(f"making the image {WORKLOAD_IMAGE}, once: up to a minute")
        layer = directory / "layer.tar"
        debian.bootstrap(layer, variant="essential", packages=WORKLOAD_PACKAGES)
        write_docker_archive(directory / "image.tar", WORKLOAD_IMAGE, layer, entrypoint=[])
        layer.unlink()
        say(f"  made in {ticker.elapsed()}")

    inputs = [WORKLOAD_IMAGE, debian.base_release(), debian.architecture(), *WORKLOAD_PACKAGES]
    return cache.artifact("workload", inputs, make) / "image.tar"


def archives() -> list[Path]:
    """Every image a lab starts with; pause first, because no pod runs without it."""
    return [
        single_program_image("pause-image", PAUSE_IMAGE, binaries.pause() / "pause"),
        single_program_image("coredns-image", COREDNS_IMAGE, binaries.coredns() / "coredns"),
        workload_image(),
    ]

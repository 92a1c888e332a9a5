"""Debian packages without root: resolved and fetched by apt, whose lists and records are in a folder of ours.

The machine's own sources are used, and its keys. A Debian before 13 takes them of 13, as the Dockerfile does.
"""

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from ktpy.errors import ImageNotBuilt

RELEASE: Final = ("trixie", 13)
FORMAT: Final = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
_WORDS: Final = 300


def fetch(packages: Iterable[str], folder: Path) -> list[Path]:
    """Fetch the packages with all that they depend on, and the rest of Python's library, into a folder.

    Returns the files, the latter last. Raises ImageNotBuilt.
    """
    archives = folder / "archives"
    (archives / "partial").mkdir(parents=True)
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "status").touch()  # nothing is installed
    release = platform.freedesktop_os_release()
    found = list(sources(_targets(folder), release))
    if not found:  # in a container there are no lists, by which a source's origin would be known
        _apt(folder, "update")
        found = list(sources(_targets(folder, own=True), release))
    if not found:
        raise ImageNotBuilt(f"apt-get knows no source of {release.get('PRETTY_NAME', 'this system')} on this machine.")
    (folder / "sources.list").write_text("\n".join([*found, ""]))
    own = (f"Dir::Etc::SourceList={folder}/sources.list", "Dir::Etc::SourceParts=/dev/null")
    _apt(folder, "update", *own)
    _apt(folder, "install", *own, words=("--yes", "--download-only", "--no-install-recommends", *packages))
    fetched = sorted(archives.glob("*.deb"))
    python = next((name for one in fetched if (name := re.match(r"libpython3\.\d+(?=-minimal_)", one.name))), None)
    if python is None:
        raise ImageNotBuilt("apt-get fetched no Python.")
    _apt(folder, "download", *own, words=(f"{python[0]}-stdlib",))
    return [*fetched, *sorted(set(archives.glob("*.deb")) - set(fetched))]


def sources(targets: str, release: dict[str, str]) -> Iterator[str]:
    """Yield apt's lines for the machine's own distribution, of what `apt-get indextargets` tells in FORMAT. Pure."""
    names = {release["ID"], *release.get("ID_LIKE", "").split()}
    is_old = release["ID"] == "debian" and int(release.get("VERSION_ID", RELEASE[1])) < RELEASE[1]
    lines = set()
    for line in targets.splitlines():
        origin, uri, suite, component = line.split("|")
        if origin.lower() in names:
            chosen = suite.replace(release["VERSION_CODENAME"], RELEASE[0], 1) if is_old else suite
            lines.add(
                f"deb [signed-by={keys}] {uri} {chosen} {component}"
                if (keys := _keys(origin))
                else f"deb {uri} {chosen} {component}"
            )
    yield from sorted(lines)


def content(package: Path) -> "subprocess.Popen[bytes]":
    """Return dpkg-deb, whose standard output is the package's files as a tar."""
    return subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)


def fields(package: Path) -> str:
    """Return what the package says of itself, as it stands in dpkg's list of those installed."""
    return subprocess.run(["dpkg-deb", "--field", package], capture_output=True, text=True, check=True).stdout


def _keys(origin: str) -> str | None:
    path = Path(f"/usr/share/keyrings/{origin.lower()}-archive-keyring.gpg")
    return str(path) if path.exists() else None


def _targets(folder: Path, *, own: bool = False) -> str:
    options = _options(folder) if own else []
    command = ["apt-get", "indextargets", *options, "--format", FORMAT, "Created-By: Packages"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _options(folder: Path, *more: str) -> list[str]:
    settings = (
        f"Dir::State={folder}",
        f"Dir::State::status={folder}/status",
        f"Dir::State::lists={folder}/lists",
        f"Dir::Cache={folder}",
        f"Dir::Cache::archives={folder}/archives",
        "Dir::Etc::Preferences=/dev/null",
        "Dir::Etc::PreferencesParts=/dev/null",
        "Acquire::Languages=none",
        "APT::Sandbox::User=root",  # who is another user already may not become apt's
        "Debug::NoLocking=true",  # the folder is ours alone
        *more,
    )
    return [word for one in settings for word in ("-o", one)]


def _apt(folder: Path, verb: str, *settings: str, words: tuple[str, ...] = ()) -> None:
    done = subprocess.run(
        ["apt-get", "--quiet=2", *_options(folder, *settings), verb, *words],
        cwd=folder / "archives",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("E: ")] or [done.stderr.strip()]
        raise ImageNotBuilt(f"apt-get {verb} failed: {' '.join(said)[-_WORDS:]}")

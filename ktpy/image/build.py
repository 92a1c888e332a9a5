"""The agent image, built by what this laptop has, and kept in the user's cache."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import ktpy
from ktpy.errors import ImageNotBuilt, KtpyError
from ktpy.image import archive, packages

MAX_AGE_S: Final = 7 * 86400.0
"""A kept image is older than its packages' latest corrections; then it is built anew."""
_WORDS: Final = 300
_OF_APT: Final = re.compile(r"\b(W: Failed to fetch|E:) .*")
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
"""An engine that takes what programs say for its own gives it colours, on a terminal or not."""
_ELSEWHERE: Final = (
    "Install Docker or Podman, or build it elsewhere: --archive FILE takes what `docker save` writes there."
)


def build(
    name: str, builder: str | None, architecture: str | None, tell: Callable[[str], None], *, anew: bool = False
) -> Path:
    """Return an archive of the image under this name, from the cache unless it is to be built `anew`.

    Without a `builder` (docker, podman, buildah or packages) each one that is there is tried, in this order; `packages`
    are Debian's, unpacked, for which neither an engine nor root is needed. Raises ImageNotBuilt.
    """
    wanted = architecture or this_architecture()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ktpy/image"
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="build.", dir=cache) as work:
            context = Path(work) / "context"
            copy_context(context)
            kept = cache / f"image-{wanted}-{_key(context, name, builder or '')}.tar"
            if not anew and kept.exists() and time.time() - kept.stat().st_mtime < MAX_AGE_S:
                return kept
            _sweep(cache, Path(work))
            _build(name, builder, wanted, context, tell)
            (context / "image.tar").replace(kept)
    except OSError as error:
        raise ImageNotBuilt(f"The agent image cannot be built in {cache}: {error.strerror or error}.") from None
    return kept


def this_architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def copy_context(context: Path) -> None:
    """Copy what the image is built of: from beside ktpy's package in a checkout, from in it where it was installed."""
    package = Path(ktpy.__file__).parent
    own = next((one for one in (package / "agent-image", package.parent / "agent-image") if one.is_dir()), None)
    if own is None:
        raise ImageNotBuilt("This installation of ktpy has no sources of the agent image.", hint="Install ktpy anew.")
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(own, context / "agent-image", ignore=no_caches)
    shutil.copytree(package / "wire", context / "ktpy/wire", ignore=no_caches)
    shutil.copy(package / "__init__.py", context / "ktpy/__init__.py")


def _build(name: str, builder: str | None, architecture: str, context: Path, tell: Callable[[str], None]) -> None:
    chosen = [builder] if builder else list(_present())
    failure: KtpyError | None = None
    for one in chosen:
        if failure is not None:
            tell(failure.message)
        tell(
            f"built by {one}" if one != "packages" else "built of unpacked Debian packages, without a container engine"
        )
        try:
            if one == "packages":
                _by_packages(name, architecture, context, tell)
            else:
                _by_engine(one, name, architecture, context)
        except ImageNotBuilt as error:
            failure = error
        else:
            return
    raise failure or ImageNotBuilt(
        "The agent image cannot be built here: there is neither Docker nor Podman nor buildah, and no apt-get.",
        hint=_ELSEWHERE,
    )


def _present() -> Iterator[str]:
    for engine in ("docker", "podman"):  # whose daemon, if it has one, answers
        if shutil.which(engine) and subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0:
            yield engine
    if shutil.which("buildah"):
        yield "buildah"
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        yield "packages"


def _by_engine(engine: str, name: str, architecture: str, context: Path) -> None:
    file, target = context / "agent-image/Dockerfile", context / "image.tar"
    options = ("--platform", f"linux/{architecture}", "--tag", name)
    if engine == "docker":  # it may be a snap, which sees no hidden folder of the home: all comes and goes by pipes
        packed = context.with_name("context.tar")
        # Docker knows an archive by its first 512 bytes alone, which those of pax fill with a time's fraction.
        with tarfile.open(packed, "w", format=tarfile.GNU_FORMAT) as tar:
            tar.add(context, ".")
        _engine(engine, "build", *options, "--file", "agent-image/Dockerfile", "-", source=packed)
        _engine(engine, "save", name, target=target)
    elif engine == "podman":
        _engine(engine, "build", *options, "--file", str(file), str(context))
        _engine(engine, "save", "--output", str(target), name)
    else:
        _engine(engine, "bud", *options, "--file", str(file), str(context))
        _engine(engine, "push", name, f"docker-archive:{target}:{name}")


def _engine(engine: str, *words: str, source: Path = Path(os.devnull), target: Path | None = None) -> None:
    try:
        with source.open("rb") as stdin, target.open("wb") if target else nullcontext(subprocess.PIPE) as stdout:
            done = subprocess.run([engine, *words], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False)
    except OSError as error:
        raise ImageNotBuilt(f"{engine} cannot be run: {error.strerror}.") from None
    if done.returncode != 0:
        said = _reason((done.stdout or b"").decode(errors="replace"), done.stderr.decode(errors="replace"))
        raise ImageNotBuilt(f"{engine} {words[0]} failed with exit code {done.returncode}: {said}.")


def _reason(output: str, errors: str) -> str:
    """Return why an engine failed: what apt-get says first in there, or else the engine's own last words."""
    output, errors = (_COLOURS.sub("", text) for text in (output, errors))
    if of_apt := _OF_APT.search(f"{output}\n{errors}"):
        return of_apt[0][:_WORDS].rstrip(". ")
    return " ".join(errors.split())[-_WORDS:].rstrip(".")


def _by_packages(name: str, architecture: str, context: Path, tell: Callable[[str], None]) -> None:
    if architecture != this_architecture():
        raise ImageNotBuilt(
            f"An image for {architecture} cannot be built of packages on this machine, which is {this_architecture()}.",
            hint="Docker and Podman can, with QEMU's binfmt.",
        )
    if missing := next((one for one in ("apt-get", "dpkg-deb") if not shutil.which(one)), None):
        raise ImageNotBuilt(f"There is no {missing} here, which images are built of packages by.", hint=_ELSEWHERE)
    work = context.with_name("packages")
    work.mkdir()
    archive.write(packages.build(context, work, tell), name, context / "image.tar")


def _key(context: Path, *words: str) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for path in sorted(context.rglob("*")):
        if path.is_file():
            digest.update(f"\0{path.relative_to(context)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _sweep(cache: Path, own: Path) -> None:
    """Remove what killed builds left, and images that are too old."""
    for path in (*cache.glob("build.*"), *cache.glob("image-*.tar")):
        if path != own and time.time() - path.stat().st_mtime > MAX_AGE_S:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

"""The agent image of unpacked Debian packages: neither a container engine nor root, and no script of a package runs.

What those scripts would have made, and what the Dockerfile's do, is made here; its packages, files and settings are
read from it, and what to leave out from `shrink`.
"""

import fnmatch
import json
import os
import platform
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ktpy.errors import ImageNotBuilt
from ktpy.image import archive, debian, dockerfile
from ktpy.image.archive import Image
from ktpy.image.tree import Tree

BASE: Final = ("base-files", "base-passwd", "coreutils", "dash", "libc-bin")
"""What every Debian has, and a package need not say that it wants."""
_LEFT_OUT: Final = (
    *(
        "usr/share/doc*",
        "usr/share/man*",
        "usr/share/info*",
        "usr/share/locale*",
        "usr/share/lintian*",
        "usr/share/bug*",
    ),
    *("usr/lib/*/gconv*", "etc/init.d*", "etc/pam.d*", "etc/ssh/moduli", "usr/lib/systemd*", "usr/share/perl*"),
    *(
        "usr/bin/ssh",
        "usr/bin/ssh-a*",
        "usr/bin/ssh-copy-id",
        "usr/bin/ssh-keyscan",
        "usr/bin/s[cf][pt]*",
        "usr/bin/slogin",
    ),
    *("usr/lib/openssh/ssh-*", "usr/sbin/ldconfig", "usr/sbin/zic", "usr/sbin/zdump", "usr/bin/localedef"),
    *("usr/lib/*/libmvec.*", "usr/lib/*/liblua*-c++*"),
)
_ALWAYS: Final = ("libc6", "libc-bin", "libgcc-s1", "libnss-*", "libpython3*")
"""Packages of libraries that stay though no program names them."""
_PROGRAMS: Final = (
    "usr/sbin/haproxy",
    "usr/sbin/sshd",
    "usr/lib/openssh/*",
    "usr/bin/*",
    "usr/lib/python3*/lib-dynload/*.so",
)
_EPOCH: Final = "1970-01-01T00:00:00Z"
_CTYPES: Final = re.compile(r"usr/lib/python3\.\d+/(ctypes/|lib-dynload/_ctypes\.)")
"""Of the rest of Python's library this alone is needed, for inotify(7)."""
_NO_PENALTIES: Final = (9, 8)
"""OpenSSH from this version on locks an address out after failures; here every laptop has the same."""
_WORDS: Final = 300


def build(context: Path, folder: Path, tell: Callable[[str], None]) -> Image:
    """Build the image of the files of `context` (see build.py), for this machine's processor, in an empty folder.

    Raises ImageNotBuilt.
    """
    recipe = dockerfile.parse((context / "agent-image/Dockerfile").read_text())
    left_out = dockerfile.removable((context / "agent-image/shrink").read_text()) | {"dpkg"}
    tell("Debian packages are fetched from this machine's sources")
    packages = debian.fetch((*BASE, *recipe.packages), folder / "apt")
    tree, owned, known = Tree(), {}, {}
    for package in packages:
        name = package.name.partition("_")[0]
        if name not in left_out:
            owned[name] = _unpack(tree, package, _CTYPES.match if name.endswith("-stdlib") else _is_wanted)
            known[name] = debian.fields(package)
    _configure(tree)
    for source, target in recipe.copies:
        _copy(tree, context / source, target.lstrip("/"))
    tree.add_link("usr/local/bin/ktpy-agent", "/usr/lib/ktpy/agent-image/ktpy-agent")
    tell("what is not needed is left out, and Python compiled")
    root = folder / "root"
    tree.complete()
    tree.extract(root)
    for name in _unused(root, owned):
        for path in owned[name]:
            tree.remove(path)
        del known[name]
    for compiled in _compiled(root, recipe.imports):
        tree.add(str(compiled.relative_to(root)), compiled.read_bytes())
    tree.add("var/lib/dpkg/status", _status(known).encode())
    tree.complete()
    layer = folder / "layer.tar"
    with layer.open("wb") as file:
        tree.write(file)
    with layer.open("rb") as file:
        diff_id = archive.compress(file, folder / "layer.tar.gz")
    config = {
        "architecture": _architecture(),
        "os": "linux",
        "created": _EPOCH,
        "config": recipe.config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": _EPOCH, "created_by": "ktpy image"}],
    }
    layers = (archive.of_file(f"{archive.LAYER_TYPE}+gzip", folder / "layer.tar.gz"),)
    return Image(archive.of_bytes(archive.CONFIG_TYPE, json.dumps(config, sort_keys=True).encode()), layers)


def _unpack(tree: Tree, package: Path, wanted: Callable[[str], object]) -> list[str]:
    with debian.content(package) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                paths = tree.unpack(tar, lambda path: bool(wanted(path)))
            process.stdout.read()
        except tarfile.TarError as error:
            raise ImageNotBuilt(f"{package.name} is no whole package: {error}.") from None
    if process.returncode != 0:
        raise ImageNotBuilt(f"dpkg-deb cannot unpack {package.name}.")
    return paths


def _is_wanted(path: str) -> bool:
    return not any(fnmatch.fnmatchcase(path, pattern) for pattern in _LEFT_OUT)


def _configure(tree: Tree) -> None:
    """Make what the scripts of the packages would have made."""
    for file in ("passwd", "group"):
        tree.add(f"etc/{file}", tree.read(f"usr/share/base-passwd/{file}.master"))
    names = next(
        path for path in ("usr/share/libc-bin/nsswitch.conf", "usr/share/base-files/nsswitch.conf") if path in tree
    )
    switched = re.sub(rb"(?m)^passwd:.*", b"passwd: files extrausers", tree.read(names))
    tree.add("etc/nsswitch.conf", switched)
    tree.add_folder("var/lib/extrausers")
    tree.add_link("var/lib/extrausers/passwd", "/run/ktpy/passwd")
    for folder in ("run/ktpy", "run/sshd"):
        tree.add_folder(folder)
    tree.add_link("var/run", "/run")
    if "usr/bin/sh" not in tree:
        tree.add_link("usr/bin/sh", "dash")


def _copy(tree: Tree, source: Path, target: str) -> None:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                _copy(tree, path, f"{target}/{path.relative_to(source)}")
    else:
        content = source.read_bytes()
        if target == "etc/ktpy/sshd_config" and _version_of_sshd(tree) >= _NO_PENALTIES:
            content += b"PerSourcePenalties no\n"
        tree.add(target, content, 0o755 if os.access(source, os.X_OK) else 0o644)


def _version_of_sshd(tree: Tree) -> tuple[int, ...]:
    found = re.search(rb"OpenSSH_(\d+)\.(\d+)", tree.read("usr/sbin/sshd"))
    return tuple(map(int, found.groups())) if found else (0, 0)


def _unused(root: Path, owned: dict[str, list[str]]) -> list[str]:
    """Return the packages of libraries that no program of the image loads, as its own loader finds them."""
    used = set()
    for pattern in _PROGRAMS:
        for program in sorted(root.glob(pattern)):
            said = _run(root, ["--list", str(program)], check=False)
            used |= {os.path.relpath(path, root) for path in re.findall(r"=> (/\S+)", said)}
            if "not found" in said:
                raise ImageNotBuilt(f"{program.name} of the image lacks a library: {said.strip()[:_WORDS]}")
    libraries = [one for one in owned if one.startswith("lib") and not any(fnmatch.fnmatch(one, a) for a in _ALWAYS)]
    return [one for one in libraries if not used.intersection(owned[one])]


def _compiled(root: Path, imports: str) -> Iterable[Path]:
    """Compile the image's Python by its own, try what the agent imports, and HAProxy; return the files it made."""
    python = next(path for path in root.glob("usr/bin/python3.*") if re.fullmatch(r"python3\.\d+", path.name))
    options = ("-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/")
    folders = (str(root / "usr/lib/ktpy"), str(root / "usr/lib" / python.name))
    _run(root, [str(python), "-S", "-B", "-m", "compileall", *options, *folders])
    _run(root, [str(python), "-S", "-B", "-c", imports])
    _run(root, [str(root / "usr/sbin/haproxy"), "-v"])
    return sorted(root.rglob("__pycache__/*.pyc"))


def _run(root: Path, words: list[str], *, check: bool = True) -> str:
    """Run a program of the image by the image's own loader and libraries. Raises ImageNotBuilt where it fails."""
    (loader,) = root.glob("usr/lib/*-linux-*/ld-linux*.so.*")
    done = subprocess.run(
        [loader, "--inhibit-cache", "--library-path", str(loader.parent), *words],
        cwd=root / "usr/lib/ktpy",
        env={"PATH": os.defpath, "PYTHONHOME": str(root / "usr"), "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode != 0:
        raise ImageNotBuilt(f"{Path(words[0]).name} of the image does not run: {done.stderr.strip()[-_WORDS:]}")
    return done.stdout + done.stderr


def _status(known: dict[str, str]) -> str:
    """Return dpkg's list of packages, by which scanners know what is in an image."""
    return "".join(
        f"{fields.partition(chr(10))[0]}\nStatus: install ok installed\n{fields.partition(chr(10))[2].strip()}\n\n"
        for _, fields in sorted(known.items())
    )


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)

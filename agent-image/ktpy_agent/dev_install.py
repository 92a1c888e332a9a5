"""The role `dev-install` copies the agent, with all it needs to run, into a folder that another image's container has.

Programs run by their own loader and libraries (ld.so(8)), whatever libraries the image has. Accounts are not the
image's either: in the copies, the paths of the files that have them are replaced by ones in the agent's folder.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from ktpy.wire.dev import FOLDER, LOADER_VARIABLES, MOVED, SET_ASIDE

PYTHON = Path("/usr/bin/python3")
SSH_KEYGEN = Path("/usr/bin/ssh-keygen")
SSHD = tuple(map(Path, ("/usr/sbin/sshd", "/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth")))
"""OpenSSH 9.8 moved what a connection runs to a program of its own, 10.0 what it runs before the login."""
_AGENT = Path(__file__).resolve().parents[2]
_PT_INTERP = 3


def run(target: Path, folder: str = FOLDER) -> int:
    """Fill `target`, which the dev container mounts at `folder`: with bin/, lib/, and what these need."""
    python, library = PYTHON.resolve(), Path(os.__file__).parent
    programs = [python, SSH_KEYGEN, *(one for one in SSHD if one.exists())]
    loader = interpreter(python.read_bytes())
    libraries = target / "lib"
    for one in (libraries, target / "bin"):
        one.mkdir(parents=True, exist_ok=True)
    for one in sorted(set(needed(loader, [*programs, *(library / "lib-dynload").glob("*.so")]))):
        (libraries / one.name).write_bytes(relocated(one.read_bytes()))
    _copy_folder(library, target / library.relative_to("/"))
    _copy_folder(_AGENT, target / "agent")
    for one in programs:
        place = target / one.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        _write_program(place, relocated(one.read_bytes()))
        # A process is known by the file that was executed (comm of proc(5)), which is the loader.
        _write_program(libraries / one.name, loader.read_bytes())
        _write_program(target / "bin" / one.name, wrapper(folder, one, f"{folder}/bin/{one.name}"))
    agent = f"-IS {folder}/agent/agent-image/ktpy-agent"
    _write_program(
        target / "bin/ktpy-agent", wrapper(folder, python, folder + str(python), agent)
    )  # finds its modules by it
    (target / "sshd_config").write_bytes(Path("/etc/ktpy/sshd_config").read_bytes())
    return 0


def wrapper(folder: str, program: Path, name: str, arguments: str = "") -> bytes:
    """Return the script that runs a copied program under a name, by which sshd starts itself again."""
    aside = "".join(
        f'[ -z "${{{one}+x}}" ] || {{ export {SET_ASIDE}{one}="${one}"; unset {one}; }}\n' for one in LOADER_VARIABLES
    )
    loader = f"{folder}/lib/{program.name} --inhibit-cache --library-path {folder}/lib"
    return f'#!/bin/sh\n{aside}exec {loader} --argv0 {name} {folder}{program} {arguments} "$@"\n'.encode()


def relocated(data: bytes) -> bytes:
    """Return a file with the agent's paths in place of the image's."""
    for path in MOVED:  # the end has to stay: it may be a string of its own
        data = data.replace(f"{path}\0".encode(), f"{FOLDER}/{Path(path).name}\0".encode())
    return data


def interpreter(elf: bytes) -> Path:
    """Return the loader that a 64-bit ELF program names (elf(5), PT_INTERP). Raises ValueError where it names none."""
    offset, size, count = struct.unpack_from("<Q14xHH", elf, 32)[0], *struct.unpack_from("<HH", elf, 54)
    for start in (offset + size * number for number in range(count)):
        kind, _, place, _, _, length = struct.unpack_from("<IIQQQQ", elf, start)
        if kind == _PT_INTERP:
            return Path(elf[place : place + length - 1].decode())
    raise ValueError("it is linked statically")


def needed(loader: Path, programs: Iterable[Path]) -> Iterator[Path]:
    """Yield the libraries of the programs, as the loader finds them (`--list` of ld.so(8))."""
    for program in programs:
        out, into = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, into, 1)]
        pid = os.posix_spawn(loader, [str(loader), "--list", str(program)], {}, file_actions=actions)
        os.close(into)
        with os.fdopen(out) as lines:
            words = (line.split() for line in lines)
            yield from (Path(one[2]) for one in words if one[1:2] == ["=>"] and len(one) > 2)
        os.waitpid(pid, 0)


def _copy_folder(source: Path, target: Path) -> None:
    for folder, _, files in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in files:
            (place / name).write_bytes(Path(folder, name).read_bytes())


def _write_program(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)

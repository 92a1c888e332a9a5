"""The pod's annotations say who may log in; this module turns them into OpenSSH's authorized_keys.

A laptop adds its public key as an annotation of the pod, so Kubernetes RBAC decides who may. Whoever may write
annotations is still not trusted with the *options* of an authorized_keys line: only a key of exactly the expected
form passes, and every line gets the same restrictions (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ktpy.wire.pod import AUTHORIZED_KEY_PREFIX

# The kubelet writes one line per annotation, `key="value"`, the value quoted as Go's %q does
# (k8s.io/kubernetes/pkg/fieldpath), so a newline inside a value never ends the line.
_ANNOTATION = re.compile(re.escape(AUTHORIZED_KEY_PREFIX) + r'(?P<session>[^=]+)="(?P<key>.*)"')
_SESSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
# 51 bytes in base64 (RFC 8709): the lengths and the name "ssh-ed25519" are constant, the last 32 bytes are the key.
_ED25519 = re.compile(r"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}")

SHADOW_OPTIONS = "restrict,port-forwarding"
GATEWAY_OPTIONS = 'restrict,port-forwarding,permitopen="localhost:1",permitlisten="localhost:1"'
"""A gateway's sessions may have unix sockets that lead to their laptop, and nothing else."""


class Permission(NamedTuple):
    """A Permission is what a key lets its holder do: the options of its line."""

    options: str
    command: str
    """The forced command; `{session}` stands for the id of the session the key belongs to."""


class Annotations(NamedTuple):
    """Annotations hold the well-formed keys by session id, and the session ids of the refused ones, for the log."""

    keys: dict[str, str]
    refused: list[str]


def parse_annotations(text: str) -> Annotations:
    """Read the downward API's `annotations` file; annotations that are not ktpy's are passed over."""
    keys: dict[str, str] = {}
    refused: list[str] = []
    for line in text.split("\n"):
        if (annotation := _ANNOTATION.fullmatch(line)) is None:
            continue
        session, key = annotation["session"], annotation["key"]
        if _SESSION.fullmatch(session) and _ED25519.fullmatch(key):
            keys[session] = key
        else:
            refused.append(session)
    return Annotations(keys, refused)


def render_authorized_keys(keys: dict[str, str], permission: Permission) -> str:
    """Render one line per session, all with one permission; the comment names the session in sshd's log."""
    return "".join(
        f'{permission.options},command="{permission.command.format(session=session)}" {key} {session}\n'
        for session, key in sorted(keys.items())
    )


class AuthorizedKeys:
    """An AuthorizedKeys keeps the authorized_keys file in step with the annotations file."""

    def __init__(self, annotations: Path, path: Path, permission: Permission, log: Callable[[str], None]) -> None:
        self.path = path
        self._annotations = annotations
        self._permission = permission
        self._log = log
        self.sessions: frozenset[str] = frozenset()
        """They have a key, or had one when the annotations were last there."""
        self._seen: tuple[int, int, int] | None = None
        self._write("")

    def refresh(self) -> None:
        """Render again if the annotations changed. It is cheap enough to be called ten times a second.

        The kubelet changes the file by an atomic swap of the `..data` symbolic link, so a new inode or time is a
        complete new version. A missing file means nobody may log in.
        """
        try:
            status = self._annotations.stat()
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            if version == self._seen:
                return
            text = self._annotations.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            if self._seen is None:
                return
            version, text = None, ""
        keys, refused = parse_annotations(text)
        for session in refused:
            self._log(f"refused the key of session {session[:80]!r}: not one ssh-ed25519 public key")
        self._write(render_authorized_keys(keys, self._permission))
        if version is not None:
            self.sessions = frozenset(keys)
        self._seen = version
        self._log(f"authorized sessions: {' '.join(sorted(keys)) or 'none'}")

    def _write(self, text: str) -> None:
        """Replace the file in one step: sshd may be reading it."""
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)  # a laptop may have put a socket there
        new.write_text(text, encoding="ascii")
        new.replace(self.path)

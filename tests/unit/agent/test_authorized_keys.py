import base64
import os
from pathlib import Path

import pytest
from ktpy_agent.authorized_keys import (
    GATEWAY_OPTIONS,
    SHADOW_OPTIONS,
    AuthorizedKeys,
    Permission,
    parse_annotations,
    render_authorized_keys,
)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "B" * 43


def annotation(key: str, session: str = "s1") -> str:
    return f'ktpy.dev/authorized-key.{session}="{key}"'


def test_keys_are_read_by_session_and_other_annotations_passed_over() -> None:
    text = "\n".join(
        [
            'kubernetes.io/config.seen="2030-01-01T00:00:00Z"',
            annotation(KEY, "alice-1"),
            annotation(OTHER_KEY, "bob.2"),
            'ktpy.dev/owner="alice"',
        ]
    )
    assert parse_annotations(text) == ({"alice-1": KEY, "bob.2": OTHER_KEY}, [])


def test_a_real_key_passes() -> None:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + os.urandom(32)
    key = f"ssh-ed25519 {base64.b64encode(blob).decode()}"
    assert parse_annotations(annotation(key)).keys == {"s1": key}


@pytest.mark.parametrize(
    "value",
    [
        "",
        KEY + " comment",
        KEY + " ",
        " " + KEY,
        KEY[:-1],
        KEY + "A",
        KEY[:-1] + "=",
        KEY.replace("ssh-ed25519", "ssh-rsa"),
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ==",
        "sk-ssh-ed25519@openssh.com " + KEY.split()[1],
        'command=\\"/bin/sh\\" ' + KEY,
        "restrict " + KEY,
        f"{KEY}\\n{OTHER_KEY}",
        f"{KEY}\\r{OTHER_KEY}",
        KEY + "\\x00",
        KEY[:-1] + "\u00c4",
        KEY[:-1] + "\ufffd",
        "# " + KEY,
        "cert-authority " + KEY,
    ],
)
def test_anything_but_one_ed25519_key_is_refused(value: str) -> None:
    assert parse_annotations(annotation(value)) == ({}, ["s1"])


@pytest.mark.parametrize("session", ["", "-a", "a-", "a b", 'a" "', "a#", "a\\n", "\u00e4", "a\u2028b"])
def test_a_session_id_that_could_change_its_line_is_refused(session: str) -> None:
    assert parse_annotations(annotation(KEY, session)).keys == {}


def test_a_raw_newline_cannot_smuggle_in_a_line() -> None:
    """The kubelet quotes newlines; should it ever not, the rest of the value is still no key."""
    assert parse_annotations(f'ktpy.dev/authorized-key.s1="\n{KEY}"').keys == {}


def test_every_line_gets_the_same_restrictions() -> None:
    permission = Permission(SHADOW_OPTIONS, "ktpy-agent session")
    assert render_authorized_keys({"b": OTHER_KEY, "a": KEY}, permission) == (
        f'restrict,port-forwarding,command="ktpy-agent session" {KEY} a\n'
        f'restrict,port-forwarding,command="ktpy-agent session" {OTHER_KEY} b\n'
    )


def test_a_gateways_key_names_its_session_and_neither_dials_nor_listens_on_tcp() -> None:
    assert render_authorized_keys({"a1": KEY}, Permission(GATEWAY_OPTIONS, "ktpy-agent route {session}")) == (
        'restrict,port-forwarding,permitopen="localhost:1",permitlisten="localhost:1",'
        f'command="ktpy-agent route a1" {KEY} a1\n'
    )


@pytest.fixture
def watched(tmp_path: Path) -> AuthorizedKeys:
    return AuthorizedKeys(
        tmp_path / "annotations", tmp_path / "authorized_keys", Permission(SHADOW_OPTIONS, "c"), log=lambda _: None
    )


def test_without_annotations_nobody_may_log_in(watched: AuthorizedKeys) -> None:
    watched.refresh()
    assert watched.path.read_text() == ""


def test_a_change_is_rendered(watched: AuthorizedKeys, tmp_path: Path) -> None:
    (tmp_path / "annotations").write_text(annotation(KEY))
    watched.refresh()
    assert watched.path.read_text() == f'restrict,port-forwarding,command="c" {KEY} s1\n'


def test_an_atomic_swap_is_a_change(watched: AuthorizedKeys, tmp_path: Path) -> None:
    """Same size, same time stamp: only the inode tells."""
    for number, key in enumerate((KEY, OTHER_KEY)):
        version = tmp_path / str(number)
        version.write_text(annotation(key))
        os.utime(version, (1, 1))
    (tmp_path / "annotations").symlink_to("0")
    watched.refresh()
    (tmp_path / "next").symlink_to("1")
    (tmp_path / "next").rename(tmp_path / "annotations")
    watched.refresh()
    assert OTHER_KEY in watched.path.read_text()


def test_a_vanished_file_takes_all_keys_away(watched: AuthorizedKeys, tmp_path: Path) -> None:
    (tmp_path / "annotations").write_text(annotation(KEY))
    watched.refresh()
    (tmp_path / "annotations").unlink()
    watched.refresh()
    assert watched.path.read_text() == ""


def test_unchanged_annotations_are_not_rendered_again(watched: AuthorizedKeys, tmp_path: Path) -> None:
    (tmp_path / "annotations").write_text(annotation(KEY))
    watched.refresh()
    inode = watched.path.stat().st_ino
    watched.refresh()
    assert watched.path.stat().st_ino == inode


def test_content_that_is_not_text_is_survived(watched: AuthorizedKeys, tmp_path: Path) -> None:
    (tmp_path / "annotations").write_bytes(b"\xff\xfe\n" + annotation(KEY).encode() + b"\n\xc3")
    watched.refresh()
    assert KEY in watched.path.read_text()


def test_a_refused_key_is_named_in_the_log_without_its_content(tmp_path: Path) -> None:
    lines: list[str] = []
    watched = AuthorizedKeys(
        tmp_path / "annotations", tmp_path / "authorized_keys", Permission(SHADOW_OPTIONS, "c"), log=lines.append
    )
    (tmp_path / "annotations").write_text(annotation("command=x " + KEY))
    watched.refresh()
    assert lines == [
        "refused the key of session 's1': not one ssh-ed25519 public key",
        "authorized sessions: none",
    ]

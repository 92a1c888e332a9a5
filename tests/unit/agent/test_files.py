"""What is handed over of a volume; that it arrives shows in e2e/test_env.py."""

from pathlib import Path

import pytest
from ktpy_agent import files

from ktpy.wire.files import DATA, DONE, FILE, FOLDER, LINK, MOUNT, Entry, EntryParser

MOUNTINFO = r"""
1 0 0:1 / / rw - overlay overlay rw
2 1 0:2 / /run/ktpy-files/etc/app ro - ext4 /dev/vda rw
3 1 0:2 / /run/ktpy-files/etc/app/with\040blank ro - ext4 /dev/vda rw
4 1 0:3 / /run/secrets/kubernetes.io/serviceaccount ro - tmpfs tmpfs rw
""".lstrip()


def test_the_mounts_are_found() -> None:
    assert files.mounts(MOUNTINFO) == {
        "/etc/app": Path("/run/ktpy-files/etc/app"),
        "/etc/app/with blank": Path("/run/ktpy-files/etc/app/with blank"),
        "/var/run/secrets/kubernetes.io/serviceaccount": Path("/run/secrets/kubernetes.io/serviceaccount"),
    }


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """As the kubelet writes one, with another mounted in it."""
    folder = tmp_path / "app"
    put_version(folder, "..1", colour="red")
    (folder / "colour").symlink_to("..data/colour")
    (folder / "other").mkdir()
    (folder / "other" / "not ours").touch()
    return folder


def put_version(folder: Path, name: str, **content: str) -> None:
    (folder / name).mkdir(parents=True)
    for key, text in content.items():
        (folder / name / key).write_text(text)
        (folder / name / key).chmod(0o640)
    (folder / "..data_tmp").symlink_to(name)
    (folder / "..data_tmp").replace(folder / "..data")


def handed_over(folder: Path) -> list[Entry]:
    sent: list[bytes] = []
    found = {"/app": folder, "/app/other": folder / "other"}
    assert files.hand_over("/app", folder, found, sent.append) == files.version(folder)
    return list(EntryParser().feed(b"".join(sent)))


def test_a_volume_comes_whole_its_links_last(volume: Path) -> None:
    first, folder, *rest = handed_over(volume)
    assert (first, folder.kind) == (Entry(MOUNT, "/app"), FOLDER)
    assert [(one.kind, one.path, one.target or one.data) for one in rest] == [
        (FOLDER, "..1", b""),
        (FILE, "..1/colour", b""),
        (DATA, "", b"red"),
        (LINK, "..data", "..1"),
        (LINK, "colour", "..data/colour"),
        (DONE, "/app", b""),
    ]
    assert rest[1].mode == 0o640


def test_a_version_that_comes_meanwhile_is_sent_again(volume: Path) -> None:
    sent: list[bytes] = []

    def send(data: bytes) -> None:
        if len(sent) == 3:
            put_version(volume, "..2", colour="blue")
        sent.append(data)

    assert files.hand_over("/app", volume, {}, send) == "..2"
    found = list(EntryParser().feed(b"".join(sent)))
    assert [one.kind for one in found].count(MOUNT) == 2
    assert [one.kind for one in found].count(DONE) == 1


def test_a_file_that_is_mounted_is_one(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("x")
    assert [(one.kind, one.path) for one in handed_over(file)] == [
        (MOUNT, "/app"),
        (FILE, ""),
        (DATA, ""),
        (DONE, "/app"),
    ]


def test_a_file_that_is_gone_is_as_long_as_it_was_said_to_be(tmp_path: Path) -> None:
    sent: list[bytes] = []
    files.send_content(tmp_path / "absent", 5, sent.append)
    assert b"".join(sent) == bytes(5)

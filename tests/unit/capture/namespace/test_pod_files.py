import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from ktpy.capture.namespace.pod_files import PodFiles
from ktpy.cluster.pods.volumes import PodMount, VolumeKind
from ktpy.wire.files import ALL, DONE, FILE, FOLDER, LINK, MOUNT, SERVICE_ACCOUNT_DIR, Entry

APP = PodMount("/etc/app", VolumeKind.KUBELET, read_only=True, default_mode=0o440, modes={"key": 0o400})
DATA = PodMount("/data", VolumeKind.CLAIM)
SCRATCH = PodMount("/tmp/cache", VolumeKind.SCRATCH)
ONE = PodMount("/srv/one", VolumeKind.KUBELET, read_only=True, default_mode=0o644)


def volume(version: str, path: str = "/etc/app", **content: str) -> bytes:
    """As the kubelet writes one."""
    lines = [Entry(MOUNT, path).line(), Entry(FOLDER, "", 0o755).line(), Entry(FOLDER, version, 0o755).line()]
    for name, text in content.items():
        lines.append(Entry(FILE, f"{version}/{name}", 0o444, len(text)).line() + text.encode())
    lines.append(Entry(LINK, "..data", target=version).line())
    lines += [Entry(LINK, name, target=f"..data/{name}").line() for name in content]
    return b"".join([*lines, Entry(DONE, path).line()])


def tree(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*"))


@pytest.fixture
def files(tmp_path: Path) -> PodFiles:
    return PodFiles(tmp_path, [APP, DATA, SCRATCH, ONE])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_volume_has_its_files_with_the_modes_that_the_workload_asks_for(files: PodFiles, tmp_path: Path) -> None:
    assert not files.take(volume("..1", colour="red", key="k"))
    app = tmp_path / "etc/app"
    assert ((app / "colour").read_text(), (app / "key").read_text()) == ("red", "k")
    assert (mode(app / "colour"), mode(app / "key")) == (0o440, 0o400)
    assert files.take(Entry(ALL).line())
    assert files.arrived == {"/etc/app": True, "/tmp/cache": False}


def test_another_version_takes_the_place_of_one(files: PodFiles, tmp_path: Path) -> None:
    files.take(volume("..1", colour="red", gone="x"))
    app = tmp_path / "etc/app"
    with (app / "colour").open() as held:
        files.take(volume("..2", colour="blue"))
        assert held.read() == "red"
    assert (app / "colour").read_text() == "blue"
    assert tree(app) == ["..2", "..2/colour", "..data", "colour"]


def test_a_stream_that_was_lost_begins_anew(files: PodFiles, tmp_path: Path) -> None:
    stream = volume("..1", colour="red")
    files.take(stream[:-40])
    files.begin()
    files.take(stream)
    assert (tmp_path / "etc/app/colour").read_text() == "red"


def test_a_copy_of_a_claim_is_the_programs_own(files: PodFiles, tmp_path: Path) -> None:
    stream = b"".join(
        [
            Entry(MOUNT, "/data").line(),
            Entry(FOLDER, "", 0o700).line(),
            Entry(FILE, "x", 0o640, 3).line() + b"old",
            Entry(DONE, "/data").line(),
        ]
    )
    files.take(stream)
    place = tmp_path / "data/x"
    assert (place.read_text(), mode(place)) == ("old", 0o640)
    place.write_text("new")
    (tmp_path / "data/mine").touch()
    files.begin()
    files.take(stream)
    assert (place.read_text(), (tmp_path / "data/mine").exists()) == ("new", True)


def test_a_single_file_and_an_empty_folder(files: PodFiles, tmp_path: Path) -> None:
    files.take(
        Entry(MOUNT, "/srv/one").line() + Entry(FILE, "", 0o444, 1).line() + b"1" + Entry(DONE, "/srv/one").line()
    )
    assert (tmp_path / "srv/one").read_text() == "1"
    assert (tmp_path / "tmp/cache").is_dir()


def test_the_token_is_in_no_template_and_other_mounts_are_not_asked_for(files: PodFiles, tmp_path: Path) -> None:
    files.take(volume("..1", SERVICE_ACCOUNT_DIR, token="t") + volume("..1", "/elsewhere", x="y"))
    assert (tmp_path / SERVICE_ACCOUNT_DIR[1:] / "token").read_text() == "t"
    assert not (tmp_path / "elsewhere").exists()


def through_a_link(outside: Path) -> Iterable[Entry]:
    yield Entry(MOUNT, "/data")
    yield Entry(FOLDER, "", 0o755)
    yield Entry(LINK, "way", target=str(outside))
    yield Entry(FILE, "way/file", 0o644)


def test_no_link_leads_out_of_a_mount(files: PodFiles, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(ValueError, match="through a link"):
        files.take(b"".join(entry.line() for entry in through_a_link(outside)))
    assert tree(outside) == []


SEEN_THROUGH_A_LINK = [
    [(MOUNT, "/data"), (LINK, "", 0, 0, "{home}"), (FOLDER, "new", 0o777), (DONE, "/data")],
    [(MOUNT, "/data"), (FOLDER, "", 0o755), (LINK, "new", 0, 0, "{home}"), (FOLDER, "new", 0o777), (DONE, "/data")],
    [(MOUNT, "/data"), (FOLDER, "", 0o755), (LINK, "sub", 0, 0, "{home}"), (DONE, "/data")]
    + [(MOUNT, "/data/sub"), (FOLDER, "", 0o777), (FILE, "new"), (DONE, "/data/sub")] * 2,
]


@pytest.mark.parametrize("entries", SEEN_THROUGH_A_LINK)
def test_no_link_leads_out_of_the_folder(tmp_path: Path, entries: list[tuple[str, str, int, int, str]]) -> None:
    """Of a mount itself, of a folder, and of an outer mount."""
    home, root = tmp_path / "home", tmp_path / "root"
    home.mkdir(0o700)
    root.mkdir()
    (home / "diary").touch()
    files = PodFiles(root, [DATA, PodMount("/data/sub", VolumeKind.KUBELET, read_only=True, default_mode=0o644)])
    for entry in (Entry(*one) for one in entries):
        with suppress(ValueError, OSError):
            files.take(entry._replace(target=entry.target.format(home=home)).line())
    assert (tree(home), mode(home)) == (["diary"], 0o700)

import io
import tarfile
from pathlib import Path

from ktpy.image.tree import Tree


def package(*members: tuple[str, str, str], mode: int = 0o644, uid: int = 0, mtime: float = 1) -> tarfile.TarFile:
    """A package's files: each its path, its kind, and its content or target."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for path, kind, text in members:
            member = tarfile.TarInfo(path)
            member.mode, member.uid, member.mtime = mode, uid, mtime
            member.type = {
                "file": tarfile.REGTYPE,
                "folder": tarfile.DIRTYPE,
                "link": tarfile.SYMTYPE,
                "hard": tarfile.LNKTYPE,
            }[kind]
            if kind == "file":
                member.size = len(text)
            else:
                member.linkname = text if kind in ("link", "hard") else ""
            tar.addfile(member, io.BytesIO(text.encode()) if kind == "file" else None)
    file.seek(0)
    return tarfile.open(fileobj=file)


def layer(tree: Tree) -> bytes:
    file = io.BytesIO()
    tree.write(file)
    return file.getvalue()


def members(tree: Tree) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(layer(tree))) as tar:
        return {one.name: one for one in tar}


def test_usr_is_merged_and_set_uid_bits_go() -> None:
    tree = Tree()
    packed = package(
        ("./", "folder", ""),
        ("./bin/", "folder", ""),
        ("./bin/su", "file", "x"),
        ("./etc/su", "hard", "./bin/su"),
        mode=0o4755,
        uid=7,
    )
    assert tree.unpack(packed) == ["usr/bin/su", "etc/su"]
    tree.complete()
    found = members(tree)
    assert (found["bin"].linkname, found["usr"].isdir()) == ("usr/bin", True)
    assert [(oct(one.mode), one.uid, one.isreg()) for one in (found["usr/bin/su"], found["etc/su"])] == [
        ("0o755", 7, True)
    ] * 2
    assert "lib" not in found


def test_the_same_content_is_the_same_layer() -> None:
    a, b = Tree(), Tree()
    a.unpack(package(("./b", "file", "1"), ("./a/", "folder", ""), mtime=5))
    b.unpack(
        package(("./a/", "folder", ""), ("./b", "file", "0"), ("./left/out", "file", ""), mtime=9),
        lambda path: "left" not in path,
    )
    b.add("b", b"1")
    assert layer(a) == layer(b)
    assert [one.mtime for one in members(a).values()] == [0, 0]


def test_files_for_programs_that_look_at_it(tmp_path: Path) -> None:
    tree = Tree()
    tree.add("usr/bin/run", b"#!", 0o755)
    tree.add("gone", b"")
    tree.add_link("usr/bin/link", "run")
    tree.add_folder("run/empty")
    tree.remove("gone")
    tree.extract(tmp_path)
    assert (tmp_path / "usr/bin/link").read_bytes() == tree.read("usr/bin/run") == b"#!"
    assert (tmp_path / "usr/bin/run").stat().st_mode & 0o777 == 0o755
    assert sorted(one.name for one in tmp_path.iterdir()) == ["run", "usr"]
    assert "gone" not in tree

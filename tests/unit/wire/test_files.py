import pytest

from ktpy.wire.files import ALL, DATA, DONE, FILE, FOLDER, LINK, MOUNT, Entry, EntryParser

ENTRIES = [
    Entry(MOUNT, "/etc/app"),
    Entry(FOLDER, "", 0o755),
    Entry(FILE, "..1/a\nb", 0o400, 3),
    Entry(DATA, data=b"x\ny"),
    Entry(FILE, "..1/empty", 0o644),
    Entry(LINK, "..data", target="..1"),
    Entry(DONE, "/etc/app"),
    Entry(ALL),
]
STREAM = b"".join(entry.data if entry.kind == DATA else entry.line() for entry in ENTRIES)


def parsed(*parts: bytes) -> list[Entry]:
    parser = EntryParser()
    return [entry for part in parts for entry in parser.feed(part)]


def test_it_arrives_as_it_was_sent() -> None:
    assert parsed(STREAM) == ENTRIES


def test_in_whatever_pieces() -> None:
    found = parsed(*(bytes([byte]) for byte in STREAM))
    assert [entry for entry in found if entry.kind != DATA] == [entry for entry in ENTRIES if entry.kind != DATA]
    assert b"".join(entry.data for entry in found) == b"x\ny"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "a//b", ".", "a/./b", "a\0b"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="leads elsewhere"):
        parsed(Entry(FILE, path).line())


@pytest.mark.parametrize("path", ["//x", "/../x"])
def test_so_is_a_mount(path: str) -> None:
    with pytest.raises(ValueError, match="leads elsewhere"):
        parsed(Entry(MOUNT, path).line())


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b'["device","x",0,0,""]\n', b'["file","x",0,-1,""]\n', b"null\n"])
def test_what_no_agent_sends(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"no entry|unpack"):
        parsed(line)

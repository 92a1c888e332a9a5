import pytest

from ktpy.wire.surroundings import PodEnvironment, parse_environ

TOLD = PodEnvironment({"A": "1", "LINES": "a\nb", "BYTES": "\udcff"}, ("A",), "web-0", "10.0.0.1")


def test_it_arrives_as_it_was_sent() -> None:
    assert PodEnvironment.parse(TOLD.line()) == TOLD
    assert TOLD.line().count(b"\n") == 1


def test_later_keys_are_ignored() -> None:
    assert PodEnvironment.parse(TOLD.line().replace(b"{", b'{"later": 1, ', 1)) == TOLD


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"null", TOLD._replace(variables=[]).line()])  # type: ignore[arg-type]
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"lacks|JSON|Expecting"):
        PodEnvironment.parse(line)


def test_the_kernels_list_of_variables() -> None:
    assert parse_environ(b"A=1\0B=x=y\nz\0A=2\0C=\0") == {"A": "1", "B": "x=y\nz", "C": ""}
    assert parse_environ(b"A=\xff\0") == {"A": "\udcff"}


def test_what_the_image_and_the_runtime_set_is_not_the_workloads() -> None:
    own = {"PATH": "/bin", "HOSTNAME": "web-0", "LANG": "C", "KUBERNETES_PORT": "tcp"}
    found = PodEnvironment({**own, "LANG": "de", "A": "1"}).without_own(own)
    assert found == PodEnvironment({"LANG": "de", "KUBERNETES_PORT": "tcp", "A": "1"}, (), "web-0")

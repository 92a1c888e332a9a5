import pytest

from ktpy.errors import UsageError
from ktpy.image.name import parse


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "is_here"),
    [
        ("registry.example.org/team/agent:2", "registry.example.org", "team/agent", "2", False),
        ("host:5000/agent", "host:5000", "agent", "1", False),
        ("localhost/agent", "localhost", "agent", "1", True),
        ("127.0.0.1:5000/a/b__c", "127.0.0.1:5000", "a/b__c", "1", True),
        ("[::1]:5000/agent:v1.0-x", "[::1]:5000", "agent", "v1.0-x", True),
        ("10.0.0.1/agent", "10.0.0.1", "agent", "1", False),
    ],
)
def test_parts(text: str, registry: str, repository: str, tag: str, is_here: bool) -> None:
    name = parse(text, "1")
    assert (name.registry, name.repository, name.tag, name.is_here) == (registry, repository, tag, is_here)
    assert str(name) == f"{registry}/{repository}:{tag}"


def test_what_is_no_name() -> None:
    with pytest.raises(UsageError, match="names no registry") as refused:
        parse("team/agent:2", "1")
    assert refused.value.hint == "docker.io/team/agent:2 is meant?"
    for text in (
        "",
        "agent",
        "host.org/",
        "host.org/Agent",
        "host.org/a b",
        "https://host.org/a",
        "host.org/a@sha256:1",
    ):
        with pytest.raises(UsageError, match="is no name of an image"):
            parse(text, "1")

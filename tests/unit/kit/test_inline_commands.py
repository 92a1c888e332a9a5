"""Command lines are found in sentences and tables, and told from others in what is run."""

import pytest

from tests.kit.inline_commands import Inline, Words, inline_commands, is_run_by, is_whole, simple_commands


def words(text: str) -> list[str]:
    return [" ".join(one.words) for one in inline_commands(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("say `ktpy list` here, and `sudo ktpy connect`", ["ktpy list", "sudo ktpy connect"]),
        ("`connect` is a word, `ktpy` the name, `--via node` an option, `ktpy.yaml` a file", []),
        ("`dev run web -- COMMAND`, `image push NAME`", ["ktpy dev run web -- COMMAND", "ktpy image push NAME"]),
        ("`connect --rows first-byte`", ["scripts/bench connect --rows first-byte"]),
        ("`scripts/check`, `curl http://web/`, `curl`", ["scripts/check", "curl http://web/"]),
        ("broken `ktpy clean\n--dry-run` line", ["ktpy clean --dry-run"]),
        ("`ktpy quit; sudo ktpy clean`", ["ktpy quit", "sudo ktpy clean"]),
        (r"| `ktpy capture -w - \| wireshark -k` |", ["ktpy capture -w -", "wireshark -k"]),
        (r"| `ktpy completion bash\|zsh` |", ["ktpy completion bash", "ktpy completion zsh"]),
        ("`ktpy logs [NAME] [--follow]`", ["ktpy logs", "ktpy logs NAME --follow"]),
        ("`ktpy rbac a b [--run [--from-pod]]`", ["ktpy rbac a b", "ktpy rbac a b --run --from-pod"]),
        ("`pip install 'ktpy[mcp]'`", ["pip install ktpy[mcp]"]),
        ("`KTPY_OUTPUT=json ktpy list`", ["ktpy list"]),
        ("`run` and `it's`", []),
        ("```\n`ktpy list`\n```\n<!-- `ktpy who`\n`ktpy who` -->\n", []),
    ],
)  # fmt: skip
def test_command_lines_of_a_document(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_a_command_line_has_its_place() -> None:
    text = "# One\n\n```sh\nktpy list\n```\n\n<!-- not\nthis -->\nand `ktpy who`\n"
    [found] = inline_commands(text)
    assert found == Inline(9, ("ktpy", "who"))
    assert str(found) == "9: ktpy who"


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("A=b sudo ktpy connect --detach    # in another terminal", [["sudo", "ktpy", "connect", "--detach"]]),
        ("ktpy list && ktpy who | head -1", [["ktpy", "list"], ["ktpy", "who"], ["head", "-1"]]),
        ("ktpy list > out.txt 2>&1", [["ktpy", "list"]]),
        ("script -qec 'ktpy dev start web' /dev/null < in", [["ktpy", "dev", "start", "web"], "script"]),
        ('eval "$(ktpy env web)"', [["ktpy", "env", "web"], "eval"]),
        ("ktpy run -- sh -c 'echo; true'", [["ktpy", "run", "--", "sh", "-c", "echo; true"]]),
    ],
)  # fmt: skip
def test_simple_commands_of_a_line(line: str, commands: list[list[str] | str]) -> None:
    found = simple_commands(line)
    assert [list(one) if isinstance(wanted, list) else one[0] for one, wanted in zip(found, commands, strict=True)] == (
        commands
    )


@pytest.mark.parametrize(
    "line",
    ["ktpy list", "sudo ktpy connect", "ktpy dev run web", "ktpy leave web", "ktpy forward --all", "curl x",
     "ktpy run web -- COMMAND", "ktpy run --print-only", "ktpy mesh web --version foobar --expose 3001:80"],
)  # fmt: skip
def test_what_can_be_typed_as_it_stands(line: str) -> None:
    assert is_whole(tuple(line.split()))


@pytest.mark.parametrize(
    "line",
    ["ktpy --help", "ktpy dev", "ktpy dev run", "ktpy dev start -- COMMAND", "ktpy rbac --dev", "ktpy exchange web",
     "ktpy preview pay --ingress", "ktpy leave", "ktpy forward --", "ktpy run web", "sudo ktpy run"],
)  # fmt: skip
def test_what_lacks_something(line: str) -> None:
    assert not is_whole(tuple(line.split()))


def split(line: str) -> Words:
    return tuple(line.split())


@pytest.mark.parametrize(
    ("wanted", "run"),
    [
        ("ktpy list", "ktpy list"),
        ("ktpy list", "ktpy list -n shop"),
        ("ktpy tap web --to 3001", "ktpy tap web -n shop --to 3001 --detach"),
        ("ktpy rbac NAMESPACE USER --run", "ktpy rbac shop alice --run"),
        ("ktpy run web -- COMMAND", "ktpy run web -n shop -- curl http://web/"),
        ("ktpy image push REGISTRY/NAME:TAG --rebuild", "ktpy image push here/agent:1 --rebuild"),
        ("pip install ...", "pip install it and that"),
        ("ktpy dev run", "ktpy dev run catalog -- true"),
        ("ktpy dev", "ktpy dev list"),
        ("ktpy rbac --dev", "ktpy rbac shop alice --run --dev"),
        ("ktpy run --volumes live", "ktpy run web --volumes live -- true"),
    ],
)
def test_what_is_run_by_another(wanted: str, run: str) -> None:
    assert is_run_by(split(wanted), split(run))


@pytest.mark.parametrize(
    ("wanted", "run"),
    [
        ("ktpy list", "ktpy list -A"),
        ("ktpy list", "sudo ktpy list"),
        ("ktpy clean --dry-run", "ktpy clean"),
        ("ktpy clean", "ktpy clean --dry-run"),
        ("ktpy dev end web", "ktpy dev end catalog"),
        ("ktpy dev start web", "ktpy dev start web -- true"),
        ("ktpy rbac NAMESPACE USER --run", "ktpy rbac shop alice --dev"),
        ("ktpy rbac --dev", "ktpy rbac shop alice --run"),
        ("ktpy run --volumes live", "ktpy run web --volumes none -- true"),
        ("ktpy dev run", "ktpy run web -- true"),
        ("ktpy run web -- COMMAND", "ktpy run web --print-only"),
        ("sudo ktpy run", "ktpy run -- true"),
        ("kubectl patch", "kubectl patch service"),
    ],
)
def test_what_is_not(wanted: str, run: str) -> None:
    assert not is_run_by(split(wanted), split(run))

"""A reader who types the commands of a document on the lab's laptop, in one terminal and in others beside it."""

import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import yaml

from tests.e2e.kit.settled import until_settled
from tests.e2e.kit.shop import NAMESPACE
from tests.e2e.kit.target_service import lasting_objects
from tests.kit.documents import Block, Command, Section, missing
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.foreground import Foreground
from tests.lab.sessions.request_log import SOON_S

ENVIRONMENT = {
    "KUBECONFIG": "/home/dev/.kube/reader",
    "CURL_HOME": "/home/dev/.kube",  # in a reader's terminal curl tells no progress
    "PYTEST_ADDOPTS": "-p no:asyncio",  # nor has a reader that plugin
}
ASKS = "http://"
"""What is in a command whose answer depends on where Services lead."""
EVERYTHING_ENDS = """\
for file in $(find /home/dev/reader-* -name ktpy.yaml); do (cd "$(dirname "$file")" && ktpy down); done
ktpy leave --all; ktpy quit
for one in /proc/[0-9]*; do
  case "$(readlink "$one/cwd")" in "$0"|"$0"/*) kill -9 "${one#/proc/}" ;; esac
done
rm -f /run/user/$(id -u)/ktpy/*.log"""
"""Also servers that were started in folder $0, and what `ktpy status` would tell of sessions that have ended.

The labs of other tests have their processes in the same /proc, so a folder's name is no other lab's.
"""
ENDS_WELL = (0, 128 + signal.SIGINT, -signal.SIGINT)


class Reader:
    """Has a folder of user dev's with the files that a section shows."""

    def __init__(self, lab: Lab, section: Section) -> None:
        self._lab = lab
        _configure(lab)
        self._folder = lab.exec(["mktemp", "-d", "/home/dev/reader-XXXXXXXXXX"], user="dev", check=True).stdout.strip()
        self._end()  # what earlier tests left there
        for name, text in section.files.items():
            script = 'mkdir -p "$(dirname "$0")" && cat > "$0"'
            lab.exec(["sh", "-c", script, f"{self._folder}/{name}"], user="dev", stdin=text, check=True)

    def read(self, block: Block) -> None:
        """Type all of a block, then end what goes on; nothing may be left. AssertionError where it is not as shown."""
        try:
            with ExitStack() as terminals:
                shell = _Shell(self._lab)
                terminals.callback(shell.close)
                shell.type(Command(block.line, f"cd {self._folder}"))
                if block.first:
                    shell.type(
                        Command(block.line, f"{{ {block.first}\n}} > first.log 2>&1 || {{ cat first.log; false\n}}")
                    )
                for command in block.commands:
                    if ASKS in command.text:
                        until_settled(self._lab)
                    if command.stays:
                        terminals.enter_context(self._elsewhere(command))
                    else:
                        shell.type(command)
        finally:
            self._end()
        wait_until(lambda: lasting_objects(self._lab) == [], SOON_S, "nothing of ktpy's to be left in the cluster")

    def _end(self) -> None:
        self._lab.exec(["sh", "-c", EVERYTHING_ENDS, self._folder], user="dev", env=ENVIRONMENT)

    @contextmanager
    def _elsewhere(self, command: Command) -> Iterator[None]:
        """In another terminal, from when it has printed what is shown until Ctrl-C."""
        shell = ["env", "--default-signal=INT", "bash", "-c", f"cd {self._folder}; {command.text}"]
        other = Foreground(self._lab, shell, env=ENVIRONMENT)
        try:
            self._wait_shown(other, command)
            yield
        finally:
            if other.process.poll() is None:
                os.killpg(other.process.pid, signal.SIGINT)
            other.end()
        code = other.process.returncode
        assert code in ENDS_WELL, f"{_typed(command)}\nends with {code}:\n{other.output}"

    def _wait_shown(self, other: Foreground, command: Command) -> None:
        try:
            other.wait_until(lambda output: _difference(command, output, is_over=False) is None, "such output")
        except AssertionError as error:
            difference = _difference(command, other.output, is_over=False)
            raise AssertionError(f"{_typed(command)}\ndoes not print: {difference}\n{error}") from None


class _Shell(Foreground):
    """A terminal's shell, which keeps its variables from command to command."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, ["bash"], env=ENVIRONMENT, stdin=subprocess.PIPE)

    def type(self, command: Command) -> None:
        """AssertionError where it does not print what is shown, or fails and should not, or the reverse."""
        begin, mark = len(self.output), secrets.token_hex(8)
        ended = re.compile(rf"(.*)\n{mark} (\d+)\n", re.DOTALL)
        assert self.process.stdin is not None
        self.process.stdin.write(f"{{ {command.text}\n}} < /dev/null; printf '\\n{mark} %d\\n' $?\n")
        self.process.stdin.flush()
        self.wait_until(lambda output: ended.match(output, begin) is not None, f"end of {command.text}")
        found = ended.match(self.output, begin)
        assert found
        difference = _difference(command, found[1], is_over=True) if command.shown else None
        assert difference is None, f"{_typed(command)}\ndoes not print: {difference}\nbut:\n{found[1]}"
        assert (found[2] != "0") == command.fails, f"{_typed(command)}\nends with {found[2]}:\n{found[1]}"

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.end()


def _difference(command: Command, output: str, *, is_over: bool) -> str | None:
    return missing(command.shown, output.rstrip("\n").split("\n"), is_over=is_over)


def _typed(command: Command) -> str:
    return f"line {command.line}: $ {command.text}"


def _configure(lab: Lab) -> None:
    """That of user dev, whose namespace is the shop's; context `far` is the same cluster once more."""
    config = yaml.safe_load(lab.exec(["cat", "/home/dev/.kube/config"], user="dev", check=True).stdout)
    [context] = config["contexts"]
    context["context"]["namespace"] = NAMESPACE
    config["contexts"].append({"name": "far", "context": context["context"]})
    write = 'cat > "$KUBECONFIG"; echo silent > "$CURL_HOME/.curlrc"'
    lab.exec(["sh", "-c", write], user="dev", env=ENVIRONMENT, stdin=yaml.safe_dump(config), check=True)

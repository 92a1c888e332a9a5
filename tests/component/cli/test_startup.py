"""`ktpy --help` and shell completion answer at once: they import none of the heavy libraries."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "asyncio",
    "kubernetes",
    "asyncssh",
    "scapy",
    "pyroute2",
    "dnslib",
    "aiohttp",
    "cryptography",
    "textual",
    "mcp",
}
IMPORTED = """
import sys
from ktpy.__main__ import main
sys.argv[0] = "ktpy"
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["connect", "--help"], {}),
        (["completion", "bash"], {}),
    ],
)
def test_no_heavy_import(arguments: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", IMPORTED, *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    assert done.stdout
    imported = {module.partition(".")[0] for module in done.stderr.split()}
    assert "click" in imported
    assert not imported & HEAVY
    assert arguments != ["--help"] or not imported & {"logging", "bz2", "lzma"}


def test_what_python_programs_get_is_loaded_when_they_ask_for_it() -> None:
    code = "import sys; before = set(sys.modules); import ktpy; print(sorted(sys.modules.keys() - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "['ktpy']\n"), done.stderr


def test_a_tab_loads_no_command_and_not_even_click_once_their_grammar_is_kept(tmp_path: Path) -> None:
    asked = {"_KTPY_COMPLETE": "bash_complete", "COMP_WORDS": "ktpy exchange --con", "COMP_CWORD": "--con"}
    environment = {**os.environ, **asked, "XDG_CACHE_HOME": str(tmp_path)}
    for is_first in (True, False):
        command = [sys.executable, "-c", IMPORTED]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "plain,--context\n"), done.stderr
        imported = set(done.stderr.split())
        assert not imported & HEAVY
        assert is_first or not imported & {"click", "ktpy.cli", "pathlib", "logging", "inspect"}


def test_an_intercept_loads_what_speaks_to_the_cluster_when_it_does() -> None:
    """SSH comes last, while the kubelets hand its key on."""
    code = "import sys, ktpy.sessions.intercept; print({'aiohttp', 'asyncssh'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


def test_ssh_is_loaded_without_what_is_for_servers_and_leaves_typing_as_it_is() -> None:
    unused = {"asyncssh.sftp", "asyncssh.auth_keys", "typing_extensions"}
    code = f"import sys, typing, ktpy.link.ssh_library; print({unused} & sys.modules.keys(), typing.Optional[int])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "set() typing.Optional[int]\n"), done.stderr


INTERRUPTED = """
import os, signal, sys
from importlib.abc import MetaPathFinder
from ktpy.__main__ import main

class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "ktpy.cli.main":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv[:] = ["ktpy", "--help"]
main()
"""


def test_ctrl_c_while_it_is_imported_is_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-2, "", "")


@pytest.mark.parametrize("arguments", [["--help"], ["version", "--client"]])
def test_a_full_disk_below_the_output_is_a_sentence(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "ktpy", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "error: The output cannot be written (No space left on device).\n")

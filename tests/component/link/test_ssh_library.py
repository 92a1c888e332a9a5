"""Importing asyncssh, in a process of its own for a clean start."""

import subprocess
import sys


def test_importing_the_link_starts_no_process() -> None:
    code = """
import ctypes.util, sys
started = []
sys.addaudithook(lambda event, _: started.append(event) if event in ("subprocess.Popen", "os.posix_spawn") else None)
search = ctypes.util.find_library
import ktpy.link.connection
assert "asyncssh" in sys.modules
print(started, ctypes.util.find_library is search)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[] True"

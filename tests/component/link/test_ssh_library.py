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


def test_certificates_of_x509_stay_out_and_can_still_be_imported_elsewhere() -> None:
    code = """
import sys, ktpy.link.connection
print("OpenSSL" in sys.modules, "asyncssh.crypto.x509" in sys.modules)
import asyncssh.crypto.x509
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False False"

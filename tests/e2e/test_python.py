"""`import ktpy`: programs that end before their time. The examples of docs/python.md: test_documents.py."""

import os
import sys

import pytest

from tests.e2e.kit.target_service import lasting_objects
from tests.lab import Lab
from tests.lab.sessions.foreground import Foreground

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

KILLED = """
import time, ktpy
with ktpy.exchange("web", expose="3001:80", namespace="shop"):
    print("it stands", flush=True)
    time.sleep(300)
"""
ENDED_BY_OTHERS = """
import asyncio, ktpy

async def main():
    async with ktpy.connect(mode="proxy", namespace="shop") as first:
        async with ktpy.connect(mode="proxy", namespace="shop") as second:
            assert second.status.environment == first.status.environment
        print(*(one["pid"] == first.status.pid for one in (await ktpy.call("status"))["sessions"]))
        await ktpy.call("quit")
        await asyncio.sleep(300)

try:
    asyncio.run(main())
except ktpy.errors.SessionEnded as ended:
    print(ended.message)
"""


def run(lab: Lab, *words: str) -> str:
    done = lab.exec([sys.executable, *words], user="dev", timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_program_that_is_killed_gives_the_service_back(lab: Lab, web: str) -> None:
    program = Foreground(lab, [sys.executable, "-c", KILLED])
    program.wait_for("it stands")
    assert lasting_objects(lab)
    program.kill()  # returns when the session, which has its standard error, has ended, too
    assert lasting_objects(lab) == []


def test_a_connection_that_stands_already_and_one_that_somebody_ends(lab: Lab) -> None:
    assert run(lab, "-c", ENDED_BY_OTHERS) == "True\nDisconnected by ktpy quit; everything is undone.\n"

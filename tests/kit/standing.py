"""A command of a session that does nothing but stand, in place of ktpy's own: `python -c COMMAND ...`."""

COMMAND = '''
"""It tells in a file what it does. The first of its words with a slash is the file; others say what it is to do."""
import asyncio, os, sys
from pathlib import Path
from ktpy.cli import render
from ktpy.daemon import supervision
from ktpy.observe.events import Notice, Ready
from ktpy.observe.status import ConnectStatus

log = next(word for word in sys.argv if word.startswith("/"))

class Standing:
    name, ends_well, farewell = "standing", True, "Everything is undone."

    def handles_signal(self, number):
        return True

    async def run(self):
        with open(log, "a") as told:
            print("begun", os.environ.get("KTPY_PARENT"), file=told, flush=True)
            try:
                place = {"server": "https://a", "context": "lab", "namespace": "shop"}
                if "hangs" not in sys.argv:
                    render.event_json(Ready(ConnectStatus(pid=os.getpid(), **place, state="connected", uptime_s=1.0)))
                for number in range(20_000 if "talks" in sys.argv else 0):
                    render.event_json(Notice(f"{number} things have happened."))
                await asyncio.Event().wait()
            finally:
                print("undone", file=told, flush=True)

sys.exit(supervision.run(Standing(), render.event_json))
'''

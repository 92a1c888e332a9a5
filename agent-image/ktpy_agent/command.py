"""The agent's subcommands. Each is imported only when asked for: an SSH session starts one, so start-up counts."""

import os
import sys

from ktpy_agent.settings import Settings, SettingsError

USAGE = """usage: ktpy-agent shadow    supervise sshd until no SSH session is left (the pod's entrypoint)
       ktpy-agent session   what every SSH session runs: say hello, then live as long as the laptop beats
"""


def main(arguments: list[str]) -> int:
    """Run one subcommand; the answer is the exit status (64, EX_USAGE of sysexits.h, for a wrong call)."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as exc:
        sys.stderr.write(f"ktpy-agent: {exc}\n")
        return 64
    match arguments:
        case ["shadow"]:
            from ktpy_agent import shadow

            return shadow.run(settings)
        case ["session"]:
            from ktpy_agent import session

            return session.run(settings)
        # The gateway's `route` (one live route = one SSH session) takes its place here.
        case _:
            sys.stderr.write(USAGE)
            return 64

"""The agent's subcommands. Each is imported only when asked for: an SSH session starts one, so start-up counts."""

import os
import sys

from ktpy.wire.datagram import COMMAND
from ktpy_agent.settings import Settings, SettingsError

USAGE = """usage: ktpy-agent shadow    supervise sshd until no SSH session is left (the pod's entrypoint)
       ktpy-agent session   what every SSH session runs there: say hello, then live as long as the laptop beats;
                            asked for "ktpy-agent datagrams", carry UDP and echo requests meanwhile
       ktpy-agent gateway   supervise HAProxy and sshd in front of a service (the gateway pod's entrypoint)
       ktpy-agent route ID  what every SSH session of a gateway runs: one laptop's routes, while it beats
       ktpy-agent udp       relay a gateway's UDP ports to the original pods
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
        case ["session"] if os.environ.get("SSH_ORIGINAL_COMMAND") == COMMAND:
            from ktpy_agent import datagrams

            return datagrams.run(settings)
        case ["session"]:
            from ktpy_agent import session

            return session.run(settings)
        case ["gateway"]:
            from ktpy_agent import gateway

            return gateway.run(settings)
        case ["route", session_id]:
            from ktpy_agent import route

            return route.run(settings, session_id)
        case ["udp"]:
            from ktpy_agent import udp_relay

            return udp_relay.run(settings)
        case _:
            sys.stderr.write(USAGE)
            return 64

"""The agent's subcommands. Each is imported only when asked for: an SSH session starts one, so start-up counts."""

import os
import sys
from pathlib import Path

from ktpy.wire import datagram, dev, files, session, surroundings, volume
from ktpy.wire.sync import frames
from ktpy_agent.settings import Settings, SettingsError

USAGE = """usage: ktpy-agent shadow    supervise sshd until no SSH session is left (the pod's entrypoint)
       ktpy-agent session   what every SSH session runs there: say hello, then live as long as the laptop beats;
                            asked for "ktpy-agent datagrams", carry UDP and echo requests meanwhile;
                            asked for "ktpy-agent surroundings", tell what the workload's pod is given;
                            asked for "ktpy-agent files", hand over what its volumes hold;
                            asked for "ktpy-agent claim PATH", keep its claim there like a folder of the laptop;
                            asked for "ktpy-agent volume PATH", do in that claim what the laptop's programs do;
                            asked for "ktpy-agent echo", send back what comes
       ktpy-agent sync DIR  serve a folder that a laptop keeps like one of its own; a dev session may ask for it
       ktpy-agent environment PREFIX...  write this container's environment down for the agent beside it
       ktpy-agent dev-install DIR  copy the agent into a folder that a container of another image has
       ktpy-agent dev       supervise sshd in such a container; dev-session is what its SSH sessions run
       ktpy-agent logs DIR [-f]  print what programs of a dev container have printed
       ktpy-agent gateway   supervise HAProxy and sshd in front of a service (the gateway pod's entrypoint)
       ktpy-agent hold      what that pod's second container runs: let connections wait while the first starts again
       ktpy-agent route SOCKET ID  what every SSH session of a gateway runs: one laptop's routes, while it beats
       ktpy-agent udp       what the gateway starts: relay its UDP ports to laptops and original pods
       ktpy-agent tap       what the gateway starts: send copies of requests to laptops
"""


def main(arguments: list[str]) -> int:
    """Run one subcommand; the answer is the exit status (64, EX_USAGE of sysexits.h, for a wrong call)."""
    match arguments:
        case [surroundings.ENVIRONMENT_ROLE, *prefixes]:  # before the settings: its variables are not the agent's
            from ktpy_agent import environment

            return environment.run(prefixes)
        case ["sync", folder]:  # in a container of its user's, too
            return _sync(folder)
        case [dev.LOGS, folder, *options]:  # as a program of the container's user
            from ktpy_agent import dev_log

            return dev_log.show(Path(folder), follows=options == ["-f"])
        case [dev.INSTALL_ROLE, folder]:
            from ktpy_agent import dev_install

            return dev_install.run(Path(folder))
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as exc:
        sys.stderr.write(f"ktpy-agent: {exc}\n")
        return 64
    return _with_settings(settings, arguments)


def _with_settings(settings: Settings, arguments: list[str]) -> int:
    match arguments:
        case ["shadow"]:
            from ktpy_agent import shadow

            return shadow.run(settings)
        case ["session"]:
            return _session(settings, os.environ.get("SSH_ORIGINAL_COMMAND", ""))
        case [dev.ROLE]:
            from ktpy_agent import dev as container

            return container.run(settings)
        case [dev.SESSION]:
            return _dev_session(settings, os.environ.get("SSH_ORIGINAL_COMMAND", ""))
        case ["gateway"]:
            from ktpy_agent import gateway

            return gateway.run(settings)
        case ["hold"]:
            from ktpy_agent import listeners

            return listeners.hold(settings)
        case ["udp"]:
            from ktpy_agent import udp_relay

            return udp_relay.run(settings)
        case ["tap"]:
            from ktpy_agent import tap_relay

            return tap_relay.run(settings)
        case _:
            sys.stderr.write(USAGE)
            return 64


def _session(settings: Settings, asked: str) -> int:
    """Run what a laptop's channel asked for; each but the session itself is beside it."""
    match asked:
        case datagram.COMMAND:
            from ktpy_agent import datagrams

            return datagrams.run(settings)
        case surroundings.COMMAND:
            from ktpy_agent import surroundings as telling

            return telling.run()
        case files.COMMAND:
            from ktpy_agent import files as volumes

            return volumes.run()
        case _ if asked.startswith(files.CLAIM_COMMAND):
            from ktpy_agent import claim

            return claim.run(asked.removeprefix(files.CLAIM_COMMAND))
        case _ if asked.startswith(volume.COMMAND):
            from ktpy_agent import volume as served

            return served.run(asked.removeprefix(volume.COMMAND))
        case session.ECHO:
            return _echo()
    from ktpy_agent import session as standing

    return standing.run(settings)


def _echo() -> int:
    while data := os.read(sys.stdin.fileno(), 1 << 16):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return 0


def _sync(directory: str) -> int:
    from ktpy_agent import sync

    return sync.run(directory)


def _dev_session(settings: Settings, asked: str) -> int:
    """Run what a laptop's channel to a dev container asked for: a program of the image's, a folder, or the session."""
    from ktpy_agent import dev as container

    if asked.startswith(frames.COMMAND):
        return _sync(asked.removeprefix(frames.COMMAND))
    if asked.startswith(dev.INTERRUPT):
        return container.interrupt(asked.removeprefix(dev.INTERRUPT), settings.run_dir)
    try:
        wanted = dev.Exec.parse(asked)
    except ValueError as exc:
        sys.stderr.write(f"ktpy-agent: {exc}\n")
        return 64
    if wanted is None:
        return _session(settings, asked)
    return container.execute(wanted, settings.run_dir)

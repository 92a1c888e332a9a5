"""A route: what the agent in a gateway's pod runs as long as the SSH connection stands, and what it answers."""

from collections.abc import Callable
from typing import Final

from ktpy import __version__
from ktpy.errors import PodFailed, PodNotReady, RouteTaken, TargetUnsuitable
from ktpy.link.session import AgentCommand
from ktpy.wire.pod import ROUTE_BEAT_S
from ktpy.wire.route import (
    BEAT,
    Refusal,
    RouteCounters,
    RouteHello,
    ServicePort,
    UdpUnknown,
    parse_answer,
    parse_counters,
)

ROUTE_COMMAND: Final = "ktpy-agent route"
_OLDER: Final = "If the gateway is kept, ktpy gateway release, then keep, makes it anew; else see --image."
"""What is done about pods of an older ktpy."""

OnCounters = Callable[[dict[ServicePort, RouteCounters]], None]


class RouteNotYet(PodNotReady):
    """This pod of the gateway takes no route just now, but may in a moment."""


def route_command(
    hello: RouteHello, on_counters: OnCounters, *, beat_interval_s: float = ROUTE_BEAT_S
) -> AgentCommand[dict[ServicePort, str]]:
    """Return the command that registers `hello`; the agent's answer is the path of a socket for each port.

    Opening a connection with it raises RouteTaken when somebody else has the port or the match, RouteNotYet when the
    pod takes none just now, TargetUnsuitable when it never will.
    """
    return AgentCommand(
        ROUTE_COMMAND,
        lambda line: read_answer(line, hello),
        beat_interval_s,
        beat=BEAT,
        opening=hello.line(),
        on_line=lambda line: on_counters(parse_counters(line)),
    )


def read_answer(line: bytes, hello: RouteHello) -> dict[ServicePort, str]:
    """Read the gateway's answer. Raises what `route_command` says, and ValueError for what is no answer to `hello`."""
    try:
        answered = parse_answer(line, hello.ports)
    except UdpUnknown as exc:
        raise PodFailed(
            f"The gateway's pods run an agent that exposes no UDP ports: that needs the one of ktpy {__version__}.",
            hint=_OLDER,
        ) from exc
    if not isinstance(answered, Refusal):
        return answered
    told = answered.sentence.rstrip(".")
    sentence = f"{told[:1].upper()}{told[1:]}."
    if answered.for_now:
        raise RouteNotYet(sentence)
    if answered.holder is None:
        raise TargetUnsuitable(sentence, hint=_OLDER if "cannot match by" in told else None)
    raise RouteTaken(sentence, hint="Nothing was changed. Ask the holder, or take another port or match.")

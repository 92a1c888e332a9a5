"""What can be told before anybody types a password: the kubeconfig is wrong, or the user is connected already."""

from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import CONNECT, RuntimeDirectory
from ktpy.errors import AlreadyConnected
from ktpy.kube.kubeconfig import KubeContext, selected
from ktpy.observe.status import ConnectStatus
from ktpy.sessions.options import ConnectOptions


def needless(options: ConnectOptions, caller: Caller) -> ConnectStatus | None:
    """Return the session because of which a `connect` has nothing to do: it stands already.

    Raises KubeconfigMissing and ContextUnknown, and AlreadyConnected where the running session is another.
    """
    target = selected(options.kubeconfig, options.context, options.namespace).target
    try:
        with RuntimeDirectory.of(caller).claim(target.server, options.name):
            return None
    except AlreadyConnected:
        if (running := connected_to(target, options.capture.mode, caller, options.name)) is None:
            raise
        return running


def already(running: ConnectStatus) -> str:
    """Return the last sentence of a `connect` that has nothing to do."""
    what = f"{running.context}, namespace {running.namespace}, by process {running.pid}"
    return f"Already connected to {what}; nothing was changed."


def connected_to(target: KubeContext, mode: str, caller: Caller, name: str | None = None) -> ConnectStatus | None:
    """Return a session of this user's that stands, has this name or none, and is connected to this cluster and
    namespace in this mode."""
    for path in RuntimeDirectory.of(caller).control_sockets(CONNECT):
        running = control_client.ask_status(path)
        if not isinstance(running, ConnectStatus) or running.state == "starting":
            continue
        place = (running.server, running.context, running.namespace, running.mode, running.name)
        if place == (target.server, target.context, target.namespace, mode, name):
            return running
    return None

"""`ktpy doctor` looks for what keeps ktpy from working here."""

from typing import TYPE_CHECKING, Any

import click

from ktpy.cli import render
from ktpy.cli.options import Repeatable, cluster, output, verbose
from ktpy.cli.pod_options import image, pod_template, pod_timeout
from ktpy.daemon.caller import Caller
from ktpy.errors import CheckFailed

if TYPE_CHECKING:
    from ktpy.doctor.finding import Finding

USES = ("connect", "intercept", "run", "dev")
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "not made": "yellow"}


@click.command()
@click.option(
    "--rbac",
    "wanted",
    cls=Repeatable,
    type=click.Choice(USES),
    multiple=True,
    help="These rights have to be there; of the others it is only told what is missing. Repeatable.",
)
@cluster(namespace="Namespace that ktpy is to work in.")
@click.option("--pod", "with_pod", is_flag=True, help="Start a pod of ktpy's, too, measure it, and remove it.")
@image
@pod_template
@pod_timeout
@output
@verbose
def doctor(wanted: tuple[str, ...], with_pod: bool, pod_timeout: float, output: str, **options: Any) -> None:
    """Look at this laptop and at the cluster for what would keep ktpy from working, and tell how to mend it.

    It needs no root and changes nothing, but for the pod of --pod, which shows that the image can be had, and how
    fast the way through it is. It ends with code 64 where something has failed.

    \b
    ktpy doctor -n shop
    ktpy doctor -n shop --rbac intercept
    ktpy doctor -n shop --pod
    """
    from ktpy.sessions import doctor as session  # brings asyncio, which `ktpy --help` need not wait for
    from ktpy.sessions.options import ConnectOptions

    Caller.become()
    is_json = output == "json"
    asked = ConnectOptions(pod_timeout_s=pod_timeout, **options)
    found = session.look(asked, wanted, _nothing if is_json else _tell, with_pod=with_pod)
    if is_json:
        render.say_json({"findings": [one.data() for one in found]})
    if failed := sum(one.state.value == "failed" for one in found):
        raise CheckFailed(f"{failed} of {len(found)} checks failed.")
    if not is_json:
        render.say(f"None of {len(found)} checks failed.")


def _tell(one: "Finding") -> None:
    state = click.style(f"{one.state.value:<9}", fg=_COLOURS[one.state.value])
    first, *more = one.seen.splitlines()
    render.write(f"{state} {render.clean(one.subject):<20} {render.clean(first)}")
    rest = [*more, *(f"mend: {line}" for line in (one.mend or "").splitlines())]
    render.say(*(f"{'':<30} {line}" for line in rest))


def _nothing(_: "Finding") -> None:
    """Show nothing: what is printed is JSON."""

"""`ktpy gateway keep`, `release` and `who`: a gateway that stays between intercepts."""

from collections.abc import Iterable, Iterator
from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.complete import port_names, target_names
from ktpy.cli.intercept_options import gateway_label, in_mesh, move_clients, namespace_named, replicas, target_reference
from ktpy.cli.options import Decorated, Repeatable, cluster, decorated, verbose
from ktpy.cli.options import output as output_option
from ktpy.cli.pod_options import image, pod_template, pod_timeout
from ktpy.daemon.caller import Caller
from ktpy.observe.events import Event
from ktpy.sessions.options import KEEP, AppProtocol, ExposeOption, InterceptOptions


@click.group()
def gateway() -> None:
    """Keep the gateway of a service between intercepts.

    Connections that clients keep open lead to where the service led when they were made. Behind a gateway that stays,
    every exchange and mesh has effect on them, too, from the next request on.

    \b
    ktpy gateway keep web
    ktpy gateway who web
    ktpy gateway release web
    """


@gateway.command(short_help="Let a gateway stand before a service until it is released")
@click.argument("target", shell_complete=target_names)
@cluster(namespace="Namespace of the service.")
@click.option(
    "--http-port",
    "http_ports",
    cls=Repeatable,
    multiple=True,
    envvar="KTPY_HTTP_PORT",
    shell_complete=port_names,
    metavar="PORT",
    help="A port, by number or name, where HTTP is spoken though the service does not say so. Repeat it.",
)
@output_option
@verbose
@image
@pod_timeout
@replicas
@gateway_label
@in_mesh
@move_clients
@pod_template
def keep(target: str, http_ports: tuple[str, ...], output: str, pod_timeout: float, **options: Any) -> None:
    """Let a gateway stand before TARGET, also while nobody intercepts it; it relays to the original pods then.

    It stands until somebody releases it. Where one stands already, it stays when its last user leaves.

    \b
    ktpy gateway keep web
    """
    from ktpy.sessions import gateway as use_cases  # brings asyncio, which `ktpy --help` need not wait for

    place, name = _named(target, options)
    wanted = InterceptOptions(
        kind=KEEP,
        target=name,
        expose=tuple(ExposeOption(0, port) for port in http_ports),
        protocol=AppProtocol.HTTP if http_ports else None,
        pod_timeout_s=pod_timeout,
        **place,
    )
    found = use_cases.keep(wanted, Caller.become(), _quiet if output == "json" else render.event)
    _tell(found, _kept(found), output)


def _kept(found: dict[str, Any]) -> Iterator[str]:
    service, keepers = found["service"], [one for one in found["sessions"] if one["is_keeper"]]
    if found["is_new"]:
        yield f"The gateway of {service} stays until `ktpy gateway release {service}`."
    else:
        yield f"The gateway of {service} is kept already, by {_since(keepers[0])}."
    if found["image"] != found["wanted_image"]:
        yield (
            f"It runs {found['image']}, and this ktpy has {found['wanted_image']}: "
            f"`ktpy gateway release {service}`, then `keep`, makes it anew."
        )


def _standing(command: Decorated) -> Decorated:
    """Add what a command takes that names a gateway which stands."""
    return decorated(
        command,
        verbose,
        output_option,
        cluster(namespace="Namespace of the service."),
        click.argument("target", shell_complete=target_names),
    )


@gateway.command(short_help="Give a service back whose gateway is kept")
@_standing
def release(target: str, output: str, **options: Any) -> None:
    """End that the gateway of TARGET is kept, whoever keeps it. It goes when nobody intercepts TARGET any more.

    \b
    ktpy gateway release web
    """
    from ktpy.sessions import gateway as use_cases
    from ktpy.sessions.once import ClusterRef

    place, name = _named(target, options)
    report = _quiet if output == "json" else render.on_error_output
    found = use_cases.release(ClusterRef(**place), name, Caller.become(), report)
    _tell(found, _released(found), output)


def _released(found: dict[str, Any]) -> Iterator[str]:
    service, users = found["service"], [one["owner"] for one in found["sessions"] if one["is_live"]]
    for keeper in found["released"]:
        yield f"The gateway of {service} is not kept any more; it was by {_since(keeper)}."
    if not found["released"]:
        yield f"Nobody keeps the gateway of {service}."
    if users:
        yield f"It stays until they have left who intercept {service}: {', '.join(sorted(set(users)))}."
    elif found["released"]:
        yield f"{service} is as before."


@gateway.command(short_help="Show who shares a gateway")
@_standing
def who(target: str, output: str, **options: Any) -> None:
    """Show who shares the gateway of TARGET: what they take, and since when.

    \b
    ktpy gateway who web
    """
    from ktpy.sessions import gateway as use_cases
    from ktpy.sessions.once import ClusterRef

    place, name = _named(target, options)
    Caller.become()
    found = use_cases.who(ClusterRef(**place), name)
    _tell(found, _shared(found), output)


def _shared(found: dict[str, Any]) -> Iterator[str]:
    service = found["service"]
    if not found["sessions"]:
        yield f"Nobody intercepts {service}, or keeps a gateway before it."
        return
    yield f"gateway of {service}, namespace {found['namespace']}: {found['image'] or 'gone'}"
    if not found["is_redirected"]:
        yield f"Service {service} does not lead to it: somebody has applied it as it was, or deleted it."
    for one in found["sessions"]:
        what = one["description"] or "unknown"
        yield f"  {_since(one)}: {what}{render.condition(one)}"


def _tell(found: dict[str, Any], lines: Iterable[str], output: str) -> None:
    if output == "json":
        render.say_json(found)
    else:
        render.say(*lines)


def _since(session: dict[str, Any]) -> str:
    return f"{session['owner']} since {session['since'] or 'an unknown time'}"


def _named(target: str, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the options with the namespace that the user named, and the target as `targets.find` takes it."""
    reference = target_reference(target)
    namespace = namespace_named(reference, options["namespace"])
    return options | {"namespace": namespace}, reference.name if reference.namespace else target


def _quiet(_event: Event) -> None:
    """Show nothing: what is printed is JSON."""

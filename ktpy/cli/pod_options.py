"""The options of ktpy's pods. Those by which they meet the rules of a namespace are one overlay of their template."""

import math
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ktpy.cli.options import Decorated, Repeatable, decorated
from ktpy.sessions.options import DEFAULT_IMAGE, DEFAULT_POD_TIMEOUT_S


class _Seconds(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):  # NaN is in every range
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return float(seconds)


image = click.option(
    "--image",
    default=DEFAULT_IMAGE,
    show_default=True,
    envvar="KTPY_IMAGE",
    metavar="IMAGE",
    help="Agent image of ktpy's pod.",
)

pod_timeout = click.option(
    "--pod-timeout",
    type=_Seconds(min=1),
    default=DEFAULT_POD_TIMEOUT_S,
    show_default=True,
    envvar="KTPY_POD_TIMEOUT",
    metavar="SECONDS",
    help="How long to wait for ktpy's pod.",
)


def labels(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read KEY=VALUE, repeated or with commas. Raises click.BadParameter."""
    pairs = [text.partition("=") for value in values for text in value.split(",")]
    for key, separator, _ in pairs:
        if not key or not separator:
            raise click.BadParameter("A label is KEY=VALUE, such as team=shop.")
    return {key: value for key, _, value in pairs}


def _template(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    import yaml  # not before it is needed

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise click.BadParameter(f"{path} cannot be read: {error}") from None
    if not isinstance(document, dict) or not document.keys() <= {"apiVersion", "kind", "metadata", "spec"}:
        raise click.BadParameter(f"{path} is no pod's template: it has metadata, spec or both.")
    parts = {key: document[key] for key in ("metadata", "spec") if key in document}
    if not all(isinstance(part, dict) for part in parts.values()):
        raise click.BadParameter(f"{path} is no pod's template: metadata and spec have fields.")
    return parts


def pod_template(command: Decorated) -> Decorated:
    """Add the options; the command gets `pod_overlay`."""

    @wraps(command)
    def overlaying(
        *, pod_overlay: dict[str, Any], node_selector: dict[str, str], pull_secrets: tuple[str, ...], **options: Any
    ) -> Any:
        spec = dict(pod_overlay.get("spec") or {})
        if node_selector:
            spec["nodeSelector"] = (spec.get("nodeSelector") or {}) | node_selector
        if pull_secrets:
            spec["imagePullSecrets"] = (spec.get("imagePullSecrets") or []) + [{"name": one} for one in pull_secrets]
        return command(pod_overlay=pod_overlay | ({"spec": spec} if spec else {}), **options)

    return decorated(
        overlaying,
        click.option(
            "--pod-overlay",
            type=click.Path(path_type=Path),
            callback=_template,
            envvar="KTPY_POD_OVERLAY",
            metavar="FILE",
            help="YAML of metadata and spec to merge into ktpy's pod; its container is `agent`.",
        ),
        click.option(
            "--node-selector",
            cls=Repeatable,
            multiple=True,
            callback=labels,
            envvar="KTPY_NODE_SELECTOR",
            metavar="KEY=VALUE",
            help="Run ktpy's pod on nodes with this label.",
        ),
        click.option(
            "--pull-secret",
            "pull_secrets",
            cls=Repeatable,
            multiple=True,
            envvar="KTPY_PULL_SECRET",
            metavar="NAME",
            help="A Secret of the namespace with which the node pulls the agent image.",
        ),
    )

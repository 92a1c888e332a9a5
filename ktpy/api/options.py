"""The parameters of the Python API: the options of the commands, with underscores, and with one after `for`."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypedDict

from ktpy.errors import UsageError

Text: TypeAlias = str | None
Texts: TypeAlias = str | Iterable[str] | None
Pairs: TypeAlias = str | Iterable[str] | Mapping[str, str] | None
"""NAME=VALUE, of each pair."""
Path: TypeAlias = str | os.PathLike[str] | None
Duration: TypeAlias = str | float | None
"""A number of seconds, or one with its unit: 90s, 10m, 2h."""


class ClusterOptions(TypedDict, total=False):
    """The options that choose the cluster, as kubectl has them."""

    kubeconfig: Path
    context: Text
    namespace: Text


class PodOptions(ClusterOptions, total=False):
    """The options of all that have a pod of ktpy's."""

    image: Text
    node_selector: Pairs
    pod_overlay: Path
    pod_timeout: float
    pull_secret: Texts


class WayOptions(PodOptions, total=False):
    """The options that choose how connections get to the cluster's services."""

    allow_direct: bool
    local_shortcut: bool
    ssh_only: bool
    via: Text


class RoutingOptions(WayOptions, total=False):
    """The options that choose which addresses and names are the cluster's."""

    dns_zone: Texts
    exclude: Texts
    include: Texts
    no_pods: bool


class ConnectOptions(RoutingOptions, total=False):
    """The options of `ktpy connect`."""

    for_: Duration
    keep: Duration
    mode: Text
    name: Text
    no_dns: bool
    no_keep: bool
    no_reconnect: bool
    on_overlap: Text
    proxy_port: int | None
    translate_to: Texts


class RunOptions(RoutingOptions, total=False):
    """The options of `ktpy run`."""

    container: Text
    env: Pairs
    env_file: Path
    exchange: Texts
    from_pod: bool
    mesh: Text
    mode: Text
    no_publish: bool
    publish: Texts
    service: Text
    unset: Texts
    volumes: Text


class ForwardOptions(WayOptions, total=False):
    """The options of `ktpy forward`."""

    all: bool
    for_: Duration


class PreviewOptions(PodOptions, total=False):
    """The options of `ktpy preview`."""

    for_: Duration
    gateway: Text
    gateway_route: Text
    ingress: Text
    ingress_class: Text
    protocol: Text
    replicas: int


class ExchangeOptions(PodOptions, total=False):
    """The options of `ktpy exchange`."""

    for_: Duration
    gateway_label: Pairs
    in_mesh: bool
    move_clients: bool
    not_in_mesh: bool
    protocol: Text
    replicas: int
    when_local_down: Text


class MeshOptions(ExchangeOptions, total=False):
    """The options of `ktpy mesh`."""

    header: Pairs
    path_prefix: Text
    version: Text


def operands(*words: str) -> Sequence[str]:
    """Return the words that name what a command works with. Raises UsageError for one that it would read as an option.

    They may be another's, such as a coding agent's, which is to have no options but those that the caller gives it.
    """
    for word in words:
        if word.startswith("-"):
            raise UsageError(f"{word!r} names nothing: it begins with a hyphen, as options do; nothing was changed.")
    return words


def words_of(options: Mapping[str, object]) -> Iterator[str]:
    """Yield the words by which a command is told these. What is None, False or empty is not said."""
    for name, value in options.items():
        option = f"--{name.rstrip('_').replace('_', '-')}"
        if value is True:
            yield option
        elif isinstance(value, Mapping):
            yield from (f"{option}={key}={each}" for key, each in value.items())
        elif isinstance(value, Iterable) and not isinstance(value, str):
            yield from (f"{option}={each}" for each in value)
        elif value is not None and value is not False:
            yield f"{option}={value}"

"""What the cluster says to this user: whether it answers, and what would keep a pod of ktpy's from starting."""

import re
import time
from datetime import UTC, datetime
from typing import Final

from ktpy.cluster.names import labels
from ktpy.cluster.pods.quantity import parse_quantity
from ktpy.cluster.service.network_policies import warnings_for_shadow
from ktpy.doctor.finding import Finding, State, failed
from ktpy.errors import Forbidden
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, labels_of, name_of
from ktpy.kube.refusals import NotFound
from ktpy.kube.resources import NAMESPACES, NETWORK_POLICIES, RESOURCE_QUOTAS
from ktpy.kube.supported import NEWEST, OLDEST, support_of

SKEW_S: Final = 60.0
"""By more than this, credentials that have just been made may count as of the future, or as expired."""
_ENFORCE: Final = "pod-security.kubernetes.io/enforce"
_COUNTED: Final = ("pods", "count/pods", "count/jobs.batch")
"""What of a quota ktpy's pod takes one of."""


async def server(api: Api) -> tuple[Finding, ...]:
    """Ask for the version; what answers tells its time, too. Raises KtpyError where nobody does."""
    began_s = time.monotonic()
    version, now = await api.dated("/version")
    took_ms = (time.monotonic() - began_s) * 1000
    by = f", through the proxy {_without_password(proxy)}" if (proxy := api.address.proxy) else ""
    named = str(version.get("gitVersion", "of an unknown version"))
    seen = f"Kubernetes {named} at {api.target.server} answers in {took_ms:.0f} ms{by}"
    skew_s = (datetime.now(UTC) - now).total_seconds()
    return Finding("API server", State.OK, f"{seen}."), *_version(named), _clock(skew_s)


def _version(named: str) -> list[Finding]:
    """Tell of a version that is too old, or newer than any that this ktpy has been tested with."""
    match support_of(named):
        case "older":
            seen = f"{named} is older than {OLDEST}, the oldest that has all that ktpy asks for."
            mend = "Have the cluster upgraded; some commands may work meanwhile."
            return [Finding("version", State.WARNING, seen, mend)]
        case "newer":
            seen = f"{named} is newer than {NEWEST}, the newest that this version of ktpy was tested with."
            return [Finding("version", State.OK, seen)]
    return []


def _clock(skew_s: float) -> Finding:
    if abs(skew_s) < SKEW_S:
        return Finding("clock", State.OK, "This laptop's clock and the API server's agree.")
    how = "ahead of" if skew_s > 0 else "behind"
    return Finding(
        "clock",
        State.WARNING,
        f"This laptop's clock is {abs(skew_s):.0f} s {how} the API server's; credentials may seem expired.",
        "timedatectl set-ntp true",
    )


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


async def namespace(api: Api) -> Finding:
    """See whether the namespace is there, and how it judges pods."""
    try:
        found = await api.request("GET", NAMESPACES.path(name=api.namespace))
    except NotFound:
        return Finding("namespace", State.FAILED, f"Namespace {api.namespace} does not exist.", "Name another: -n NAME")
    except Forbidden as error:
        return failed("namespace", error, State.NOT_MADE)
    level = labels_of(found).get(_ENFORCE)
    judged = (
        f"and enforces Pod Security {level}; ktpy's own pods keep to restricted" if level else "with no Pod Security"
    )
    return Finding("namespace", State.OK, f"{api.namespace} is there, {judged}.")


async def quota(api: Api) -> Finding:
    """See whether there is room for one more pod, by what quotas count."""
    try:
        answer = await api.request("GET", RESOURCE_QUOTAS.path(api.namespace))
    except Forbidden as error:
        return failed("quota", error, State.NOT_MADE)
    full = [told for one in answer.get("items") or [] for told in _full(one)]
    if full:
        return Finding("quota", State.FAILED, f"There is no room for ktpy's pod: {', '.join(full)}.", "Ask for more.")
    return Finding("quota", State.OK, "There is room for one more pod, as far as pods are counted.")


def _full(quota: Json) -> list[str]:
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    return [
        f"quota {name_of(quota)} has {used.get(key, '0')} of {hard[key]} {key}"
        for key in _COUNTED
        if key in hard and parse_quantity(str(used.get(key, 0))) >= parse_quantity(str(hard[key]))
    ]


async def policies(api: Api) -> list[Finding]:
    """See which NetworkPolicies may keep ktpy's pod off."""
    try:  # who may not list them is told so; `connect` goes on without a word
        await api.request("GET", NETWORK_POLICIES.path(api.namespace), query={"limit": "1"})
        warnings = await warnings_for_shadow(api, labels("shadow", owner="doctor", session="doctor"))
    except Forbidden as error:
        return [failed("policies", error, State.NOT_MADE)]
    if not warnings:
        return [Finding("policies", State.OK, "No NetworkPolicy that can be seen keeps ktpy's pod off.")]
    return [Finding("policies", State.WARNING, warning) for warning in warnings]


def image(name: str) -> Finding:
    """Say that a dry run tells nothing of the image."""
    seen = f"Whether the nodes can pull {name} shows when a pod of ktpy's starts."
    return Finding("image", State.NOT_MADE, seen, "ktpy doctor --pod")


def unreached(why: str) -> Finding:
    """Say what was not looked at, and why."""
    seen = f"Rights, namespace, admission, networks and leftovers were not looked at: {why}."
    return Finding("cluster", State.NOT_MADE, seen)

"""Which of ktpy's commands this user has the rights for, and which rules are missing."""

import shlex
from collections.abc import Iterable
from typing import Final

from ktpy.cluster import rbac
from ktpy.cluster.missing_rights import granted, missing_of, refused_of, user_or_blank
from ktpy.doctor.finding import Finding, State
from ktpy.kube.client import Api
from ktpy.kube.rights import Rule, rule_yaml

USES: Final = {
    "connect": (rbac.CONNECT, ()),
    "intercept": (rbac.INTERCEPT, ("--intercept",)),
    "run": (rbac.CONNECT + rbac.RUN, ("--run",)),
    "dev": (rbac.DEV, ("--dev",)),
}
"""What each needs, and how an administrator asks for it."""


async def rights(api: Api, wanted: Iterable[str]) -> list[Finding]:
    """Compare what is needed with what the API server grants; one of `wanted` that lacks something has failed."""
    found, user = await granted(api, api.namespace), await user_or_blank(api)
    findings = []
    for use, (needed, options) in USES.items():
        # Where another authorizer than RBAC decides too, the API server does not list what it grants.
        missing = await refused_of(api, needed) if found is None else missing_of(needed, found)
        command = ["ktpy", "rbac", api.namespace, user, *options]
        findings.append(_of(use, missing, command, is_wanted=use in wanted))
    return findings


def _of(use: str, missing: tuple[Rule, ...], command: list[str], *, is_wanted: bool) -> Finding:
    subject = f"rights for {use}"
    if not missing:
        return Finding(subject, State.OK, "None is missing.")
    rules = "\n".join(map(rule_yaml, missing))
    state = State.FAILED if is_wanted else State.WARNING
    return Finding(subject, state, f"Missing:\n{rules}", f"{shlex.join(command)} | kubectl apply -f -")

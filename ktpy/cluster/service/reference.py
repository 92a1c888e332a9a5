"""Reads what the user names as the target: `web`, `web.shop`, `deployment.apps/web`. Pure, and light to import."""

import re
from dataclasses import field

from ktpy.frozen import dataclass
from ktpy.kube.resources import Resource

_SHORT = {"svc": "service", "po": "pod", "rc": "replicationcontroller", "deploy": "deployment", "rs": "replicaset"}
_SHORT |= {"sts": "statefulset", "ds": "daemonset", "cj": "cronjob"}
KNOWN = {
    "pod": Resource("", "v1", "pods"),
    "replicationcontroller": Resource("", "v1", "replicationcontrollers"),
    "deployment": Resource("apps", "v1", "deployments"),
    "replicaset": Resource("apps", "v1", "replicasets"),
    "statefulset": Resource("apps", "v1", "statefulsets"),
    "daemonset": Resource("apps", "v1", "daemonsets"),
    "job": Resource("batch", "v1", "jobs"),
    "cronjob": Resource("batch", "v1", "cronjobs"),
}
"""The kinds that every API server has. Others with pods (Rollout, CloneSet, DeploymentConfig) are asked for."""
_KIND = re.compile(r"(?P<kind>[a-z][a-z0-9-]*)(?:\.v\d+(?:(?:alpha|beta)\d+)?)?(?:\.(?P<group>[a-z0-9.-]+))?")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A Reference is what the user named."""

    kind: str
    """service, a kind of KNOWN, or whatever else stands before the slash, in lower case."""
    name: str
    group: str = ""
    """The API group, where the user named one."""
    namespace: str | None = None
    """The namespace, where it is in a service's name: `web.shop`, as in DNS."""
    is_bare: bool = field(default=False, compare=False)
    """Whether the user named no kind: `web` may be a Service's name or a workload's."""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read NAME, NAME.NAMESPACE or KIND[.GROUP]/NAME, as kubectl does. Raises ValueError, with a sentence."""
        before, separator, name = text.rpartition("/")
        parts = _KIND.fullmatch(before.lower() if separator else "service")
        if parts is None or not _NAME.fullmatch(name):
            raise ValueError(f"{text!r} is not NAME, NAME.NAMESPACE or KIND/NAME, such as web or deployment/web.")
        kind, group = parts["kind"], parts["group"] or ""
        kind = _SHORT.get(kind, kind)
        if (singular := kind.removesuffix("s")) in (*KNOWN, "service"):
            kind = singular
        if kind != "service" or group:
            return cls(kind, name, group)
        name, _, namespace = name.partition(".")
        return cls(kind, name, namespace=namespace.partition(".")[0] or None, is_bare=not separator)

    @property
    def resource(self) -> Resource | None:
        """The resource of a kind that every API server has; None when the API server has to be asked."""
        known = KNOWN.get(self.kind)
        return known if known is not None and self.group in ("", known.group) else None

    def __str__(self) -> str:
        return f"{self.kind}{'.' if self.group else ''}{self.group}/{self.name}"

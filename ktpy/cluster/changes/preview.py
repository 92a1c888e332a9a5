"""A preview: a new Service that only this session serves. The gateway's agent, without original pods behind it."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from ktpy.cluster.changes import gateway_manifest
from ktpy.cluster.changes.gateway_pods import GatewayPods
from ktpy.cluster.changes.inventory import PREVIEW
from ktpy.cluster.changes.plan import Plan
from ktpy.cluster.names import MANAGED_BY, NAME_MAX, OWNER, ROLE, SESSION, gateway_name
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.service.ports import AppProtocol, Expose, Exposed, GatewayPort
from ktpy.cluster.sharing import lease
from ktpy.cluster.sharing.lease import OwnLease
from ktpy.cluster.steps import Step, nothing, run_steps
from ktpy.errors import Forbidden, NameTaken, PortUnknown, RouteTaken, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.refusals import Conflict, NotFound
from ktpy.kube.resources import DEPLOYMENTS, INGRESS_CLASSES, INGRESSES, SERVICES
from ktpy.kube.writes import delete

_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


class Preview:
    """A session that serves a Service of its own."""

    def __init__(
        self,
        api: Api,
        name: str,
        plan: Plan,
        on_progress: Callable[[PodProgress], None] = lambda _: None,
        *,
        ingress_host: str | None = None,
        ingress_class: str | None = None,
    ) -> None:
        self._api, self._name, self._plan = api, name, plan
        self._on_progress = on_progress
        self._ingress_host, self._ingress_class = ingress_host, ingress_class
        self._protocol = plan.protocol or AppProtocol.HTTP
        self._may_exist = False
        self.session = plan.session
        self.lease = OwnLease(api, session=plan.session, owner=plan.owner, target=name, description=plan.description)
        self.pods = GatewayPods(api, name, session=plan.session, public_key=plan.public_key)
        self.entry = (
            Step("choose the ingress class", self._choose_ingress_class),
            Step("claim a lease", self._claim),
            Step("create the service", self._create_service),
            Step("create the gateway", self._create_gateway),
            Step("create the ingress", self._create_ingress),
            Step("wait for a gateway pod", self._wait_for_pod),
        )
        self.exit = removal(api, api.namespace, name, plan.session)

    async def enter(
        self, on_step: Callable[[str], None] = lambda _: None, join: Callable[[], Awaitable[None]] = nothing
    ) -> None:
        """Make the preview. Raises NameTaken, TargetUnsuitable, and what keeps a pod from running; then `leave`.

        `join` is awaited last: from then on it should serve.
        """
        await run_steps(self.entry, on_step)
        await join()

    async def leave(self, on_step: Callable[[str], None] = lambda _: None) -> None:
        """Undo all of `enter`, from wherever it stopped."""
        if self._may_exist:
            await run_steps(self.exit, on_step)

    async def guard(self, on_notice: Callable[[str], None]) -> None:
        """All of it is the session's own: nobody else has a part in it."""

    async def _choose_ingress_class(self) -> None:
        if self._ingress_host is not None and self._ingress_class is None:
            self._ingress_class = await ingress_class(self._api)

    async def _claim(self) -> None:
        self._may_exist = True
        await self.lease.claim()

    async def _create_service(self) -> None:
        """The Service comes first: its name can be had once, so of two who want it at the same instant one is told."""
        manifest = gateway_manifest.preview_service(
            name=self._name,
            namespace=self._api.namespace,
            owner=self._plan.owner,
            session=self.session,
            ports=self._ports,
            is_http=self._protocol is AppProtocol.HTTP,
        )
        try:
            await self._api.request("POST", SERVICES.path(self._api.namespace), body=manifest)
        except Conflict as exc:
            raise await self._name_taken() from exc

    async def _create_gateway(self) -> None:
        manifest = gateway_manifest.gateway_deployment(
            target=self._name,
            namespace=self._api.namespace,
            owner=self._plan.owner,
            session=self.session,
            image=self._plan.image,
            ports=self._ports,
            origin_host=None,
            replicas=self._plan.replicas,
            pod_labels=self._plan.pod_labels,
            role=PREVIEW,
        )
        await self._api.request("POST", DEPLOYMENTS.path(self._api.namespace), body=manifest)

    async def _create_ingress(self) -> None:
        if self._ingress_host is None:
            return
        manifest = gateway_manifest.preview_ingress(
            name=self._name,
            namespace=self._api.namespace,
            owner=self._plan.owner,
            session=self.session,
            host=self._ingress_host,
            port=self._ports[0].port,
            ingress_class=self._ingress_class,
        )
        try:
            await self._api.request("POST", INGRESSES.path(self._api.namespace), body=manifest)
        except Conflict as exc:
            raise NameTaken(f"An ingress {self._name} exists in namespace {self._api.namespace} already.") from exc

    async def _wait_for_pod(self) -> None:
        deployment = gateway_name(self._name)
        await self.pods.until_ready(self.session, deployment, self._plan.pod_timeout_s, self._on_progress)

    @property
    def _ports(self) -> tuple[GatewayPort, ...]:
        is_http = self._protocol is AppProtocol.HTTP
        return tuple(
            GatewayPort(one.remote, f"{self._protocol.value}-{one.remote}", one.remote, "TCP", is_http)
            for one in self._plan.exposed
        )

    async def _name_taken(self) -> NameTaken:
        where = f"in namespace {self._api.namespace}"
        with suppress(NotFound):
            service = await self._api.request("GET", SERVICES.path(self._api.namespace, self._name))
            labels = service["metadata"].get("labels") or {}
            if labels.get(MANAGED_BY) == "ktpy" and labels.get(ROLE) == PREVIEW:
                return NameTaken(
                    f"{labels.get(OWNER)} has a preview {self._name} {where} already.",
                    hint="If that session is dead, ktpy clean removes it; else choose another name.",
                )
        return NameTaken(
            f"A service {self._name} exists {where} already.",
            hint=f"Choose another name, or intercept it: ktpy exchange {self._name}",
        )


def preview_ports(wanted: Sequence[Expose]) -> tuple[Exposed, ...]:
    """The ports of a preview: REMOTE becomes a port of the new Service; without it, it is the local port's number."""
    found: dict[int, Exposed] = {}
    for expose in wanted:
        if expose.remote is not None and not expose.remote.isdecimal():
            raise PortUnknown(f"A new service has no port named {expose.remote} yet.", hint="Give the port's number.")
        remote = int(expose.remote or expose.local)
        if remote in found:
            raise RouteTaken(f"Port {remote} is exposed twice in this command.")
        found[remote] = Exposed(expose.local, remote)
    return tuple(found.values())


def refuse_name(name: str) -> None:
    """Raise TargetUnsuitable for what cannot be the name of a Service (RFC 1035, section 2.3.1)."""
    if len(name) > NAME_MAX:
        raise TargetUnsuitable(
            f"The name {name} has {len(name)} characters; the name of a service has at most {NAME_MAX}."
        )
    is_legal = name.isascii() and name[:1].isalpha() and name[-1:].isalnum() and name == name.lower()
    if not (is_legal and name.replace("-", "").isalnum()):
        raise TargetUnsuitable(
            f"{name!r} cannot be the name of a service: it consists of a-z, 0-9 and hyphens, and begins with a letter."
        )


async def ingress_class(api: Api) -> str | None:
    """The class for an Ingress that names none; None when the cluster has a default one, or does not let us see.

    Raises TargetUnsuitable when there is no class, or several without a default.
    """
    try:
        answer = await api.request("GET", INGRESS_CLASSES.path())
    except Forbidden:
        return None
    classes: list[Json] = answer.get("items") or []
    if any((one["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true" for one in classes):
        return None
    if not classes:
        raise TargetUnsuitable(
            "The cluster has no ingress class, so nothing would serve an ingress.",
            hint="Install an ingress controller, or leave out --ingress.",
        )
    known = sorted(str(one["metadata"]["name"]) for one in classes)
    if len(known) > 1:
        raise TargetUnsuitable(
            f"The cluster has several ingress classes and no default: {', '.join(known)}.",
            hint="Name one with --ingress-class.",
        )
    return known[0]


def removal(api: Api, namespace: str, name: str, session: str) -> tuple[Step, ...]:
    """The steps that remove one session's preview, wherever its creation stopped; and nothing of anybody else's."""
    ingress = INGRESSES.path(namespace, name)
    service = SERVICES.path(namespace, name)
    deployment = DEPLOYMENTS.path(namespace, gateway_name(name))

    async def delete_ingress() -> None:
        with suppress(Forbidden):  # who may not see ingresses has not made one
            await _delete_own(api, ingress, session)

    async def delete_lease() -> None:
        await lease.release(api, namespace, session)

    return (
        Step("delete the ingress", delete_ingress),
        Step("delete the service", lambda: _delete_own(api, service, session)),
        Step("delete the gateway", lambda: _delete_own(api, deployment, session)),
        Step("delete the lease", delete_lease),
    )


async def _delete_own(api: Api, path: str, session: str) -> None:
    with suppress(NotFound, Conflict):  # Conflict: the name is somebody else's now
        found = await api.request("GET", path)
        if (found["metadata"].get("labels") or {}).get(SESSION) == session:
            await delete(api, path, found["metadata"]["uid"])

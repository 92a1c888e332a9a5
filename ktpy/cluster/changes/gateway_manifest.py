"""Manifests of the objects before an intercepted Service and behind a preview. Pure.

The gateway's pods do not exit when nobody is left: as long as a Service may select them they must relay to the original
pods.
"""

from collections.abc import Mapping, Sequence

from ktpy.cluster import names
from ktpy.cluster.changes.plan import InterceptPlan, SessionIdentity
from ktpy.cluster.pods import agent_pod
from ktpy.cluster.pods.overlay import overlaid
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.service.ports import GatewayPort, agent_ports
from ktpy.kube.objects import Json, annotations_of, labels_of, metadata_of, name_of, version_of
from ktpy.wire.gateway import GatewaySpec, SpecError
from ktpy.wire.pod import READY_PORT_VARIABLE, RUN_DIR, SSHD_PORT_VARIABLE

SSH_PORT_NAME = "ktpy-ssh"
HOLDER = "holder"
HOLD = "trap 'kill $!' TERM; ktpy-agent hold & wait $!; [ $? != 64 ] || { sleep infinity & wait $!; }"
"""What that container runs. An older agent has no such role (64); a container that ended would keep the pod unready."""
TERMINATION_GRACE_S = 45
"""The agent's drain of at most 20 s, and 15 s for requests that are under way then."""
PROGRESS_DEADLINE_S = 600
_UNPRIVILEGED = 1024
_ORIGIN_KEEPS = (
    "ipFamilies",
    "ipFamilyPolicy",
    "publishNotReadyAddresses",
    "sessionAffinity",
    "sessionAffinityConfig",
    "trafficDistribution",
)
PROXY_NAME = "service.kubernetes.io/service-proxy-name"
"""kube-proxy, and what stands in its place, leaves a Service with this label to the proxy that it names."""
_PORT_KEEPS = ("name", "protocol", "port", "targetPort", "appProtocol")


def origin_service(
    service: Json, selector: Mapping[str, str], session: SessionIdentity, *, is_proxied: bool = True
) -> Json:
    """The Service `<svc>-ktpy-origin`, which leads to the original pods. The API server chooses its address.

    Where it is not proxied, its address leads nowhere before `proxied` is applied to it.
    """
    interceptee, spec = Interceptee(metadata_of(service)["namespace"], name_of(service)), service["spec"]
    metadata = _metadata(interceptee.origin_name, "origin", interceptee, session, is_shared=True)
    if not is_proxied:
        metadata["labels"][PROXY_NAME] = "none"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "selector": dict(selector),
            "ports": origin_ports(service),
            **{key: spec[key] for key in _ORIGIN_KEEPS if key in spec},
        },
    }


def proxied(origin: Json) -> Json | None:
    """Make the merge patch by which an origin Service's address leads to its pods; None when it does."""
    if PROXY_NAME not in labels_of(origin):
        return None
    return {"metadata": version_of(origin) | {"labels": {PROXY_NAME: None}}}


def origin_ports(service: Json) -> list[Json]:
    """The Service's ports without what only one Service can have, such as node ports."""
    return [{key: port[key] for key in _PORT_KEEPS if key in port} for port in service["spec"]["ports"]]


def gateway_deployment(
    plan: InterceptPlan,
    session: SessionIdentity,
    ports: Sequence[GatewayPort],
    origin_host: str | None,
    redirecting: Mapping[str, str] | None = None,
    *,
    role: str = "gateway",
) -> Json:
    """The Deployment `<svc>-ktpy-gateway`. The label ktpy.dev/session of its pods tells them from an earlier one's.

    `redirecting` are the labels by which the Service will select its pods, besides those that the user has chosen.
    """
    target = plan.interceptee.name
    metadata = _metadata(names.gateway_name(target), role, plan.interceptee, session, is_shared=True)
    own = {**metadata["labels"], names.GATEWAY: target, **agent_pod.NOT_IN_A_MESH}
    asked_for = {**(redirecting or {}), **plan.options.gateway_labels}
    # The label app.kubernetes.io/name is for people only, and the Service may select by it.
    chosen = {key: value for key, value in asked_for.items() if key == names.APP_NAME or key not in own}
    spec = GatewaySpec(target, origin_host, tuple(port.relayed() for port in ports))
    selector = {names.GATEWAY: target, names.SESSION: session.id}
    annotations = agent_pod.annotations({names.GATEWAY: spec.document()})
    template: Json = {
        "metadata": {"labels": own | chosen, "annotations": annotations},
        "spec": _pod_spec(plan.options.image, ports, selector),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": plan.options.replicas,
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": PROGRESS_DEADLINE_S,
            "selector": {"matchLabels": selector},
            # A replacement must relay before its predecessor goes.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": _with_holder(overlaid(overlaid(template, plan.placement), plan.options.pod_overlay)),
        },
    }


def spec_of(deployment: Json) -> GatewaySpec | None:
    """What a gateway's pods have been told; None when this ktpy does not understand it."""
    try:
        return GatewaySpec.parse(annotations_of(deployment["spec"]["template"]).get(names.GATEWAY, ""))
    except SpecError:
        return None


def image_of(deployment: Json) -> str:
    """What a gateway's pods run."""
    image: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


def preview_service(plan: InterceptPlan, session: SessionIdentity, ports: Sequence[GatewayPort]) -> Json:
    """The new Service of a preview."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": preview_metadata(plan.interceptee, session),
        "spec": {
            "type": "ClusterIP",
            "ipFamilyPolicy": "PreferDualStack",
            "selector": {names.GATEWAY: plan.interceptee.name},
            "ports": [
                {"name": port.name, "protocol": port.protocol, "port": port.port, "targetPort": port.bind}
                | ({"appProtocol": "http"} if port.http else {})
                for port in ports
            ],
        },
    }


def preview_metadata(interceptee: Interceptee, session: SessionIdentity) -> Json:
    """The metadata of a preview's Service, and of what leads to it from outside."""
    return _metadata(interceptee.name, "preview", interceptee, session)


def _metadata(
    name: str, role: str, interceptee: Interceptee, session: SessionIdentity, *, is_shared: bool = False
) -> Json:
    """`is_shared` notes the session as the first of the object's holders."""
    labels = names.labels(role, owner=session.owner, session=session.id, target=interceptee.name)
    held = {"annotations": {names.holder_annotation(session.id): session.owner}} if is_shared else {}
    return {"name": name, "namespace": interceptee.namespace, "labels": labels, **held}


def _pod_spec(image: str, ports: Sequence[GatewayPort], selector: Mapping[str, str]) -> Json:
    ssh, ready = agent_ports(ports)
    needs_low_ports = any(port.bind < _UNPRIVILEGED for port in ports)
    return {
        **agent_pod.pod_spec(
            image=image,
            role="gateway",
            ports=[*map(_container_port, ports), {"name": SSH_PORT_NAME, "containerPort": ssh}],
            requests={"cpu": "20m", "memory": "64Mi"},
            memory_limit="832Mi",  # 256 sessions, by agent-image/README.md
            run_dir_size="32Mi",
            termination_grace_s=TERMINATION_GRACE_S,
            sysctls=[{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}] if needs_low_ports else [],
            container={
                "env": [
                    {"name": SSHD_PORT_VARIABLE, "value": str(ssh)},
                    {"name": READY_PORT_VARIABLE, "value": str(ready)},
                ],
                # The probe has a port of its own: at one of the Service's it might reach the original pods.
                "readinessProbe": {
                    "httpGet": {"path": "/ready", "port": ready},
                    "periodSeconds": 1,
                    "timeoutSeconds": 2,
                    "failureThreshold": 3,
                },
            },
        ),
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [_apart(selector)]}},
    }


def _with_holder(template: Json) -> Json:
    """Add the container that lets connections wait while the agent's is started again; it is like the agent's.

    It has a limit for everything that the agent's has one for, as quotas may demand.
    """
    agent = next(one for one in template["spec"]["containers"] if one["name"] == agent_pod.CONTAINER)
    resources = {
        "requests": {"cpu": "1m", "memory": "16Mi"},
        "limits": {**agent["resources"].get("limits", {}), "memory": "32Mi"},
    }
    kept = {key: agent[key] for key in ("image", "imagePullPolicy", "securityContext") if key in agent}
    mounts = [one for one in agent["volumeMounts"] if one["mountPath"] == RUN_DIR]
    holder = {
        "name": HOLDER,
        **kept,
        "command": ["/bin/sh", "-c", HOLD],
        "resources": resources,
        "volumeMounts": mounts,
    }
    return {**template, "spec": {**template["spec"], "containers": [*template["spec"]["containers"], holder]}}


def _apart(selector: Mapping[str, str]) -> Json:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": dict(selector)}}
    return {"weight": 100, "podAffinityTerm": term}


def _container_port(port: GatewayPort) -> Json:
    return {"containerPort": port.bind, "protocol": port.protocol} | ({"name": port.target} if port.target else {})

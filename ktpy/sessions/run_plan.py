"""`ktpy run --print-only`: what would be made in the cluster and given to the program. Nothing is made."""

from dataclasses import replace
from typing import Any, Final

from ktpy.cluster import rbac
from ktpy.cluster.pods.clothes import Clothes
from ktpy.cluster.pods.shadow import Shadow
from ktpy.cluster.pods.volumes import ClaimAccess, VolumeKind
from ktpy.kube.client import Api
from ktpy.sessions.once import ClusterRef
from ktpy.sessions.options import ConnectOptions, RunOptions
from ktpy.sessions.surroundings import open_wardrobe

PUBLIC_KEY: Final = "ssh-ed25519 (each session makes its own)"


def plan(options: ConnectOptions, of_run: RunOptions) -> dict[str, Any]:
    """Return what `ktpy run --print-only --output json` prints. Raises what `open_wardrobe` raises."""

    async def work(api: Api) -> dict[str, Any]:
        wardrobe = None
        if (choice := of_run.workload) is not None:
            wardrobe = await open_wardrobe(
                api, replace(choice, from_pod=False), options.image, with_files=True, access=of_run.claims
            )
        clothes = wardrobe.clothes if wardrobe else None
        of_pod = options.pod_overlay if wardrobe is None else wardrobe.overlay(options.pod_overlay)
        shadow = Shadow(
            api,
            image=options.image,
            public_key=PUBLIC_KEY,
            pod_timeout_s=options.pod_timeout_s,
            pod_overlay=of_pod,
            does=f"run {wardrobe.workload}" if wardrobe else "run",
        )
        return {
            "namespace": api.namespace,
            "workload": wardrobe.workload if wardrobe else None,
            "container": clothes.container if clothes else None,
            "command": list(options.command),
            "environment": _environment(clothes, of_run),
            "unset": sorted(of_run.edits.unset),
            "files": _files(clothes, of_run),
            "manifest": shadow.manifest,
        }

    return ClusterRef(options.kubeconfig, options.context, options.namespace).run(work, rbac.RUN)


def _environment(clothes: Clothes | None, of_run: RunOptions) -> list[dict[str, str]]:
    of_pod = [one._asdict() for one in clothes.sources] if clothes else []
    if of_run.workload and of_run.workload.from_pod:
        of_pod.append({"name": "*", "source": "a running pod"})
    return of_pod + [{"name": name, "source": "option"} for name in of_run.edits.set]


def _files(clothes: Clothes | None, of_run: RunOptions) -> list[dict[str, Any]]:
    """Return the mounts, and whether the program gets them."""
    with_claims = of_run.claims is not ClaimAccess.NONE
    given = {VolumeKind.KUBELET, VolumeKind.SCRATCH} | ({VolumeKind.CLAIM} if with_claims else set())
    return [
        {"path": one.path, "source": one.source, "read_only": one.read_only, "is_given": one.kind in given}
        for one in (clothes.mounts if clothes else ())
    ]

from typing import Any

import pytest

from ktpy.cluster.pods.volumes import ClaimAccess, PodMount, VolumeKind, WornVolumes, worn_volumes


def mount(path: str, name: str = "v", **more: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **more}


def worn(
    volume: dict[str, Any], *mounts: dict[str, Any], access: ClaimAccess = ClaimAccess.COPY, **container: Any
) -> WornVolumes:
    spec = {"volumes": [{"name": "v", **volume}]}
    return worn_volumes(spec, {"volumeMounts": list(mounts), **container}, {}, access)


def test_what_the_kubelet_writes_is_mounted_below_the_agents_folder() -> None:
    found = worn({"configMap": {"name": "c"}}, mount("/etc/app/"), mount("/x/app.yaml", subPath="app.yaml"))
    assert found.volumes == ({"name": "workload-0", "configMap": {"name": "c", "defaultMode": 0o644}},)
    assert found.mounts == (
        {"name": "workload-0", "mountPath": "/run/ktpy-files/etc/app", "readOnly": True},
        {"name": "workload-0", "mountPath": "/run/ktpy-files/x/app.yaml", "readOnly": True, "subPath": "app.yaml"},
    )
    assert [(one.path, one.kind, one.read_only) for one in found.shown] == [
        ("/etc/app", VolumeKind.KUBELET, True),
        ("/x/app.yaml", VolumeKind.KUBELET, True),
    ]


def test_the_agent_may_read_what_is_for_its_owner_alone_and_its_modes_are_told() -> None:
    items = [{"key": "k", "path": "key", "mode": 0o400}]
    found = worn({"secret": {"secretName": "s", "defaultMode": 0o440, "items": items}}, mount("/s"))
    [volume] = found.volumes
    assert volume["secret"]["defaultMode"] == 0o444
    assert volume["secret"]["items"] == [{"key": "k", "path": "key", "mode": 0o444}]
    [shown] = found.shown
    assert (shown.default_mode, shown.modes) == (0o440, {"key": 0o400})


def test_so_for_each_source_of_a_projected_volume() -> None:
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"secret": {"name": "s", "items": [{"key": "k", "path": "key", "mode": 0o400}]}},
        {"configMap": {"name": "c"}},
    ]
    found = worn({"projected": {"sources": sources, "defaultMode": 0o600}}, mount("/s"))
    [volume] = found.volumes
    assert volume["projected"]["defaultMode"] == 0o644
    assert volume["projected"]["sources"][0] == sources[0]
    assert volume["projected"]["sources"][1]["secret"]["items"][0]["mode"] == 0o444
    assert found.shown[0].modes == {"key": 0o400}


def test_a_claim_is_mounted_only_where_it_is_wanted_and_never_written() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "data"}}
    found = worn(claim, mount("/data", subPath="a"))
    assert found.volumes == ({"name": "workload-0", **claim},)
    assert found.mounts[0]["readOnly"] is True
    assert found.shown == (PodMount("/data", VolumeKind.CLAIM, claim="data"),)
    without = worn(claim, mount("/data"), access=ClaimAccess.NONE)
    assert (without.volumes, without.mounts, len(without.shown)) == ((), (), 1)


@pytest.mark.parametrize("read_only", [False, True])
def test_one_that_is_kept_alike_is_mounted_apart_and_written_as_the_workload_writes_it(read_only: bool) -> None:
    claim = {"persistentVolumeClaim": {"claimName": "data"}}
    found = worn(claim, mount("/data", readOnly=read_only), access=ClaimAccess.LIVE)
    assert found.mounts == ({"name": "workload-0", "mountPath": "/run/ktpy-claims/data", "readOnly": read_only},)
    assert found.shown == (PodMount("/data", VolumeKind.CLAIM, read_only, claim="data", is_live=True),)
    of_kubelet = worn({"secret": {"secretName": "s"}}, mount("/s"), access=ClaimAccess.LIVE)
    assert (of_kubelet.mounts[0]["mountPath"], of_kubelet.shown[0].is_live) == ("/run/ktpy-files/s", False)


@pytest.mark.parametrize(
    ("volume", "kind"),
    [
        ({"emptyDir": {}}, VolumeKind.SCRATCH),
        ({"ephemeral": {"volumeClaimTemplate": {}}}, VolumeKind.SCRATCH),
        ({"hostPath": {"path": "/"}}, VolumeKind.OTHER),
        ({"nfs": {"server": "x"}}, VolumeKind.OTHER),
    ],
)
def test_others_are_not_mounted(volume: dict[str, Any], kind: VolumeKind) -> None:
    found = worn(volume, mount("/v"))
    assert (found.volumes, found.mounts) == ((), ())
    assert [one.kind for one in found.shown] == [kind]


def test_the_claims_of_a_stateful_set() -> None:
    found = worn_volumes({}, {"volumeMounts": [mount("/data", "data")]}, {"data": "data-db-0"}, ClaimAccess.COPY)
    assert found.volumes[0]["persistentVolumeClaim"] == {"claimName": "data-db-0"}


def test_the_agent_has_the_variables_of_a_path() -> None:
    env = [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LD_PRELOAD", "value": "x"},
        {"name": "OTHER", "value": "x"},
    ]
    found = worn({"configMap": {"name": "c"}}, mount("/v", subPathExpr="$(POD)/$(LD_PRELOAD)"), env=env)
    assert found.variables == (env[0],)
    assert found.mounts[0]["subPathExpr"] == "$(POD)/$(LD_PRELOAD)"

from pathlib import Path
from typing import Any

import pytest

from ktpy.kube.client import Api
from ktpy.observe.events import Event, Notice
from ktpy.sessions.dev_config_in_cluster import Text, look
from ktpy.sessions.dev_configured import configured, configured_run
from ktpy.sessions.options import DevOptions
from tests.unit.cluster.changes.dev_cases import furnish
from tests.unit.kube.object_store import DEPLOYMENTS, NAMESPACE, ObjectStore

CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
OF_SHOP = "- name: web\n  containers: [{dev: {image: go}}]"


def annotate(store: ObjectStore, annotations: dict[str, str]) -> None:
    furnish(store)
    found = store.get(DEPLOYMENTS, "web")
    assert found is not None
    found["metadata"]["annotations"] = annotations
    store.put(DEPLOYMENTS, found)


async def test_its_annotations_count_before_the_config_map(store: ObjectStore, store_api: Api) -> None:
    annotate(store, {"dev.nocalhost": "a", "ktpy.dev/config": "b", "meta.helm.sh/release-name": "shop"})
    store.put(CONFIG_MAPS, {"metadata": {"name": "dev.nocalhost.config.shop"}, "data": {"config": OF_SHOP}})
    assert await look(store_api, "web") == [
        Text("annotation ktpy.dev/config of deployment/web", "b", "deployment/web"),
        Text("annotation dev.nocalhost of deployment/web", "a", "deployment/web"),
        Text("ConfigMap dev.nocalhost.config.shop", OF_SHOP, "deployment/web", is_of_workload=False),
    ]


@pytest.mark.parametrize("named_by", ["dev.nocalhost/application-name", "meta.helm.sh/release-name"])
async def test_the_config_map_of_its_application(store: ObjectStore, store_api: Api, named_by: str) -> None:
    annotate(store, {named_by: "shop"})
    assert await look(store_api, "web") == []
    store.put(CONFIG_MAPS, {"metadata": {"name": "dev.nocalhost.config.shop"}, "data": {"config": OF_SHOP}})
    assert await look(store_api, "deploy/web") == [
        Text("ConfigMap dev.nocalhost.config.shop", OF_SHOP, "deployment/web", is_of_workload=False)
    ]


async def test_what_is_not_there_or_belongs_to_none(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    assert await look(store_api, "web") == []
    assert await look(store_api, "absent") == []


def saying(*texts: Text) -> Any:
    return lambda _: texts


def test_the_folder_s_file_counts_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINE", "private")
    silent = Text("annotation x", "name: other", "deployment/web")
    text = "containers: [{dev: {image: 'go:${MINE:-1}', command: {run: [make]}}}]"
    there, told = saying(silent, Text("annotation y", text, "deployment/web")), list[Event]()
    found = configured(DevOptions("web"), told.append, there)
    assert (found.image, told) == ("go:1", [Notice("The configuration is that of the annotation y.")])
    assert configured_run(DevOptions("web"), told.append, there)[0] == ("sh", "-c", "make")
    (tmp_path / "ktpy.yaml").write_text("dev: [{image: mine}]")
    assert configured(DevOptions("web"), told.append, there).image == "mine"
    (tmp_path / "other.yaml").write_text("dev: []")
    assert configured(DevOptions("web", config="other.yaml"), told.append, there).image is None


def test_the_cluster_opens_no_port_and_reads_no_file_of_the_laptop() -> None:
    patches = "patches: [{patch: {spec: {paused: false}}}]"
    text = f"dev: [{{image: go, reverse: ['5432:5432'], envFiles: [{{path: /etc/passwd}}], {patches}}}]"
    told: list[Event] = []
    found = configured(DevOptions("web"), told.append, saying(Text("annotation x", text, "deployment/web")))
    assert (found.image, found.reverse, found.env, len(found.patches), len(told)) == ("go", (), (), 1, 2)
    by_others = Text("ConfigMap x", text, "deployment/web", is_of_workload=False)
    assert configured(DevOptions("web"), told.append, saying(by_others)).patches == ()
    assert isinstance(told[-1], Notice)
    assert told[-1].text.startswith("Its reverse, envFiles, patches are left out")


def test_an_application_s_text_has_to_name_the_workload() -> None:
    nameless = "containers: [{dev: {image: go}}]"
    texts = saying(Text("ConfigMap x", nameless, "deployment/web", is_of_workload=False))
    assert configured(DevOptions("web"), lambda _: None, texts).image is None

from typing import Any, cast

from ktpy.cluster.service.interceptee import Interceptee

WEB = Interceptee("shop", "web")


def test_where_its_objects_are() -> None:
    assert WEB.service_path == "/api/v1/namespaces/shop/services/web"
    assert WEB.gateway_path == "/apis/apps/v1/namespaces/shop/deployments/web-ktpy-gateway"


def test_the_objects_that_sessions_share() -> None:
    nobody = cast(Any, None)
    assert WEB.gateway(nobody).path == WEB.gateway_path
    assert WEB.origin(nobody).path == "/api/v1/namespaces/shop/services/web-ktpy-origin"
    assert WEB.origin(nobody).target == "web"

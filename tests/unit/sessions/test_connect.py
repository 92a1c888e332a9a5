"""Parts of `connect` that need no cluster; all of it together is what the end-to-end tests are for."""

from ktpy.dns.zone import Zone
from ktpy.sessions import connect


def test_the_ready_screen_names_a_service_that_exists() -> None:
    zone = Zone()
    assert connect._try_command(zone, "shop") is None
    for name, port in (("db", 5432), ("web", 80), ("api", 9000)):
        spec = {"clusterIP": "10.96.0.7", "ports": [{"name": "http" if name == "api" else "", "port": port}]}
        zone.upsert_service({"metadata": {"namespace": "shop", "name": name}, "spec": spec})
    assert connect._try_command(zone, "shop") == "curl http://api:9000/"
    zone.delete_service("shop", "api")
    assert connect._try_command(zone, "shop") == "curl http://web/"
    zone.delete_service("shop", "web")
    assert connect._try_command(zone, "shop") is None

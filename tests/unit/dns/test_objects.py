from ktpy.dns.objects import EndpointAddress, EndpointSlice, NamedPort, Service
from ktpy.dns.records import packed
from tests.unit.dns.kube import endpoint_slice, external_name, service


def test_a_dual_stack_service() -> None:
    read = Service.of(service("web", "shop", "10.96.0.7", "fd96::7"))
    assert read.cluster_ips == (packed("10.96.0.7"), packed("fd96::7"))
    assert not read.headless
    assert read.ports == (NamedPort("http", "tcp", 80),)


def test_a_service_of_an_api_server_without_cluster_ips() -> None:
    obj = service("web", "shop", "10.96.0.7")
    del obj["spec"]["clusterIPs"]
    assert Service.of(obj).cluster_ips == (packed("10.96.0.7"),)


def test_a_headless_service() -> None:
    read = Service.of(service("db", publishNotReadyAddresses=True))
    assert read.headless
    assert read.publishes_unready
    assert read.cluster_ips == ()


def test_an_external_name_loses_its_final_dot_and_case() -> None:
    read = Service.of(external_name("out", "DB.Example.com."))
    assert read.external_name == "db.example.com"
    assert not read.headless


def test_a_service_that_has_no_address_yet() -> None:
    obj = service("web", "shop", "")
    assert Service.of(obj).cluster_ips == ()
    assert not Service.of(obj).headless


def test_a_service_with_nothing_but_a_name() -> None:
    assert Service.of({"metadata": {"name": "bare"}}).namespace == "default"


def test_what_dns_does_not_see_makes_no_difference() -> None:
    one, other = service("web", "shop", "10.96.0.7"), service("web", "shop", "10.96.0.7")
    other["metadata"]["resourceVersion"] = "2"
    other["metadata"]["labels"] = {"team": "a"}
    assert Service.of(one) == Service.of(other)


def test_an_endpoint_slice() -> None:
    read = EndpointSlice.of(endpoint_slice("db", "shop", ("10.244.0.5", "db-0"), ("10.244.0.6", None, False)))
    assert read is not None
    assert read.endpoints == (
        EndpointAddress(packed("10.244.0.5"), "db-0", ready=True),
        EndpointAddress(packed("10.244.0.6"), "", ready=False),
    )


def test_an_unknown_readiness_counts_as_ready() -> None:
    read = EndpointSlice.of(endpoint_slice("db", "shop", ("10.244.0.5", None, None)))
    assert read is not None
    assert read.endpoints[0].ready


def test_slices_dns_has_no_use_for() -> None:
    without_service = endpoint_slice("db", "shop", ("10.244.0.5", None))
    without_service["metadata"]["labels"] = {}
    assert EndpointSlice.of(without_service) is None
    of_names = endpoint_slice("db", "shop", ("10.244.0.5", None)) | {"addressType": "FQDN"}
    assert EndpointSlice.of(of_names) is None


def test_null_lists_as_the_api_server_sends_them() -> None:
    empty = endpoint_slice("db") | {"endpoints": None, "ports": None}
    read = EndpointSlice.of(empty)
    assert read is not None
    assert read.endpoints == ()
    assert read.ports == ()


def test_a_port_without_a_number_means_all_ports_and_names_none() -> None:
    obj = endpoint_slice("db", "shop", ("10.244.0.5", None))
    obj["ports"] = [{"name": "any", "port": None}]
    read = EndpointSlice.of(obj)
    assert read is not None
    assert read.ports == ()

from tests.lab.binaries import requirements

OF_RELEASE = """\
module k8s.io/kubernetes

go 1.25.0

require k8s.io/api v0.0.0

replace (
	k8s.io/api => ./staging/src/k8s.io/api
)
"""


def test_the_parts_of_another_release_are_modules_of_its_own_version() -> None:
    assert (
        requirements("1.35.4", OF_RELEASE)
        == """\
module ktpy.dev/lab/kube

go 1.25.0

require k8s.io/api v0.0.0

replace (
	k8s.io/api => k8s.io/api v0.35.4
)

require k8s.io/kubernetes v1.35.4
"""
    )

import pytest

from tests.lab.binaries import pinned, requirements
from tests.lab.errors import LabError

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


@pytest.mark.parametrize(
    "go_mod",
    [
        "require (\n\tk8s.io/kubernetes-not v2.0.0\n\tk8s.io/kubernetes v1.36.3 // indirect\n)\n",
        "require k8s.io/kubernetes v1.36.3\n",
    ],
)
def test_the_release_that_is_pinned(go_mod: str) -> None:
    assert pinned(go_mod, "k8s.io/kubernetes") == "1.36.3"


def test_a_module_that_is_not_required_has_no_release() -> None:
    with pytest.raises(LabError, match=r"no k8s\.io/kubernetes"):
        pinned("module k8s.io/kubernetes v1.36.3\n", "k8s.io/kubernetes")

from ktpy.kube.supported import NEWEST, OLDEST, OLDEST_MINOR, TESTED_MINOR, support_of


def test_how_versions_stand_to_those_that_are_supported() -> None:
    stands = {
        f"v1.{OLDEST_MINOR - 1}.9": "older",
        f"v{OLDEST}.0": "supported",
        f"v{NEWEST}.3-gke.1": "supported",
        f"v1.{TESTED_MINOR + 1}.0-alpha.1": "newer",
        "v2.0": "unknown",
        "": "unknown",
    }
    assert {version: support_of(version) for version in stands} == stands

import pytest

from ktpy.cluster.pods.quantity import in_units


@pytest.mark.parametrize(
    ("quantity", "divisor", "expected"),
    [
        ("500m", "1", 1),
        ("1500m", "1m", 1500),
        ("2", "1", 2),
        ("64Mi", "1Mi", 64),
        ("64Mi", "1", 64 << 20),
        ("1G", "1Mi", 954),
        ("0.5", "1m", 500),
        ("1e3", "0", 1000),
        (".5Gi", "1Mi", 512),
    ],
)
def test_a_quantity_is_rounded_up_as_the_kubelet_does(quantity: str, divisor: str, expected: int) -> None:
    assert in_units(quantity, divisor) == expected


@pytest.mark.parametrize("text", ["", "many", "1Ki2", "1 Mi"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        in_units(text, "1")

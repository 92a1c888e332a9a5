"""Quantities of Kubernetes, such as `500m` or `64Mi`. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import math
import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_POWERS = {
    unit: Decimal(10) ** power for unit, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
}
_POWERS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


def parse_quantity(text: str) -> Decimal:
    """Return the number that a quantity stands for. Raises ValueError."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity of Kubernetes")
    number, unit = match.groups()
    return Decimal(number) * _POWERS[unit] if unit in _POWERS else Decimal(f"{number}{unit or ''}")


def in_units(quantity: str, divisor: str) -> int:
    """Return how many `divisor` a quantity is, rounded up, as the kubelet writes it into a variable."""
    return math.ceil(parse_quantity(quantity) / (parse_quantity(divisor) or 1))

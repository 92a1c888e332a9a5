from dataclasses import dataclass, field

from ktpy.observe.counters import numbers
from ktpy.packet.headers import Drop


@dataclass(slots=True)
class Counted:
    flows: int = 0
    dropped: dict[Drop, int] = field(default_factory=lambda: {Drop.MALFORMED: 0, Drop.STRAY_RESET: 0})


def test_fields_are_numbers_by_name_and_by_reason() -> None:
    counted = Counted(flows=3)
    counted.dropped[Drop.STRAY_RESET] += 1
    assert numbers(counted) == {"flows": 3, "dropped_malformed": 0, "dropped_stray_reset": 1}

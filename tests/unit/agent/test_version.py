import ktpy_agent

import ktpy


def test_agent_and_laptop_are_released_together() -> None:
    assert ktpy_agent.__version__ == ktpy.__version__

"""The ways in which the traffic of programs gets into ktpy."""

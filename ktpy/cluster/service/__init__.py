"""One Service as ktpy finds it: what names it, its ports, what it says about its intercepts, who manages its fields."""

"""`scripts/soak`: hours of light use of everything at once, and whether memory, descriptors and objects stay flat.

From the pure to the real: `trend`, `tally` and `verdict` judge, and `report` tells; `processes` and `sampler` take the
figures; `scenario` is what stands meanwhile, `loads` and `churn` are its use; `run` says what happens in each minute.
"""

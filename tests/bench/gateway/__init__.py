"""`scripts/bench gateway`: what everybody else notices of an intercept, and what its gateway costs.

`catalogue` has the rows; `target` what is intercepted and by whom it is visited; `visitors` the steady load and what
became of it, which `story` tells; `disturbances` what happens meanwhile, on a `stage`; `pods` the processes of a pod;
`image` the size of one; `measurements` all figures that are not of disturbances; `plan` says what runs when.
"""

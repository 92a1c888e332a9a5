"""`scripts/bench gateway`: what everybody else notices of an intercept, and what its gateway costs.

`cases` has the rows; `target` what is intercepted and by whom it is visited; `load` the steady load and what
became of it, which `report` tells; `faults` what happens meanwhile, on a `scenario`; `pods` the processes of a pod;
`image` the size of one; `measurements` all figures that are not of faults; `plan` says what runs when.
"""

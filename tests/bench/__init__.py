"""`scripts/bench`: figures of ktpy and their goals, measured on the lab.

`connect`: how fast `ktpy connect` is beside raw `kubectl port-forward` and sshuttle. From the pure to the real:
`samples` and `rates` reduce what was measured; `goals`, `specs`, `rows` and `table` make the report of it; `cases`
has the rows; `measurements` and `first_byte` measure; `contenders`, `sshuttle`, `telepresence` and `target` are what is
measured, and against what; `plan` says what runs when. `load/` runs on the laptop or in pods, `server.py` in a pod.

`gateway`: what others notice of intercepts. A folder of its own, beside what both share.
"""

"""`scripts/bench connect`: how fast `ktpy connect` is beside raw `kubectl port-forward` and sshuttle, on the lab.

From the pure to the real: `samples` and `rates` reduce what was measured; `goals`, `catalogue`, `rows` and `table`
make the report of it; `measurements` and `first_byte` measure; `contenders`, `sshuttle` and `target` are what is
measured, and against what; `plan` says what runs when. `load/` runs on the laptop, `server.py` in a pod.
"""

"""The kill matrix: what becomes of each of ktpy's commands when something is killed, stopped, cut or full.

A cell is one command, in one state, under one fault, on the lab. `scripts/chaos` runs cells and keeps their results;
docs/reliability.md carries them as tables.
"""

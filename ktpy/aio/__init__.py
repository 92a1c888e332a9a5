"""Helpers for asyncio that know nothing of ktpy."""

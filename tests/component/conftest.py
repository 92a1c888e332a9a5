"""Real processes, each on loopback and in a directory of its own: sshd, HAProxy, the agent, plugins, daemons."""

from tests.unit.conftest import api, key_pair, other_key_pair, stub

__all__ = ["api", "key_pair", "other_key_pair", "stub"]

"""The other side of what is tested here is the agent, which lives beside its Dockerfile."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "agent-image"))

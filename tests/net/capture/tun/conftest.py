"""The agent is no part of the ktpy package: it lives beside its Dockerfile and runs in the pod."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "agent-image"))

"""A gateway's pod finds its spec in the downward API's file of annotations."""

import json

from ktpy.wire.gateway import GatewaySpec, SpecError
from ktpy.wire.pod import GATEWAY_ANNOTATION


def find_annotation(text: str, name: str) -> str | None:
    """Return one annotation's value from the downward API's file: `name="value"`, quoted as Go's %q does.

    For printable text those are JSON's quotes; what only Go knows (`\\x00`, `\\a`) is in no value of ours.
    """
    for line in text.split("\n"):
        if line.startswith(f'{name}="'):
            try:
                return str(json.loads(line[len(name) + 1 :]))
            except ValueError as exc:
                raise SpecError(f"the annotation {name} cannot be read: {exc}") from exc
    return None


def parse_spec(annotations: str) -> GatewaySpec:
    """Read the spec of this pod in the text of its annotations file. SpecError says what is wrong with it."""
    value = find_annotation(annotations, GATEWAY_ANNOTATION)
    if value is None:
        raise SpecError(f"the pod has no annotation {GATEWAY_ANNOTATION}")
    return GatewaySpec.parse(value)

"""The image of ktpy's pods, and how it comes to where a node finds it. The command line imports this: it is light."""

import re
from typing import Final

from ktpy import __version__

DEFAULT_IMAGE: Final = f"ghcr.io/ktpy/agent:{__version__}"
_WANTS_LOGIN: Final = re.compile(r"\b40[13]\b|[Uu]nauthorized|[Dd]enied")


def bringing(image: str, message: str) -> str:
    """Return the line that brings an image to where the nodes find it, for the hint of a failure, of which the node's
    `message` tells whether the registry wants a login."""
    if image == DEFAULT_IMAGE:
        return (
            "Bring it into a cluster on this laptop by: ktpy image load\n"
            "Or to a registry that the nodes reach by: ktpy image push REGISTRY/NAME"
        )
    if _WANTS_LOGIN.search(message):
        return (
            "Give the nodes your login there by: kubectl create secret generic ktpy-pull "
            "--type=kubernetes.io/dockerconfigjson --from-file=.dockerconfigjson=$HOME/.docker/config.json\n"
            "Then say: --pull-secret ktpy-pull"
        )
    return f"Name another with --image, or bring it there by: ktpy image push {image}"

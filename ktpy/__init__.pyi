from ktpy import errors as errors
from ktpy.api.session import Session as Session
from ktpy.api.verbs import call as call
from ktpy.api.verbs import connect as connect
from ktpy.api.verbs import exchange as exchange
from ktpy.api.verbs import forward as forward
from ktpy.api.verbs import mesh as mesh
from ktpy.api.verbs import preview as preview
from ktpy.api.verbs import run as run
from ktpy.observe.status import ConnectStatus as ConnectStatus
from ktpy.observe.status import InterceptStatus as InterceptStatus

__version__: str

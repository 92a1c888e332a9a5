"""asyncssh, imported without what ktpy has no use for.

It would search for two optional libraries, which runs ldconfig, a compiler and a linker; and X.509 certificates, which
the agent's sshd has none of, bring pyOpenSSL along. It has no files to transfer or sign either, no windows of X11, no
keys in hardware and no server. A third of the time went into its annotations.
"""

import ctypes.util
import sys
from typing import Any, cast

from ktpy.library import cheap_annotations, without

_CERTIFICATES = "asyncssh.crypto.x509"
_UNUSED = (
    "asyncssh.auth_keys",
    "asyncssh.pkcs11",
    "asyncssh.scp",
    "asyncssh.sftp",
    "asyncssh.sshsig",
    "asyncssh.x11",
    "typing_extensions",
)
_find_library = ctypes.util.find_library
_modules = cast(dict[str, Any], sys.modules)
ctypes.util.find_library = lambda name: None  # noqa: ARG005 - its signature
_modules.setdefault(_CERTIFICATES, None)  # as if it were not installed, which asyncssh takes
try:
    with without(*_UNUSED), cheap_annotations():
        import asyncssh
finally:
    ctypes.util.find_library = _find_library
    if _modules[_CERTIFICATES] is None:
        del _modules[_CERTIFICATES]

__all__ = ["asyncssh"]

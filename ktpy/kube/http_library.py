"""aiohttp, imported without the machine's certificates, and without its tracing.

Its import makes SSL contexts for callers who give none, and for each of the two OpenSSL parses some 140 certificates.
ktpy always gives one. Whoever did not would trust nobody.
"""

import ssl
from typing import Any, cast

from ktpy.library import without

_context = cast(Any, ssl.SSLContext)
_context.set_default_verify_paths = lambda _: None
try:
    with without("aiohttp.tracing"):
        import aiohttp
finally:
    del _context.set_default_verify_paths  # the method of its base is there again

__all__ = ["aiohttp"]

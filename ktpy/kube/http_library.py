"""aiohttp, imported without the machine's certificates, and without what ktpy has no use for.

Its import makes SSL contexts for callers who give none, and for each of the two OpenSSL parses some 140 certificates.
ktpy always gives one. Whoever did not would trust nobody.
"""

import ssl
from typing import Any, cast

from ktpy.library import without

_context = cast(Any, ssl.SSLContext)
_context.set_default_verify_paths = lambda _: None
try:
    # The policy is for reading a Content-Type: ktpy knows what the API server answers with.
    # Nor are cookies kept in files.
    with without(
        "aiohttp.tracing", "aiohttp.client_middleware_digest_auth", "attr.validators", "email.policy", "pickle"
    ):
        import aiohttp
finally:
    del _context.set_default_verify_paths  # the method of its base is there again

__all__ = ["aiohttp"]

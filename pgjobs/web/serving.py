"""A server for a console that is served alone."""

import uvicorn
from starlette.types import ASGIApp


def server_of(asgi: ASGIApp, *, root_path: str = "") -> uvicorn.Server:
    """Makes the server. It logs no address, since an address may hold a token.

    ``root_path``: the prefix that a proxy takes away.
    """
    return uvicorn.Server(uvicorn.Config(
        asgi, root_path=root_path, log_config=None, log_level="warning", access_log=False,
        server_header=False, timeout_graceful_shutdown=1,
    ))

"""A server for a console that is served alone."""

import uvicorn
from starlette.types import ASGIApp


def server_of(asgi: ASGIApp) -> uvicorn.Server:
    """Makes the server. It logs no address, since an address may hold a token."""
    return uvicorn.Server(uvicorn.Config(
        asgi, log_config=None, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=1,
    ))

"""What a worker is called if nobody says."""

import os
import secrets
import socket


def default_name() -> str:
    """Host, process and a random part: unlike any other worker's."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"

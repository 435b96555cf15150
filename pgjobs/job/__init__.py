"""Jobs, backoff, payloads."""

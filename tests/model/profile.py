"""How many examples hypothesis tries: few by default, many with PGJOBS_HYPOTHESIS=long."""

import os

from hypothesis import HealthCheck, settings

LONG = os.environ.get("PGJOBS_HYPOTHESIS") == "long"


def bounded(examples: int, *, long: int, steps: int = 50) -> settings:
    """By default ``examples``, always the same ones; in a long run ``long``, each time others."""
    return settings(
        max_examples=long if LONG else examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not LONG,
        database=None,
        print_blob=LONG,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )

"""How long hypothesis looks: bounded in the ordinary suite, PGJOBS_HYPOTHESIS=long for more."""

import os

from hypothesis import HealthCheck, settings

LONG = os.environ.get("PGJOBS_HYPOTHESIS") == "long"


def bounded(examples: int, *, long: int, steps: int = 50) -> settings:
    """So many examples: always the same ones in the ordinary suite, others in each long run."""
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

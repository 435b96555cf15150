"""``python -m pgjobs.cli``: what ``pgjobs worker --processes`` starts its workers by."""

from . import main

main()

"""Runs the command line: ``python -m pgjobs``. ``worker --processes`` starts workers by it."""

from pgjobs.cli import main

main()

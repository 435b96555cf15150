"""``python -m pgjobs``, where the command is not on the path, and for ``worker --processes``."""

from pgjobs.cli import main

main()

"""The command line. Every command is one function; `pgjobs COMMAND --help` shows its examples."""


def main() -> None:
    """The entry point ``pgjobs``."""
    from pgjobs.cli.commands import cli

    cli(prog_name="pgjobs")

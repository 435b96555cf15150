"""The command ``pgjobs why``: says why a job does not run."""

from pgjobs.cli.options import AsJson, Dsn, Id, Schema
from pgjobs.cli.output import print_json, print_rich
from pgjobs.cli.session import ask
from pgjobs.cli.table import table, told_advice
from pgjobs.database import Database
from pgjobs.job.reason import Reason


def why(job_id: Id, dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False) -> None:
    """Says why a job does not run, and what to do; the worst reason comes first.

    [bold]pgjobs why 42[/bold]
    """

    async def question(database: Database) -> list[Reason]:
        return await database.why(job_id)

    reasons = ask(dsn, schema, question)
    if as_json:
        print_json([reason._asdict() for reason in reasons])
    else:
        print_rich(table(
            "!reason =detail_and_what_to_do",
            ([reason, told_advice(detail, advice)] for reason, detail, advice in reasons),
        ))

"""An end that the server refuses, in the middle of a batch: only the guilty job fails."""

from typing import Any

import pytest
from chaos.load import Size, add, begun, counted, ended
from chaos.processes import Processes
from chaos.report import Note

# For some rows the disk is full; for others the statement takes longer than its timeout.
REFUSE = """
    create function refuse() returns trigger language plpgsql as $$
    begin
        if new.reference_type = 'disk full' then
            raise exception 'could not extend file' using errcode = '53100';
        elsif new.reference_type = 'slow' then
            perform pg_sleep(30);
        end if;
        return new;
    end $$;
    create trigger refuse before update on jobs for each row
    when (new.status = 'completed') execute function refuse()"""
LARGE = """select id from jobs_enqueue('large', jsonb_build_object('characters', $1::bigint))"""
LIMIT = 268_435_455  # bytes of a jsonb string


@pytest.mark.fault(
    11,
    "errors within a batch of completions: the disk is full, a statement timeout, a result larger"
    " than the server accepts",
    "only the guilty job fails; the others' completions are not lost",
)
async def test_only_the_job_whose_end_is_refused_fails(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    database = await ledger.fetchval("select quote_ident(current_database())")
    await ledger.execute(f"alter database {database} set statement_timeout = '1s'")
    ids = await add(ledger, size.jobs, 0.05)
    marked = "update jobs set reference_type = $1 where id = any ($2::bigint[])"
    await ledger.execute(marked, "disk full", ids[10 :: size.jobs // 5])
    await ledger.execute(marked, "slow", [ids[size.jobs // 2]])
    guilty = await ledger.fetchval("select count(*) from jobs where reference_type is not null")
    await ledger.execute(REFUSE)
    if size.times > 2:  # it takes a gigabyte of memory
        await ledger.fetchval(LARGE, LIMIT + 1)
        guilty += 1
    worker = workers.start(concurrency=100)
    await begun(ledger, size.jobs)
    await ended(ledger)
    failed = await ledger.fetch(
        "select job_type, reference_type, error from jobs where status = 'failed'"
    )
    counts = await counted(ledger, size.jobs + (size.times > 2) - len(failed))
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice,
            seconds=None)
    assert (counts.lost, counts.twice, counts.retries, counts.crashes) == (0, 0, 0, 0)
    assert len(failed) == guilty
    for row in failed:
        assert row["reference_type"] or row["job_type"] == "large"
        assert "stored: " in row["error"]
    assert worker.poll() is None

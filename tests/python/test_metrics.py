"""``pgjobs metrics``: text that Prometheus reads, with the numbers of the database."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from pgjobs.cli.commands import cli
from pgjobs.cli.metrics import Scrapes
from pgjobs.database import Database
from pgjobs.embedded import EmbeddedPostgres
from pgjobs.schema.migrate import migrate
from pgjobs.telemetry.exposition import exposition
from pgjobs.telemetry.metrics import metrics

HOSTILE = 'a\\b"c\nd{e="f"} \u2028ü# HELP'

NAMES = {
    "pgjobs_jobs", "pgjobs_oldest_due_seconds", "pgjobs_jobs_finished", "pgjobs_attempts_retried",
    "pgjobs_job_run_seconds", "pgjobs_job_wait_seconds", "pgjobs_workers", "pgjobs_slots",
    "pgjobs_queue_paused", "pgjobs_schedule_late_seconds", "pgjobs_doctor",
    "pgjobs_label_sets_summed",
}


@pytest.fixture
def scrape(conn):
    """The samples by metric's name: labels and value."""

    async def read():
        text = exposition(await metrics(Database(conn)))
        families = list(text_string_to_metric_families(text))
        assert {family.name for family in families} == NAMES
        assert all(family.documentation and family.type != "unknown" for family in families)
        found = {}
        for family in families:
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        for samples in found.values():
            labels = [tuple(sorted(labels.items())) for labels, _ in samples]
            assert len(labels) == len(set(labels)), "each set of labels once"
        return found

    return read


def value(found, name, **labels):
    [result] = [v for given, v in found[name] if labels.items() <= given.items()]
    return result


async def test_an_empty_database_gives_every_metric(scrape):
    found = await scrape()
    assert value(found, "pgjobs_slots", state="free") == 0
    assert value(found, "pgjobs_doctor", check="failing types") == 0


async def test_the_numbers_are_those_of_the_database(conn, scrape):
    await conn.execute("""select jobs_enqueue('mail'), jobs_enqueue('mail', queue => 'q'),
        jobs_enqueue('mail', run_at => now() + interval '1 hour')""")
    await conn.execute("update jobs set run_at = run_at - interval '90 s' where queue = 'q'")
    await conn.execute("select jobs_complete(id) from jobs_claim('w')")
    await conn.execute("select jobs_pause('q')")
    await conn.execute("select jobs_worker_start('w', '{default}', null, 7)")
    await conn.execute("select jobs_schedule('nightly', 'mail', '0 3 * * *')")
    await conn.execute("update jobs_schedules set next_at = now() - interval '10 minutes'")
    found = await scrape()
    assert value(found, "pgjobs_jobs", queue="default", job_type="mail", state="later") == 1
    assert value(found, "pgjobs_jobs", queue="q", job_type="mail", state="due") == 1
    assert value(found, "pgjobs_jobs", queue="default", job_type="mail", state="completed") == 1
    assert 90 <= value(found, "pgjobs_oldest_due_seconds", queue="q") < 150
    assert value(found, "pgjobs_oldest_due_seconds", queue="default") == 0
    done = {"queue": "default", "job_type": "mail", "outcome": "completed"}
    assert value(found, "pgjobs_jobs_finished_total", **done) == 1
    assert value(found, "pgjobs_queue_paused", queue="q") == 1
    assert value(found, "pgjobs_queue_paused", queue="default") == 0
    assert value(found, "pgjobs_workers", mode="listening") == 0
    assert value(found, "pgjobs_workers", mode="full") == 1
    assert value(found, "pgjobs_slots", state="free") == 7
    assert 600 <= value(found, "pgjobs_schedule_late_seconds", schedule="nightly") < 660
    assert value(found, "pgjobs_doctor", check="overdue schedules") >= 1


async def test_a_histogram_is_cumulative_and_ends_with_all(conn, scrape):
    for bucket, jobs in ((1, 3), (2, 4), (23, 5)):
        await conn.execute("select _jobs_note_ends($1)", json.dumps(
            [("q", "t", "completed", jobs, 0.5, {bucket: jobs}, 60, {bucket: jobs})]))
    await conn.execute("select _jobs_history_add()")
    found = await scrape()
    for what, total in (("run", 180), ("wait", 1.5)):
        buckets = {
            labels["le"]: v for labels, v in found[f"pgjobs_job_{what}_seconds_bucket"]
        }
        assert (buckets["0.002"], buckets["0.004"], buckets["4194.304"]) == (3, 7, 7)
        assert buckets["+Inf"] == 12
        assert value(found, f"pgjobs_job_{what}_seconds_count", queue="q", job_type="t") == 12
        assert value(found, f"pgjobs_job_{what}_seconds_sum", queue="q", job_type="t") == total


async def test_hostile_names_are_escaped(conn, scrape):
    await conn.execute("select jobs_enqueue($1, queue => $1)", HOSTILE)
    await conn.execute("select jobs_schedule($1, 't', every => interval '1 hour')", HOSTILE)
    await conn.execute("select jobs_complete(id) from jobs_claim('w', array[$1])", HOSTILE)
    found = await scrape()
    labels = {"queue": HOSTILE, "job_type": HOSTILE}
    assert value(found, "pgjobs_jobs", **labels) == 1
    assert value(found, "pgjobs_jobs_finished_total", **labels) == 1
    assert value(found, "pgjobs_schedule_late_seconds", schedule=HOSTILE) == 0


async def test_sets_of_labels_beyond_the_largest_are_summed_up_and_counted(
    conn, scrape, monkeypatch
):
    monkeypatch.setattr("pgjobs.telemetry.metrics.MAX_SETS", 100)
    await conn.execute(
        """select jobs_enqueue('t' || t, queue => 'q' || q)
        from generate_series(1, 10) q, generate_series(1, 12) t"""
    )
    await conn.execute("select jobs_enqueue('other', queue => 'other') from generate_series(1, 2)")
    await conn.execute(
        """insert into jobs_ends (ends)
        select json_agg(json_build_array(
            'q', 't' || n, 'completed', 1, 0, '{}'::json, 0, '{}'::json))
        from generate_series(1, 1200) n"""
    )
    await conn.execute("select _jobs_history_add()")
    found = await scrape()
    assert len(found["pgjobs_jobs"]) == 100
    assert sum(jobs for _, jobs in found["pgjobs_jobs"]) == 122
    assert value(found, "pgjobs_jobs", queue="other") == 23
    assert len(found["pgjobs_jobs_finished_total"]) == 1_001
    assert value(found, "pgjobs_jobs_finished_total", queue="other") == 200
    assert value(found, "pgjobs_label_sets_summed", metric="pgjobs_jobs") == 21
    assert value(found, "pgjobs_label_sets_summed", metric="pgjobs_jobs_finished_total") == 200
    assert value(found, "pgjobs_label_sets_summed", metric="pgjobs_queue_paused") == 0


async def test_a_scrape_of_500_queues_with_200_types_is_under_a_megabyte(conn):
    await conn.execute(
        """insert into jobs (queue, job_type)
        select 'queue-' || q, 'some_module.some_type_' || t
        from generate_series(1, 500) q, generate_series(1, 200) t"""
    )
    await conn.execute(
        """insert into jobs_ends (ends)
        select json_agg(json_build_array(
            'queue-' || n % 500, 'some_module.some_type_' || n % 200, 'completed', n, 12345.6789,
            (select json_object_agg(b, n) from generate_series(1, 23) b), 12345.6789,
            (select json_object_agg(b, n) from generate_series(1, 23) b)))
        from generate_series(1000, 1999) n"""
    )
    await conn.execute("select _jobs_history_add()")
    text = exposition(await metrics(Database(conn)))
    assert text.count("pgjobs_job_run_seconds_count") == 101
    assert len(text) < 1_000_000


async def test_no_label_names_a_worker(conn, scrape):
    await conn.execute("select jobs_worker_start('secret-host', '{default}', null, 7)")
    await conn.execute("select jobs_enqueue('t')")
    await conn.execute("select jobs_claim('secret-host')")
    assert "secret-host" not in str(await scrape())


async def test_an_observer_may_read_the_metrics(conn, make_role, acting_as):
    async with acting_as(await make_role("observer")):
        assert "pgjobs_doctor" in exposition(await metrics(Database(conn)))


async def test_the_command_prints_them(pgjobs_dsn, conn):
    await conn.execute("select jobs_enqueue('mail')")
    told = await asyncio.to_thread(CliRunner().invoke, cli, ["metrics", "--dsn", pgjobs_dsn])
    assert told.exit_code == 0, told.output
    assert 'pgjobs_jobs{queue="default",job_type="mail",state="due"} 1\n' in told.stdout


@pytest.fixture
def listening(pgjobs_dsn):
    """The address of ``pgjobs metrics --listen``, which ends with the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pgjobs", "metrics", "--listen", "127.0.0.1:0"],
        env={**os.environ, "PGJOBS_DSN": pgjobs_dsn}, stdout=subprocess.PIPE, text=True,
    )
    with process:
        yield process.stdout.readline().rpartition(" ")[2].strip()
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


def get(address, path="/metrics"):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


async def test_scrapes_are_answered_and_a_locked_table_gives_an_error(conn, listening):
    await conn.execute("select jobs_enqueue('mail')")
    status, kind, text = await asyncio.to_thread(get, listening)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'pgjobs_jobs{queue="default",job_type="mail",state="due"} 1\n' in text
    async with conn.transaction():
        await conn.execute("lock table jobs")
        await asyncio.sleep(1.1)  # the last reading is not fresh any more
        status, _, text = await asyncio.to_thread(get, listening)
        assert (status, text) == (
            503, '{"error": "the database gave no answer within 2 s"}\n')
    assert (await asyncio.to_thread(get, listening))[0] == 200
    assert (await asyncio.to_thread(get, listening, "/"))[0] == 404


async def test_a_database_that_is_gone_is_told_without_its_address_and_comes_back():
    with EmbeddedPostgres() as server:
        migrate(server.dsn)
        scrapes = Scrapes(server.dsn, "public")
        server._stop_server("immediate")
        assert await scrapes.answer() == (
            False, {"error": "the database could not be read: the log says why"})
        server.start()
        assert (await scrapes.answer())[0]


async def test_scrapes_that_come_together_read_once(pgjobs_dsn, monkeypatch):
    reads = 0

    async def counted(*_):
        nonlocal reads
        reads += 1
        return []

    monkeypatch.setattr("pgjobs.cli.metrics.read_metrics", counted)
    scrapes = Scrapes(pgjobs_dsn, "public")
    assert await asyncio.gather(*(scrapes.answer() for _ in range(5))) == [(True, "")] * 5
    assert reads == 1

"""The dashboards, the alert rules and the query for KEDA: each statement runs, each metric exists.

promtool, which Debian's package prometheus has, evaluates the rules on what `pgjobs metrics` gives.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pgjobs.database import Database
from pgjobs.telemetry.exposition import exposition
from pgjobs.telemetry.metrics import metrics

FOLDER = Path(__file__).parents[2] / "grafana"
ALERTS = FOLDER / "alerts.yml"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="needs promtool, of Debian's package prometheus"
)
Samples = dict[str, float]  # by series, as in the text format

MANY_JOBS = """
insert into jobs (job_type, queue) select 't' || n % 20, 'q' || n % 10
    from generate_series(1, 20000) n;
insert into jobs (job_type, status, finished_at, worker, started_at)
    select 't', 'completed', clock_timestamp(), null, clock_timestamp()
    from generate_series(1, 30000);
insert into jobs (job_type, status, worker, attempt, lease_until, started_at)
    select 't', 'processing', 'w', 1, clock_timestamp() + interval '1 hour', clock_timestamp()
    from generate_series(1, 40);
insert into jobs_history
    select s.span::interval, date_trunc('minute', clock_timestamp()) - n * s.span::interval,
        'q', 't' || t, 'completed', 1, 1, array_fill(1, array[23]), 1, array_fill(1, array[23])
    from unnest('{1 minute,1 hour}'::text[]) s(span), generate_series(0, 1400) n,
        generate_series(1, 10) t;
analyze jobs;
analyze jobs_history;
"""


def dashboard(name: str) -> dict[str, str]:
    """The query of each panel, by the panel's title."""
    panels = json.loads((FOLDER / name).read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target.get("rawSql") or target["expr"]
        for panel in panels for target in panel["targets"]
    }


def sql_queries() -> dict[str, str]:
    queries = {
        title: re.sub(
            r"\$__timeFilter\((\S+?)\)", r"\1 between now() - interval '1 hour' and now()", query
        )
        for title, query in dashboard("postgresql.json").items()
    }
    keda = (FOLDER / "keda.yaml").read_text()
    found = re.search(r"query: >-\n((?: {10}.*\n)+)", keda)
    assert found is not None
    return queries | {"KEDA": found[1]}


@pytest.mark.parametrize("title", sql_queries())
async def test_each_statement_runs_as_an_observer_and_reads_no_whole_table(
    conn: asyncpg.Connection,
    make_role: Callable[..., Awaitable[str]],
    acting_as: Callable[[str], Any],
    title: str,
) -> None:
    await conn.execute(MANY_JOBS)
    query = sql_queries()[title]
    assert "$" not in query
    async with acting_as(await make_role("observer")):
        await conn.fetch(query)
        plan = "\n".join(row[0] for row in await conn.fetch(f"explain {query}"))
    assert not re.search(r"Seq Scan on jobs(_history)?\b(?!_)", plan), plan


async def test_the_query_for_keda_counts_what_could_start_or_runs(conn: asyncpg.Connection) -> None:
    await conn.execute("""select jobs_enqueue('t') from generate_series(1, 3)""")
    await conn.execute("select jobs_enqueue('t', run_at => now() + interval '1 hour')")
    await conn.execute("select jobs_enqueue('t', queue => 'other')")
    await conn.execute("select jobs_claim('w')")
    assert await conn.fetchval(sql_queries()["KEDA"]) == 3
    await conn.execute("select jobs_limit('default', max_running => 1)")
    assert await conn.fetchval(sql_queries()["KEDA"]) == 1


@pytest.fixture
def scrape(conn: asyncpg.Connection) -> Callable[[], Awaitable[str]]:
    async def read() -> str:
        return exposition(await metrics(Database(conn)))

    return read


async def test_each_metric_of_the_dashboard_and_of_the_alerts_exists(
    scrape: Callable[[], Awaitable[str]], conn: asyncpg.Connection
) -> None:
    await conn.execute("select jobs_enqueue('t')")
    await conn.execute("select jobs_complete(id) from jobs_claim('w')")
    await conn.execute("select _jobs_history_add()")
    families = list(text_string_to_metric_families(await scrape()))
    known = {family.name for family in families} | {
        sample.name for family in families for sample in family.samples
    } | {family.name + "_total" for family in families if family.type == "counter"}
    used = set(re.findall(r"\bpgjobs_\w+", "\n".join(dashboard("prometheus.json").values())))
    for line in ALERTS.read_text().splitlines():
        used |= set(re.findall(r"\bpgjobs_\w+", line))
    assert used
    assert used <= known


def samples(text: str) -> Samples:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines() if not line.startswith("#")
    }


def promtool(*arguments: str, given: str | None = None) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
async def test_promtool_finds_no_fault_with_the_metrics_and_the_rules(
    scrape: Callable[[], Awaitable[str]]
) -> None:
    promtool("check", "metrics", given=await scrape())
    promtool("check", "rules", str(ALERTS))


HEALTHY = """
select jobs_worker_start('w', '{default}', null, 10);
select _jobs_worker_mode('w', 'listening');
select jobs_enqueue('mail') from generate_series(1, 50);
select jobs_complete(c.id) from jobs_claim('w', max_jobs => 45) c;
select jobs_fail(c.id, 'e', retry => false) from jobs_claim('w', max_jobs => 1) c;
select jobs_fail(c.id, 'e') from jobs_claim('w', max_jobs => 1) c;
select jobs_cancel_many(queues => '{default}');
select jobs_schedule('nightly', 'mail', '0 3 * * *');
select jobs_retain('completed', interval '7 days');
select jobs_retain('failed', interval '7 days');
select jobs_retain('cancelled', interval '7 days');
select _jobs_history_add();
"""
# What goes wrong, by real calls; time is made to pass by ageing rows.
TROUBLES = {
    "PgjobsDoctorBad": """select jobs_enqueue('t', queue => 'unserved');
        update jobs set run_at = run_at - interval '2 hours' where status = 'pending'""",
    "PgjobsDoctorWarns": """select jobs_enqueue('t', queue => 'q');
        select jobs_pause('q');
        update jobs_queues set paused_at = paused_at - interval '2 days'""",
    "PgjobsNoWorker": "select jobs_worker_stop('w'); select jobs_enqueue('mail')",
    "PgjobsJobsWaitLong": """select jobs_enqueue('mail');
        update jobs set run_at = run_at - interval '301 seconds' where status = 'pending'""",
    "PgjobsNoFreeSlots": """select jobs_enqueue('mail') from generate_series(1, 20);
        select jobs_claim('w', max_jobs => 10)""",
    "PgjobsTypeFails": """select jobs_enqueue('mail', max_retries => 1) from generate_series(1, 40);
        select jobs_complete(c.id) from jobs_claim('w', max_jobs => 25) c;
        select jobs_fail(c.id, 'e') from jobs_claim('w', max_jobs => 14) c;
        select jobs_fail(c.id, 'e', retry => false) from jobs_claim('w', max_jobs => 1) c;
        select _jobs_history_add()""",
    "PgjobsWaitsGrow": """select jobs_enqueue('mail') from generate_series(1, 40);
        update jobs set run_at = run_at - interval '2 minutes' where status = 'pending';
        select jobs_complete(c.id) from jobs_claim('w', max_jobs => 40) c;
        select _jobs_history_add()""",
    "PgjobsScheduleLate": """update jobs_schedules
        set next_at = clock_timestamp() - interval '2 minutes'""",
    "PgjobsQueuePaused": "select jobs_pause('default')",
}
MINUTES = 90  # of health, and then as many of trouble


@needs_promtool
@pytest.mark.parametrize("alert", TROUBLES)
async def test_an_alert_fires_for_its_trouble_and_not_before(
    conn: asyncpg.Connection, scrape: Callable[[], Awaitable[str]], tmp_path: Path, alert: str
) -> None:
    await conn.execute(HEALTHY)
    healthy = samples(await scrape())
    await conn.execute(TROUBLES[alert])
    troubled = samples(await scrape())
    # A histogram grows on, or nothing would be known of the last ten minutes.
    growth = {s: troubled[s] - healthy.get(s, 0) for s in troubled if "_wait_seconds_" in s}
    series = [
        {
            "series": name,
            "values": f"{healthy.get(name, 0)}+0x{MINUTES - 1} "
            f"{troubled.get(name, 0)}+{growth.get(name, 0)}x{MINUTES}",
        }
        for name in sorted(healthy.keys() | troubled.keys())
    ]
    rule = _rule(alert)
    waits = _minutes(rule.get("for", "0m"))
    fires_at = MINUTES + waits + 2
    _expect(tmp_path, series, alert, MINUTES - 1, fires=False)
    if waits:
        _expect(tmp_path, series, alert, MINUTES + waits - 1, fires=False)
    _expect(tmp_path, series, alert, fires_at, fires=True)


@needs_promtool
def test_an_alert_fires_where_nobody_scrapes(tmp_path: Path) -> None:
    series = [{"series": 'pgjobs_doctor{check="x"}', "values": "0+0x30"}]
    _expect(tmp_path, series, "PgjobsMetricsMissing", 30, fires=False)
    _expect(tmp_path, series, "PgjobsMetricsMissing", 45, fires=True)


def test_each_alert_is_tried() -> None:
    alerts = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    assert alerts == {*TROUBLES, "PgjobsMetricsMissing"}


def _rule(alert: str) -> dict[str, str]:
    block = ALERTS.read_text().partition(f"alert: {alert}\n")[2].partition("- alert:")[0]
    return dict(re.findall(r"^ {8}(\w+): (\S+)$", block, re.MULTILINE))


def _minutes(text: str) -> int:
    return int(text[:-1]) * (60 if text.endswith("h") else 1)


def _expect(
    folder: Path, series: list[dict[str, str]], alert: str, minute: int, *, fires: bool
) -> None:
    """By PromQL, because a list of expected alerts would have to have all their labels."""
    test = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0'
                        " or vector(0)",
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": "{}", "value": int(fires)}],
                    }
                ],
            }
        ],
    }
    file = folder / f"{alert}-{minute}.yml"
    file.write_text(json.dumps(test))  # JSON is YAML
    promtool("test", "rules", str(file))

"""The next ticks of a schedule, or of what would be one."""

from datetime import datetime, timedelta

import asyncpg
import pytest

BERLIN = "jobs_schedule_preview(cron => '30 2 * * *', timezone => 'Europe/Berlin', ticks => 400)"


async def test_each_tick_is_shown_by_the_clocks_of_the_time_zone(conn):
    rows = await conn.fetch(f"select *, at at time zone 'Europe/Berlin' as shown from {BERLIN}")
    assert len(rows) == 400
    assert all(row["shown"] == row["local_time"] for row in rows)
    # In the night of spring in which the clocks never show half past two, the job comes at three.
    assert {f"{row['local_time']:%H:%M}" for row in rows} == {"02:30", "03:00"}


async def test_a_schedule_is_previewed_by_its_name_with_its_limits(conn):
    await conn.execute(
        """select jobs_schedule('a', 't', every => '1 hour', starts_at => '2100-01-01 00:30',
        ends_at => '2100-01-01 03:00')"""
    )
    rows = await conn.fetch("select at from jobs_schedule_preview('a')")
    first = datetime.fromisoformat("2100-01-01 00:30:00+00:00")
    assert [row["at"] for row in rows] == [first + n * timedelta(hours=1) for n in range(3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'nobody'", "there is no schedule nobody"),
        ("", "either cron or every"),
        ("cron => 'x'", "five fields"),
        ("cron => '@daily', timezone => 'Mars/Phobos'", "Mars/Phobos is not known"),
        ("cron => '@daily', ticks => 1001", "ticks must be from 0 to 1000"),
    ],
)
async def test_what_cannot_be_previewed_is_refused(conn, arguments, message):
    with pytest.raises(asyncpg.PostgresError, match=message):
        await conn.fetch(f"select * from jobs_schedule_preview({arguments})")

"""`jobs_cron_next`: against a walk over the minutes, against cronsim, and the odd cases by name."""

import random
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from cronsim import CronSim

# Both are past: the time zones of the server and those of Python know the same of them.
TWO_YEARS = datetime(2023, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
NEXT = "select jobs_cron_next($1, $2, $3)"
ZONES = [
    "Australia/Lord_Howe", "Europe/Dublin", "Africa/Casablanca", "Asia/Kathmandu", "Asia/Kolkata",
    "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Asia/Beirut", "America/Havana",
    "Pacific/Chatham", "Pacific/Apia", "Asia/Tokyo",
]
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def field(chance, lowest, highest, names=()):
    def one(number):
        name = names and chance.random() < 0.3 and number - lowest < len(names)
        return names[number - lowest].upper() if name else str(number)

    def item():
        # Two numbers: of 5-5/2, crontab(5) says nothing.
        a, b = sorted(chance.sample(range(lowest, highest + 1), 2))
        step = chance.randint(1, highest)
        return chance.choice([
            one(a), one(a), f"{a}-{b}", f"{one(a)}-{one(b)}", f"{a}-{b}/{step}", f"*/{step}", "*",
        ])

    if chance.random() < 0.4:
        return "*"
    return ",".join(item() for _ in range(chance.choice([1, 1, 1, 2, 3])))


def expression(chance):
    minute = chance.choice([field(chance, 0, 59), str(chance.randint(0, 59)), "*/30", "0,30"])
    hour = chance.choice([field(chance, 0, 23), str(chance.randint(0, 3)), "0-3"])
    return " ".join([
        minute, hour, field(chance, 1, 31), field(chance, 1, 12, MONTHS),
        field(chance, 0, 6, WEEKDAYS),
    ])


def numbers(text, lowest, highest, names=()):
    found = set()
    for item in text.lower().split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        def number(word):
            return names.index(word) + lowest if word in names else int(word)
        if span == "*":
            low, high = lowest, highest
        else:
            low = number(first)
            high = number(last) if last else highest if step else low
        found.update(range(low, high + 1, int(step or 1)))
    return found


class Walk:
    """The rule, written as plainly as can be: from minute to minute."""

    def __init__(self, cron, zone):
        minute, hour, day, month, weekday = cron.split()
        self.zone = ZoneInfo(zone)
        self.minutes, self.hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
        self.days, self.months = numbers(day, 1, 31), numbers(month, 1, 12, MONTHS)
        self.weekdays = {n % 7 for n in numbers(weekday, 0, 7, WEEKDAYS)}
        self.needs_both = day.startswith("*") or weekday.startswith("*")
        self.is_fixed = not minute.startswith("*") and not hour.startswith("*")

    def fits(self, shown):
        is_day = shown.day in self.days
        is_weekday = shown.isoweekday() % 7 in self.weekdays
        return (
            shown.minute in self.minutes and shown.hour in self.hours
            and shown.month in self.months
            and (is_day and is_weekday if self.needs_both else is_day or is_weekday)
        )

    def first(self, after, within):
        """The first moment after this one; None: none within that time."""
        minute = after.replace(second=0, microsecond=0)
        seen = self.latest_shown(minute)
        end = after + within
        while minute < end:
            minute += timedelta(minutes=1)
            shown = self.shown(minute)
            if not self.is_fixed:
                if self.fits(shown):
                    return minute
                continue
            # The clocks have shown all until `seen`. What they show again does not count.
            while seen < shown:
                seen += timedelta(minutes=1)
                if self.fits(seen):
                    return minute
        return None

    def shown(self, moment):
        return moment.astimezone(self.zone).replace(tzinfo=None)

    def latest_shown(self, moment):
        """The latest that the clocks have shown until this moment."""
        return max(self.shown(moment - timedelta(minutes=n)) for n in range(0, 180, 10))


@cache
def changes(zone):
    """When the clocks of a zone are changed in two years."""
    at, found, offset = TWO_YEARS[0], [], None
    while at < TWO_YEARS[1]:
        before, offset = offset, at.astimezone(ZoneInfo(zone)).utcoffset()
        if before not in (None, offset):
            found.append(at)
        at += timedelta(hours=1)
    return found


def moments(chance, zone):
    """At any time within two years, and near each change of the clocks."""
    near = [at + timedelta(minutes=chance.randint(-300, 300)) for at in changes(zone)]
    anywhere = TWO_YEARS[0] + chance.random() * (TWO_YEARS[1] - TWO_YEARS[0])
    return [*near, anywhere]


@pytest.mark.parametrize("zone", ZONES)
async def test_the_next_moment_is_that_of_a_walk_over_the_minutes(conn, zone):
    chance = random.Random(zone)
    for _ in range(20):
        cron = expression(chance)
        walk = Walk(cron, zone)
        for after in moments(chance, zone):
            found = await conn.fetchval(NEXT, cron, after, zone)
            expected = walk.first(after, within=timedelta(days=3))
            if expected is None:
                assert found is None or found > after + timedelta(days=3) - timedelta(minutes=1)
            else:
                assert found == expected, (cron, zone, after)


@pytest.mark.parametrize("zone", ZONES)
async def test_two_years_of_moments_are_those_of_cronsim(conn, zone):
    chance = random.Random(zone + "cronsim")
    for _ in range(20):
        cron = expression(chance)
        at = TWO_YEARS[0]
        theirs = CronSim(cron, at.astimezone(ZoneInfo(zone)))
        for _ in range(60):
            try:
                expected = next(theirs).astimezone(UTC)
            except StopIteration:
                break
            if expected > TWO_YEARS[1]:
                break
            found = await conn.fetchval(NEXT, cron, at, zone)
            assert found == expected, (cron, zone, at)
            at = expected


@pytest.mark.parametrize(
    ("cron", "zone", "after", "fires"),
    [
        # In spring Berlin's clocks go from 02:00 to 03:00, which is 01:00 UTC.
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["03-29 01:00", "03-30 00:00"]),
        ("30 2,3 * * *", "Europe/Berlin", "2026-03-28 12:00", ["03-29 01:00", "03-29 01:30"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["03-30 00:00", "03-30 00:30"]),
        ("30 * 29 * *", "Europe/Berlin", "2026-03-29 00:10", ["03-29 00:30", "03-29 01:30"]),
        # In autumn they go from 03:00 back to 02:00, which is 01:00 UTC too.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", ["10-25 00:30", "10-26 01:30"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 01:10", ["10-26 01:30"]),
        ("*/30 2 25 * *", "Europe/Berlin", "2026-10-24 12:00",
         ["10-25 00:00", "10-25 00:30", "10-25 01:00", "10-25 01:30"]),
        # Beirut's clocks go from midnight to 01:00: what is left out belongs to the day.
        ("0 0 * * *", "Asia/Beirut", "2026-03-28 12:00", ["03-28 22:00", "03-29 21:00"]),
        # Lord Howe's clocks go forward by half an hour, at 02:00.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", ["10-03 15:30", "10-04 15:15"]),
        ("0 3 * * *", "UTC", "2026-03-28 03:00", ["03-29 03:00"]),
        ("* * * * *", "UTC", "2026-03-28 03:00:59.999999", ["03-28 03:01", "03-28 03:02"]),
        # Either day fits where both are restricted, else both must.
        ("0 0 13 * fri", "UTC", "2026-03-01", ["03-06 00:00", "03-13 00:00", "03-20 00:00"]),
        ("0 0 */2 * fri", "UTC", "2026-03-01", ["03-13 00:00", "03-27 00:00"]),
        ("0 0 * * 7", "UTC", "2026-03-01", ["03-08 00:00"]),
        ("@weekly", "UTC", "2026-03-01", ["03-08 00:00"]),
        ("  @Daily\n", "UTC", "2026-03-01", ["03-02 00:00"]),
        ("0\t0  1  JAN-mar,Dec *", "UTC", "2026-03-01", ["12-01 00:00"]),
        ("5/20 0 * * *", "UTC", "2026-03-01", ["03-01 00:05", "03-01 00:25", "03-01 00:45"]),
    ],
)
async def test_the_odd_cases(conn, cron, zone, after, fires):
    at = datetime.fromisoformat(after).replace(tzinfo=UTC)
    for expected in fires:
        at = await conn.fetchval(NEXT, cron, at, zone)
        assert at.strftime("%m-%d %H:%M") == expected


async def test_a_day_that_comes_seldom_is_found_within_eight_years(conn):
    at = datetime(2096, 2, 28, 23, 59, tzinfo=UTC)
    leap_days = []
    for _ in range(3):
        at = await conn.fetchval(NEXT, "0 0 29 2 *", at, "UTC")
        leap_days.append(at and at.date().isoformat())
    assert leap_days == ["2096-02-29", "2104-02-29", "2108-02-29"]
    later = datetime(2097, 1, 1, tzinfo=UTC)
    assert (await conn.fetchval(NEXT, "0 0 29 2 *", later, "UTC")).year == 2104
    assert await conn.fetchval(NEXT, "0 0 30 2 *", later, "UTC") is None
    assert await conn.fetchval(NEXT, "0 0 31 4,6 *", later, "UTC") is None


async def test_the_session_and_its_time_zone_do_not_matter(conn):
    after = datetime(2026, 3, 28, 12, tzinfo=UTC)
    for zone in ("UTC", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe"):
        await conn.execute("select set_config('timezone', $1, false)", zone)
        found = await conn.fetchval(NEXT, "0,30 2 * * *", after, "Europe/Berlin")
        assert found == datetime(2026, 3, 29, 1, tzinfo=UTC)


async def test_left_out_are_the_present_and_utc(conn):
    now = await conn.fetchval("select clock_timestamp()")
    found = await conn.fetchval("select jobs_cron_next('* * * * *')")
    assert now < found <= now + timedelta(seconds=61)
    assert found.second == found.microsecond == 0


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        (None, "cron is missing"),
        ("", "five fields"),
        ("* * * *", "five fields .* not 4"),
        ("0 * * * * *", "not 6: .* For seconds give `every`"),
        ("@reboot", "@reboot is not known: write @hourly"),
        ("60 * * * *", "minute must be from 0 to 59, not 60"),
        ("* 24 * * *", "hour must be from 0 to 23"),
        ("* * 0 * *", "day of the month must be from 1 to 31"),
        ("* * * 13 *", "month must be from 1 to 12"),
        ("* * * * 8", "weekday must be from 0 to 7"),
        ("5-1 * * * *", "must not run backwards"),
        ("*/0 * * * *", "must not have the step 0"),
        ("*/ * * * *", "minute must be like"),
        ("1,,2 * * * *", "minute must be like"),
        ("-5 * * * *", "minute must be like"),
        ("1-2-3 * * * *", "minute must be like"),
        ("9999999999 * * * *", "minute must be like"),
        ("* * L * *", "day of the month must be like"),
        ("* * 15W * *", "day of the month must be like"),
        ("* * * * 5#2", "weekday must be like .* or mon"),
        ("* * * foo *", "month must be like .* or feb"),
        ("jan * * * *", "minute must be like"),
        ("0,1" * 200 + " * * * *", "at most 512 bytes"),
        ("０ * * * *", "minute must be like"),
    ],
)
async def test_what_is_no_cron_expression_is_refused(conn, cron, message):
    with pytest.raises(asyncpg.PostgresError, match=message) as caught:
        await conn.fetchval(NEXT, cron, None, "UTC")
    assert caught.value.sqlstate == "JQ003"


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "Europe/Berlin3", "PST", "XYZ+3", "+02", "", "Europe", "Foo/Bar+3"]
)
async def test_what_is_no_name_of_a_time_zone_is_refused(conn, zone):
    with pytest.raises(asyncpg.PostgresError, match="is not known: give a name") as caught:
        await conn.fetchval(NEXT, "* * * * *", None, zone)
    assert caught.value.sqlstate == "JQ003"


@pytest.mark.parametrize("zone", [None, "utc", "EST5EDT", "Etc/GMT+3", "europe/berlin", "GMT"])
async def test_each_name_of_a_time_zone_is_taken(conn, zone):
    assert await conn.fetchval(NEXT, "0 0 * * *", None, zone)


@pytest.mark.parametrize("after", ["infinity", "-infinity", "9999-01-01Z", "4000-01-01 BC"])
async def test_a_moment_without_a_next_one_is_refused(conn, after):
    with pytest.raises(asyncpg.PostgresError, match="after must be a moment") as caught:
        await conn.fetchval("select jobs_cron_next('* * * * *', $1::text::timestamptz)", after)
    assert caught.value.sqlstate == "JQ003"

#!/usr/bin/env python3
"""Compares every session that the program computes with the packages the facts come from, and with recorded data.

It builds and runs the example `sessions` of tradeflow-model and compares open and close, to the nanosecond, of
- xnys with exchange_calendars' XNYS and pandas_market_calendars' NYSE,
- cme with pandas_market_calendars' CME Globex Equity and CME_Equity.
The sources contradict each other and, here and there, the exchanges: each difference must be in the lists below, and
each entry of the lists must be met. Exit status 1 when anything is left over.

    pip install -r scripts/requirements-calendars.txt
    python scripts/check_calendars.py
"""

import csv
import datetime as dt
import io
import os
import pathlib
import subprocess
import sys
import zipfile
from zoneinfo import ZoneInfo

import exchange_calendars
import pandas_market_calendars as mcal

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = pathlib.Path(os.environ.get("TRADEFLOW_DATA", ROOT / ".." / "shared" / "data"))
LAST = dt.date(2028, 12, 31)
DAY = dt.timedelta(days=1)
problems = []


def problem(text):
    problems.append(text)
    if len(problems) <= 40:
        print("  WRONG:", text)


def ours(calendar, first):
    command = ["cargo", "run", "--quiet", "--release", "-p", "tradeflow-model", "--example", "sessions", "--"]
    run = subprocess.run([*command, calendar, str(first), str(LAST)], cwd=ROOT, check=True, capture_output=True, text=True)
    return {
        dt.date.fromisoformat(row["date"]): (
            (int(row["open_ns"]), int(row["close_ns"])),
            (int(row["pause_start_ns"]), int(row["pause_end_ns"])) if row["pause_start_ns"] else None,
        )
        for row in csv.DictReader(io.StringIO(run.stdout))
    }


def table(index, opens, closes):
    return {
        stamp.date(): (o, c)
        for stamp, o, c in zip(
            index, opens.dt.as_unit("ns").astype("int64"), closes.dt.as_unit("ns").astype("int64"), strict=True
        )
    }


def market_calendar(name, first):
    return mcal.get_calendar(name).schedule(str(first), str(LAST))


def nanos(zone, day, text):
    local = dt.datetime.combine(day, dt.time.fromisoformat(text), ZoneInfo(zone))
    return int(local.timestamp()) * 1_000_000_000


def show(hours):
    """A session for a message, in UTC."""
    return hours and " to ".join(f"{dt.datetime.fromtimestamp(n // 10**9, dt.UTC):%d %H:%M}" for n in hours)


def compare(title, mine, theirs, known):
    """`known`: date -> why, for the dates that differ on purpose."""
    differ = {day for day in mine.keys() | theirs.keys() if mine.get(day) != theirs.get(day)}
    for day in sorted(differ - known.keys()):
        problem(f"{title} {day}: ours {show(mine.get(day))}, source {show(theirs.get(day))}")
    for day in sorted(known.keys() - differ):
        problem(f"{title} {day}: listed as different ({known[day]}), but equal")
    print(f"{title}: {len(mine)} sessions, {len(differ & known.keys())} known differences")


def check_nyse():
    zone, first = "America/New_York", dt.date(1962, 1, 1)
    mine = {day: hours for day, (hours, _) in ours("xnys", first).items()}
    source = market_calendar("NYSE", first)
    compare(
        "xnys / pandas_market_calendars NYSE, from 1962",
        mine,
        table(source.index, source.market_open, source.market_close),
        {dt.date(1999, 12, 31): "closed at 13:00"},
    )
    # Late opens and emergency closes, which exchange_calendars does not record.
    special = {
        "1990-12-27": ("09:31", "16:00"), "1991-01-17": ("09:31", "16:00"), "1991-02-25": ("09:31", "16:00"),
        "1994-02-11": ("09:30", "14:30"), "1995-12-18": ("10:30", "16:00"), "1996-01-08": ("11:00", "14:00"),
        "1997-10-27": ("09:30", "15:30"), "2001-09-17": ("09:33", "16:00"), "2001-10-08": ("09:31", "16:00"),
        "2002-09-11": ("12:00", "16:00"), "2003-03-20": ("09:32", "16:00"), "2004-06-07": ("09:32", "16:00"),
        "2005-06-01": ("09:30", "15:56"), "2006-12-27": ("09:32", "16:00"),
    }  # fmt: skip
    known = {dt.date.fromisoformat(day): f"{hours}" for day, hours in special.items()}
    for day, hours in special.items():
        day = dt.date.fromisoformat(day)
        if mine[day] != tuple(nanos(zone, day, text) for text in hours):
            problem(f"xnys {day}: not {hours}")
    first = dt.date(1990, 1, 1)
    source = exchange_calendars.get_calendar("XNYS", start=str(first), end=str(LAST)).schedule
    compare(
        "xnys / exchange_calendars XNYS, from 1990",
        {day: hours for day, hours in mine.items() if day >= first},
        table(source.index, source.open, source.close),
        known,
    )


def check_cme():
    zone, first = "America/Chicago", dt.date(1990, 1, 1)
    mine = ours("cme", first)
    hours = {day: hours for day, (hours, _) in mine.items()}
    source = market_calendar("CME Globex Equity", first)
    theirs = table(source.index, source.market_open, source.market_close)

    # Apply to the source, by the exchange's notices, what it does not know; everything else must be equal.
    wrong_close = {
        "2006-07-03": "15:15", "2012-10-29": "08:15", "2012-10-30": "08:15", "2018-12-05": "08:30",
        "2025-01-09": "08:30",
    }  # fmt: skip
    for day, close in wrong_close.items():
        day = dt.date.fromisoformat(day)
        theirs[day] = (theirs[day][0], nanos(zone, day, close))
    for day in ["2007-01-02", "2024-03-29", "2025-04-18", "2027-03-26", "2028-04-14"]:
        del theirs[dt.date.fromisoformat(day)]
    for day in sorted(theirs):
        opens, closes = theirs[day]
        regular = closes == nanos(zone, day, "16:00")
        if dt.date(2012, 11, 19) <= day < dt.date(2015, 9, 21) and regular:
            closes = nanos(zone, day, "16:15")
        if dt.date(2005, 9, 12) <= day < dt.date(2012, 11, 19):
            closes = nanos(zone, day, "15:15") if regular else closes
            # After a day with the regular close, the next trade date begins at 15:30.
            eve = day - DAY
            if eve in theirs and theirs[eve][1] == nanos(zone, eve, "15:15"):
                opens = nanos(zone, eve, "15:30")
        theirs[day] = (opens, closes)
    compare("cme / pandas_market_calendars CME Globex Equity, from 1990", hours, theirs, {})

    # CME_Equity has the changes of hours. On a day for which both sources have the regular close it must agree on
    # when the trade date begins (but for Mondays and days after a holiday, 2005 to 2012) and on the pause.
    source = mcal.get_calendar("CME_Equity").schedule(str(first), str(LAST))
    other = table(source.index, source.market_open, source.market_close)
    pauses = table(source.index, source.break_start, source.break_end)
    compared = 0
    for day, ((opens, closes), pause) in mine.items():
        full = {nanos(zone, day, text) for text in ("15:15", "16:00", "16:15")}
        if day not in other or closes not in full or other[day][1] not in full:
            continue
        early = dt.date(2005, 9, 12) <= day < dt.date(2012, 11, 19)
        compared += 1
        if opens != other[day][0] and not (early and opens == nanos(zone, day - DAY, "17:00")):
            problem(f"cme {day}: open {opens}, CME_Equity {other[day][0]}")
        if early:
            after = opens == nanos(zone, day - DAY, "15:30")
            expected = (nanos(zone, day - DAY, "16:30"), nanos(zone, day - DAY, "17:00")) if after else None
        else:
            expected = pauses[day] if pauses[day][0] < pauses[day][1] else None
        if pause != expected:
            problem(f"cme {day}: pause {pause}, expected {expected}")
    print(f"cme / CME_Equity: opens and pauses of {compared} regular sessions")


def check_spy(zone="America/New_York"):
    path = DATA / "daily" / "spy_daily_raw.zip"
    if not path.exists():
        return print(f"skipped: the SPY daily bars are not there ({path}); set TRADEFLOW_DATA")
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as lines:
        days = {dt.datetime.strptime(line.split(b",")[0].decode(), "%Y%m%d %H:%M").date() for line in lines}
    sessions = {day for day in ours("xnys", min(days)) if day <= max(days)}
    print(f"xnys / SPY daily bars {min(days)} to {max(days)}: {len(days)} bars, {len(sessions)} sessions")
    for day in sorted(days - sessions):
        problem(f"SPY has a bar on {day}, which is no session")
    for day in sorted(sessions - days):
        problem(f"SPY has no bar for the session of {day}")


def check_es():
    paths = sorted((DATA / "bars" / "es_future_1m").glob("*_trade.zip"))
    if not paths:
        return print(f"skipped: the E-mini minute bars are not there ({DATA}); set TRADEFLOW_DATA")
    sessions = ours("cme", dt.date(2013, 1, 1)).values()
    inside = outside = 0
    edges = set()
    for path in paths:
        midnight = int(dt.datetime.strptime(path.name[:8], "%Y%m%d").replace(tzinfo=dt.UTC).timestamp()) * 10**9
        span = [s for s in sessions if s[0][0] < midnight + 86_400 * 10**9 and s[0][1] > midnight]
        with zipfile.ZipFile(path) as archive:
            # The front contract, the busiest: it trades in nearly every minute.
            largest = max(archive.infolist(), key=lambda item: item.file_size)
            times = [midnight + int(row.split(b",")[0]) * 1_000_000 for row in archive.read(largest).split()]
        for t in times:
            is_open = any(o <= t < c and not (p and p[0] <= t < p[1]) for (o, c), p in span)
            inside, outside = inside + is_open, outside + (not is_open)
            if not is_open:
                problem(f"E-mini bar at {dt.datetime.fromtimestamp(t // 10**9, dt.UTC)} is outside the session")
        minute = 60 * 10**9
        for (o, c), p in span:
            for edge in [o, c - minute] + ([p[0] - minute, p[1]] if p else []):
                if midnight <= edge < midnight + 86_400 * 10**9:
                    edges.add((edge, edge in times))
    missing = [edge for edge, there in sorted(edges) if not there]
    for edge in missing:
        problem(f"no E-mini bar at the edge of a session: {dt.datetime.fromtimestamp(edge // 10**9, dt.UTC)}")
    print(f"cme / E-mini minutes of {len(paths)} days: {inside} in session, {outside} outside, {len(edges)} edges")


def check_fx():
    path = DATA / "bars" / "eurusd_1h.csv"
    if not path.exists():
        return print(f"skipped: the EURUSD hourly bars are not there ({path}); set TRADEFLOW_DATA")
    with path.open() as lines:
        rows = list(csv.reader(lines))[1:]
    times = {int(dt.datetime.fromisoformat(row[0]).replace(tzinfo=dt.UTC).timestamp()) * 10**9 for row in rows}
    first, last, hour = min(times), max(times), 3600 * 10**9
    expected = {
        t for (o, c), _ in ours("fx", dt.date(2017, 1, 1)).values() for t in range(o, c, hour) if first <= t <= last
    }
    name = lambda t: dt.datetime.fromtimestamp(t // 10**9, ZoneInfo("America/New_York")).strftime("%F %a %H:%M")
    # This feed has two ticks' bars in the hour after the close of two Fridays.
    known = {"2017-10-06 Fri 17:00", "2017-10-20 Fri 17:00"}
    extra, missing = {name(t) for t in times - expected}, sorted(name(t) for t in expected - times)
    for t in sorted(extra ^ known) + missing:
        problem(f"EURUSD hourly bar: {t} New York")
    print(f"fx / EURUSD hours: {len(times)} bars, {len(expected)} expected, {len(missing)} missing, {len(extra)} extra")


def main():
    check_nyse()
    check_cme()
    check_spy()
    check_es()
    check_fx()
    print(f"{len(problems)} differences" if problems else "all equal")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

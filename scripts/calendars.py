#!/usr/bin/env python3
"""Writes the calendar facts that `tradeflow-model` includes: model/src/calendar/facts/{xnys,cme}.csv.

Source: pandas_market_calendars (MIT licence), a maintained package of exchange calendars. Where it is known to be
wrong or two of its calendars contradict each other, the tables below say what is taken instead and on what evidence.
Closes of Globex from 2009 to August 2026 were also compared, once, with the market-hours database of QuantConnect's
LEAN: all 157 early closes and the closures agree, but that it lacks the one-off ones of 2012, 2018 and 2025 and the
12:15 closes of 2023-07-03, 2024-07-03 and 2024-11-29, and lists some regular closes of 16:00.
Run it again after raising the pinned version or LAST, read the diff, then run scripts/check_calendars.py.

    pip install -r scripts/requirements-calendars.txt
    python scripts/calendars.py

Only what differs from the weekly rule is written. All times are local to the exchange.
"""

import datetime as dt
import pathlib

import pandas_market_calendars as mcal

# Exchanges publish holidays about two to three years ahead. Later dates would be rules extrapolated, not facts.
LAST = dt.date(2028, 12, 31)

FACTS = pathlib.Path(__file__).resolve().parent.parent / "model" / "src" / "calendar" / "facts"

ROWS = """\
# One row a fact, times local to the exchange ({zone}):
#   covers,<first date>,<last date>                         the dates these facts are vouched for
#   regular,<from date>,<days>,<open>,<close>[,<pause from>,<pause to>]   the weekly rule from that trade date on
#   closed,<date>                                           a weekday without a session
#   hours,<date>,<open>,<close>                             a session with other hours
# A session whose open is not before its close in the day opens on the evening before. A regular pause applies to a
# session with other hours only when it lies inside them.
"""

NYSE_CORRECTIONS = {
    # The source leaves this one out as disputed. The exchange's board approved the 1 p.m. close on 1999-06-03, and
    # exchange_calendars has it.
    dt.date(1999, 12, 31): (dt.time(9, 30), dt.time(13)),
}

# Sessions of the source's "CME Globex Equity" calendar that ended otherwise: None for no session, else the close.
CME_CLOSE_CORRECTIONS = {
    # The exchange's holiday schedule has the regular close for equity indexes on this eve of Independence Day.
    dt.date(2006, 7, 3): dt.time(15, 15),
    # Funeral of President Ford: equity index products did not trade (the source's "CME_Equity" agrees).
    dt.date(2007, 1, 2): None,
    # Hurricane Sandy: equity index futures closed at 8:15 on both days (exchange notices of 2012-10-28 and -29).
    dt.date(2012, 10, 29): dt.time(8, 15),
    dt.date(2012, 10, 30): dt.time(8, 15),
    # Funeral of President G. H. W. Bush: closed at 8:30 after overnight trading (exchange notice of 2018-12-02).
    dt.date(2018, 12, 5): dt.time(8, 30),
    # Funeral of President Carter: open until 8:30 (exchange notice of 2024-12-30).
    dt.date(2025, 1, 9): dt.time(8, 30),
}

# The weekly rule of CME Globex equity-index futures. Each row: from trade date, days, open, close, pause.
CME_REGULAR = [
    # As the source has it. Globex hours of these years changed several times and are not vouched for (see `covers`).
    ("1990-01-01", "mon-fri", "17:00", "16:00", "15:15", "15:30"),
    # Trade date from 15:30 to 15:15, with maintenance 16:30 to 17:00; the week opens on Sunday at 17:00 (the source
    # has 15:30 there too, when the market was closed).
    ("2005-09-12", "mon", "17:00", "15:15"),
    ("2005-09-12", "tue-fri", "15:30", "15:15", "16:30", "17:00"),
    # Close at 16:15 (exchange notice of November 2012; recorded trades of 2013 end at 16:14). The source has 16:00.
    ("2012-11-19", "mon-fri", "17:00", "16:15", "15:15", "15:30"),
    # Close at 16:00 (exchange notice of September 2015).
    ("2015-09-21", "mon-fri", "17:00", "16:00", "15:15", "15:30"),
    # The pause is gone (exchange notice of 2021-06-21).
    ("2021-06-28", "mon-fri", "17:00", "16:00"),
]

NYSE_REGULAR = [
    ("1962-01-01", "mon-fri", "10:00", "15:30"),
    ("1974-01-01", "mon-fri", "10:00", "16:00"),
    ("1985-01-01", "mon-fri", "09:30", "16:00"),
]

DAYS = ["mon", "tue", "wed", "thu", "fri"]


def clock(text):
    return dt.time.fromisoformat(text)


def regular_hours(rules, day):
    """Open and close of the weekly rule for a trade date."""
    found = None
    for since, days, opens, closes, *_ in rules:
        first, _, last = days.partition("-")
        in_days = DAYS.index(first) <= day.weekday() <= DAYS.index(last or first)
        if dt.date.fromisoformat(since) <= day and in_days:
            found = (clock(opens), clock(closes))
    return found


def source_schedule(name, zone, first):
    """Trade date -> (open, close) in local time, from the source."""
    table = mcal.get_calendar(name).schedule(first.isoformat(), LAST.isoformat())
    opens = table.market_open.dt.tz_convert(zone)
    closes = table.market_close.dt.tz_convert(zone)
    return {
        stamp.date(): (o.time(), c.time()) for stamp, o, c in zip(table.index, opens, closes, strict=True)
    }


def nyse():
    sessions = source_schedule("NYSE", "America/New_York", dt.date(1962, 1, 1))
    return sessions | NYSE_CORRECTIONS


def cme():
    zone = "America/Chicago"
    first = dt.date(1990, 1, 1)
    sessions = source_schedule("CME Globex Equity", zone, first)
    # From 2023 the source ends every Good Friday at 8:15; that holds only in years when the employment report comes
    # out on the day. Its own bond calendar knows which: on the others Globex is closed.
    bonds = source_schedule("CME_Bond", zone, first)
    for day in [day for day, (_, close) in sessions.items() if close == dt.time(8, 15) and day.year >= 2023]:
        if day not in bonds:
            del sessions[day]
    for day, close in CME_CLOSE_CORRECTIONS.items():
        if close is None:
            del sessions[day]
        else:
            sessions[day] = (dt.time(17), close)

    # The source's calendar has today's hours in all years: where it had the regular close, take ours. A session of
    # the years that began at 15:30 did so only after a regular day; after a holiday or an early close Globex
    # resumed at 17:00 (exchange notices for the holidays of 2006 and 2007).
    result = {}
    for day in sorted(sessions):
        regular_open, regular_close = regular_hours(CME_REGULAR, day)
        close = sessions[day][1]
        if close == dt.time(16):
            close = regular_close
        eve = day - dt.timedelta(days=1)
        after_regular_day = eve in result and result[eve][1] == regular_hours(CME_REGULAR, eve)[1]
        opens = regular_open if after_regular_day else dt.time(17)
        result[day] = (opens, close)
    return result


def write(path, title, zone, covers_from, rules, sessions):
    first = dt.date.fromisoformat(rules[0][0])
    out = [f"# {title}, from pandas_market_calendars {mcal.__version__}. Written by scripts/calendars.py; do not edit.\n"]
    out.append(ROWS.format(zone=zone))
    out.append(f"covers,{covers_from},{LAST}\n")
    out += ["regular," + ",".join(rule) + "\n" for rule in rules]
    day = first
    while day <= LAST:
        hours = sessions.get(day)
        if day.weekday() < 5 and hours is None:
            out.append(f"closed,{day}\n")
        elif hours is not None and hours != regular_hours(rules, day):
            out.append(f"hours,{day},{hours[0]:%H:%M},{hours[1]:%H:%M}\n")
        day += dt.timedelta(days=1)
    assert all(day.weekday() < 5 for day in sessions), "the facts have no way to say a weekend session"
    path.write_text("".join(out))
    print(f"{path.name}: {len(sessions)} sessions, {len(out)} lines")


def main():
    FACTS.mkdir(parents=True, exist_ok=True)
    write(FACTS / "xnys.csv", "New York Stock Exchange", "America/New_York", "1990-01-01", NYSE_REGULAR, nyse())
    write(FACTS / "cme.csv", "CME Globex equity-index futures", "America/Chicago", "2005-09-12", CME_REGULAR, cme())


if __name__ == "__main__":
    main()

//! Rows of a foreign file into staged rows: fields, numbers, times, and the checks that need one row only.

use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::Aggressor;
use tradeflow_model::{IntervalUnit, Timestamp};

use super::civil::{Stamp, date_of};
use super::error::{ImportError, Place};
use super::factors::FactorRow;
use super::layout::{Field, RowKind, StampAt};
use super::lines::Fields;
use super::number::Number;
use super::report::{Action, Check, FIRST_MAX};
use super::sides::Best;
use super::stage::{BAR, QUOTE, Scales, TRADE};
use super::table::{Table, UNIT_SEPARATOR};
use super::{Importer, origin_of};

/// Why a row did not become a staged row.
pub(super) enum RowError {
    /// The row failed a check.
    Fault(Check, String),
    /// The import can't go on.
    Hard(ImportError),
}

impl From<ImportError> for RowError {
    fn from(error: ImportError) -> Self {
        Self::Hard(error)
    }
}

fn malformed(what: impl Into<String>) -> RowError {
    RowError::Fault(Check::Malformed, what.into())
}

impl Importer<'_> {
    /// Reads one row; a fault of the row becomes a finding.
    pub(super) fn row(
        &mut self,
        table: &mut Table,
        line: &[u8],
        fields: &Fields,
        number: u64,
    ) -> Result<(), ImportError> {
        table.rows += 1;
        table.last_line = number;
        let row = Row { line, fields, number, table };
        let result = match self.layout.kind {
            RowKind::Bar => self.bar(row),
            RowKind::QuoteBar => self.quote_bar(row),
            RowKind::Trade => self.trade(row),
            RowKind::Quote => self.quote(row),
            RowKind::SideQuote => self.side_quote(row),
            RowKind::Factors => self.factors(row),
        };
        self.settle(table, number, result)
    }

    /// Turns the fault of a row into a finding.
    pub(super) fn settle(
        &mut self,
        table: &Table,
        number: u64,
        result: Result<(), RowError>,
    ) -> Result<(), ImportError> {
        match result {
            Ok(()) => Ok(()),
            Err(RowError::Hard(error)) => Err(error),
            Err(RowError::Fault(check, what)) => {
                self.judge(check, &table.place, number, || what);
                let hopeless = check == Check::Malformed
                    && self.policy.action(check) == Action::Reject
                    && self.report.count(check) >= FIRST_MAX as u64;
                if hopeless {
                    return Err(ImportError::Rejected(Box::new(std::mem::take(&mut self.report))));
                }
                Ok(())
            }
        }
    }

    /// Records that a row failed a check; whether it is kept all the same.
    pub(super) fn judge(
        &mut self,
        check: Check,
        place: &Place,
        line: u64,
        detail: impl FnOnce() -> String,
    ) -> bool {
        let action = self.policy.action(check);
        self.report.add(check, action, place, line, detail);
        action == Action::Keep
    }

    /// Brings prices and sizes of a row to the scales of its instrument, which grow where the row needs more.
    fn fit(&mut self, row: &Row<'_>, prices: &[Number], sizes: &[Number]) -> Result<Scales, RowError> {
        let mut needed = Scales::default();
        for (numbers, scale, what) in
            [(prices, &mut needed.price, "price"), (sizes, &mut needed.size, "size")]
        {
            for number in numbers {
                let decimals = number.scale().ok_or_else(|| {
                    malformed(format!("a {what} has more than 9 decimals; round with --round DECIMALS"))
                })?;
                *scale = decimals.max(*scale);
            }
        }
        let subject = &self.subjects[row.table.subject];
        let scales = subject.scales;
        if needed.price <= scales.price && needed.size <= scales.size {
            return Ok(scales);
        }
        if let Some(known) = &subject.existing {
            let (what, needs, has) = if needed.price > scales.price {
                ("price", needed.price, known.price_scale)
            } else {
                ("size", needed.size, known.size_scale)
            };
            let text = String::from_utf8_lossy(row.line);
            return Err(RowError::Hard(ImportError::input(
                &row.table.place.at(row.number),
                format!(
                    "a {what} in {text:?} needs {needs} decimals, but the catalog keeps {} with {has}. Import under \
                     another symbol, round with --round {has}, or remove the instrument's data and import all of it \
                     again",
                    known.symbol
                ),
            )));
        }
        let raised = Scales { price: scales.price.max(needed.price), size: scales.size.max(needed.size) };
        for at in 0..self.stage.series.len() {
            if self.stage.series[at].subject == row.table.subject {
                self.stage.seal(at, None, scales)?;
            }
        }
        self.subjects[row.table.subject].scales = raised;
        Ok(raised)
    }

    fn prices<const N: usize>(&mut self, row: &Row<'_>, fields: [Field; N]) -> Result<[Number; N], RowError> {
        let mut numbers = [Number::default(); N];
        for (number, field) in numbers.iter_mut().zip(fields) {
            let text = row.text(field)?;
            *number = match Number::parse(text) {
                Ok(number) => number.shifted(self.layout.price_shift),
                Err(why) => {
                    let nothing = |field: &Field| row.text(*field).is_ok_and(is_nothing);
                    if fields.iter().all(nothing) {
                        return Err(RowError::Fault(Check::NoPrice, "the row has no price".into()));
                    }
                    return Err(malformed(format!(
                        "{} {:?} {why}",
                        field.name(),
                        String::from_utf8_lossy(text)
                    )));
                }
            };
            if let Some(places) = self.layout.round {
                let (rounded, changed) = number.rounded(places);
                *number = rounded;
                if changed {
                    self.rounded(row, field, text, places);
                }
            }
        }
        Ok(numbers)
    }

    #[cold]
    fn rounded(&mut self, row: &Row<'_>, field: Field, text: &[u8], places: u8) {
        self.judge(Check::Rounded, &row.table.place, row.number, || {
            format!("{} {:?} to {places} decimals", field.name(), String::from_utf8_lossy(text))
        });
    }

    /// A size, 0 where the file has none.
    ///
    /// Sums of volumes that were made in binary floats end in noise (`218102.59507500002`); what lies beyond the
    /// decimals that can be kept is rounded and reported.
    fn size(&mut self, row: &Row<'_>, field: Field) -> Result<Number, RowError> {
        let Some(at) = row.table.columns[field as usize] else { return Ok(Number::default()) };
        let text = row.fields.get(row.line, at).unwrap_or_default();
        if is_nothing(text) {
            return Ok(Number::default());
        }
        let number = Number::parse(text).map_err(|why| {
            malformed(format!("{} {:?} {why}", field.name(), String::from_utf8_lossy(text)))
        })?;
        let (rounded, changed) = number.rounded(self.layout.round_sizes);
        if changed {
            self.rounded(row, field, text, self.layout.round_sizes);
        }
        Ok(rounded)
    }

    fn stamp(&mut self, row: &Row<'_>) -> Result<Stamp, RowError> {
        let time = row.text(Field::Time)?;
        let Some(at) = row.table.columns[Field::Date as usize] else {
            return row.table.clock.read(time).map_err(malformed);
        };
        let date = row.fields.get(row.line, at).ok_or_else(|| malformed("the row has no field date"))?;
        self.joined.clear();
        self.joined.extend_from_slice(date);
        self.joined.push(b' ');
        self.joined.extend_from_slice(time);
        row.table.clock.read(&self.joined).map_err(malformed)
    }

    fn instant(&mut self, row: &mut Row<'_>) -> Result<i64, RowError> {
        let stamp = self.stamp(row)?;
        row.table.clock.instant(stamp).map_err(malformed)
    }

    /// Start and end of a bar; `None` when it is left out by a check.
    fn bar_times(&mut self, row: &mut Row<'_>) -> Result<Option<(i64, i64)>, RowError> {
        let stamp = self.stamp(row)?;
        let interval =
            row.table.interval.ok_or_else(|| malformed("the interval of the bars is not known"))?;
        if let Some(nanos) = interval.nanos() {
            let instant = row.table.clock.instant(stamp).map_err(malformed)?;
            let times = match self.layout.stamp {
                StampAt::Start => instant.checked_add(nanos).map(|end| (instant, end)),
                StampAt::End => instant.checked_sub(nanos).map(|start| (start, instant)),
            };
            return times.map(Some).ok_or_else(|| malformed("time lies outside 1677 to 2262"));
        }
        // A date names its session. A time within a session belongs to it; any other to its local date.
        let calendar = row.table.calendar;
        let date = if stamp.nanos == 0 {
            date_of(stamp.days)
        } else {
            let instant = Timestamp::from_nanos(row.table.clock.instant(stamp).map_err(malformed)?);
            let session = calendar.session_at(instant).map(|session| session.date);
            Some(session.unwrap_or_else(|| calendar.local_date(instant)))
        };
        let date = date.ok_or_else(|| malformed("time lies outside 1677 to 2262"))?;
        let times = match interval.unit() {
            IntervalUnit::Week => week_of(calendar, date),
            _ => calendar.session_on(date).map(|session| (session.open.as_nanos(), session.close.as_nanos())),
        };
        if times.is_some() {
            return Ok(times);
        }
        let (place, number) = (row.table.place.clone(), row.number);
        let kept = self.judge(Check::NoSession, &place, number, || {
            format!("{date} has no session in the calendar {calendar}")
        });
        // Kept, it spans the local day, which no session of the calendar begins or ends with.
        let midnight = |date: jiff::civil::Date| {
            let zoned = calendar.time_zone().to_zoned(date.at(0, 0, 0, 0)).ok()?;
            i64::try_from(zoned.timestamp().as_nanosecond()).ok()
        };
        let end = date.tomorrow().ok().and_then(midnight);
        let day = midnight(date).zip(end).ok_or_else(|| malformed("time lies outside 1677 to 2262"))?;
        Ok(kept.then_some(day))
    }

    fn push<const N: usize>(
        &mut self,
        row: &mut Row<'_>,
        series: usize,
        values: [i64; N],
        scales: Scales,
    ) -> Result<(), RowError> {
        let key = values[0];
        if !(row.table.partition.0..row.table.partition.1).contains(&key) {
            row.table.partition = self.partition_of(series, key);
        }
        self.stage.push(series, row.table.partition.0, &values, scales)?;
        Ok(())
    }

    /// Notes whether a row is earlier than the one before it.
    fn order(&mut self, row: &mut Row<'_>, key: i64) {
        let table = &mut *row.table;
        if let Some(previous) = table.previous_key.filter(|previous| key < *previous) {
            table.out_of_order_rows += 1;
            if table.out_of_order.len() < FIRST_MAX {
                let (time, before) = (Timestamp::from_nanos(key), Timestamp::from_nanos(previous));
                table.out_of_order.push((row.number, format!("{time} after {before}")));
            }
        }
        table.previous_key = Some(key);
    }

    fn bar(&mut self, mut row: Row<'_>) -> Result<(), RowError> {
        let prices = self.prices(&row, [Field::Open, Field::High, Field::Low, Field::Close])?;
        let volume = self.size(&row, Field::Volume)?;
        let Some(times) = self.bar_times(&mut row)? else { return Ok(()) };
        self.order(&mut row, times.0);
        let series = row.table.series[0];
        self.one_bar(&mut row, series, times, prices, volume)
    }

    fn quote_bar(&mut self, mut row: Row<'_>) -> Result<(), RowError> {
        let bid = [Field::BidOpen, Field::BidHigh, Field::BidLow, Field::BidClose];
        let ask = [Field::AskOpen, Field::AskHigh, Field::AskLow, Field::AskClose];
        let Some(times) = self.bar_times(&mut row)? else { return Ok(()) };
        self.order(&mut row, times.0);
        for (side, (fields, size)) in [(bid, Field::BidSize), (ask, Field::AskSize)].into_iter().enumerate() {
            // The size is that of the last quote, not a traded volume, so a quote bar has none.
            self.size(&row, size)?;
            if fields.iter().all(|field| row.text(*field).is_ok_and(<[u8]>::is_empty)) {
                continue; // no quote on this side in the bar
            }
            let prices = self.prices(&row, fields)?;
            let series = row.table.series[side];
            self.one_bar(&mut row, series, times, prices, Number::default())?;
        }
        Ok(())
    }

    fn one_bar(
        &mut self,
        row: &mut Row<'_>,
        series: usize,
        (start, end): (i64, i64),
        prices: [Number; 4],
        volume: Number,
    ) -> Result<(), RowError> {
        let scales = self.fit(row, &prices, &[volume])?;
        let mut raw = [0; 4];
        for (raw, number) in raw.iter_mut().zip(prices) {
            *raw = number.at(scales.price).map_err(|why| malformed(format!("a price {why}")))?;
        }
        let volume = volume.at(scales.size).map_err(|why| malformed(format!("the volume {why}")))?;
        let [open, high, low, close] = raw;
        let lowest = open.min(high).min(low).min(close);
        let text = || String::from_utf8_lossy(row.line).replace(char::from(UNIT_SEPARATOR), ",");
        if lowest <= 0 || volume < 0 {
            let detail = || format!("a price or volume of {:?} is not above zero", text());
            if !self.judge(Check::NonPositive, &row.table.place, row.number, detail) {
                return Ok(());
            }
        }
        if high < open.max(close) || low > open.min(close) || high < low {
            let detail = || format!("high is not the highest or low not the lowest in {:?}", text());
            if !self.judge(Check::Ohlc, &row.table.place, row.number, detail) {
                return Ok(());
            }
        }
        self.subjects[row.table.subject].measure(open.max(high).max(low).max(close), volume);
        let origin = origin_of(row.table.source, row.number);
        let values: [i64; BAR] = [start, end, open, high, low, close, volume, origin];
        self.push(row, series, values, scales)
    }

    fn trade(&mut self, mut row: Row<'_>) -> Result<(), RowError> {
        let [price] = self.prices(&row, [Field::Price])?;
        let qty = self.size(&row, Field::Qty)?;
        let aggressor = match row.optional(Field::Side).map(<[u8]>::to_ascii_lowercase).as_deref() {
            Some(b"buy" | b"buyer" | b"b") => Aggressor::Buyer,
            Some(b"sell" | b"seller" | b"s") => Aggressor::Seller,
            _ => Aggressor::Unknown,
        };
        let time = self.instant(&mut row)?;
        self.order(&mut row, time);
        let scales = self.fit(&row, &[price], &[qty])?;
        let price = price.at(scales.price).map_err(|why| malformed(format!("the price {why}")))?;
        let qty = qty.at(scales.size).map_err(|why| malformed(format!("the size {why}")))?;
        if price <= 0 || qty < 0 {
            let text = String::from_utf8_lossy(row.line);
            let detail = || format!("the price or size of {text:?} is not above zero");
            if !self.judge(Check::NonPositive, &row.table.place, row.number, detail) {
                return Ok(());
            }
        }
        self.subjects[row.table.subject].measure(price, qty);
        let origin = origin_of(row.table.source, row.number);
        let values: [i64; TRADE] = [time, price, qty, aggressor as i64, origin];
        let series = row.table.series[0];
        self.push(&mut row, series, values, scales)
    }

    fn quote(&mut self, mut row: Row<'_>) -> Result<(), RowError> {
        let sizes = [self.size(&row, Field::BidSize)?, self.size(&row, Field::AskSize)?];
        for (side, field) in [Field::Bid, Field::Ask].into_iter().enumerate() {
            if !row.text(field)?.is_empty() {
                let [price] = self.prices(&row, [field])?;
                row.table.quote[side] = Some(price);
            }
        }
        let time = self.instant(&mut row)?;
        self.order(&mut row, time);
        let [Some(bid), Some(ask)] = row.table.quote else {
            row.table.silent_rows += 1;
            return Ok(());
        };
        self.quote_of(row, time, [bid, ask], sizes)
    }

    fn side_quote(&mut self, mut row: Row<'_>) -> Result<(), RowError> {
        let prices = self.prices(&row, [Field::Bid, Field::Ask])?;
        let sizes = [self.size(&row, Field::BidSize)?, self.size(&row, Field::AskSize)?];
        let time = self.instant(&mut row)?;
        self.order(&mut row, time);
        // A price of 0 means that the row does not speak of this side.
        let side = |at: usize| (prices[at].mantissa != 0).then_some([prices[at], sizes[at]]);
        match row.table.sides.push(time, side(0), side(1)) {
            Some(best) => self.best_quote(row, best),
            None => Ok(()),
        }
    }

    pub(super) fn best_quote(&mut self, row: Row<'_>, (time, bid, ask): Best) -> Result<(), RowError> {
        self.quote_of(row, time, [bid[0], ask[0]], [bid[1], ask[1]])
    }

    fn quote_of(
        &mut self,
        row: Row<'_>,
        time: i64,
        prices: [Number; 2],
        sizes: [Number; 2],
    ) -> Result<(), RowError> {
        let scales = self.fit(&row, &prices, &sizes)?;
        let price =
            |number: Number| number.at(scales.price).map_err(|why| malformed(format!("a price {why}")));
        let size = |number: Number| number.at(scales.size).map_err(|why| malformed(format!("a size {why}")));
        let best = [price(prices[0])?, price(prices[1])?, size(sizes[0])?, size(sizes[1])?];
        self.one_quote(row, time, best, scales)
    }

    fn one_quote(
        &mut self,
        mut row: Row<'_>,
        time: i64,
        [bid, ask, bid_size, ask_size]: [i64; 4],
        scales: Scales,
    ) -> Result<(), RowError> {
        let text = String::from_utf8_lossy(row.line);
        let (place, number) = (&row.table.place, row.number);
        let mut keep = true;
        if bid <= 0 || ask <= 0 || bid_size < 0 || ask_size < 0 {
            keep &= self.judge(Check::NonPositive, place, number, || {
                format!("a price or size of {text:?} is not above zero")
            });
        } else if bid > ask {
            keep &=
                self.judge(Check::Crossed, place, number, || format!("the bid is above the ask in {text:?}"));
        } else if bid == ask {
            keep &=
                self.judge(Check::Locked, place, number, || format!("the bid equals the ask in {text:?}"));
        }
        if !keep {
            return Ok(());
        }
        self.subjects[row.table.subject].measure(bid.max(ask), bid_size.max(ask_size));
        let origin = origin_of(row.table.source, row.number);
        let values: [i64; QUOTE] = [time, bid, ask, bid_size, ask_size, origin];
        let series = row.table.series[0];
        self.push(&mut row, series, values, scales)
    }

    fn factors(&mut self, row: Row<'_>) -> Result<(), RowError> {
        let stamp = self.stamp(&row)?;
        let mut numbers = [Number::default(); 3];
        for (number, field) in
            numbers.iter_mut().zip([Field::PriceFactor, Field::SplitFactor, Field::Reference])
        {
            let text = row.text(field)?;
            *number = Number::parse(text).map_err(|why| {
                malformed(format!("{} {:?} {why}", field.name(), String::from_utf8_lossy(text)))
            })?;
        }
        let [price, split, reference] = numbers;
        let origin = origin_of(row.table.source, row.number);
        row.table.factors.push(FactorRow { days: stamp.days, price, split, reference, origin });
        Ok(())
    }
}

/// Open of the first and close of the last session of the week (Monday to Sunday) of a date.
fn week_of(calendar: Calendar, date: jiff::civil::Date) -> Option<(i64, i64)> {
    let since_monday = i64::from(date.weekday().to_monday_zero_offset());
    let monday = date.checked_sub(jiff::Span::new().days(since_monday)).ok()?;
    let sunday = monday.checked_add(jiff::Span::new().days(6)).ok()?;
    let mut sessions = calendar.sessions_on(monday, sunday);
    let first = sessions.next()?;
    let last = sessions.last().unwrap_or(first);
    Some((first.open.as_nanos(), last.close.as_nanos()))
}

/// What files write where there is no value.
fn is_nothing(text: &[u8]) -> bool {
    let nothing: [&[u8]; 7] = [b"", b"null", b"nan", b"na", b"n/a", b"none", b"-"];
    text.len() <= 4 && nothing.contains(&text.to_ascii_lowercase().as_slice())
}

/// A row while it is being read.
pub(super) struct Row<'a> {
    pub(super) line: &'a [u8],
    pub(super) fields: &'a Fields,
    pub(super) number: u64,
    pub(super) table: &'a mut Table,
}

impl Row<'_> {
    fn text(&self, field: Field) -> Result<&[u8], RowError> {
        self.optional(field).ok_or_else(|| {
            malformed(format!("the row has {} fields and none for {}", self.fields.len(), field.name()))
        })
    }

    fn optional(&self, field: Field) -> Option<&[u8]> {
        self.table.columns[field as usize].and_then(|at| self.fields.get(self.line, at))
    }
}

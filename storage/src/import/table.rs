//! One table of a foreign file: which column is what, and what can only be said of the whole.

use std::io::BufRead;

use tradeflow_model::calendar::Calendar;
use tradeflow_model::market::{PriceType, SeriesKind};
use tradeflow_model::{Interval, Symbol};

use super::Importer;
use super::clock::{Clock, TimeFormat};
use super::decode::Row;
use super::error::{ImportError, Place};
use super::factors::FactorRow;
use super::layout::{Column, Field, Header, RowKind};
use super::lines::{Fields, Lines, sniff_delimiter};
use super::number::Number;
use super::report::{Check, FileReport};
use super::sides::Sides;

/// One table (a file, or a member of an archive) while it is being read.
pub(super) struct Table {
    pub(super) source: usize,
    pub(super) place: Place,
    pub(super) delimiter: u8,
    pub(super) columns: [Option<usize>; Field::COUNT],
    pub(super) clock: Clock,
    pub(super) interval: Option<Interval>,
    pub(super) subject: usize,
    pub(super) calendar: Calendar,
    /// The series of its rows; a quote bar has two.
    pub(super) series: [usize; 2],
    pub(super) previous_key: Option<i64>,
    pub(super) rows: u64,
    pub(super) last_line: u64,
    pub(super) out_of_order: Vec<(u64, String)>,
    pub(super) out_of_order_rows: u64,
    /// Rows that say nothing yet: quotes of one side before the other is known.
    pub(super) silent_rows: u64,
    pub(super) sides: Sides,
    pub(super) quote: [Option<Number>; 2],
    pub(super) factors: Vec<FactorRow>,
    pub(super) partition: (i64, i64),
}

/// Delimiter of rows that were made from Parquet: it does not occur in their values.
pub(super) const UNIT_SEPARATOR: u8 = 0x1f;

impl Importer<'_> {
    /// Reads a table of text.
    pub(super) fn read_text(&mut self, place: &Place, reader: &mut dyn BufRead) -> Result<(), ImportError> {
        let mut lines = Lines::new(reader);
        let mut table: Option<Table> = None;
        let mut fields = Fields::default();
        loop {
            let next = lines.next().map_err(|(number, what)| ImportError::input(&place.at(number), what))?;
            let Some((number, line)) = next else { break };
            if number % 8192 == 0 && self.progress.stopped() {
                return Err(ImportError::Stopped);
            }
            let table = match &mut table {
                Some(table) => table,
                None => {
                    let delimiter = self.layout.delimiter.unwrap_or_else(|| sniff_delimiter(line));
                    fields.split(line, delimiter);
                    let (opened, is_header) = self.open_table(place, line, &fields, delimiter)?;
                    let table = table.insert(opened);
                    if is_header {
                        continue;
                    }
                    table
                }
            };
            fields.split(line, table.delimiter);
            self.row(table, line, &fields, number)?;
        }
        match table {
            Some(table) => self.close_table(table),
            None => Err(ImportError::input(place, "holds no rows, only blank lines")),
        }
    }

    /// Resolves the columns by the first row; whether that row is a header.
    pub(super) fn open_table(
        &mut self,
        place: &Place,
        line: &[u8],
        fields: &Fields,
        delimiter: u8,
    ) -> Result<(Table, bool), ImportError> {
        let layout = self.layout;
        let is_number = |at: usize| fields.get(line, at).is_some_and(|text| Number::parse(text).is_ok());
        let has_header = layout.header == Header::Auto && !(0..fields.len()).any(is_number);
        let columns = if has_header {
            let names: Vec<String> = (0..fields.len())
                .map(|at| {
                    let text =
                        String::from_utf8_lossy(fields.get(line, at).unwrap_or_default()).to_lowercase();
                    text.trim_matches(['<', '>', ' ']).to_owned()
                })
                .collect();
            self.columns_by_name(&names).map_err(|what| ImportError::input(&place.at(1), what))?
        } else {
            self.columns_by_position().map_err(|what| ImportError::input(place, what))?
        };
        let name = place.member.as_deref().unwrap_or_else(|| place.source_name());
        let clock = Clock::new(layout.time.clone(), layout.zone.clone(), name);
        if let Some(what) = clock.complaint() {
            return Err(ImportError::input(place, what));
        }
        let symbol = self.symbol_of(place, name)?;
        let subject = self.subject(symbol)?;
        let bars = |price_type| layout.interval.map(|interval| SeriesKind::Bars { interval, price_type });
        let kinds = match layout.kind {
            RowKind::Bar => [bars(layout.price_type), None],
            RowKind::QuoteBar => [bars(PriceType::Bid), bars(PriceType::Ask)],
            RowKind::Trade => [Some(SeriesKind::Trades), None],
            RowKind::Quote | RowKind::SideQuote => [Some(SeriesKind::Quotes), None],
            RowKind::Factors => [None, None],
        };
        let series = kinds.map(|kind| kind.map_or(usize::MAX, |kind| self.series(subject, kind)));
        self.sources.push(place.clone());
        let table = Table {
            source: self.sources.len() - 1,
            place: place.clone(),
            delimiter,
            columns,
            clock,
            interval: layout.interval,
            subject,
            calendar: self.subjects[subject].calendar,
            series,
            previous_key: None,
            rows: 0,
            last_line: 0,
            out_of_order: Vec::new(),
            out_of_order_rows: 0,
            silent_rows: 0,
            sides: Sides::default(),
            quote: [None; 2],
            factors: Vec::new(),
            partition: (1, 0),
        };
        Ok((table, has_header))
    }

    fn columns_by_name(&self, names: &[String]) -> Result<[Option<usize>; Field::COUNT], String> {
        let mut columns = [None; Field::COUNT];
        let (required, optional) = (self.layout.kind.required(), self.layout.kind.optional());
        for field in required.iter().chain(optional).chain([&Field::Date]) {
            let chosen = self.layout.columns.iter().find(|(name, _)| name == field);
            let found = match chosen {
                Some((_, Column::At(at))) => Some(*at).filter(|at| *at < names.len()),
                Some((_, Column::Named(name))) => {
                    let wanted = name.to_lowercase();
                    let wanted = wanted.trim_matches(['<', '>', ' ']);
                    names.iter().position(|name| name == wanted)
                }
                None => field.aliases().iter().find_map(|alias| names.iter().position(|name| name == alias)),
            };
            if found.is_none() && (required.contains(field) || chosen.is_some()) {
                let wanted = match chosen {
                    Some((_, Column::Named(name))) => format!("no column {name:?}"),
                    Some((_, Column::At(at))) => format!("no column at position {at} (from 0)"),
                    None => format!("no column for {}", field.name()),
                };
                return Err(format!(
                    "{wanted}; the header has {names:?}. Say which column is which with --columns, for example \
                     --columns {}=NAME, or choose another preset",
                    field.name()
                ));
            }
            columns[*field as usize] = found;
        }
        // A date column belongs to the time only where the time stands apart in a column of that name.
        let time = columns[Field::Time as usize];
        let apart = time.is_some_and(|at| names[at] == "time");
        let chosen = self.layout.columns.iter().any(|(field, _)| *field == Field::Date);
        if columns[Field::Date as usize] == time || !(apart || chosen) {
            columns[Field::Date as usize] = None;
        }
        Ok(columns)
    }

    fn columns_by_position(&self) -> Result<[Option<usize>; Field::COUNT], String> {
        let mut columns = [None; Field::COUNT];
        for (field, at) in &self.layout.positions {
            columns[*field as usize] = Some(*at);
        }
        for (field, column) in &self.layout.columns {
            match column {
                Column::At(at) => columns[*field as usize] = Some(*at),
                Column::Named(name) => {
                    return Err(format!(
                        "has no header, so there is no column {name:?}; give positions from 0, such as --columns {}=0",
                        field.name()
                    ));
                }
            }
        }
        match self.layout.kind.required().iter().find(|field| columns[**field as usize].is_none()) {
            None => Ok(columns),
            Some(missing) => Err(format!(
                "has no header, and this layout has no fixed order of columns: say where {} is, for example with \
                 --columns {}=0 (positions from 0)",
                missing.name(),
                missing.name()
            )),
        }
    }

    /// Ends a table: what can only be said of the whole.
    pub(super) fn close_table(&mut self, mut table: Table) -> Result<(), ImportError> {
        if table.rows == 0 {
            return Err(ImportError::input(&table.place, "holds a header and no rows"));
        }
        if let Some(best) = table.sides.close() {
            let number = table.last_line;
            let row = Row { line: b"the last quote", fields: &Fields::default(), number, table: &mut table };
            let result = self.best_quote(row, best);
            self.settle(&table, number, result)?;
        }
        if table.out_of_order_rows > 0 && table.out_of_order_rows + 1 == table.rows {
            self.report
                .notes
                .push(format!("{} runs from new to old; its rows were turned round", table.place));
        } else {
            for at in 0..table.out_of_order_rows {
                let first = table.out_of_order.get(at as usize);
                let (line, detail) = first.cloned().unwrap_or_default();
                self.judge(Check::OutOfOrder, &table.place, line, || detail);
            }
        }
        if table.silent_rows > 0 {
            self.report.notes.push(format!(
                "{}: {} of {} rows came before both sides of the quote were known",
                table.place, table.silent_rows, table.rows
            ));
        }
        if self.layout.kind == RowKind::Factors {
            let derived = super::factors::derive(&table.factors, table.calendar);
            let derived = derived.map_err(|(origin, what)| {
                let (_, line) = super::place_of(origin);
                ImportError::input(&table.place.at(line), what)
            })?;
            self.actions.push((table.subject, derived));
        }
        self.report.files.push(FileReport { name: table.place.to_string(), rows: table.rows });
        Ok(())
    }

    /// The symbol of a table: as given, or for contracts from the name of the member.
    fn symbol_of(&self, place: &Place, name: &str) -> Result<Symbol, ImportError> {
        if self.layout.contracts
            && let Some(contract) = contract_of(name)
        {
            return Symbol::new(contract).map_err(ImportError::from);
        }
        self.request
            .symbol
            .clone()
            .ok_or_else(|| ImportError::input(place, "the symbol is not in the file: say it with --symbol"))
    }
}

impl Table {
    /// Its times are text such as `2017-01-02T03:04:05`, whatever the layout says.
    pub(super) fn set_times_are_iso(&mut self) {
        self.clock.set_format(TimeFormat::YearFirst);
    }

    /// Where its times stand.
    pub(super) fn time_column(&self) -> Option<usize> {
        self.columns[Field::Time as usize]
    }
}

/// `ES-201312` of `20131218_es_minute_trade_201312.csv`.
fn contract_of(name: &str) -> Option<String> {
    let stem = name.rsplit('/').next()?.strip_suffix(".csv")?;
    let mut parts = stem.split('_');
    let (_, root) = (parts.next()?, parts.next()?);
    let month = parts.next_back()?;
    let is_month = (month.len() == 6 || month.len() == 8) && month.bytes().all(|b| b.is_ascii_digit());
    is_month.then(|| format!("{}-{month}", root.to_ascii_uppercase()))
}

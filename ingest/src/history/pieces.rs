//! What is missing, cut as the vendor pages.

use jiff::ToSpan;
use tradeflow_model::Timestamp;

use super::Cut;

/// One request: its bounds, and the stretches within them that are wanted of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) wanted: Vec<(Timestamp, Timestamp)>,
}

/// Cuts stretches (sorted, none across another) into requests, oldest first, as few as the cut allows.
pub(super) fn cut(missing: &[(Timestamp, Timestamp)], cut: &Cut) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for &(mut from, to) in missing {
        while from < to {
            let fits = |part: &&mut Part| bound(cut, part.from) > from;
            let (end, part) = match parts.last_mut().filter(fits) {
                Some(part) => (bound(cut, part.from), part),
                None => {
                    parts.push(Part { from, to: from, wanted: Vec::new() });
                    (bound(cut, from), parts.last_mut().expect("one was just added"))
                }
            };
            let end = end.min(to);
            part.wanted.push((from, end));
            part.to = end;
            from = end;
        }
    }
    parts
}

/// The first instant that no longer belongs to a request which begins at `from`.
fn bound(cut: &Cut, from: Timestamp) -> Timestamp {
    match cut {
        Cut::Whole => Timestamp::MAX,
        Cut::Span(nanos) => from.saturating_add((*nanos).max(1)),
        Cut::Months(zone) => {
            let date = zone.to_datetime(from.to_jiff()).date();
            let next = date
                .first_of_month()
                .checked_add(1.month())
                .and_then(|first| zone.to_timestamp(first.into()));
            next.ok()
                .and_then(|next| i64::try_from(next.as_nanosecond()).ok())
                .map_or(Timestamp::MAX, Timestamp::from_nanos)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn months_are_those_of_the_vendors_zone() {
        let zone = jiff::tz::TimeZoneDatabase::bundled().get("America/New_York").unwrap();
        let missing = [
            (at("2024-01-31T21:00Z"), at("2024-02-01T02:00Z")), // 21:00 in New York, still January
            (at("2024-02-01T14:30Z"), at("2024-02-01T21:00Z")),
            (at("2024-02-02T14:30Z"), at("2024-02-02T21:00Z")),
            (at("2024-03-05T14:30Z"), at("2024-05-02T00:00Z")), // over the change to summer time
        ];
        let parts = cut(&missing, &Cut::Months(zone));
        let bounds: Vec<_> = parts.iter().map(|part| (part.from, part.to, part.wanted.len())).collect();
        let expected = [
            ("2024-01-31T21:00Z", "2024-02-01T02:00Z", 1),
            ("2024-02-01T14:30Z", "2024-02-02T21:00Z", 2),
            ("2024-03-05T14:30Z", "2024-04-01T04:00Z", 1),
            ("2024-04-01T04:00Z", "2024-05-01T04:00Z", 1),
            ("2024-05-01T04:00Z", "2024-05-02T00:00Z", 1),
        ];
        assert_eq!(bounds, expected.map(|(from, to, stretches)| (at(from), at(to), stretches)));
    }

    proptest! {
        #[test]
        fn parts_hold_exactly_what_is_missing(
            lengths in proptest::collection::vec((1_i64..50, 1_i64..50), 0..10),
            span in 1_i64..40,
            whole in any::<bool>(),
        ) {
            let mut missing = Vec::new();
            let mut now = 0;
            for (gap, length) in lengths {
                missing.push((Timestamp::from_nanos(now + gap), Timestamp::from_nanos(now + gap + length)));
                now += gap + length;
            }
            let parts = cut(&missing, &if whole { Cut::Whole } else { Cut::Span(span) });
            let held: i64 = parts.iter().flat_map(|part| &part.wanted).map(|(a, b)| b.as_nanos() - a.as_nanos()).sum();
            let wanted: i64 = missing.iter().map(|(a, b)| b.as_nanos() - a.as_nanos()).sum();
            prop_assert_eq!(held, wanted);
            prop_assert!(!whole || parts.len() <= 1);
            for part in &parts {
                prop_assert!(whole || part.to.as_nanos() - part.from.as_nanos() <= span);
                prop_assert_eq!(part.wanted.first().map(|stretch| stretch.0), Some(part.from));
                prop_assert_eq!(part.wanted.last().map(|stretch| stretch.1), Some(part.to));
            }
            prop_assert!(parts.windows(2).all(|pair| pair[0].to <= pair[1].from));
        }
    }
}

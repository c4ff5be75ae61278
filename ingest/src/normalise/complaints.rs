//! Bad messages, sampled to the log: at most one a second for each reason.

use std::collections::BTreeMap;

use tradeflow_model::Timestamp;
use tradeflow_model::time::NANOS_PER_SEC;

/// A message is cut after so many characters.
const MESSAGE_CHARS_MAX: usize = 200;

/// When each reason was logged last. Bounded, because the reasons that [`super::Counters`] lets through are.
#[derive(Debug, Default)]
pub(super) struct Complaints(BTreeMap<String, (Timestamp, u64)>);

impl Complaints {
    /// How many of this reason were not logged since the last, when one may be logged now.
    pub fn may_log(&mut self, reason: &str, now: Timestamp) -> Option<u64> {
        let Some((last, unlogged)) = self.0.get_mut(reason) else {
            self.0.insert(reason.to_owned(), (now, 0));
            return Some(0);
        };
        // A clock that was set back would else keep us silent.
        let since = now.as_nanos().saturating_sub(last.as_nanos());
        if (0..NANOS_PER_SEC).contains(&since) {
            *unlogged += 1;
            return None;
        }
        *last = now;
        Some(std::mem::take(unlogged))
    }
}

/// A message as it stands in the log: cut, and with what would break lines or terminals escaped.
pub(super) fn sample(message: &str) -> String {
    let mut text: String = message.chars().take(MESSAGE_CHARS_MAX).flat_map(char::escape_debug).collect();
    if message.chars().nth(MESSAGE_CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_for_each_reason() {
        let mut complaints = Complaints::default();
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        assert_eq!(complaints.may_log("a", at(0)), Some(0));
        assert_eq!(complaints.may_log("a", at(1)), None);
        assert_eq!(complaints.may_log("b", at(2)), Some(0));
        assert_eq!(complaints.may_log("a", at(999)), None);
        assert_eq!(complaints.may_log("a", at(1_000)), Some(2));
        assert_eq!(complaints.may_log("a", at(500)), Some(0), "the clock was set back");
    }

    #[test]
    fn a_sample_is_one_short_line() {
        assert_eq!(sample("a\n\u{1b}[31mb"), "a\\n\\u{1b}[31mb");
        assert_eq!(sample(&"ü".repeat(300)).chars().count(), 201);
    }
}

//! What is wanted, what was asked of the server, and what it takes.
//!
//! One symbol a frame, and no acknowledgement: a subscription that is not complained about is served. The complaint
//! `Subscribing to too many symbols` names no symbol; but the server handles frames in order and refuses what comes
//! after its limit, so it is the symbol sent last that is not served. The limit is then known, and kept until the
//! client is made anew. Which symbols are given up is decided by importance (the order of the watchlist), not by the
//! order in which they came: the least important one is unsubscribed, and the refused one asked for again.

use std::collections::BTreeSet;

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Trades of this symbol are wanted.
    Subscribe(String),
    /// They are not any more.
    Unsubscribe(String),
}

impl Command {
    /// The frame.
    pub fn frame(&self) -> String {
        let (kind, symbol) = match self {
            Self::Subscribe(symbol) => ("subscribe", symbol),
            Self::Unsubscribe(symbol) => ("unsubscribe", symbol),
        };
        serde_json::json!({"type": kind, "symbol": symbol}).to_string()
    }
}

/// The subscriptions of a client.
#[derive(Debug)]
pub struct Subscriptions {
    /// In order of importance, each once.
    wanted: Vec<String>,
    /// Those of them that the server does not know.
    invalid: BTreeSet<String>,
    /// What the server serves as far as we know, in the order in which it was sent.
    sent: Vec<String>,
    limit: usize,
}

impl Subscriptions {
    /// Of a client that may have `limit` symbols.
    pub fn new(limit: usize) -> Self {
        Self { wanted: Vec::new(), invalid: BTreeSet::new(), sent: Vec::new(), limit }
    }

    /// What is wanted from now on, in order of importance. A symbol that the server did not know is tried again when it
    /// was given up in between.
    pub fn want(&mut self, symbols: impl Iterator<Item = String>) {
        let mut seen = BTreeSet::new();
        self.wanted = symbols.filter(|symbol| seen.insert(symbol.clone())).collect();
        self.invalid.retain(|symbol| seen.contains(symbol));
    }

    /// There is a new connection: it serves nothing yet.
    pub fn connected(&mut self) {
        self.sent.clear();
        self.limit = self.limit.max(1);
    }

    /// There is no connection.
    pub fn disconnected(&mut self) {
        self.sent.clear();
    }

    /// The frames that are to be sent now, and will be: what is not wanted any more first, as that frees places.
    pub fn commands(&mut self) -> Vec<Command> {
        let target: Vec<&String> =
            self.wanted.iter().filter(|symbol| !self.invalid.contains(*symbol)).take(self.limit).collect();
        let (keep, go): (Vec<String>, Vec<String>) =
            std::mem::take(&mut self.sent).into_iter().partition(|symbol| target.contains(&symbol));
        let come: Vec<String> = target.into_iter().filter(|symbol| !keep.contains(symbol)).cloned().collect();
        self.sent = keep;
        self.sent.extend_from_slice(&come);
        go.into_iter().map(Command::Unsubscribe).chain(come.into_iter().map(Command::Subscribe)).collect()
    }

    /// The server said that there are too many: gives the limit that follows, or `None` when nothing was asked for.
    pub fn too_many(&mut self) -> Option<usize> {
        self.sent.pop()?;
        self.limit = self.sent.len();
        Some(self.limit)
    }

    /// The server does not know this symbol. Whether it is one of ours.
    pub fn unknown(&mut self, symbol: &str) -> bool {
        self.sent.retain(|sent| sent != symbol);
        self.wanted.iter().any(|wanted| wanted == symbol) && self.invalid.insert(symbol.to_owned())
    }

    /// What is served.
    pub fn served(&self) -> BTreeSet<String> {
        self.sent.iter().cloned().collect()
    }

    /// How many wanted symbols can't be served, over the limit or unknown.
    pub fn unserved(&self) -> usize {
        let known = self.wanted.len() - self.invalid.len();
        self.invalid.len() + known.saturating_sub(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(symbols: &str) -> Vec<String> {
        symbols.split_whitespace().map(str::to_owned).collect()
    }

    fn frames(subscriptions: &mut Subscriptions) -> String {
        let text = |command: Command| match command {
            Command::Subscribe(symbol) => format!("+{symbol}"),
            Command::Unsubscribe(symbol) => format!("-{symbol}"),
        };
        subscriptions.commands().into_iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_differences_are_sent() {
        let mut subs = Subscriptions::new(50);
        subs.want(names("A B C B").into_iter());
        assert_eq!(frames(&mut subs), "+A +B +C");
        assert_eq!(frames(&mut subs), "");
        subs.want(names("C D A").into_iter());
        assert_eq!(frames(&mut subs), "-B +D");
        subs.disconnected();
        subs.connected();
        assert_eq!(frames(&mut subs), "+C +D +A");
        let frame = Command::Subscribe("BINANCE:\"X".into()).frame();
        assert_eq!(frame, r#"{"symbol":"BINANCE:\"X","type":"subscribe"}"#);
    }

    #[test]
    fn over_the_limit_the_least_important_are_given_up() {
        let mut subs = Subscriptions::new(50);
        subs.want(names("A B C D").into_iter());
        assert_eq!(frames(&mut subs), "+A +B +C +D");
        assert_eq!(subs.too_many(), Some(3));
        assert_eq!(subs.too_many(), Some(2));
        assert_eq!((frames(&mut subs).as_str(), subs.unserved()), ("", 2));
        // One that is more important takes the place of the least important.
        subs.want(names("X A B C D").into_iter());
        assert_eq!((frames(&mut subs).as_str(), subs.unserved()), ("-B +X", 3));
        // The limit stays for the next connection.
        subs.connected();
        assert_eq!(frames(&mut subs), "+X +A");
    }

    #[test]
    fn a_refused_important_symbol_is_asked_for_again() {
        let mut subs = Subscriptions::new(50);
        subs.want(names("A B").into_iter());
        assert_eq!(frames(&mut subs), "+A +B");
        subs.want(names("X A B").into_iter());
        assert_eq!(frames(&mut subs), "+X");
        assert_eq!(subs.too_many(), Some(2));
        assert_eq!(frames(&mut subs), "-B +X");
        assert_eq!(subs.served(), names("A X").into_iter().collect());
    }

    #[test]
    fn an_unknown_symbol_makes_place_and_is_tried_again_later() {
        let mut subs = Subscriptions::new(2);
        subs.want(names("A B C").into_iter());
        assert_eq!((frames(&mut subs).as_str(), subs.unserved()), ("+A +B", 1));
        assert!(subs.unknown("B"));
        assert!(!subs.unknown("Z"));
        assert_eq!((frames(&mut subs).as_str(), subs.unserved()), ("+C", 1));
        subs.connected();
        assert_eq!(frames(&mut subs), "+A +C");
        subs.want(names("A").into_iter());
        assert_eq!(frames(&mut subs), "-C");
        subs.want(names("A B").into_iter());
        assert_eq!(frames(&mut subs), "+B");
    }

    #[test]
    fn a_server_that_takes_nothing_is_asked_again_on_the_next_connection() {
        let mut subs = Subscriptions::new(50);
        assert_eq!(subs.too_many(), None);
        subs.want(names("A").into_iter());
        assert_eq!(frames(&mut subs), "+A");
        assert_eq!(subs.too_many(), Some(0));
        assert_eq!((frames(&mut subs).as_str(), subs.unserved()), ("", 1));
        subs.connected();
        assert_eq!(frames(&mut subs), "+A");
    }

    proptest! {
        /// Against a server with a limit and a set of symbols that it knows: after each change and its complaints the
        /// server has the most important symbols that it can have.
        #[test]
        fn the_server_ends_with_the_most_important(
            limit in 1_usize..6,
            known in prop_oneof![Just(1023_u16), 0_u16..1024],
            lists in proptest::collection::vec(proptest::collection::vec(0_u8..10, 0..9), 1..8),
        ) {
            let mut subs = Subscriptions::new(8);
            let mut server: Vec<String> = Vec::new();
            subs.connected();
            for list in &lists {
                let list: Vec<String> = list.iter().map(|n| format!("S{n}")).collect();
                subs.want(list.iter().cloned());
                for _round in 0..40 {
                    let commands = subs.commands();
                    if commands.is_empty() {
                        break;
                    }
                    let mut complaints: Vec<Option<String>> = Vec::new();
                    for command in commands {
                        match command {
                            Command::Unsubscribe(symbol) => server.retain(|s| *s != symbol),
                            Command::Subscribe(symbol) => {
                                let n: u16 = symbol[1..].parse().unwrap();
                                if known & (1 << n) == 0 {
                                    complaints.push(Some(symbol));
                                } else if server.len() >= limit {
                                    complaints.push(None);
                                } else {
                                    server.push(symbol);
                                }
                            }
                        }
                    }
                    for complaint in complaints {
                        match complaint {
                            Some(symbol) => { subs.unknown(&symbol); }
                            None => { subs.too_many(); }
                        }
                    }
                }
                prop_assert!(subs.commands().is_empty(), "it settles");
                let mut seen = BTreeSet::new();
                let best: BTreeSet<String> = list.iter()
                    .filter(|s| known & (1 << s[1..].parse::<u16>().unwrap()) != 0 && seen.insert((*s).clone()))
                    .take(limit).cloned().collect();
                let has: BTreeSet<String> = server.iter().cloned().collect();
                // Complaints of both kinds in one burst leave a doubt which symbol was meant; what is sure is that
                // what we call served is at most the limit.
                prop_assert!(has.len() <= limit);
                if known == 1023 {
                    prop_assert_eq!(&has, &best);
                    prop_assert_eq!(subs.served(), has);
                }
            }
        }
    }
}

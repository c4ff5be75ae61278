//! The best bid and ask over all exchanges, from each exchange's own.

/// One exchange's side: price and size; a size of 0 is no quote.
type Side = (i64, i64);

/// The quotes of all exchanges at one instant.
///
/// The best bid is the highest, the best ask the lowest; its size is the sum over the exchanges at that price. An
/// exchange withdraws a side by quoting it with size 0.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Exchange code, bid and ask: some twenty, so a list beats a map.
    quotes: Vec<(Vec<u8>, Side, Side)>,
    best: Option<[i64; 4]>,
}

impl Book {
    /// Takes one exchange's sides (`None` for one that the row does not speak of). The best bid, ask, bid size and ask
    /// size, when this changed them and both sides are there.
    pub(super) fn update(
        &mut self,
        exchange: &[u8],
        bid: Option<Side>,
        ask: Option<Side>,
    ) -> Option<[i64; 4]> {
        let at = match self.quotes.iter().position(|(name, _, _)| name == exchange) {
            Some(at) => at,
            None => {
                self.quotes.push((exchange.to_vec(), (0, 0), (0, 0)));
                self.quotes.len() - 1
            }
        };
        let quote = &mut self.quotes[at];
        quote.1 = bid.unwrap_or(quote.1);
        quote.2 = ask.unwrap_or(quote.2);
        let bids = || self.quotes.iter().map(|(_, bid, _)| bid).filter(|bid| bid.1 > 0);
        let asks = || self.quotes.iter().map(|(_, _, ask)| ask).filter(|ask| ask.1 > 0);
        let best_bid = bids().map(|bid| bid.0).max()?;
        let best_ask = asks().map(|ask| ask.0).min()?;
        let size = |price: i64, sizes: &mut dyn Iterator<Item = &Side>| {
            sizes.filter(|side| side.0 == price).fold(0_i64, |sum, side| sum.saturating_add(side.1))
        };
        let best = [best_bid, best_ask, size(best_bid, &mut bids()), size(best_ask, &mut asks())];
        (self.best.replace(best) != Some(best)).then_some(best)
    }

    /// Values were kept at another scale until now: multiplies them.
    pub(super) fn rescale(&mut self, price_factor: i64, size_factor: i64) {
        let scale = |side: &mut Side| {
            *side = (side.0.saturating_mul(price_factor), side.1.saturating_mul(size_factor));
        };
        for (_, bid, ask) in &mut self.quotes {
            scale(bid);
            scale(ask);
        }
        if let Some([bid, ask, bid_size, ask_size]) = &mut self.best {
            for price in [bid, ask] {
                *price = price.saturating_mul(price_factor);
            }
            for size in [bid_size, ask_size] {
                *size = size.saturating_mul(size_factor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_all_exchanges_is_emitted_when_it_changes() {
        let mut book = Book::default();
        assert_eq!(book.update(b"P", Some((100, 5)), None), None, "no ask yet");
        assert_eq!(book.update(b"P", None, Some((103, 2))), Some([100, 103, 5, 2]));
        assert_eq!(book.update(b"Q", Some((99, 9)), None), None, "behind the best");
        assert_eq!(book.update(b"Q", Some((100, 9)), None), Some([100, 103, 14, 2]), "sizes add up");
        assert_eq!(book.update(b"Q", Some((101, 1)), None), Some([101, 103, 1, 2]));
        assert_eq!(book.update(b"Q", Some((101, 0)), None), Some([100, 103, 5, 2]), "withdrawn");
        assert_eq!(book.update(b"P", Some((100, 5)), None), None, "the same again");
        book.rescale(10, 1);
        assert_eq!(book.update(b"P", Some((1000, 5)), None), None);
    }
}

//! What cells answer to questions. Nothing of it stands in the journal.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tradeflow_actors::cell::{Answer, PaperCell, Preview};
use tradeflow_actors::risk::TradingMode;
use tradeflow_actors::strategy::{DryRun, Intent};
use tradeflow_bus::NewRecord;
use tradeflow_bus::record::encode;
use tradeflow_model::{AccountKind, InstrumentId, Money, Price, SignalSide, Timestamp};

use super::{Outputs, Reply, name};

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// What would come of an order.
    Preview(PreviewRecord),
    /// What a strategy decides.
    DryRun(DryRunRecord),
    /// What the account holds, and which orders stand.
    Report(ReportRecord),
}

/// An account as its venue has it. Money is of the account's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRecord {
    /// The number of the last record of its orders and fills that was put on the bus before.
    pub seq: u64,
    /// Whether it may open positions.
    pub mode: TradingMode,
    /// Cash.
    pub cash: String,
    /// Cash and positions.
    pub equity: String,
    /// Its positions, by symbol.
    pub positions: Vec<HeldRecord>,
    /// Its orders that stand.
    pub orders: Vec<StandingRecord>,
}

/// A position.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldRecord {
    /// The instrument.
    pub symbol: String,
    /// How much; below zero when it is short.
    pub qty: String,
}

/// An order that stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StandingRecord {
    /// Its id.
    pub order_id: u64,
    /// The instrument.
    pub symbol: String,
    /// Its status.
    pub status: String,
    /// How much of it is filled.
    pub filled: String,
}

/// What a strategy decided over its past, as one that is flat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRunRecord {
    /// Events that it saw.
    pub events: u64,
    /// The time of the first, in nanoseconds.
    pub from: Option<i64>,
    /// The time of the last.
    pub to: Option<i64>,
    /// Its decisions, the latest twenty, the latest last.
    pub decisions: Vec<DecisionRecord>,
}

/// What a strategy wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// When, in nanoseconds.
    pub ts: i64,
    /// Of a position: `buy`, `sell` or `close`. Of an order of its own: `buy-order` or `sell-order`. Of one that it had
    /// ordered: `modify` or `cancel`.
    pub wants: String,
    /// The instrument; none of what it had ordered.
    pub symbol: Option<String>,
    /// Of an order: its type and quantity.
    pub order: Option<String>,
    /// A protective stop.
    pub stop_loss: Option<String>,
    /// A profit target.
    pub take_profit: Option<String>,
}

/// What would come of an order if it were placed. Money is of the account's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewRecord {
    /// Why the risk gate would deny it, or one of its exits; none where all would pass.
    pub denied: Option<String>,
    /// `maker` or `taker`: as what it is expected to trade.
    pub liquidity: String,
    /// What it is reckoned at: its limit, else its trigger, else the last price; with slippage where it takes liquidity.
    /// None, as the costs that follow, before its instrument had any price.
    pub price: Option<String>,
    /// Its value at that price.
    pub value: Option<String>,
    /// The fee.
    pub fee: Option<String>,
    /// How much of its quantity the account can pay for.
    pub payable_qty: Option<String>,
    /// What the account is worth.
    pub equity: String,
    /// Value of its positions over equity that an order may reach.
    pub leverage: String,
    /// Value of its positions.
    pub exposure: String,
    /// Value of its positions with all of the order filled.
    pub exposure_after: Option<String>,
    /// Equity that its positions then take up: their value over the leverage.
    pub margin_after: Option<String>,
}

impl Outputs<'_> {
    /// The answer to a question.
    pub(crate) fn preview(
        &self,
        id: &str,
        instrument: InstrumentId,
        preview: Preview,
        ts: Timestamp,
    ) -> NewRecord {
        let definition = self.plan.run.instrument(instrument);
        let Preview { denied, liquidity, cost, equity, exposure } = preview;
        let leverage = match self.plan.run.cells[self.cell].account.kind {
            AccountKind::Cash => Decimal::ONE,
            AccountKind::Margin { leverage } => leverage,
        };
        let margin =
            |value: Money| value.mul_ratio(10_i128.pow(leverage.scale()), leverage.mantissa().max(1));
        let record = PreviewRecord {
            denied: denied.map(|why| why.to_string()),
            liquidity: name(liquidity).to_owned(),
            price: cost.map(|cost| cost.price.to_decimal(definition.price_scale).to_string()),
            value: cost.map(|cost| cost.value.to_string()),
            fee: cost.map(|cost| cost.fee.to_string()),
            payable_qty: cost.map(|cost| cost.payable.to_decimal(definition.size_scale).to_string()),
            equity: equity.to_string(),
            leverage: leverage.to_string(),
            exposure: exposure.to_string(),
            exposure_after: cost.map(|cost| cost.exposure_after.to_string()),
            margin_after: cost.and_then(|cost| margin(cost.exposure_after)).map(|margin| margin.to_string()),
        };
        self.told(id, Told::Preview(record), ts)
    }

    /// The answer to the other question.
    pub(crate) fn dry_run(&self, id: &str, run: &DryRun, ts: Timestamp) -> NewRecord {
        let decisions = run.decisions.iter().map(|(at, intent)| self.decision(*at, intent)).collect();
        let record = DryRunRecord {
            events: run.events,
            from: run.span.map(|(first, _)| first.as_nanos()),
            to: run.span.map(|(_, last)| last.as_nanos()),
            decisions,
        };
        self.told(id, Told::DryRun(record), ts)
    }

    fn decision(&self, at: Timestamp, intent: &Intent) -> DecisionRecord {
        let bare = |wants: &str| DecisionRecord {
            ts: at.as_nanos(),
            wants: wants.to_owned(),
            ..DecisionRecord::default()
        };
        let of = |instrument: InstrumentId, wants: String, exits: [Option<Price>; 2]| {
            let definition = self.plan.run.instrument(instrument);
            let text = |price: Option<Price>| Some(price?.to_decimal(definition.price_scale).to_string());
            DecisionRecord {
                symbol: Some(definition.symbol.to_string()),
                stop_loss: text(exits[0]),
                take_profit: text(exits[1]),
                ..bare(&wants)
            }
        };
        match intent {
            Intent::Signal { instrument, side, stop_loss, take_profit } => {
                let side = match side {
                    SignalSide::Buy => "buy",
                    SignalSide::Sell => "sell",
                    SignalSide::Close => "close",
                };
                of(*instrument, side.to_owned(), [*stop_loss, *take_profit])
            }
            Intent::Order { request, .. } => {
                let exits = [request.stop_loss, request.take_profit];
                let definition = self.plan.run.instrument(request.instrument);
                let qty = request.qty.to_decimal(definition.size_scale);
                DecisionRecord {
                    order: Some(format!("{} of {qty}", request.kind.name())),
                    ..of(request.instrument, format!("{}-order", request.side.name()), exits)
                }
            }
            Intent::Modify { .. } => bare("modify"),
            Intent::Cancel(_) => bare("cancel"),
            Intent::Timer { .. } => bare("timer"),
        }
    }

    /// The answer to the third: `seq` is the number of the last record that was put on the bus.
    pub(crate) fn report(&self, id: &str, seq: u64, paper: &PaperCell, ts: Timestamp) -> NewRecord {
        let cell = paper.cell();
        let ledger = cell.account().ledger();
        let followed = &self.plan.accounts[self.cell].instruments;
        let positions = followed.iter().filter_map(|id| {
            let (definition, qty) = (self.plan.run.instrument(*id), ledger.position(*id).qty);
            (!qty.is_zero())
                .then(|| HeldRecord { symbol: definition.symbol.to_string(), qty: definition.qty_text(qty) })
        });
        let orders = cell.orders().iter().map(|order| {
            let definition = self.plan.run.instrument(order.instrument);
            StandingRecord {
                order_id: order.id.as_u64(),
                symbol: definition.symbol.to_string(),
                status: order.status.name().to_owned(),
                filled: definition.qty_text(order.filled),
            }
        });
        let mut record = ReportRecord {
            seq,
            mode: cell.risk().mode(),
            cash: ledger.cash().to_string(),
            equity: ledger.equity().to_string(),
            positions: positions.collect(),
            orders: orders.collect(),
        };
        record.positions.sort();
        record.orders.sort();
        self.told(id, Told::Report(record), ts)
    }

    fn told(&self, id: &str, told: Told, ts: Timestamp) -> NewRecord {
        let answer = self.answer(id, &Answer::Done { orders: Vec::new() }, ts);
        let reply = Reply { told: Some(Box::new(told)), ..answer };
        self.record(&self.topics.replies, encode(&reply), ts)
    }
}

//! People at work: commands of every kind, sensible or not.

use rust_decimal::Decimal;
use tradeflow_bus::record::decode;
use tradeflow_bus::{NewRecord, Topics, partition_of};
use tradeflow_live::commands::{CommandMessage, WireCommand, WireOrder};
use tradeflow_live::outputs::OrderMessage;
use tradeflow_model::plan::RiskLimits;
use tradeflow_model::{Side, TimeInForce, Timestamp};

use crate::dice::Dice;
use crate::disk::{Disk, PARTITIONS};
use crate::setting::{MARKETS, SCALES, strategy};

/// A command that was sent, and where it lies.
#[derive(Debug, Clone)]
pub struct Sent {
    pub account: String,
    pub id: String,
    pub partition: u32,
    pub offset: u64,
}

/// Those who send commands.
pub struct People {
    dice: Dice,
    topics: Topics,
    number: u64,
    panic: u64,
    pub sent: Vec<Sent>,
}

impl People {
    pub fn new(dice: Dice, panic: u64) -> Self {
        Self { dice, topics: Topics::new(""), number: 0, panic, sent: Vec::new() }
    }

    /// Sends a command to some account; says what.
    pub fn send(&mut self, disk: &Disk, prices: [i64; 3], now: Timestamp) -> String {
        let account = format!("paper-{}", self.dice.below(4));
        let partition = partition_of(account.as_bytes(), PARTITIONS);
        if self.dice.chance(20) {
            let key = account.clone().into();
            let value = Some(vec![0xc1, 1, 2, 3].into());
            let topic = self.topics.commands.clone();
            disk.publish(vec![NewRecord { topic, partition, key, value, ts: now }]);
            return format!("{account}: a command that can't be read");
        }
        let again = self.sent.last().filter(|_| self.dice.chance(40)).map(|sent| sent.id.clone());
        let id = again.unwrap_or_else(|| {
            self.number += 1;
            format!("c{}", self.number)
        });
        let command = self.command(disk, &account, partition, prices, now);
        let said = format!("{account}: {id} {command:?}");
        let v = CommandMessage::VERSION;
        let message = CommandMessage { v, id: id.clone(), account: account.clone(), ts: now, command };
        let record = NewRecord {
            topic: self.topics.commands.clone(),
            partition,
            key: account.clone().into(),
            value: Some(message.encode().into()),
            ts: now,
        };
        let (_, offset) = disk.publish(vec![record]).places[0];
        self.sent.push(Sent { account, id, partition, offset });
        said
    }

    fn command(
        &mut self,
        disk: &Disk,
        account: &str,
        partition: u32,
        prices: [i64; 3],
        now: Timestamp,
    ) -> WireCommand {
        let market = self.dice.below(3) as usize;
        let symbol = if self.dice.chance(20) { "NONE".to_owned() } else { MARKETS[market].0.to_owned() };
        let price = prices[market];
        match self.dice.below(30) {
            0..=9 => WireCommand::Submit(self.order(symbol, price, now)),
            10..=12 => WireCommand::Modify {
                order_id: self.some_order(disk, account, partition),
                symbol,
                qty: Decimal::new(self.dice.between(1, 900), u32::from(SCALES.1)),
                price: self.dice.chance(700).then(|| self.near(price)),
                trigger: self.dice.chance(100).then(|| self.near(price)),
            },
            13..=15 => WireCommand::Cancel { order_id: self.some_order(disk, account, partition) },
            16 => WireCommand::CancelAll,
            17..=18 => WireCommand::Close { symbol },
            19 => WireCommand::Flatten,
            20 => WireCommand::Pause,
            21 => WireCommand::Kill,
            22..=24 => WireCommand::Resume,
            25..=27 => {
                let id = format!("s{}", self.dice.below(3));
                WireCommand::Start(strategy(&mut self.dice, market, &id, self.panic))
            }
            28 => WireCommand::Limit(RiskLimits {
                open_orders_max: self.dice.chance(500).then(|| self.dice.between(1, 6) as u32),
                ..RiskLimits::default()
            }),
            _ => WireCommand::Stop { id: format!("s{}", self.dice.below(3)), close: self.dice.chance(500) },
        }
    }

    fn near(&mut self, price: i64) -> Decimal {
        let reach = (price / 500).max(2);
        Decimal::new(price + self.dice.between(-reach, reach), u32::from(SCALES.0))
    }

    fn order(&mut self, symbol: String, price: i64, now: Timestamp) -> WireOrder {
        let bracket = self.dice.chance(150);
        WireOrder {
            symbol,
            side: *self.dice.pick(&[Side::Buy, Side::Sell]),
            // Now and then one decimal too many.
            qty: Decimal::new(
                self.dice.between(0, 900),
                u32::from(SCALES.1) + u32::from(self.dice.chance(30)),
            ),
            price: self.dice.chance(500).then(|| self.near(price)),
            trigger: self.dice.chance(200).then(|| self.near(price)),
            trail_price: None,
            trail_bps: self.dice.chance(100).then(|| self.dice.between(0, 200) as u32),
            execution: None,
            time_in_force: self.dice.chance(500).then(|| {
                let until = now.saturating_add(self.dice.between(-1, 30) * 1_000_000_000);
                *self.dice.pick(&[
                    TimeInForce::Day,
                    TimeInForce::Ioc,
                    TimeInForce::Fok,
                    TimeInForce::Gtc,
                    TimeInForce::Gtd(until),
                ])
            }),
            reduce_only: self.dice.chance(100),
            post_only: self.dice.chance(100),
            stop_loss: bracket.then(|| self.near(price)),
            take_profit: bracket.then(|| self.near(price)),
        }
    }

    /// One of the last orders of an account, or one that never was.
    fn some_order(&mut self, disk: &Disk, account: &str, partition: u32) -> u64 {
        let mut last = disk.last(&self.topics.orders, partition, 12);
        last.retain(|stored| stored.key == account.as_bytes());
        if last.is_empty() || self.dice.chance(50) {
            return self.dice.below(1 << 20);
        }
        let value = self.dice.pick(&last).value.clone().unwrap_or_default();
        decode::<OrderMessage>("orders", &value).map_or(0, |message| message.order_id)
    }
}

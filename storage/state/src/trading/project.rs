//! Writing what was read from the bus, and how far it was read: both in one transaction, so that a record is written once
//! whoever reads it, and however often.

use sqlx::{Any, Transaction};

use super::{EquityRow, FillRow, OrderEventRow, OrderRow, PositionRow, TradeRow};
use crate::database::State;
use crate::error::StateError;

/// What a record of the bus comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projected {
    /// A change of an order.
    Order(Box<OrderRow>, OrderEventRow),
    /// A fill, the position after it, and the round trip that it ended.
    Fill(Box<FillRow>, Option<PositionRow>, Option<Box<TradeRow>>),
    /// Points of an equity curve.
    Equity(Vec<EquityRow>),
}

/// Records of one partition of a topic, in a row.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The bus, by the name that its first session gives it.
    pub origin: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: u32,
    /// Where it was read from: what [`State::projected`] said.
    pub from: Option<u64>,
    /// Where to read on.
    pub next: u64,
    /// What the records come to.
    pub rows: &'a [Projected],
}

impl State {
    /// The offset from which a partition of a bus is to be read on; none before the first time.
    ///
    /// # Errors
    /// [`StateError::Invalid`] when the tables were read from another bus; when the database does not answer.
    pub async fn projected(
        &self,
        origin: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<u64>, StateError> {
        let row: Option<(i64, String)> =
            sqlx::query_as("SELECT next_offset, origin FROM projections WHERE topic = $1 AND shard = $2")
                .bind(topic)
                .bind(i64::from(partition))
                .fetch_optional(&self.pool)
                .await?;
        match row {
            Some((_, other)) if other != origin => Err(StateError::Invalid(format!(
                "the database holds what was read from another bus, that of session {other}; \
                 `tradeflow state rebuild` reads this one instead"
            ))),
            row => Ok(row.map(|(next, _)| next as u64)),
        }
    }

    /// Writes what was read, unless someone else has read on from there before: then nothing is written, and the answer is
    /// no.
    ///
    /// # Errors
    /// When the database does not answer; nothing is written then.
    pub async fn project(&self, batch: Batch<'_>) -> Result<bool, StateError> {
        let mut transaction = self.begin().await?;
        let moved = match batch.from {
            Some(from) => {
                sqlx::query(
                    "UPDATE projections SET next_offset = $4 WHERE topic = $1 AND shard = $2 AND next_offset = $3",
                )
                .bind(batch.topic)
                .bind(i64::from(batch.partition))
                .bind(from as i64)
                .bind(batch.next as i64)
                .execute(&mut *transaction)
                .await?
            }
            None => {
                sqlx::query(
                    "INSERT INTO projections (topic, shard, next_offset, origin) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (topic, shard) DO NOTHING",
                )
                .bind(batch.topic)
                .bind(i64::from(batch.partition))
                .bind(batch.next as i64)
                .bind(batch.origin)
                .execute(&mut *transaction)
                .await?
            }
        };
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        for row in batch.rows {
            match row {
                Projected::Order(order, event) => {
                    order.write(&mut transaction).await?;
                    event.write(&mut transaction).await?;
                }
                Projected::Fill(fill, position, trade) => {
                    fill.write(&mut transaction).await?;
                    if let Some(position) = position {
                        position.write(&mut transaction).await?;
                    }
                    if let Some(trade) = trade {
                        trade.write(&mut transaction).await?;
                    }
                }
                Projected::Equity(points) => {
                    for point in points {
                        point.write(&mut transaction).await?;
                    }
                }
            }
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Empties the read models, so that they are read anew from the beginning of the bus. Tags and notes stay.
    ///
    /// # Errors
    /// When the database does not answer; nothing is emptied then.
    pub async fn forget_projections(&self) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        for table in ["orders", "order_events", "fills", "positions", "trades", "equity", "projections"] {
            let empty = format!("DELETE FROM {table}");
            sqlx::query(sqlx::AssertSqlSafe(empty)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

type Writing = Transaction<'static, Any>;

impl OrderRow {
    async fn write(&self, transaction: &mut Writing) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO orders (account, order_id, session, symbol, strategy, side, kind, qty, price, stop_trigger, filled,
                 average_price, time_in_force, expires, execution, reduce_only, post_only, parent, status, reason, created,
                 updated)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
             ON CONFLICT (account, order_id) DO UPDATE SET qty = excluded.qty, price = excluded.price,
                 stop_trigger = excluded.stop_trigger, filled = excluded.filled, average_price = excluded.average_price,
                 status = excluded.status, reason = excluded.reason, updated = excluded.updated",
        )
        .bind(&self.account)
        .bind(self.order_id)
        .bind(&self.session)
        .bind(&self.symbol)
        .bind(&self.strategy)
        .bind(&self.side)
        .bind(&self.kind)
        .bind(&self.qty)
        .bind(&self.price)
        .bind(&self.stop_trigger)
        .bind(&self.filled)
        .bind(&self.average_price)
        .bind(&self.time_in_force)
        .bind(self.expires)
        .bind(&self.execution)
        .bind(self.reduce_only)
        .bind(self.post_only)
        .bind(self.parent)
        .bind(&self.status)
        .bind(&self.reason)
        .bind(self.created)
        .bind(self.updated)
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }
}

impl OrderEventRow {
    async fn write(&self, transaction: &mut Writing) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO order_events (account, seq, order_id, event, status, reason, filled, ts)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (account, seq) DO NOTHING",
        )
        .bind(&self.account)
        .bind(self.seq)
        .bind(self.order_id)
        .bind(&self.event)
        .bind(&self.status)
        .bind(&self.reason)
        .bind(&self.filled)
        .bind(self.ts)
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }
}

impl FillRow {
    async fn write(&self, transaction: &mut Writing) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO fills (account, seq, order_id, session, symbol, strategy, side, price, qty, fee, liquidity,
                 position_qty, cash, ts)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (account, seq) DO NOTHING",
        )
        .bind(&self.account)
        .bind(self.seq)
        .bind(self.order_id)
        .bind(&self.session)
        .bind(&self.symbol)
        .bind(&self.strategy)
        .bind(&self.side)
        .bind(&self.price)
        .bind(&self.qty)
        .bind(&self.fee)
        .bind(&self.liquidity)
        .bind(&self.position_qty)
        .bind(&self.cash)
        .bind(self.ts)
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }
}

impl PositionRow {
    async fn write(&self, transaction: &mut Writing) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO positions (account, symbol, qty, cost, realized, fees, updated) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (account, symbol) DO UPDATE SET qty = excluded.qty, cost = excluded.cost,
                 realized = excluded.realized, fees = excluded.fees, updated = excluded.updated",
        )
        .bind(&self.account)
        .bind(&self.symbol)
        .bind(&self.qty)
        .bind(&self.cost)
        .bind(&self.realized)
        .bind(&self.fees)
        .bind(self.updated)
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }
}

impl TradeRow {
    async fn write(&self, transaction: &mut Writing) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO trades (account, seq, session, symbol, strategy, side, qty, entry_time, exit_time, entry_price,
                 exit_price, pnl, fees, dividends, pnl_net)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT (account, seq) DO NOTHING",
        )
        .bind(&self.account)
        .bind(self.seq)
        .bind(&self.session)
        .bind(&self.symbol)
        .bind(&self.strategy)
        .bind(&self.side)
        .bind(&self.qty)
        .bind(self.entry_time)
        .bind(self.exit_time)
        .bind(&self.entry_price)
        .bind(&self.exit_price)
        .bind(&self.pnl)
        .bind(&self.fees)
        .bind(&self.dividends)
        .bind(&self.pnl_net)
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }
}

impl EquityRow {
    async fn write(&self, transaction: &mut Writing) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO equity (account, ts, cash, equity) VALUES ($1, $2, $3, $4)
             ON CONFLICT (account, ts) DO UPDATE SET cash = excluded.cash, equity = excluded.equity",
        )
        .bind(&self.account)
        .bind(self.ts)
        .bind(&self.cash)
        .bind(&self.equity)
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }
}

//! What a record of the bus comes to in the tables.

use tradeflow_bus::record::{RecordError, decode};
use tradeflow_live::outputs::{EquityMessage, FillMessage, OrderMessage};
use tradeflow_state::trading::{
    EquityRow, FillRow, OrderEventRow, OrderRow, PositionRow, Projected, TradeRow,
};

use crate::routes::name;

pub(crate) fn order(value: &[u8]) -> Result<Projected, RecordError> {
    let message: OrderMessage = decode("orders", value)?;
    let event = OrderEventRow {
        account: message.account.clone(),
        seq: message.seq as i64,
        order_id: message.order_id as i64,
        event: message.event,
        status: message.status.clone(),
        reason: message.reason.clone(),
        filled: message.filled.clone(),
        ts: message.ts_event,
    };
    let order = OrderRow {
        account: message.account,
        order_id: message.order_id as i64,
        session: message.session,
        symbol: message.symbol,
        strategy: message.strategy,
        side: message.side,
        kind: message.kind,
        qty: message.qty,
        price: message.price,
        stop_trigger: message.trigger,
        filled: message.filled,
        average_price: message.average_price,
        time_in_force: message.time_in_force,
        expires: message.expires,
        execution: name(&message.execution),
        reduce_only: i64::from(message.reduce_only),
        post_only: i64::from(message.post_only),
        parent: message.parent.map(|parent| parent as i64),
        status: message.status,
        reason: message.reason,
        // Version 1 did not say when it was submitted; its first record was then.
        created: if message.ts_submitted == 0 { message.ts_event } else { message.ts_submitted },
        updated: message.ts_event,
    };
    Ok(Projected::Order(Box::new(order), event))
}

pub(crate) fn fill(value: &[u8]) -> Result<Projected, RecordError> {
    let message: FillMessage = decode("fills", value)?;
    let position = match (message.cost, message.realized, message.fees) {
        (Some(cost), Some(realized), Some(fees)) => Some(PositionRow {
            account: message.account.clone(),
            symbol: message.symbol.clone(),
            qty: message.position.clone(),
            cost,
            realized,
            fees,
            updated: message.ts_event,
        }),
        _ => None,
    };
    let trade = message.trade.map(|trade| {
        Box::new(TradeRow {
            account: message.account.clone(),
            seq: message.seq as i64,
            session: message.session.clone(),
            symbol: message.symbol.clone(),
            strategy: message.strategy.clone(),
            side: trade.side,
            qty: trade.qty,
            entry_time: trade.entry_time,
            exit_time: trade.exit_time,
            entry_price: trade.entry_price,
            exit_price: trade.exit_price,
            pnl: trade.pnl,
            fees: trade.fees,
            dividends: trade.dividends,
            pnl_net: trade.pnl_net,
        })
    });
    let fill = FillRow {
        account: message.account,
        seq: message.seq as i64,
        order_id: message.order_id as i64,
        session: message.session,
        symbol: message.symbol,
        strategy: message.strategy,
        side: message.side,
        price: message.price,
        qty: message.qty,
        fee: message.fee,
        liquidity: message.liquidity,
        position_qty: message.position,
        cash: message.cash,
        ts: message.ts_event,
    };
    Ok(Projected::Fill(Box::new(fill), position, trade))
}

pub(crate) fn equity(value: &[u8]) -> Result<Projected, RecordError> {
    let message: EquityMessage = decode("equity", value)?;
    let points = message.ts_event.into_iter().zip(message.cash.into_iter().zip(message.equity));
    let row = |(ts, (cash, equity))| EquityRow { account: message.account.clone(), ts, cash, equity };
    Ok(Projected::Equity(points.map(row).collect()))
}

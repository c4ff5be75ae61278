//! What must hold of the bus, whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rust_decimal::Decimal;
use tradeflow_actors::cell::Answer;
use tradeflow_bus::record::decode;
use tradeflow_bus::{Topic, partition_of};
use tradeflow_live::SessionPlan;
use tradeflow_live::host::{Snapshot, Sources};
use tradeflow_live::journal::{Input, JournalReader};
use tradeflow_live::node;
use tradeflow_live::outputs::{FillMessage, OrderMessage, Reply};
use tradeflow_live::verify::verify;
use tradeflow_live::{SessionRecord, SessionState};
use tradeflow_model::{AssetClass, DigestWriter, InstrumentId};

use crate::disk::{Disk, PARTITIONS, records};
use crate::people::Sent;
use crate::world::{Finding, Tally, World};

/// Everything, at the end: when all is handled and the last session is closed.
pub fn all(world: &World, sources: &Sources) -> Result<(), Finding> {
    let known = node::sessions(sources.bus.as_ref(), &sources.topics)?;
    if known.iter().any(|session| session.state == SessionState::Open) {
        return Err(Finding(format!("a session was left open: {known:?}")));
    }
    sessions(sources)?;
    outputs(sources, world.plan())?;
    journals(&world.disk, sources, world.plan(), &known)?;
    answers(&world.disk, sources, &world.people.sent)
}

/// Each session, replayed from its journal, makes the orders, fills and balances that are on the bus.
pub fn sessions(sources: &Sources) -> Result<(), Finding> {
    for session in node::sessions(sources.bus.as_ref(), &sources.topics)? {
        if !has_begun(sources, &session)? {
            continue;
        }
        let verified = verify(sources, &session)?;
        if !verified.equal {
            let differs = verified.accounts.iter().find(|account| account.difference.is_some());
            return Err(Finding(format!("session {} is not as its journal says: {differs:#?}", session.id)));
        }
    }
    Ok(())
}

/// Whether all cells of a session were brought up once: before, there is nothing to replay from.
fn has_begun(sources: &Sources, session: &SessionRecord) -> Result<bool, Finding> {
    for account in session.journal_from.keys() {
        if opening(sources, account, &session.id)?.is_none() {
            let closed = session.state == SessionState::Closed;
            let why = format!("session {} was closed without having begun for {account}", session.id);
            return if closed { Err(Finding(why)) } else { Ok(false) };
        }
    }
    Ok(true)
}

fn opening(sources: &Sources, account: &str, session: &str) -> Result<Option<Snapshot>, Finding> {
    let key = Snapshot::opening_key(account, session);
    Ok(Snapshot::latest(sources.bus.as_ref(), &sources.topics, PARTITIONS, &key)?)
}

/// The values of an account in a topic, with their offsets.
fn of<T: serde::de::DeserializeOwned>(
    sources: &Sources,
    topic: &Topic,
    account: &str,
) -> Result<Vec<T>, Finding> {
    let partition = partition_of(account.as_bytes(), PARTITIONS);
    let place = tradeflow_bus::Position { topic: topic.clone(), partition, offset: 0 };
    let mut values = Vec::new();
    tradeflow_live::journal::records::<tradeflow_live::LiveError>(&sources.bus, place, |stored| {
        if stored.key == account.as_bytes() {
            let value = stored.value.as_deref().unwrap_or_default();
            values.push(
                decode("output", value)
                    .map_err(|error| tradeflow_live::LiveError::Other(error.to_string()))?,
            );
        }
        Ok(())
    })?;
    Ok(values)
}

/// Numbers without gap or double, order ids that are used once, fills that add up to orders, positions and cash.
pub fn outputs(sources: &Sources, plan: &Arc<SessionPlan>) -> Result<(), Finding> {
    for (cell, cell_plan) in plan.run.cells.iter().enumerate() {
        let account = cell_plan.account.id.as_str();
        let orders: Vec<OrderMessage> = of(sources, &sources.topics.orders, account)?;
        let fills: Vec<FillMessage> = of(sources, &sources.topics.fills, account)?;
        let wrong = |what: String| Err(Finding(format!("{account}: {what}")));
        let numbers: Vec<Vec<u64>> =
            vec![orders.iter().map(|order| order.seq).collect(), fills.iter().map(|fill| fill.seq).collect()];
        if let Some(pair) = numbers.iter().flat_map(|n| n.windows(2)).find(|pair| pair[0] >= pair[1]) {
            return wrong(format!("output {} follows output {}", pair[1], pair[0]));
        }
        let all: BTreeSet<u64> = numbers.iter().flatten().copied().collect();
        if all.len() != orders.len() + fills.len() || all.last().is_some_and(|last| *last != all.len() as u64)
        {
            return wrong(format!("{} numbers up to {:?}", all.len(), all.last()));
        }
        let mut filled: BTreeMap<u64, Decimal> = BTreeMap::new();
        let mut positions: BTreeMap<&str, Decimal> = BTreeMap::new();
        let mut cash = cell_plan.account.balance;
        // On margin only profit moves cash: the replay compares that.
        let follows = &plan.accounts[cell].instruments;
        let paid = |id: &InstrumentId| plan.run.instrument(*id).class != AssetClass::FxPair;
        let in_full = follows.iter().all(paid);
        for fill in &fills {
            let (price, qty, fee) = (number(&fill.price)?, number(&fill.qty)?, number(&fill.fee)?);
            let signed = if fill.side == "buy" { qty } else { -qty };
            *filled.entry(fill.order_id).or_default() += qty;
            let position = positions.entry(&fill.symbol).or_default();
            *position += signed;
            cash -= signed * price + fee;
            if *position != number(&fill.position)? {
                return wrong(format!("fill {} leads to {position}, it says {}", fill.seq, fill.position));
            }
            if in_full && cash != number(&fill.cash)? {
                return wrong(format!("fill {} leads to cash {cash}, it says {}", fill.seq, fill.cash));
            }
        }
        let mut known: BTreeMap<u64, &OrderMessage> = BTreeMap::new();
        for order in &orders {
            let begins = matches!(order.event.as_str(), "submitted" | "denied");
            if begins == known.contains_key(&order.order_id) {
                return wrong(format!("order {} is {} (output {})", order.order_id, order.event, order.seq));
            }
            known.insert(order.order_id, order);
        }
        for (id, order) in &known {
            let traded = filled.remove(id).unwrap_or_default();
            if traded != number(&order.filled)? || traded > number(&order.qty)? {
                return wrong(format!(
                    "order {id} filled {} of {}, fills say {traded}",
                    order.filled, order.qty
                ));
            }
        }
        if let Some(id) = filled.keys().next() {
            return wrong(format!("order {id} filled, but was never sent"));
        }
    }
    Ok(())
}

fn number(text: &str) -> Result<Decimal, Finding> {
    text.parse().map_err(|error| Finding(format!("{text:?}: {error}")))
}

/// Each record that an account follows is in its journal once, in order, from where each session began; each command
/// once, in order; entries are numbered on from session to session.
fn journals(
    disk: &Disk,
    sources: &Sources,
    plan: &Arc<SessionPlan>,
    known: &[SessionRecord],
) -> Result<(), Finding> {
    let market = disk.state().market.clone();
    for (cell, cell_plan) in plan.run.cells.iter().enumerate() {
        let account = cell_plan.account.id.as_str();
        let wrong = |what: String| Err(Finding(format!("journal of {account}: {what}")));
        let follows = &plan.accounts[cell].instruments;
        // For each partition, the offsets that the account is to take, and how many of them it has taken.
        let mut wanted: BTreeMap<_, (Vec<u64>, usize)> = BTreeMap::new();
        for (topic, partition) in plan.feeds_of(cell, PARTITIONS) {
            let rows = market.get(&(topic, partition)).map_or(&[][..], Vec::as_slice);
            let of =
                rows.iter().enumerate().filter(|(_, row)| row.is_some_and(|(of, _)| follows.contains(&of)));
            wanted.insert((topic, partition), (of.map(|(offset, _)| offset as u64).collect(), 0));
        }
        let place = sources.place(&sources.topics.journal, account, 0);
        let mut journal = JournalReader::new(&sources.bus, &place, account)?;
        let (mut session, mut last_seq, mut commands) = (String::new(), 0, 0);
        while let Some((_, entry)) = journal.read()? {
            if entry.seq != last_seq + 1 {
                return wrong(format!("entry {} follows entry {last_seq}", entry.seq));
            }
            last_seq = entry.seq;
            if entry.session != session {
                session = entry.session.clone();
                let Some(opening) = opening(sources, account, &session)? else {
                    return wrong(format!("session {session} has no opening"));
                };
                let mut starts = entry.inputs.iter();
                for strategy in &plan.accounts[cell].strategies {
                    let wanted = format!("{session}:start:{}", strategy.id);
                    let is_start =
                        |input: &Input| matches!(input, Input::Command { id, .. } if *id == wanted);
                    if !starts.next().is_some_and(is_start) {
                        return wrong(format!(
                            "session {session} does not begin with the start of {}",
                            strategy.id
                        ));
                    }
                }
                for (place, (offsets, at)) in &mut wanted {
                    let from = opening.places.market.get(place).copied().unwrap_or(0);
                    *at = offsets.partition_point(|offset| *offset < from);
                }
            }
            for input in &entry.inputs {
                match input {
                    Input::Market { topic, partition, first, last } => {
                        let Some((offsets, at)) = wanted.get_mut(&(*topic, *partition)) else {
                            return wrong(format!("it does not follow {topic:?}/{partition}"));
                        };
                        let end = offsets.partition_point(|offset| offset <= last);
                        if offsets.get(*at) != Some(first) || end <= *at || offsets[end - 1] != *last {
                            let next = offsets.get(*at);
                            return wrong(format!(
                                "entry {last_seq} takes {topic:?}/{partition} {first}..={last}, {next:?} is next"
                            ));
                        }
                        *at = end;
                    }
                    Input::Command { source: Some(source), .. } => {
                        if source.offset < commands {
                            return wrong(format!("entry {last_seq} takes command {} again", source.offset));
                        }
                        commands = source.offset + 1;
                    }
                    _ => {}
                }
            }
        }
        if known.last().is_some_and(|last| last.id != session) {
            return wrong(format!("it ends in session {session}"));
        }
        for ((topic, partition), (offsets, at)) in &wanted {
            if *at < offsets.len() {
                return wrong(format!("it ends before {topic:?}/{partition} {}", offsets[*at]));
            }
        }
    }
    Ok(())
}

/// Each command is answered, and done at most once.
fn answers(disk: &Disk, sources: &Sources, sent: &[Sent]) -> Result<(), Finding> {
    let mut answers: BTreeMap<(String, String), Vec<Answer>> = BTreeMap::new();
    let bus = disk.bus();
    for partition in 0..PARTITIONS {
        for stored in records(&bus, &sources.topics.replies, partition, 0) {
            let value = stored.value.unwrap_or_default();
            let reply: Reply = decode("replies", &value).map_err(|error| Finding(error.to_string()))?;
            answers.entry((reply.account, reply.id)).or_default().push(reply.answer);
        }
    }
    for sent in sent {
        let Some(given) = answers.get(&(sent.account.clone(), sent.id.clone())) else {
            return Err(Finding(format!("no answer to {sent:?}")));
        };
        let mut done = given.iter().filter(|answer| matches!(answer, Answer::Done { .. }));
        if let Some(first) = done.next()
            && let Some(other) = done.find(|other| *other != first)
        {
            return Err(Finding(format!("{sent:?} was done twice: {first:?} and {other:?}")));
        }
    }
    Ok(())
}

/// What the seed came to, and the digest of all that is on the bus.
pub fn tally(disk: &Disk, sources: &Sources, tally: &mut Tally) -> Result<(), Finding> {
    let topics = &sources.topics;
    let bus = disk.bus();
    let mut digest = DigestWriter::new();
    for spec in topics.specs(PARTITIONS, Default::default()) {
        for partition in 0..spec.partitions {
            digest.text(spec.name.as_str());
            let all = records(&bus, &spec.name, partition, 0);
            if spec.name == topics.orders {
                tally.orders += all.len() as u64;
            } else if spec.name == topics.fills {
                tally.fills += all.len() as u64;
            } else if spec.name == topics.sessions {
                tally.sessions = bus_sessions(sources)?;
            }
            for stored in all {
                digest.u64(stored.offset);
                digest.bytes(&stored.key);
                digest.i64(stored.ts.as_nanos());
                digest.u64(stored.value.as_ref().map_or(0, |value| value.len() as u64));
                digest.bytes(&stored.value.unwrap_or_default());
            }
        }
    }
    let rows = disk.state().market.values().flatten().flatten().map(|(_, rows)| rows).sum::<u64>();
    (tally.rows, tally.digest) = (rows, *digest.finish().as_bytes());
    Ok(())
}

fn bus_sessions(sources: &Sources) -> Result<u64, Finding> {
    Ok(node::sessions(sources.bus.as_ref(), &sources.topics)?.len() as u64)
}

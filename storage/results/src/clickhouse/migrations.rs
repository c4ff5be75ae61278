//! The schema: numbered files under `migrations/`, one statement each, applied in order. A statement may be run twice: it
//! says `IF NOT EXISTS`, so that two programs that start at once do no harm.

use super::{ClickHouseRuns, texts};
use crate::{ResultsError, frame};

/// The migrations: number, name, statement.
const MIGRATIONS: [(u32, &str, &str); 5] = [
    (1, "runs", include_str!("../../migrations/0001_runs.sql")),
    (2, "equity", include_str!("../../migrations/0002_equity.sql")),
    (3, "orders", include_str!("../../migrations/0003_orders.sql")),
    (4, "fills", include_str!("../../migrations/0004_fills.sql")),
    (5, "trades", include_str!("../../migrations/0005_trades.sql")),
];

/// The table of what was applied.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS migrations (number UInt32, name String, digest String) \
    ENGINE = ReplacingMergeTree ORDER BY number";

/// Brings the schema up to date; makes the database where there is none.
///
/// # Errors
/// When the server does not answer or refuses, when a migration was changed after it was applied, or when the schema is of
/// a newer version of this program.
pub(super) async fn apply(runs: &ClickHouseRuns) -> Result<(), ResultsError> {
    let database = &runs.url.database;
    let there = runs.without_database("SELECT name FROM system.databases WHERE name = {database:String}");
    if runs.frame(there.param("database", database)).await?.height() == 0 {
        runs.execute(runs.without_database(&format!("CREATE DATABASE IF NOT EXISTS {database}"))).await?;
    }
    runs.execute(runs.query(TABLE)).await?;
    let applied = runs
        .frame(runs.query("SELECT toUInt64(number) AS number, digest FROM migrations FINAL ORDER BY number"))
        .await?;
    let digests = texts(runs, &applied, "digest")?;
    let numbers = frame::numbers(&applied, "number").map_err(|error| runs.unexpected(&error))?;
    let newest = numbers.last().copied().unwrap_or(0);
    if newest > MIGRATIONS.len() as u64 {
        return Err(runs.refused(format!(
            "its schema is of a newer TradeFlow (migration {newest}, this one knows {}): use that version",
            MIGRATIONS.len()
        )));
    }
    for (number, name, statement) in MIGRATIONS {
        let digest = blake3::hash(statement.as_bytes()).to_hex().to_string();
        match numbers.iter().position(|known| *known == u64::from(number)) {
            Some(index) if digests[index] == digest => {}
            Some(_) => {
                return Err(runs.refused(format!(
                    "its migration {number} ({name}) is not the one that this TradeFlow has: use another database"
                )));
            }
            None => {
                runs.execute(runs.query(statement)).await?;
                let note = runs
                    .query("INSERT INTO migrations SELECT {number:UInt32}, {name:String}, {digest:String}");
                runs.execute(note.param("number", number).param("name", name).param("digest", &digest))
                    .await?;
            }
        }
    }
    Ok(())
}

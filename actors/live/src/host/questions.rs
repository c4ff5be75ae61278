//! Questions: answered by the cell as it stands. They change nothing, so they do not stand in the journal.

use tradeflow_actors::cell::{Answer, Command, Refusal};
use tradeflow_bus::NewRecord;
use tradeflow_model::Timestamp;

use super::CellHost;
use crate::LiveError;
use crate::commands::{WireCommand, WireOrder, WireStrategy};
use crate::journal::Source;
use crate::warm_up::WarmUps;

impl CellHost {
    /// The answer to what an order would come to, as the cell stands.
    ///
    /// # Errors
    /// A broken invariant.
    pub(crate) fn preview(
        &mut self,
        source: Source,
        id: &str,
        order: &WireOrder,
        now: Timestamp,
    ) -> Result<NewRecord, LiveError> {
        let request = match WireCommand::Submit(order.clone()).resolve(&self.plan, self.index) {
            Ok(Command::Submit(request)) => request,
            Err(answer) => return Ok(self.refuse(source, id, &answer, now)),
            Ok(_) => return Err(LiveError::Other("an order became another command".into())),
        };
        self.answered(source);
        let preview = self.cell.paper_mut().preview(now, &request);
        let preview = preview.map_err(|fault| LiveError::cell(self.account(), fault))?;
        Ok(self.outputs().preview(id, request.instrument, preview, now))
    }

    /// The answer to what a strategy decides over its latest past. Whatever it breaks is its own.
    pub(crate) fn dry_run(
        &mut self,
        source: Source,
        id: &str,
        strategy: &WireStrategy,
        warm_ups: &mut WarmUps,
        now: Timestamp,
    ) -> NewRecord {
        let decided = match WireCommand::Start(strategy.clone()).resolve(&self.plan, self.index) {
            Ok(Command::Start(plan)) => warm_ups
                .dry_run(self, &plan)
                .map_err(|why| Answer::refused(Refusal::Invalid, format!("strategy {}: {why}", plan.id))),
            Ok(_) => Err(Answer::refused(Refusal::Invalid, "it is no strategy")),
            Err(answer) => Err(*answer),
        };
        match decided {
            Ok(run) => {
                self.answered(source);
                self.outputs().dry_run(id, &run, now)
            }
            Err(answer) => self.refuse(source, id, &answer, now),
        }
    }

    /// The answer to what the account holds, and which orders stand.
    pub(crate) fn report(&mut self, source: Source, id: &str, now: Timestamp) -> NewRecord {
        self.answered(source);
        self.outputs().report(id, self.records(), self.cell.paper(), now)
    }
}

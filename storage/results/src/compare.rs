//! What is alike and what differs among a few runs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Run;

/// A few runs side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The runs, in the order asked for.
    pub runs: Vec<Run>,
    /// What was set differently, by name.
    pub differences: Vec<Difference>,
}

/// A setting that is not the same in all runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What: `symbols`, `from`, `seed`, `data`, `version`; `account/strategy: parameter` (without the account where each
    /// run has one alone).
    pub setting: String,
    /// Its value in each run; `None` where a run has no such setting.
    pub values: Vec<Option<String>>,
}

impl Comparison {
    pub(crate) fn of(runs: Vec<Run>) -> Self {
        let settings: Vec<_> = runs.iter().map(settings).collect();
        let mut names: Vec<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
        names.sort_unstable();
        names.dedup();
        let differences = names
            .into_iter()
            .map(|name| Difference {
                setting: name.clone(),
                values: settings.iter().map(|settings| settings.get(name).cloned()).collect(),
            })
            .filter(|difference| difference.values.windows(2).any(|pair| pair[0] != pair[1]))
            .collect();
        Self { runs, differences }
    }
}

/// All settings of a run, by name.
fn settings(run: &Run) -> BTreeMap<String, String> {
    let mut settings: BTreeMap<String, String> = [
        ("from", run.from.to_string()),
        ("to", run.to.to_string()),
        ("seed", run.seed.to_string()),
        ("version", run.version.clone()),
        ("data", run.data_digest.clone()),
        ("symbols", run.symbols.join(", ")),
        ("accounts", run.accounts.join(", ")),
        ("initial_equity", run.initial_equity.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for strategy in &run.strategies {
        let of = match run.accounts.len() {
            1 => strategy.id.clone(),
            _ => format!("{}/{}", strategy.account, strategy.id),
        };
        settings.insert(format!("{of}: kind"), strategy.kind.clone());
        for (name, value) in strategy.params.as_object().into_iter().flatten() {
            settings.insert(format!("{of}: {name}"), crate::summary::value_text(value));
        }
    }
    settings
}

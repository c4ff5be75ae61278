//! How a strategy declares itself: name, parameters, series, warm-up.

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tradeflow_model::{Instrument, InstrumentId, Interval, SeriesId};

use super::Strategy;

/// A series that a strategy needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesNeed {
    /// Which of the instruments given to it, from 0.
    pub instrument: usize,
    /// The interval of its bars; `None` for the run's own data (the interval, trades or quotes that the user chose).
    pub interval: Option<Interval>,
}

impl SeriesNeed {
    /// The run's own data of the first instrument: what most strategies need.
    pub const MAIN: Self = Self { instrument: 0, interval: None };
}

/// What a strategy is built with: the series that it asked for, in that order.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// Series and instrument of each need.
    pub series: &'a [(SeriesId, InstrumentId)],
    /// The run's instruments.
    pub instruments: &'a [Instrument],
}

impl Setup<'_> {
    /// The instrument of the first series.
    pub fn instrument(&self) -> InstrumentId {
        self.series[0].1
    }
}

/// The declaration of a strategy.
pub trait Define: Strategy + Sized + 'static {
    /// Name in configurations, in `snake_case`.
    const NAME: &'static str;
    /// Version: raised whenever the same inputs would lead to other decisions.
    const VERSION: &'static str;
    /// One line for people.
    const SUMMARY: &'static str;
    /// Parameters: documented fields with defaults; ranges by `#[schemars(range(...))]`, which is also what is checked.
    type Params: JsonSchema + Serialize + DeserializeOwned + Default;

    /// What the schema can't say, such as one parameter that must be below another.
    ///
    /// # Errors
    /// The parameter's name and what is wrong with it.
    fn check(_params: &Self::Params) -> Result<(), (&'static str, String)> {
        Ok(())
    }

    /// The series it needs.
    fn series(_params: &Self::Params) -> Vec<SeriesNeed> {
        vec![SeriesNeed::MAIN]
    }

    /// Events of each of its series that it must see before it can decide.
    fn warm_up(params: &Self::Params) -> u32;

    /// Builds it.
    fn new(params: Self::Params, setup: &Setup<'_>) -> Self;
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamError {
    /// Its name.
    pub param: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// A kind of strategy, as the registry holds it.
#[derive(Clone, Copy)]
pub struct StrategyKind {
    /// Name in configurations.
    pub name: &'static str,
    /// Version.
    pub version: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// JSON schema of its parameters.
    pub schema: fn() -> Schema,
    resolve: Resolve,
    needs: fn(&Value) -> Result<Needs, String>,
    build: Build,
}

type Resolve = fn(&Map<String, Value>) -> Result<Value, Vec<ParamError>>;
type Build = fn(&Value, &Setup<'_>) -> Result<Box<dyn Strategy>, String>;

/// What a strategy needs to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The series.
    pub series: Vec<SeriesNeed>,
    /// Events of each that it must see before it can decide.
    pub warm_up: u32,
}

impl std::fmt::Debug for StrategyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl StrategyKind {
    /// The kind that `D` declares.
    pub const fn of<D: Define>() -> Self {
        Self {
            name: D::NAME,
            version: D::VERSION,
            summary: D::SUMMARY,
            schema: schema_of::<D>,
            resolve: resolve::<D>,
            needs: |params| {
                let params: D::Params = serde_json::from_value(params.clone()).map_err(|e| e.to_string())?;
                Ok(Needs { series: D::series(&params), warm_up: D::warm_up(&params) })
            },
            build: |params, setup| {
                let params: D::Params = serde_json::from_value(params.clone()).map_err(|e| e.to_string())?;
                Ok(Box::new(D::new(params, setup)))
            },
        }
    }

    /// All parameters, with defaults for those not given, checked against names, types and ranges of the schema.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn resolve(&self, given: &Map<String, Value>) -> Result<Value, Vec<ParamError>> {
        (self.resolve)(given)
    }

    /// The series and the warm-up that it needs with these (resolved) parameters.
    ///
    /// # Errors
    /// When the parameters were not resolved.
    pub fn needs(&self, params: &Value) -> Result<Needs, String> {
        (self.needs)(params)
    }

    /// Builds a strategy with these (resolved) parameters.
    ///
    /// # Errors
    /// When the parameters were not resolved.
    pub fn build(&self, params: &Value, setup: &Setup<'_>) -> Result<Box<dyn Strategy>, String> {
        (self.build)(params, setup)
    }
}

fn schema_of<D: Define>() -> Schema {
    schemars::SchemaGenerator::new(schemars::generate::SchemaSettings::draft2020_12().with(|s| {
        s.inline_subschemas = true;
    }))
    .into_root_schema_for::<D::Params>()
}

fn resolve<D: Define>(given: &Map<String, Value>) -> Result<Value, Vec<ParamError>> {
    let schema = schema_of::<D>();
    let empty = Map::new();
    let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let mut errors = Vec::new();
    let defaults = serde_json::to_value(D::Params::default()).unwrap_or_default();
    let mut params = defaults.as_object().cloned().unwrap_or_default();
    for (name, value) in given {
        let Some(property) = known.get(name) else {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let why = format!("{} has no such parameter; it has {names}", D::NAME);
            errors.push(ParamError { param: name.clone(), why });
            continue;
        };
        if let Err(why) = check_range(property, value) {
            errors.push(ParamError { param: name.clone(), why });
            continue;
        }
        // One parameter at a time, so that an error of type is told with its name.
        let mut trial = defaults.as_object().cloned().unwrap_or_default();
        trial.insert(name.clone(), value.clone());
        if let Err(error) = serde_json::from_value::<D::Params>(Value::Object(trial)) {
            errors.push(ParamError { param: name.clone(), why: error.to_string() });
            continue;
        }
        params.insert(name.clone(), value.clone());
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let params = Value::Object(params);
    let typed: D::Params = serde_json::from_value(params)
        .map_err(|e| vec![ParamError { param: D::NAME.into(), why: e.to_string() }])?;
    D::check(&typed).map_err(|(param, why)| vec![ParamError { param: param.into(), why }])?;
    serde_json::to_value(&typed).map_err(|e| vec![ParamError { param: D::NAME.into(), why: e.to_string() }])
}

/// Checks a number against `minimum` and `maximum` of its schema.
fn check_range(property: &Value, value: &Value) -> Result<(), String> {
    let Some(number) = value.as_f64() else { return Ok(()) };
    let bound = |key: &str| property.get(key).and_then(Value::as_f64);
    let (low, high) = (bound("minimum"), bound("maximum"));
    if low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high) {
        let text = |b: Option<f64>, none: &str| b.map_or_else(|| none.to_owned(), |b| b.to_string());
        return Err(format!("{value} is not from {} to {}", text(low, "-∞"), text(high, "∞")));
    }
    Ok(())
}

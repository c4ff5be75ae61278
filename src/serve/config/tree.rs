//! A file and the environment as one tree, in which every value knows where it stands; and reading structs from it so
//! that all that is wrong is told at once.
//!
//! serde ends at the first error. So a value that is refused is noted, taken out, and the rest is read again.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};
use toml::de::{DeTable, DeValue};
use tradeflow_backtest::config::{Place, Problems};

/// Tables within tables, at most.
const DEPTH_MAX: usize = 16;
/// Problems that are told, at most: a file with more is none of ours.
const PROBLEMS_MAX: usize = 100;
/// Bytes of a file, at most.
const FILE_BYTES_MAX: usize = 1 << 20;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    place: Place,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// A single value; from the environment also as it was written.
    Leaf(Value, Option<String>),
    Table(BTreeMap<String, Node>),
    Array(Vec<Node>),
}

/// A step from a node to one within it.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// Of a table.
    Key(&'a str),
    /// Of an array.
    Index(usize),
}

impl Default for Node {
    fn default() -> Self {
        Self { place: Place::Default, kind: Kind::Table(BTreeMap::new()) }
    }
}

impl Node {
    /// The tree of a TOML file.
    pub fn of_file(name: &str, bytes: &[u8], problems: &mut Problems) -> Self {
        let lines = Lines { file: name, bytes };
        if bytes.len() > FILE_BYTES_MAX {
            let what =
                format!("{name}: a configuration of {} bytes is too long; 1 MiB is the most", bytes.len());
            problems.add(&Place::Default, what);
            return Self::default();
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                problems.add(&lines.place(error.valid_up_to()), "is not UTF-8 text");
                return Self::default();
            }
        };
        match DeTable::parse(text) {
            Ok(root) => lines.table(root.get_ref(), Place::Default, 0, problems),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                problems.add(&lines.place(at), error.message());
                Self::default()
            }
        }
    }

    /// Puts the variables `TRADEFLOW__TABLE__KEY` into the tree, over what is there.
    pub fn set_variables(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        problems: &mut Problems,
    ) {
        let mut settings: Vec<_> =
            variables.into_iter().filter_map(|(name, text)| Some((steps_of(&name)?, name, text))).collect();
        settings.sort();
        for (steps, name, text) in settings {
            let place = Place::Variable(name);
            if steps.len() > DEPTH_MAX || steps.iter().any(|step| step == &Named::Key(String::new())) {
                problems.add(
                    &place,
                    "names no setting: write TRADEFLOW__TABLE__KEY, such as TRADEFLOW__NODE__LISTEN",
                );
                continue;
            }
            let node = variable(&text, &place, problems);
            if let Err(what) = self.put(&steps, node) {
                problems.add(&place, what);
            }
        }
    }

    fn put(&mut self, steps: &[Named], node: Node) -> Result<(), String> {
        let Some((first, rest)) = steps.split_first() else {
            *self = node;
            return Ok(());
        };
        let place = node.place.clone();
        match first {
            Named::Index(index) => {
                if !matches!(self.kind, Kind::Array(_)) {
                    *self = Self { place: place.clone(), kind: Kind::Array(Vec::new()) };
                }
                let Kind::Array(entries) = &mut self.kind else { return Ok(()) };
                let len = entries.len();
                if *index > len {
                    return Err(format!(
                        "there is no entry {index} (they count from 0): the next one is {len}"
                    ));
                }
                if *index == len {
                    entries.push(Self { place, kind: Kind::Table(BTreeMap::new()) });
                }
                entries[*index].put(rest, node)
            }
            Named::Key(key) => {
                if !matches!(self.kind, Kind::Table(_)) {
                    *self = Self { place: place.clone(), kind: Kind::Table(BTreeMap::new()) };
                }
                let Kind::Table(table) = &mut self.kind else { return Ok(()) };
                let empty = Self { place, kind: Kind::Table(BTreeMap::new()) };
                table.entry(key.clone()).or_insert(empty).put(rest, node)
            }
        }
    }

    /// Puts a text over what is there.
    pub fn set(&mut self, keys: &[&str], text: &str, place: Place) {
        let steps: Vec<_> = keys.iter().map(|key| Named::Key((*key).to_owned())).collect();
        let kind = Kind::Leaf(Value::String(text.to_owned()), None);
        // Only a step into an array can fail.
        let _ = self.put(&steps, Self { place, kind });
    }

    /// Puts a text where nothing stands yet.
    pub fn set_missing(&mut self, keys: &[&str], text: &str, place: Place) {
        let path: Vec<_> = keys.iter().map(|key| Step::Key(key)).collect();
        if self.find(&path).1 < keys.len() {
            self.set(keys, text, place);
        }
    }

    /// Where a value stands, or the last table around it that stands anywhere.
    pub fn place(&self, path: &[Step<'_>]) -> Place {
        self.find(path).0.place.clone()
    }

    /// The value, or the last one on the way to it, and how many steps were gone.
    fn find(&self, path: &[Step<'_>]) -> (&Self, usize) {
        let mut node = self;
        for (gone, step) in path.iter().enumerate() {
            let next = match (&node.kind, step) {
                (Kind::Table(table), Step::Key(key)) => table.get(*key),
                (Kind::Array(entries), Step::Index(index)) => entries.get(*index),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return (node, gone),
            }
        }
        (node, path.len())
    }

    /// Reads a struct. What is wrong is noted, and left out of it.
    pub fn read<T: DeserializeOwned + Default>(&mut self, problems: &mut Problems) -> T {
        for _ in 0..PROBLEMS_MAX {
            let value = self.value();
            let error = match serde_path_to_error::deserialize::<_, T>(value) {
                Ok(read) => return read,
                Err(error) => error,
            };
            let path = steps(error.path());
            let (node, gone) = self.find(&path);
            let place = node.place.clone();
            let name = error.path().to_string();
            if !self.take_as_text(&path[..gone]) {
                let what = match is_secret(&name) {
                    true => "must be text".to_owned(), // the error may show the value
                    false => error.inner().to_string(),
                };
                problems.add(&place, format!("{name}: {what}"));
                if !self.remove(&path[..gone]) {
                    break;
                }
            }
        }
        T::default()
    }

    fn value(&self) -> Value {
        match &self.kind {
            Kind::Leaf(value, _) => value.clone(),
            Kind::Array(entries) => Value::Array(entries.iter().map(Self::value).collect()),
            Kind::Table(table) => Value::Object(
                table.iter().map(|(key, node)| (key.clone(), node.value())).collect::<Map<_, _>>(),
            ),
        }
    }

    fn find_mut(&mut self, path: &[Step<'_>]) -> Option<&mut Self> {
        path.iter().try_fold(self, |node, step| match (&mut node.kind, step) {
            (Kind::Table(table), Step::Key(key)) => table.get_mut(*key),
            (Kind::Array(entries), Step::Index(index)) => entries.get_mut(*index),
            _ => None,
        })
    }

    /// A variable has no quotes: `123` may be meant as text. Whether there was one that is text only now.
    fn take_as_text(&mut self, path: &[Step<'_>]) -> bool {
        let Some(Kind::Leaf(value, text)) = self.find_mut(path).map(|node| &mut node.kind) else {
            return false;
        };
        match text.take() {
            Some(text) if !value.is_string() => {
                *value = Value::String(text);
                true
            }
            _ => false,
        }
    }

    fn remove(&mut self, path: &[Step<'_>]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        match (self.find_mut(parents).map(|node| &mut node.kind), last) {
            (Some(Kind::Table(table)), Step::Key(key)) => table.remove(*key).is_some(),
            (Some(Kind::Array(entries)), Step::Index(index)) if *index < entries.len() => {
                entries.remove(*index);
                true
            }
            _ => false,
        }
    }
}

/// Whether a setting of this name is a secret, such as `feeds.finnhub.key` or `bus.settings.sasl.password`.
pub fn is_secret(name: &str) -> bool {
    let words = ["key", "password", "passphrase", "secret", "token", "pem", "jaas", "oauthbearer.config"];
    words.iter().any(|word| name.contains(word))
}

fn steps(path: &Path) -> Vec<Step<'_>> {
    let step = |segment| match segment {
        &Segment::Seq { index } => Some(Step::Index(index)),
        Segment::Map { key } => Some(Step::Key(key.as_str())),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().map_while(step).collect()
}

/// A step in the name of a variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Index(usize),
    Key(String),
}

/// The steps of a variable's name; `None` where it is not ours. Settings of librdkafka have dots in their names, which
/// shells do not take: there `_` stands for them.
fn steps_of(name: &str) -> Option<Vec<Named>> {
    let rest = name.strip_prefix("TRADEFLOW__")?.to_ascii_lowercase();
    let settings = "bus__settings__";
    if let Some(setting) = rest.strip_prefix(settings) {
        let keys = ["bus", "settings", &setting.replace('_', ".")];
        return Some(keys.map(|key| Named::Key(key.to_owned())).to_vec());
    }
    let step = |part: &str| match part.parse() {
        Ok(index) => Named::Index(index),
        Err(_) => Named::Key(part.to_owned()),
    };
    Some(rest.split("__").map(step).collect())
}

/// The value of a variable: a number, truth, list or table of TOML; otherwise text.
fn variable(text: &str, place: &Place, problems: &mut Problems) -> Node {
    let quiet = &mut Problems::default();
    let document = format!("value = {text}");
    let lines = Lines { file: "", bytes: document.as_bytes() };
    let parsed = (text.len() <= FILE_BYTES_MAX).then(|| DeTable::parse(&document).ok()).flatten();
    let parsed = parsed.as_ref().and_then(|table| match table.get_ref() {
        table if table.len() == 1 => table.get("value"),
        _ => None, // lines after the first are no part of a value
    });
    let kind = match parsed.map(|value| value.get_ref()) {
        Some(value @ (DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_))) => {
            lines.kind(value, place, 0, quiet).map(|kind| match kind {
                Kind::Leaf(value, _) => Kind::Leaf(value, Some(text.to_owned())),
                other => other,
            })
        }
        Some(value @ (DeValue::Array(_) | DeValue::Table(_))) => lines.kind(value, place, 0, problems),
        _ => None,
    };
    let mut node = Node {
        place: place.clone(),
        kind: kind.unwrap_or_else(|| Kind::Leaf(Value::String(text.to_owned()), None)),
    };
    node.stand_at(place);
    node
}

impl Node {
    fn stand_at(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.kind {
            Kind::Leaf(..) => {}
            Kind::Table(table) => table.values_mut().for_each(|node| node.stand_at(place)),
            Kind::Array(entries) => entries.iter_mut().for_each(|node| node.stand_at(place)),
        }
    }
}

/// A text, to find the lines of places in it.
struct Lines<'a> {
    file: &'a str,
    bytes: &'a [u8],
}

impl Lines<'_> {
    fn place(&self, at: usize) -> Place {
        let line = 1 + self.bytes[..at.min(self.bytes.len())].iter().filter(|b| **b == b'\n').count();
        Place::Line { file: self.file.to_owned(), line }
    }

    fn table(&self, table: &DeTable<'_>, place: Place, depth: usize, problems: &mut Problems) -> Node {
        let mut nodes = BTreeMap::new();
        for (key, value) in table {
            // A value's own place, but of a table the line of its name.
            let place = match value.get_ref() {
                DeValue::Table(_) => self.place(key.span().start),
                _ => self.place(value.span().start),
            };
            if let Some(kind) = self.kind(value.get_ref(), &place, depth + 1, problems) {
                nodes.insert(key.get_ref().to_string(), Node { place, kind });
            }
        }
        Node { place, kind: Kind::Table(nodes) }
    }

    fn kind(
        &self,
        value: &DeValue<'_>,
        place: &Place,
        depth: usize,
        problems: &mut Problems,
    ) -> Option<Kind> {
        if depth > DEPTH_MAX {
            problems.add(place, "tables within tables, too many of them");
            return None;
        }
        let leaf = match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Datetime(time) => Value::String(time.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(number) => {
                let text = number.to_string().replace('_', "");
                match text.parse::<i64>() {
                    Ok(number) => number.into(),
                    Err(_) => {
                        problems.add(place, format!("{text} is not a whole number of 64 bits"));
                        return None;
                    }
                }
            }
            DeValue::Float(number) => match exact(&number.to_string().replace('_', "")) {
                Ok(value) => value,
                Err(what) => {
                    problems.add(place, what);
                    return None;
                }
            },
            DeValue::Array(array) => {
                let nodes = array.iter().filter_map(|entry| {
                    let place = self.place(entry.span().start);
                    let kind = self.kind(entry.get_ref(), &place, depth + 1, problems)?;
                    Some(Node { place, kind })
                });
                return Some(Kind::Array(nodes.collect()));
            }
            DeValue::Table(table) => return Some(self.table(table, place.clone(), depth, problems).kind),
        };
        Some(Kind::Leaf(leaf, None))
    }
}

/// A decimal number, which must come through a 64-bit float unchanged.
fn exact(text: &str) -> Result<Value, String> {
    let float: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    let number =
        serde_json::Number::from_f64(float).ok_or_else(|| format!("{text} is not a finite number"))?;
    let decimal = |text: &str| {
        rust_decimal::Decimal::from_scientific(text).or_else(|_| text.parse::<rust_decimal::Decimal>()).ok()
    };
    match (decimal(text), decimal(&float.to_string())) {
        (Some(meant), Some(kept)) if meant == kept => Ok(Value::Number(number)),
        _ => Err(format!("{text} has more digits than a number can have here: put it in quotes")),
    }
}

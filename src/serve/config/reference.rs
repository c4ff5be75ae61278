//! The user's reference, made of the structs' own comments, defaults and ranges.

use std::fmt::Write as _;
use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::ServeConfig;

const HEAD: &str = "\
# Configuration of a node

<!-- Made of the comments in src/serve/config/ by a test. To write it anew: TRADEFLOW_WRITE_REFERENCE=1 cargo test --release -p tradeflow reference -->

`tradeflow serve [FILE]` takes a TOML file; every setting has a default, so there need not be one.
[`examples/serve.toml`](../examples/serve.toml) is a whole one. All that is wrong is told at once, each with file and line, or with the
name of the variable. `tradeflow serve --print-config` checks the configuration and prints it with all defaults, secrets hidden.

**Environment.** A variable goes before the file: `TRADEFLOW__NODE__LISTEN=0.0.0.0:8080` sets `listen` in `[node]`; two underscores
are a level, and entries of lists are counted from 0: `TRADEFLOW__ACCOUNTS__0__BALANCE=50000`. Numbers, `true`, `false`, lists and
tables are written as in TOML, text without quotes. In `[bus.settings]` an underscore stands for the dot in the setting's name.

**Secrets** are best given by the environment. They appear in no log, error or record.
";

/// The whole page.
fn page() -> String {
    let schema = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<ServeConfig>();
    let mut text = HEAD.to_owned();
    sections(&mut text, schema.as_value(), "");
    text
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

/// What the entries of a table, or of an array of tables, are; and whether it is an array.
fn table(schema: &Value) -> Option<(&Value, bool)> {
    match schema.get("items") {
        Some(items) if properties(items).is_some() => Some((items, true)),
        _ => properties(schema).map(|_| (schema, false)),
    }
}

fn sections(text: &mut String, schema: &Value, path: &str) {
    for (key, property) in properties(schema).into_iter().flatten() {
        let Some((entries, is_array)) = table(property) else { continue };
        let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let brackets = if is_array { ("[[", "]]") } else { ("[", "]") };
        let _ = write!(text, "\n## `{}{name}{}`\n\n", brackets.0, brackets.1);
        let about = entries.get("description").or_else(|| property.get("description"));
        let _ = writeln!(text, "{}", flat(about));
        let keys = properties(entries).into_iter().flatten().filter(|(_, value)| table(value).is_none());
        let rows: Vec<_> = keys.map(|(key, value)| row(key, value, entries)).collect();
        if !rows.is_empty() {
            let _ = write!(
                text,
                "\n| setting | takes | default | meaning |\n|---|---|---|---|\n{}\n",
                rows.join("\n")
            );
        }
        sections(text, entries, &name);
    }
}

fn row(key: &str, property: &Value, of: &Value) -> String {
    let required =
        of.get("required").and_then(Value::as_array).is_some_and(|keys| keys.contains(&key.into()));
    let default = match property.get("default") {
        _ if required => "must be given".to_owned(),
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(Value::Object(map)) if map.is_empty() => "–".to_owned(),
        Some(value) => format!("`{}`", value.to_string().replace('"', "")),
    };
    format!("| `{key}` | {} | {default} | {} |", takes(property), flat(property.get("description")))
}

fn takes(property: &Value) -> String {
    if let Some(says) = property.get("format").and_then(Value::as_str) {
        return says.to_owned();
    }
    let alternatives = property.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    if let Some(other) = alternatives.into_iter().find(|other| other.get("type") != Some(&"null".into())) {
        return takes(other);
    }
    let kind = match property.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("boolean") => "`true` or `false`",
        Some("array") => "a list",
        Some("object") => "a table",
        _ => "text",
    }
    .to_owned()
}

fn flat(text: Option<&Value>) -> String {
    text.and_then(Value::as_str)
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

#[test]
fn the_reference_is_what_the_structs_say() {
    let path = Path::new("docs/configuration.md");
    let made = page();
    for section in
        ["[node]", "[bus.retention]", "[[instruments]]", "[accounts.risk]", "[[accounts.strategies]]"]
    {
        assert!(made.contains(section), "{section} is missing");
    }
    if std::env::var_os("TRADEFLOW_WRITE_REFERENCE").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made, "docs/configuration.md is not what the structs say: see its first comment");
}

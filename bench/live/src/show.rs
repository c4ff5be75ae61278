//! Figures as tables, and what the targets say to them.

use serde_json::Value;

/// Prints a part of the report: each figure in a line, those with a target with a verdict.
pub fn show(name: &str, value: &Value) {
    println!("\n{name}");
    print(name, "", value);
}

fn print(part: &str, path: &str, value: &Value) {
    match value {
        Value::Object(fields) if fields.contains_key("p50") => {
            let at = |field: &str| fields.get(field).and_then(Value::as_f64).unwrap_or_default();
            let line = format!(
                "p50 {:>9.0}  p99 {:>9.0}  p99.9 {:>9.0}  max {:>9.0} µs",
                at("p50"),
                at("p99"),
                at("p999"),
                at("max")
            );
            let verdicts = ["p50", "p99"].map(|field| verdict(part, &format!("{path}.{field}"), at(field)));
            println!("  {path:24}{line}{}", verdicts.concat());
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
                print(part, &path, value);
            }
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            let text = if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.2}") };
            println!("  {path:24}{text:>14}{}", verdict(part, path, number));
        }
        other => println!("  {path:24}{:>14}", other.to_string().replace('"', "")),
    }
}

/// What the target of a figure says to it: nothing where there is none.
fn verdict(part: &str, path: &str, value: f64) -> String {
    let target = match (part, path) {
        ("latency", "fill.p50") => 200.0,
        ("latency", "fill.p99") => 2_000.0,
        ("latency_kafka" | "latency_kafka_one_partition", "fill.p99") => 25_000.0,
        ("throughput", "counts.shed" | "counts.late" | "counts.bad") => 0.0,
        ("recovery", "usual.total_ms" | "worst.total_ms") => 2_000.0,
        _ => return String::new(),
    };
    let met = if value <= target { "met" } else { "MISSED" };
    format!("   target {path} at most {target}: {met}")
}

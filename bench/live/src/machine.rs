//! What the operating system knows: processor time by thread, memory, load.

use std::collections::BTreeMap;

use serde::Serialize;

/// Ticks of the clock in which Linux counts processor time: a constant of its interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time used so far, in seconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cpu {
    /// In the program.
    pub user: f64,
    /// In the kernel for it.
    pub system: f64,
    /// Both, by the names of threads.
    pub threads: BTreeMap<String, f64>,
}

impl Cpu {
    /// Of this process, now. Zero where there is no `/proc`.
    pub fn now() -> Self {
        let (user, system) = times("/proc/self/stat").map_or((0.0, 0.0), |(_, user, system)| (user, system));
        let mut threads = BTreeMap::new();
        for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let path = task.path().join("stat");
            if let Some((name, user, system)) = path.to_str().and_then(times) {
                *threads.entry(name).or_default() += user + system;
            }
        }
        Self { user, system, threads }
    }

    /// What was used since.
    pub fn since(&self, before: &Self) -> Self {
        let threads = self.threads.iter().map(|(name, time)| {
            let before = before.threads.get(name).copied().unwrap_or_default();
            (name.clone(), rounded(time - before))
        });
        Self {
            user: rounded(self.user - before.user),
            system: rounded(self.system - before.system),
            threads: threads.filter(|(_, time)| *time > 0.0).collect(),
        }
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

/// Name, user and system time of a process or thread.
fn times(path: &str) -> Option<(String, f64, f64)> {
    let text = std::fs::read_to_string(path).ok()?;
    let (head, tail) = text.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split(' ').skip(11).map(|field| field.parse::<f64>().ok());
    Some((name, fields.next()?? / TICKS_PER_SECOND, fields.next()?? / TICKS_PER_SECOND))
}

/// Resident memory of this process, in MiB.
pub fn resident_mib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// The load of the machine over the last minute, this benchmark included.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default()
}

/// Slope and relative size of a series (seconds, value), by least squares: per hour.
pub fn slope_per_hour(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    if samples.len() < 2 {
        return 0.0;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|s| s.0), mean(|s| s.1));
    let covariance: f64 = samples.iter().map(|s| (s.0 - x) * (s.1 - y)).sum();
    let variance: f64 = samples.iter().map(|s| (s.0 - x).powi(2)).sum();
    if variance == 0.0 { 0.0 } else { covariance / variance * 3600.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope() {
        let line: Vec<_> = (0..10).map(|i| (f64::from(i), 5.0 + f64::from(i) / 3600.0)).collect();
        assert!((slope_per_hour(&line) - 1.0).abs() < 1e-9);
        assert_eq!(slope_per_hour(&line[..1]), 0.0);
    }
}

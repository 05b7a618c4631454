//! The figures of this process under the names that Prometheus' own client libraries use, read from `/proc` at each
//! scrape. Where there is no `/proc` they are absent.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Reads the figures.
#[derive(Debug)]
pub(crate) struct Process;

/// What `/proc/self` says.
#[derive(Debug, PartialEq)]
struct Figures {
    cpu_seconds: f64,
    resident_bytes: i64,
    threads: i64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        if let Some(figures) = read() {
            let help = "Processor time that this process has used";
            let to = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            ConstCounter::new(figures.cpu_seconds).encode(to)?;
            let mut gauge = |name, help, value: i64| {
                let to = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(to)
            };
            gauge("process_resident_memory_bytes", "Memory of this process", figures.resident_bytes)?;
            gauge("process_threads", "Threads of this process", figures.threads)?;
        }
        if let Some(open) = open_descriptors() {
            let to = encoder.encode_descriptor(
                "process_open_fds",
                "File descriptors that this process has open",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(open).encode(to)?;
        }
        Ok(())
    }
}

fn read() -> Option<Figures> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    figures(&stat, rustix::param::clock_ticks_per_second(), rustix::param::page_size() as i64)
}

/// Reads the one line of `/proc/PID/stat`.
fn figures(stat: &str, ticks_per_second: u64, page_bytes: i64) -> Option<Figures> {
    // The second field is the program's name in parentheses and may hold anything; the rest is counted from its end.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i64>().ok();
    let ticks = number(11)?.saturating_add(number(12)?);
    Some(Figures {
        cpu_seconds: ticks as f64 / ticks_per_second.max(1) as f64,
        resident_bytes: number(21)?.saturating_mul(page_bytes),
        threads: number(17)?,
    })
}

fn open_descriptors() -> Option<i64> {
    // The one that lists the folder is not counted.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_shifts_nothing() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 9 0 0 0 150 50 0 0 20 0 3 0 1000 99999 25 18446744073709551615";
        let expected = Figures { cpu_seconds: 2.0, resident_bytes: 25 * 4096, threads: 3 };
        assert_eq!(figures(stat, 100, 4096), Some(expected));
        assert_eq!(figures("", 100, 4096), None);
    }
}

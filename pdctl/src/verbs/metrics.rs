//! `pdctl metrics`: the API server's figures, the essentials or the whole page.

use std::collections::BTreeMap;

use http::Request;
use serde_json::json;

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    output::{self, Format},
    table::Table,
};

const EXAMPLES: &str = "\
Counters are told since the server's start; histograms by their number and their mean.

Examples:
  pdctl metrics
  pdctl metrics store                # families whose name contains it
  pdctl metrics --raw > page.txt";

/// What to print.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only families whose name contains this
    #[arg(value_name = "PART")]
    part: Option<String>,
    /// The page as the server serves it
    #[arg(long, conflicts_with_all = ["part", "output"])]
    raw: bool,
    /// wide, json, yaml, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// One family, all its series together.
#[derive(Debug, Default, PartialEq)]
struct Family {
    type_: String,
    help: String,
    /// Sum of the series: of a histogram the sum of what was observed.
    sum: f64,
    /// Of a histogram: how often.
    count: Option<f64>,
    series: u64,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let doing = "cannot fetch the metrics";
    let request =
        Request::get("/metrics").body(Vec::new()).map_err(|error| Error::invalid(format!("{doing}: {error}")))?;
    let page = cluster.client.request_text(request).await.map_err(cluster.failed(doing))?;
    if args.raw {
        return output::print(&page);
    }
    let mut families = families(&page);
    if let Some(part) = &args.part {
        families.retain(|name, _| name.contains(part));
        if families.is_empty() {
            let hint = Some("`pdctl metrics` lists all that the server has".to_owned());
            return Err(Error::not_found(format!("no metric has `{part}` in its name"), hint));
        }
    }
    match &args.output {
        None | Some(Format::Wide) => output::print(&table(&families, args.output.is_some()).render()),
        Some(format) => {
            output::objects(format, families.iter().map(|(name, family)| object(name, family)).collect(), true)
        }
    }
}

fn table(families: &BTreeMap<String, Family>, with_help: bool) -> Table {
    let help = with_help.then_some("help");
    let mut table = Table::new(["metric", "type", "value", "series"].into_iter().chain(help));
    for (name, family) in families {
        let value = match family.count {
            Some(count) if count > 0.0 => format!("{count} × {}", shown(family.sum / count)),
            Some(_) => "0".to_owned(),
            None => shown(family.sum),
        };
        let cells = [name.clone(), family.type_.clone(), value, family.series.to_string()];
        table.push(cells.into_iter().chain(with_help.then(|| family.help.clone())));
    }
    table
}

fn object(name: &str, family: &Family) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Metric", "metadata": {"name": name}, "type": family.type_, "help": family.help,
        "sum": family.sum, "count": family.count, "series": family.series})
}

/// As many digits as say something.
fn shown(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.6}") }
}

/// The families of an OpenMetrics page.
fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (what, name, text) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
            match what {
                Some("TYPE") => text.clone_into(&mut families.entry(name.to_owned()).or_default().type_),
                Some("HELP") => text.clone_into(&mut families.entry(name.to_owned()).or_default().help),
                _ => {}
            }
            continue;
        }
        let Some((series, value)) = sample(line) else { continue };
        let name = series.split('{').next().unwrap_or_default();
        add(&mut families, name, value);
    }
    families.retain(|_, family| family.series > 0);
    families
}

/// Series and value of a line; a timestamp and an exemplar may follow.
fn sample(line: &str) -> Option<(&str, f64)> {
    // A label's value may hold blanks: the value comes after the closing brace.
    let end = line.rfind("} ").filter(|_| line.contains('{') && !line.contains(" # ")).map(|at| at + 1);
    let end = end.or_else(|| line.split(" # ").next().and_then(|line| line.rfind("} ")).map(|at| at + 1));
    let end = end.or_else(|| line.find(' '))?;
    let value = line[end..].split_whitespace().next()?.parse().ok()?;
    Some((&line[..end], value))
}

fn add(families: &mut BTreeMap<String, Family>, sample: &str, value: f64) {
    let suffixes = ["_total", "_bucket", "_sum", "_count", "_created", "_info", ""];
    let Some((name, suffix)) = suffixes.iter().find_map(|suffix| {
        let name = sample.strip_suffix(suffix)?;
        families.contains_key(name).then_some((name, *suffix))
    }) else {
        return;
    };
    let Some(family) = families.get_mut(name) else { return };
    match suffix {
        "_bucket" | "_created" => {}
        "_count" => {
            family.count = Some(family.count.unwrap_or(0.0) + value);
            family.series += 1;
        }
        "_sum" => family.sum += value,
        _ => {
            family.sum += value;
            family.series += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_a_line_a_family() {
        let page = "\
# HELP pd_requests Requests.
# TYPE pd_requests counter
pd_requests_total{verb=\"get\",path=\"a b\"} 3
pd_requests_total{verb=\"list\"} 4
# HELP pd_seconds Latency.
# TYPE pd_seconds histogram
pd_seconds_sum 1.5
pd_seconds_count 3
pd_seconds_bucket{le=\"+Inf\"} 3
# TYPE pd_open gauge
pd_open 7 1700000000
# EOF
";
        let found = families(page);
        assert_eq!((found["pd_requests"].sum, found["pd_requests"].series), (7.0, 2));
        assert_eq!((found["pd_seconds"].sum, found["pd_seconds"].count), (1.5, Some(3.0)));
        let expected = "\
METRIC        TYPE        VALUE          SERIES
pd_open       gauge       7              1
pd_requests   counter     7              2
pd_seconds    histogram   3 × 0.500000   1
";
        assert_eq!(table(&found, false).render(), expected);
    }
}

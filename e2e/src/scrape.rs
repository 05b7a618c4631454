//! Reading the metrics pages of the components, as a scraper does.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// For one page.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// What a page answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub text: String,
}

/// GET of `path` from a port of 127.0.0.1, over plain HTTP.
pub async fn get(port: u16, path: &str) -> Result<Answer> {
    let asked = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = http::Request::get(path).header("host", "127.0.0.1").body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        connection.abort();
        anyhow::Ok(Answer { code, text: String::from_utf8(body.to_vec())? })
    };
    let answer = tokio::time::timeout(ANSWER_TIME, asked).await.context("the page did not answer in time")?;
    answer.with_context(|| format!("getting {path} from port {port}"))
}

/// The value of one series, named as it stands on the page, labels included.
pub fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The values of all series of a name, whatever their labels, added up.
pub fn sum(text: &str, name: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.rsplit_once("} ")?.1 } else { rest.strip_prefix(' ')? };
        rest.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.sum()
}

/// The least bucket bound of a histogram under which `quantile` of its observations lie; infinite when they lie
/// beyond the last bound. None without observations.
pub fn quantile_at_most(text: &str, histogram: &str, quantile: f64) -> Option<f64> {
    let prefix = format!("{histogram}_bucket{{le=\"");
    let buckets: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| {
            let (bound, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.parse().ok()?))
        })
        .collect();
    let all = buckets.last()?.1;
    buckets.iter().find(|(_, count)| all > 0.0 && *count >= all * quantile).map(|(bound, _)| *bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE a histogram\na_bucket{le=\"0.1\"} 98\na_bucket{le=\"0.2\"} 99\n\
        a_bucket{le=\"+Inf\"} 100\nb_total{x=\"1\"} 2\nb_total{x=\"} 7\"} 3.5\nc 4\n";

    #[test]
    fn series_are_found_by_their_whole_name() {
        assert_eq!(value(PAGE, "c"), Some(4.0));
        assert_eq!(value(PAGE, "b_total{x=\"1\"}"), Some(2.0));
        assert_eq!(value(PAGE, "b"), None);
        assert!((sum(PAGE, "b_total") - 5.5).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_bucket_bounds() {
        assert_eq!(quantile_at_most(PAGE, "a", 0.98), Some(0.1));
        assert_eq!(quantile_at_most(PAGE, "a", 0.99), Some(0.2));
        assert_eq!(quantile_at_most(PAGE, "a", 0.999), Some(f64::INFINITY));
        assert_eq!(quantile_at_most(PAGE, "nothing", 0.5), None);
    }
}

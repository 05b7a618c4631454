//! What the reconciler counts, and the plain HTTP page that shows it to Prometheus.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use pd_plan::Counts;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::net::TcpListener;

/// Time for a client's request head.
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);

/// What was written and how it went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    result: &'static str,
}

/// A job's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: String,
}

/// All counters of one reconciler.
pub(crate) struct Metrics {
    plan_seconds: Histogram,
    grants: Counter,
    granted_indexes: Counter,
    retries: Counter,
    nodes_lost: Counter,
    writes: Family<WriteLabels, Counter>,
    jobs: Family<StateLabel, Gauge>,
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        // 16 microseconds to half a second, doubled each time.
        let plan_seconds = Histogram::new((0..16).map(|power| 0.000_016 * f64::from(1 << power)));
        let mut registry = Registry::with_prefix("pd_reconciler");
        let new = Self {
            plan_seconds,
            grants: Counter::default(),
            granted_indexes: Counter::default(),
            retries: Counter::default(),
            nodes_lost: Counter::default(),
            writes: Family::default(),
            jobs: Family::default(),
            registry: Registry::default(),
        };
        registry.register_with_unit("plan", "Time to decide one plan", Unit::Seconds, new.plan_seconds.clone());
        registry.register("grants", "Assignments that were given more indexes", new.grants.clone());
        registry.register("granted_indexes", "Indexes given out", new.granted_indexes.clone());
        registry.register("retries", "Indexes given out once more after a failure", new.retries.clone());
        registry.register("nodes_lost", "Nodes found lost", new.nodes_lost.clone());
        registry.register("writes", "Writes to the API server, by kind and result", new.writes.clone());
        registry.register("jobs", "Jobs by state", new.jobs.clone());
        Arc::new(Self { registry, ..new })
    }

    pub(crate) fn planned(&self, from: Instant, counts: Counts) {
        self.plan_seconds.observe(from.elapsed().as_secs_f64());
        self.grants.inc_by(counts.grants);
        self.granted_indexes.inc_by(counts.granted_indexes);
        self.retries.inc_by(counts.retries);
        self.nodes_lost.inc_by(counts.nodes_lost);
    }

    pub(crate) fn wrote(&self, kind: &'static str, result: &'static str) {
        self.writes.get_or_create(&WriteLabels { kind, result }).inc();
    }

    pub(crate) fn set_jobs(&self, states: impl IntoIterator<Item = (String, i64)>) {
        self.jobs.clear();
        for (state, count) in states {
            self.jobs.get_or_create(&StateLabel { state }).set(count);
        }
    }

    fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// Binds the address of the metrics page, so that a taken port is an error at start.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    Ok(listener)
}

/// Serves `/metrics` for ever.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "metrics connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let metrics = Arc::clone(&metrics);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &metrics);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "metrics connection ended");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, body) = match request.uri().path() {
        "/metrics" => match metrics.page() {
            Ok(page) => (StatusCode::OK, page),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        "/livez" | "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "there is only /metrics and /livez\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    if request.uri().path() == "/metrics" {
        let kind = header::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_prometheus() {
        let metrics = Metrics::new();
        metrics.planned(Instant::now(), Counts { retries: 3, ..Counts::default() });
        metrics.wrote("job_status", "ok");
        metrics.set_jobs([("Running".to_owned(), 2)]);
        let page = metrics.page().unwrap();
        for line in [
            "pd_reconciler_plan_seconds_count 1",
            "pd_reconciler_retries_total 3",
            r#"pd_reconciler_writes_total{kind="job_status",result="ok"} 1"#,
            r#"pd_reconciler_jobs{state="Running"} 2"#,
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}

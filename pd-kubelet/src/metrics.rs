//! What the kubelet counts, and the plain HTTP page that shows it to Prometheus.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, sync::atomic::AtomicU64};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::net::TcpListener;

/// The label of counters by outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub outcome: &'static str,
}

/// The label of transfers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DirectionLabel {
    pub direction: &'static str,
}

type FloatCounter = Counter<f64, AtomicU64>;

/// All counters of one kubelet.
pub(crate) struct Metrics {
    pub subtasks: Family<OutcomeLabel, Counter>,
    pub slots: Gauge,
    pub slots_busy: Gauge,
    pub busy_seconds: FloatCounter,
    pub assignments: Gauge,
    pub executor_starts: Counter,
    pub executor_kills: Counter,
    pub artifact_bytes: Family<DirectionLabel, Counter>,
    pub cache_bytes: Gauge,
    pub compilations: Counter,
    pub report_seconds: Histogram,
    pub report_failures: Counter,
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        // 1 ms to 8 s: from a local server to one behind a bad link.
        let report_seconds = Histogram::new((0..14).map(|power| 0.001 * f64::from(1 << power)));
        let mut new = Self {
            subtasks: Family::default(),
            slots: Gauge::default(),
            slots_busy: Gauge::default(),
            busy_seconds: FloatCounter::default(),
            assignments: Gauge::default(),
            executor_starts: Counter::default(),
            executor_kills: Counter::default(),
            artifact_bytes: Family::default(),
            cache_bytes: Gauge::default(),
            compilations: Counter::default(),
            report_seconds,
            report_failures: Counter::default(),
            registry: Registry::default(),
        };
        new.register();
        Arc::new(new)
    }

    fn register(&mut self) {
        let mut root = Registry::with_prefix("pd_kubelet");
        let r = &mut root;
        r.register("subtasks", "Attempts at subtasks that ended, by outcome", self.subtasks.clone());
        r.register("slots", "Subtasks that can run at once", self.slots.clone());
        r.register("slots_busy", "Slots that are executing", self.slots_busy.clone());
        r.register_with_unit("busy", "Slot time spent executing", Unit::Seconds, self.busy_seconds.clone());
        r.register("assignments", "Assignments being worked on or kept", self.assignments.clone());
        r.register("executor_starts", "Executor processes started", self.executor_starts.clone());
        r.register("executor_kills", "Executor processes killed", self.executor_kills.clone());
        let artifacts = self.artifact_bytes.clone();
        r.register_with_unit("artifact", "Artifact bytes transferred, by direction", Unit::Bytes, artifacts);
        r.register_with_unit("cache", "Bytes in the artifact cache", Unit::Bytes, self.cache_bytes.clone());
        r.register("compilations", "Components compiled", self.compilations.clone());
        let report = self.report_seconds.clone();
        r.register_with_unit(
            "report",
            "Time from a report's first upload to its acknowledgement",
            Unit::Seconds,
            report,
        );
        r.register("report_failures", "Reports that were not acknowledged", self.report_failures.clone());
        self.registry = root;
    }

    fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// Serves `/metrics` for ever. The socket is bound by the caller, so that a taken port is an error at start.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "metrics connection not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let metrics = Arc::clone(&metrics);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let metrics = Arc::clone(&metrics);
                async move { Ok::<_, Infallible>(answer(&request, &metrics)) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(5))
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "metrics connection ended");
            }
        });
    }
}

/// Binds the address of the metrics page.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    Ok(listener)
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (code, body) = match request.uri().path() {
        "/metrics" => match metrics.page() {
            Ok(page) => (StatusCode::OK, page),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        "/livez" | "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "there is only /metrics and /livez\n".to_owned()),
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    if code == StatusCode::OK {
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_prometheus() {
        let metrics = Metrics::new();
        metrics.subtasks.get_or_create(&OutcomeLabel { outcome: "Success" }).inc_by(3);
        metrics.busy_seconds.inc_by(0.5);
        let page = metrics.page().expect("encodes");
        for line in [
            r#"pd_kubelet_subtasks_total{outcome="Success"} 3"#,
            "pd_kubelet_slots_busy 0",
            "pd_kubelet_busy_seconds_total 0.5",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}

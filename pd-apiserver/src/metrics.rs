//! What the server counts, in Prometheus' words.
//!
//! In: finished requests, and the store's own counters. Out: one text. Labels come from the path's shape and
//! from a fixed list of resources, so that no client can make a time series.

use std::{fmt, time::Instant};

use axum::{extract::Request, response::Response};
use http::Method;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::store::redb_store::StoreStats;

/// From half a millisecond to eight seconds, doubling.
const REQUEST_SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192];

/// Resources that get a label of their own.
const RESOURCES: &[&str] = &[
    "jobs",
    "tasks",
    "assignments",
    "subtasks",
    "queues",
    "manifestsources",
    "tokens",
    "namespaces",
    "nodes",
    "events",
    "pods",
    "leases",
    "configmaps",
    "secrets",
    "services",
    "poddisruptionbudgets",
    "certificatesigningrequests",
    "selfsubjectreviews",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "subjectaccessreviews",
    "artifacts",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LatencyLabels {
    verb: &'static str,
    resource: &'static str,
}

/// The server's metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Family<LatencyLabels, Histogram, fn() -> Histogram>,
    /// Requests whose answer has not begun.
    in_flight: Gauge,
    /// Open connections.
    pub(crate) connections: Gauge,
}

fn request_histogram() -> Histogram {
    Histogram::new(REQUEST_SECONDS)
}

impl Metrics {
    /// All metrics at zero.
    pub fn new(store: &StoreStats) -> Self {
        let requests = Family::default();
        let latency = Family::new_with_constructor(request_histogram as fn() -> Histogram);
        let (in_flight, connections) = (Gauge::default(), Gauge::default());
        let registry = daemon::registry("pd_apiserver", |registry| {
            registry.register("requests", "Requests by verb, resource and status code", requests.clone());
            let help = "Time from a request's head to the head of its answer";
            registry.register("request_duration_seconds", help, latency.clone());
            registry.register("requests_in_flight", "Requests whose answer has not begun", in_flight.clone());
            registry.register("connections", "Open connections", connections.clone());
            store.register(registry);
        });
        Self { registry, requests, latency, in_flight, connections }
    }

    /// Content type and text for a scraper that sends this `Accept`.
    pub fn text(&self, accept: Option<&str>) -> Result<(&'static str, String), fmt::Error> {
        daemon::text::answer(&self.registry, accept)
    }
}

/// Answers, counts the request and takes its time.
pub(crate) async fn measure(
    metrics: &Metrics,
    request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let (verb, resource) = classify(request.method(), request.uri().path(), request.uri().query().unwrap_or(""));
    let started = Instant::now();
    metrics.in_flight.inc();
    let response = next(request).await;
    metrics.in_flight.dec();
    let code = response.status().as_u16();
    metrics.requests.get_or_create(&RequestLabels { verb, resource, code }).inc();
    let seconds = started.elapsed().as_secs_f64();
    metrics.latency.get_or_create(&LatencyLabels { verb, resource }).observe(seconds);
    response
}

/// Verb and resource as Kubernetes names them, from the shape of a path.
fn classify(method: &Method, path: &str, query: &str) -> (&'static str, &'static str) {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        ["artifacts", ..] => &["artifacts", ""],
        _ => &[],
    };
    let (resource, named) = match rest {
        ["namespaces", _, resource, rest @ ..] if *resource != "status" => (*resource, !rest.is_empty()),
        [resource, rest @ ..] => (*resource, !rest.is_empty()),
        [] => ("", true),
    };
    let resource = RESOURCES.iter().copied().find(|known| *known == resource).unwrap_or("other");
    (verb(method, named, is_watch(query)), resource)
}

/// Whether a query asks for a watch.
fn is_watch(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "watch" | "watch=1" | "watch=true"))
}

fn verb(method: &Method, named: bool, watch: bool) -> &'static str {
    match *method {
        Method::GET | Method::HEAD if watch => "watch",
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_the_shape_of_the_path() {
        for (method, path, query, expected) in [
            (Method::GET, "/apis/processdistro.dev/v1/namespaces/default/jobs", "", ("list", "jobs")),
            (Method::GET, "/apis/processdistro.dev/v1/jobs", "&watch=true", ("watch", "jobs")),
            (Method::GET, "/apis/processdistro.dev/v1/namespaces/default/jobs/x", "", ("get", "jobs")),
            (Method::PUT, "/apis/processdistro.dev/v1/namespaces/d/jobs/x/status", "", ("update", "jobs")),
            (Method::DELETE, "/apis/processdistro.dev/v1/namespaces/d/jobs", "", ("deletecollection", "jobs")),
            (Method::PATCH, "/api/v1/nodes/n1/status", "", ("patch", "nodes")),
            (Method::GET, "/api/v1/namespaces/default", "", ("get", "namespaces")),
            (Method::POST, "/api/v1/namespaces", "", ("create", "namespaces")),
            (Method::PUT, "/artifacts/v1/sha256:00", "", ("update", "artifacts")),
            (Method::GET, "/apis", "", ("get", "other")),
            (Method::GET, "/api/v1/invented-by-a-client", "", ("list", "other")),
            (Method::OPTIONS, "/", "", ("other", "other")),
        ] {
            assert_eq!(classify(&method, path, query), expected, "{method} {path}");
        }
    }

    #[test]
    fn names_have_their_prefix_units_and_help() {
        let metrics = Metrics::new(&StoreStats::default());
        let labels = RequestLabels { verb: "get", resource: "jobs", code: 200 };
        metrics.requests.get_or_create(&labels).inc();
        let (_, text) = metrics.text(None).unwrap();
        assert!(text.contains("pd_apiserver_requests_total{verb=\"get\",resource=\"jobs\",code=\"200\"} 1"), "{text}");
        assert!(text.contains("# HELP pd_apiserver_store_commit_duration_seconds "));
    }
}

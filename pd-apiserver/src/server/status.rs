//! Refusals that happen before or beside the Kubernetes API, as the same Status objects.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

/// Kubernetes' machine-readable reasons, as far as they are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Unauthorized,
    Forbidden,
    NotFound,
    BadRequest,
    Invalid,
    RequestEntityTooLarge,
    InternalError,
    ServiceUnavailable,
}

/// A Status that says no.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    code: StatusCode,
    reason: Reason,
    message: String,
    header: Option<(HeaderName, String)>,
}

impl Refusal {
    pub(crate) fn new(code: StatusCode, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), header: None }
    }

    /// With a header that tells the client what to do.
    pub(crate) fn with_header(self, name: HeaderName, value: impl Into<String>) -> Self {
        Self { header: Some((name, value.into())), ..self }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": format!("{:?}", self.reason),
            "code": self.code.as_u16(),
        });
        let mut response = (self.code, Json(body)).into_response();
        if let Some((name, value)) = self.header
            && let Ok(value) = HeaderValue::try_from(value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

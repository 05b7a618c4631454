//! Every refusal of the API, and the Kubernetes Status that says it.
//!
//! In: what was refused, of which kind and name. Out: `ApiError`, and from it the HTTP code and body that
//! every Kubernetes client understands. It knows nothing of the store or of requests.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::{artifacts::ArtifactError, store::StoreError};

/// Seconds after which a client should try again while the store cannot write.
const RETRY_AFTER_SECONDS: u32 = 1;

/// What an error speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// API group; empty for core.
    pub group: String,
    /// Plural name.
    pub resource: String,
    /// Kind.
    pub kind: String,
    /// Object name.
    pub name: String,
}

impl Subject {
    /// `jobs.processdistro.dev "x"`.
    fn resource_and_name(&self) -> String {
        format!("{} \"{}\"", qualified(&self.resource, &self.group), self.name)
    }
}

/// `jobs.processdistro.dev`, or `nodes` in the core group.
fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, ...
    pub reason: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
    /// Path of the field: `spec.task.name`.
    pub field: String,
}

/// Reasons of causes, as Kubernetes spells them.
pub(crate) mod reasons {
    pub(crate) const REQUIRED: &str = "FieldValueRequired";
    pub(crate) const INVALID: &str = "FieldValueInvalid";
    pub(crate) const NOT_FOUND: &str = "FieldValueNotFound";
    pub(crate) const FORBIDDEN: &str = "FieldValueForbidden";
    pub(crate) const TYPE_INVALID: &str = "FieldValueTypeInvalid";
    pub(crate) const NOT_SUPPORTED: &str = "FieldValueNotSupported";
    pub(crate) const TOO_LONG: &str = "FieldValueTooLong";
    pub(crate) const DUPLICATE: &str = "FieldValueDuplicate";
    pub(crate) const CONFLICT: &str = "FieldManagerConflict";
}

impl Cause {
    pub(crate) fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), field: field.into() }
    }

    pub(crate) fn required(field: impl Into<String>, message: &str) -> Self {
        let text = if message.is_empty() { "Required value".to_owned() } else { format!("Required value: {message}") };
        Self::new(reasons::REQUIRED, field, text)
    }

    pub(crate) fn invalid(field: impl Into<String>, value: &Value, message: &str) -> Self {
        let mut shown = value.to_string();
        if shown.chars().count() > 80 {
            shown = format!("{}…", shown.chars().take(80).collect::<String>());
        }
        Self::new(reasons::INVALID, field, format!("Invalid value: {shown}: {message}"))
    }

    pub(crate) fn not_supported(field: impl Into<String>, value: &str, supported: &[&str]) -> Self {
        let supported: Vec<_> = supported.iter().map(|value| format!("\"{value}\"")).collect();
        let message = format!("Unsupported value: \"{value}\": supported values: {}", supported.join(", "));
        Self::new(reasons::NOT_SUPPORTED, field, message)
    }

    pub(crate) fn forbidden(field: impl Into<String>, message: &str) -> Self {
        Self::new(reasons::FORBIDDEN, field, format!("Forbidden: {message}"))
    }
}

/// Why a request was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No object of that name.
    #[error("{} not found", .0.resource_and_name())]
    NotFound(Subject),
    /// The path names nothing that is served.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// The name is taken.
    #[error("{} already exists", .0.resource_and_name())]
    AlreadyExists(Subject),
    /// A resourceVersion, UID or other precondition does not hold.
    #[error("Operation cannot be fulfilled on {}: {message}", .subject.resource_and_name())]
    Conflict {
        /// Of what.
        subject: Subject,
        /// Which precondition.
        message: String,
    },
    /// Server-side apply would take fields from other managers.
    #[error("Apply failed with {} conflict{}: {}", .causes.len(), if .causes.len() == 1 { "" } else { "s" }, conflict_list(.causes))]
    ApplyConflict {
        /// One a field.
        causes: Vec<Cause>,
    },
    /// Fields are wrong; all of them.
    #[error("{} \"{}\" is invalid: {}", qualified(&.subject.kind, &.subject.group), .subject.name, cause_list(.causes))]
    Invalid {
        /// Of what.
        subject: Subject,
        /// One a field.
        causes: Vec<Cause>,
    },
    /// The request itself makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// No credential.
    #[error("Unauthorized: send a client certificate or a bearer token")]
    Unauthorized,
    /// The identity may not do this.
    #[error("{}{} is forbidden: {message}", qualified(&.subject.resource, &.subject.group), if .subject.name.is_empty() { String::new() } else { format!(" \"{}\"", .subject.name) })]
    Forbidden {
        /// On what.
        subject: Subject,
        /// Why.
        message: String,
    },
    /// The path has no such verb.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// No answer in a form that the client accepts.
    #[error("only the following media types are accepted: application/json")]
    NotAcceptable,
    /// The body's media type.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// Body or object too large.
    #[error("Request entity too large: {0}")]
    TooLarge(String),
    /// A revision that this store has not reached.
    #[error("Too large resource version: {requested}, current: {newest}")]
    TooLargeVersion {
        /// As asked for.
        requested: u64,
        /// The newest there is.
        newest: u64,
    },
    /// Too much at once.
    #[error("{0}")]
    TooManyRequests(String),
    /// A revision that is no longer there.
    #[error("{0}")]
    Expired(String),
    /// The state that a page was to be of is no longer there: with a token for the rest as it is now.
    #[error(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )]
    ExpiredContinue(String),
    /// The store takes no writes now.
    #[error("{0}")]
    Unavailable(String),
    /// Our own fault.
    #[error("{0}")]
    Internal(String),
}

fn cause_list(causes: &[Cause]) -> String {
    let texts: Vec<_> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
    if texts.len() == 1 { texts.concat() } else { format!("[{}]", texts.join(", ")) }
}

fn conflict_list(causes: &[Cause]) -> String {
    let texts: Vec<_> = causes.iter().map(|c| format!("{}: {}", c.message, c.field)).collect();
    texts.join("; ")
}

impl ApiError {
    /// HTTP code and machine-readable reason.
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound(_) | Self::NoSuchPath => (StatusCode::NOT_FOUND, "NotFound"),
            Self::AlreadyExists(_) => (StatusCode::CONFLICT, "AlreadyExists"),
            Self::Conflict { .. } | Self::ApplyConflict { .. } => (StatusCode::CONFLICT, "Conflict"),
            Self::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "NotAcceptable"),
            Self::UnsupportedMediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::TooLargeVersion { .. } => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            Self::TooManyRequests(_) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::Expired(_) | Self::ExpiredContinue(_) => (StatusCode::GONE, "Expired"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }

    /// The Status object's `details`.
    fn details(&self) -> Option<Value> {
        match self {
            Self::NotFound(s) | Self::AlreadyExists(s) => Some(details(s, &s.resource, &[])),
            Self::Conflict { subject, .. } | Self::Forbidden { subject, .. } => {
                Some(details(subject, &subject.resource, &[]))
            }
            Self::ApplyConflict { causes } => Some(details(&Subject::default(), "", causes)),
            Self::Invalid { subject, causes } => Some(details(subject, &subject.kind, causes)),
            Self::Unavailable(_) | Self::TooManyRequests(_) => Some(json!({"retryAfterSeconds": RETRY_AFTER_SECONDS})),
            Self::TooLargeVersion { .. } => Some(json!({
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": RETRY_AFTER_SECONDS,
            })),
            Self::NoSuchPath | Self::MethodNotAllowed => Some(json!({})),
            _ => None,
        }
    }

    /// The Status object.
    pub(crate) fn status(&self) -> Value {
        let (code, reason) = self.code();
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.to_string(), "reason": reason, "code": code.as_u16(),
        });
        if let Some(details) = self.details() {
            status["details"] = details;
        }
        if let Self::ExpiredContinue(token) = self {
            status["metadata"]["continue"] = token.as_str().into();
        }
        status
    }
}

fn details(subject: &Subject, kind: &str, causes: &[Cause]) -> Value {
    let mut details = serde_json::Map::new();
    for (key, text) in [("name", subject.name.as_str()), ("group", &subject.group), ("kind", kind)] {
        if !text.is_empty() {
            details.insert(key.to_owned(), text.into());
        }
    }
    if !causes.is_empty() {
        let causes = causes.iter().map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}));
        details.insert("causes".to_owned(), causes.collect());
    }
    Value::Object(details)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (code, _) = self.code();
        if code.is_server_error() && !matches!(self, Self::TooLargeVersion { .. }) {
            tracing::error!(error = %self, "request failed");
        }
        let mut response = (code, Json(self.status())).into_response();
        if matches!(self, Self::Unavailable(_) | Self::TooManyRequests(_) | Self::TooLargeVersion { .. }) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } | StoreError::Corrupt { .. } => Self::Internal(error.to_string()),
            StoreError::Compacted { .. } => Self::Expired(format!("too old resource version: {error}")),
            StoreError::Future { requested, newest } => Self::TooLargeVersion { requested, newest },
            StoreError::Full | StoreError::Unavailable(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        Self::Internal(format!("cannot read the artifact store: {error}"))
    }
}

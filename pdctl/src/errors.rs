//! What can go wrong, said once: message, hint and exit code of every failure, and the only place where a
//! `kube::Error` or a `Status` becomes one of them.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use kube::core::Status;
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report, ThemeCharacters,
};

use crate::{output, text};

/// What `pdctl help exit-codes` prints.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    ok
  1    error: invalid manifest or object, unreadable file, anything not below
  2    usage: wrong flags or arguments
  3    not found: no such object, kind, task or artifact; or it was deleted while waited for
  4    auth: no, wrong or expired credential, or not allowed
  5    unreachable: the API server does not answer
  6    conflict: the object exists already, or was changed by another
  7    timeout: not done within --timeout
  8    job failed
  9    unschedulable: no node can take the job
  diff: 0 no differences, 1 differences, more than 1 an error; there an error that would be 1 is 2
  130  interrupted (Ctrl-C)";

/// Result of whatever a verb does.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Where the client's server and credential come from; told when they do not work.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// `https://127.0.0.1:6443`
    pub(crate) server: String,
    /// The file or files.
    pub(crate) kubeconfig: String,
    /// The context in it.
    pub(crate) context: String,
}

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Wrong arguments that clap cannot see.
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// A local file.
    #[error("cannot {doing} `{}`: {}", path.display(), io_reason(source))]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// Manifests or params with their place in the text; all that is wrong at once.
    #[error("{}", .0.first().map_or("invalid manifest", |d| &d.message))]
    Manifests(Vec<Diagnosis>),
    /// The kubeconfig is missing or wrong.
    #[error("{message}")]
    Kubeconfig { message: String, hint: String },
    /// No answer from the server.
    #[error("cannot reach the API server {}: {reason}", origin.server)]
    Unreachable { origin: Origin, reason: String },
    /// The server's answer is not what the protocol says.
    #[error("{doing}: the server's answer makes no sense: {reason}")]
    Answer { doing: String, reason: String },
    /// The server said no.
    #[error("{doing}: {}", text::plain(&status.message))]
    Refused { doing: String, status: Box<Status>, hint: Option<String> },
    /// No such thing.
    #[error("{what}")]
    NotFound { what: String, hint: Option<String> },
    /// A local check refused it.
    #[error("{message}")]
    Invalid { message: String, hint: Option<String> },
    /// It took too long.
    #[error("gave up after {} waiting for {what}", humantime::format_duration(*after))]
    Timeout { what: String, after: Duration, hint: Option<String> },
    /// The job ended in failure.
    #[error("{job} failed: {}", text::one_line(why))]
    JobFailed { job: String, why: String, hint: Option<String> },
    /// No node can take it.
    #[error("{job} cannot be scheduled: {why}")]
    Unschedulable { job: String, why: String },
    /// Ctrl-C.
    #[error("interrupted; {0}")]
    Interrupted(String),
    /// Several objects failed one by one; each was reported already.
    #[error("{failed} of {all} failed")]
    Several { failed: usize, all: usize, exit: u8 },
    /// `diff` has found differences, and has printed them.
    #[error("there are differences")]
    Differing,
    /// A failure of a verb whose exit code 1 is taken.
    #[error("{0}")]
    Elevated(Box<Self>),
    /// A program that was started in our place failed and has said why.
    #[error("{program} ended with exit code {code}")]
    Program { program: String, code: u8 },
    /// The reader of our stdout is gone: nothing to say, nobody to say it to.
    #[error("the output was closed")]
    OutputClosed,
}

/// One thing that is wrong with a text, and where in it.
#[derive(Debug, Clone)]
pub(crate) struct Diagnosis {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// Name of the text and the text.
    pub(crate) source: Option<(String, Arc<str>)>,
    /// Byte offset and length in the text, and what to write beside it.
    pub(crate) label: Option<(usize, usize, String)>,
}

impl Error {
    /// Wrong arguments.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// A local refusal.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), hint: None }
    }

    /// No such thing, with the nearest that there is.
    pub(crate) fn not_found(what: impl Into<String>, hint: Option<String>) -> Self {
        Self::NotFound { what: what.into(), hint }
    }

    /// One error is itself; of several each is told now, and what is left is their number.
    pub(crate) fn several(mut failed: Vec<Self>, all: usize) -> Result<()> {
        match failed.len() {
            0 => Ok(()),
            1 if all == 1 => Err(failed.remove(0)),
            count => {
                failed.iter().for_each(Self::report);
                Err(Self::Several { failed: count, all, exit: failed[0].exit_code() })
            }
        }
    }

    /// A local file that cannot be used.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    /// Writing to stdout failed.
    pub(crate) fn stdout(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::File { doing: "write to", path: "stdout".into(), source },
        }
    }

    /// The process's exit code; see `EXIT_CODES`.
    pub(crate) fn exit_code(&self) -> u8 {
        // One step, not recursion: rustc 1.95 compiles a function that ends in `itself().max(2)` so that its answers
        // compare as at least 2, which made a 1 unequal to 1 in release builds.
        match self {
            Self::Elevated(error) => error.plain_exit_code().max(2),
            error => error.plain_exit_code(),
        }
    }

    /// The exit code where 1 has no other meaning.
    fn plain_exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Program { code, .. } => *code,
            Self::Differing
            | Self::File { .. }
            | Self::Manifests(_)
            | Self::Kubeconfig { .. }
            | Self::Answer { .. }
            | Self::Invalid { .. } => 1,
            // An elevated failure is never elevated again.
            Self::Usage { .. } | Self::Elevated(_) => 2,
            Self::NotFound { .. } => 3,
            Self::Unreachable { .. } => 5,
            Self::Timeout { .. } => 7,
            Self::JobFailed { .. } => 8,
            Self::Unschedulable { .. } => 9,
            Self::Interrupted(_) => 130,
            Self::Several { exit, .. } => *exit,
            Self::Refused { status, .. } => match status.code {
                404 => 3,
                401 | 403 => 4,
                502..=503 => 5,
                409 => 6,
                408 | 504 => 7,
                _ => 1,
            },
        }
    }

    /// What to do about it.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. }
            | Self::NotFound { hint, .. }
            | Self::Invalid { hint, .. }
            | Self::Timeout { hint, .. }
            | Self::JobFailed { hint, .. } => hint.clone(),
            Self::Refused { hint, status, .. } => hint.clone().or_else(|| status_hint(status)),
            Self::Kubeconfig { hint, .. } => Some(hint.clone()),
            Self::Unreachable { origin, .. } => Some(format!(
                "the address is that of context `{}` in {}; check that pd-apiserver runs there, or choose another \
                 cluster with --context or --kubeconfig",
                origin.context, origin.kubeconfig
            )),
            Self::Unschedulable { job, .. } => Some(format!("`pdctl why {job}` says why, node by node")),
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => Some(
                "check the path; it is relative to the current directory unless the message says otherwise".to_owned(),
            ),
            _ => None,
        }
    }

    /// All that is to be told, each in the same style.
    fn diagnoses(&self) -> Vec<Diagnosis> {
        match self {
            Self::Manifests(diagnoses) => diagnoses.clone(),
            Self::OutputClosed | Self::Differing | Self::Program { .. } => Vec::new(),
            Self::Elevated(error) => error.diagnoses(),
            other => vec![Diagnosis { message: other.to_string(), help: other.hint(), source: None, label: None }],
        }
    }

    /// Prints it on stderr.
    pub(crate) fn report(&self) {
        for diagnosis in self.diagnoses() {
            output::note(&diagnosis.render(output::stderr_has_colour()));
        }
    }
}

impl Diagnosis {
    /// `error: message`, the place in the text with a caret, `help: …`.
    pub(crate) fn render(&self, colour: bool) -> String {
        let mut theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        theme.characters = ThemeCharacters { error: "error:".to_owned(), ..ThemeCharacters::unicode() };
        let mut diagnostic = MietteDiagnostic::new(text::plain(&self.message));
        diagnostic.help = self.help.as_ref().map(|help| text::plain(help).into_owned());
        let report = match (&self.source, &self.label) {
            (Some((name, source)), Some((offset, length, beside))) => {
                let (offset, length) = visible(source, *offset, *length);
                let label = LabeledSpan::new((!beside.is_empty()).then(|| beside.clone()), offset, length);
                Report::new(diagnostic.with_label(label)).with_source_code(NamedSource::new(name, source.to_string()))
            }
            (Some((name, _)), None) => {
                diagnostic.message = format!("{name}: {}", diagnostic.message);
                Report::new(diagnostic)
            }
            _ => Report::new(diagnostic),
        };
        let handler = GraphicalReportHandler::new_themed(theme).with_wrap_lines(false).with_context_lines(1);
        let mut rendered = String::new();
        match handler.render_report(&mut rendered, report.as_ref()) {
            Ok(()) => rendered.trim_start().trim_end_matches('\n').to_owned(),
            Err(_) => format!("error: {}", self.message),
        }
    }
}

/// What to underline: something that is missing at the end of a text is missing after its last character.
fn visible(text: &str, offset: usize, length: usize) -> (usize, usize) {
    let end = text.trim_end().len();
    if offset < end { (offset, length) } else { (text[..end].char_indices().next_back().map_or(0, |(at, _)| at), 1) }
}

/// From a failed request, `doing` being what was attempted: `cannot list jobs`.
pub(crate) fn from_kube(origin: &Origin, doing: impl Into<String>, error: kube::Error) -> Error {
    let doing = doing.into();
    match error {
        kube::Error::Api(status) => causes(&status).unwrap_or(Error::Refused { doing, status, hint: None }),
        kube::Error::SerdeError(error) => Error::Answer { doing, reason: error.to_string() },
        kube::Error::FromUtf8(error) => Error::Answer { doing, reason: error.to_string() },
        kube::Error::BuildRequest(error) => Error::Invalid { message: format!("{doing}: {error}"), hint: None },
        other => transport(origin, doing, &other),
    }
}

/// All fields that the server finds wrong, one by one; absent when it names none.
fn causes(status: &Status) -> Option<Error> {
    let causes =
        status.details.as_ref().filter(|_| status.code == 422)?.causes.iter().filter(|cause| !cause.field.is_empty());
    let wrong: Vec<Diagnosis> = causes
        .map(|cause| Diagnosis {
            message: format!("{}: {}", cause.field, cause.message),
            help: None,
            source: None,
            label: None,
        })
        .collect();
    (!wrong.is_empty()).then_some(Error::Manifests(wrong))
}

/// From a failure below the protocol: no connection, no TLS, a connection that broke.
pub(crate) fn transport(origin: &Origin, doing: String, error: &(dyn std::error::Error + 'static)) -> Error {
    let chain = chain(error);
    let all = chain.join(": ");
    if all.contains("received fatal alert") {
        let status =
            Status::failure(&format!("the server refuses the client certificate ({})", last(&chain)), "Unauthorized");
        let hint =
            Some(format!("context `{}` in {} needs a newer certificate or a token", origin.context, origin.kubeconfig));
        return Error::Refused { doing, status: status.with_code(401).boxed(), hint };
    }
    let reason = if all.contains("UnknownIssuer") || all.contains("BadSignature") {
        "its certificate is not signed by the CA in the kubeconfig (was the cluster created anew?)".to_owned()
    } else {
        last(&chain)
    };
    Error::Unreachable { origin: origin.clone(), reason }
}

/// The innermost cause, without the operating system's number.
fn last(chain: &[String]) -> String {
    let last = chain.last().map_or("unknown cause", String::as_str);
    let text = last.split(" (os error").next().unwrap_or(last);
    text.chars().next().map_or_else(String::new, |first| first.to_lowercase().chain(text.chars().skip(1)).collect())
}

/// An error and all its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

/// What to do about a refusal.
fn status_hint(status: &Status) -> Option<String> {
    let hint = match (status.code, status.reason.as_str()) {
        (401, _) => "the credential is missing, wrong or expired; `pdctl token create` makes a new token (as an admin)",
        (403, _) => {
            "this credential may not do that; an admin can create one with another role: `pdctl token create --role Edit`"
        }
        (_, "AlreadyExists") => "choose another name, or delete the old object first",
        (409, _) => "somebody else changed the object meanwhile; look at it and try again",
        (413, _) => "store large data as an artifact and name it in `spec.task.inputs`",
        (429, _) => "the server is busy; try again in a moment",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// `no such file or directory`, without the number behind it.
pub(crate) fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.chars().next().map_or_else(String::new, |first| first.to_lowercase().chain(text.chars().skip(1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> Error {
        let status = Status::failure("no", "Reason").with_code(code).boxed();
        Error::Refused { doing: "cannot do it".to_owned(), status, hint: None }
    }

    #[test]
    fn every_status_has_its_exit_code() {
        for (code, exit) in [(404, 3), (401, 4), (403, 4), (503, 5), (409, 6), (504, 7), (400, 1), (422, 1), (500, 1)] {
            assert_eq!(refused(code).exit_code(), exit, "{code}");
        }
    }

    #[test]
    fn a_diagnosis_points_at_its_place() {
        let source: Arc<str> = "kind: Job\nspec:\n  paralelism: 4\n".into();
        let diagnosis = Diagnosis {
            message: "unknown field `paralelism`".to_owned(),
            help: Some("did you mean `parallelism`?".to_owned()),
            source: Some(("job.yaml".to_owned(), source)),
            label: Some((18, 10, String::new())),
        };
        let text = diagnosis.render(false);
        assert!(text.starts_with("error: unknown field `paralelism`\n"), "{text}");
        assert!(text.contains("job.yaml:3:3"), "{text}");
        assert!(text.contains("  paralelism: 4"), "{text}");
        assert!(text.contains("did you mean `parallelism`?"), "{text}");
    }

    #[test]
    fn what_is_missing_at_the_end_has_a_caret_too() {
        let diagnosis = Diagnosis {
            message: "not closed".to_owned(),
            help: None,
            source: Some(("x.yaml".to_owned(), "a: {b\n\n".into())),
            label: Some((7, 0, String::new())),
        };
        let text = diagnosis.render(false);
        assert!(text.contains("x.yaml:1:5") && text.contains('─'), "{text}");
        assert_eq!(visible("", 0, 0), (0, 1));
    }

    #[test]
    fn a_refused_connection_names_server_and_kubeconfig() {
        let origin = Origin {
            server: "https://127.0.0.1:1".to_owned(),
            kubeconfig: "admin.kubeconfig".to_owned(),
            context: "admin".to_owned(),
        };
        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = transport(&origin, "cannot list jobs".to_owned(), &error);
        assert_eq!(error.exit_code(), 5);
        assert_eq!(error.to_string(), "cannot reach the API server https://127.0.0.1:1: connection refused");
        assert!(error.hint().is_some_and(|hint| hint.contains("admin.kubeconfig") && hint.contains("--context")));
    }
}

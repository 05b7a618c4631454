//! What a shell offers for a half-written word: names of objects and of contexts, asked of the cluster while the
//! person waits. So it asks for a short while only, and says nothing when it does not know.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use kube::api::ListParams;

use crate::{
    cli::Global,
    client::{self, Cluster},
    errors::{Error, Result},
    kinds::{Kind, Kinds},
};

/// A person who presses a key waits no longer.
const PATIENCE: Duration = Duration::from_millis(800);
/// More names than this are no help.
const NAMES_MAX: u32 = 500;

/// Names of jobs, with and without `job/`.
pub(crate) fn jobs() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| offered(current, &|written| names_of("jobs", written)))
}

/// Names of nodes.
pub(crate) fn nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| offered(current, &|written| names_of("nodes", written)))
}

/// Names of tasks.
pub(crate) fn tasks() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| offered(current, &|written| names_of("tasks", written)))
}

/// `job/…` and `node/…`.
pub(crate) fn jobs_and_nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        offered(current, &|written| match written.split_once('/') {
            None => Ok(vec!["job/".to_owned(), "node/".to_owned()]),
            Some((kind, _)) => names_of(kind, written),
        })
    })
}

/// Kinds, and after a slash the names of one.
pub(crate) fn objects() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        offered(current, &|written| match written.split_once('/') {
            None => kinds(),
            Some((kind, _)) => names_of(kind, written),
        })
    })
}

/// Contexts of the kubeconfig.
pub(crate) fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        offered(current, &|_| {
            let (kubeconfig, _) = client::read_kubeconfig(&written_global())?;
            Ok(kubeconfig.contexts.into_iter().map(|context| context.name).collect())
        })
    })
}

/// Namespaces of the cluster.
pub(crate) fn namespaces() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| offered(current, &|_| names_of("namespaces", "")))
}

/// The words that go on from what is written.
fn offered(current: &OsStr, candidates: &dyn Fn(&str) -> Result<Vec<String>>) -> Vec<CompletionCandidate> {
    let Some(written) = current.to_str() else { return Vec::new() };
    let words = candidates(written).unwrap_or_default();
    words.into_iter().filter(|word| word.starts_with(written)).map(CompletionCandidate::new).collect()
}

fn kinds() -> Result<Vec<String>> {
    ask(async |cluster| Ok(Kinds::discover(cluster).await?.plurals()))
}

/// Names of a kind's objects; with `job/` before them when that is what is written.
fn names_of(word: &str, written: &str) -> Result<Vec<String>> {
    let prefix = written.split_once('/').map_or(String::new(), |(kind, _)| format!("{kind}/"));
    ask(async |cluster| {
        let kinds = Kinds::for_words(cluster, &[word.to_owned()]).await?;
        let kind: &Kind = kinds.one(word)?;
        let api = kind.api(cluster, Some(&cluster.namespace));
        let listed = api.list_metadata(&ListParams::default().limit(NAMES_MAX)).await;
        let listed = listed.map_err(cluster.failed("cannot list names"))?;
        Ok(listed
            .items
            .into_iter()
            .filter_map(|object| object.metadata.name)
            .map(|name| prefix.clone() + &name)
            .collect())
    })
}

fn ask(question: impl AsyncFnOnce(&Cluster) -> Result<Vec<String>>) -> Result<Vec<String>> {
    let runtime = crate::verbs::runtime()?;
    runtime.block_on(async {
        let answer = async {
            let cluster = Cluster::connect(&written_global()).await?;
            question(&cluster).await
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(Error::invalid("no answer in time")))
    })
}

/// The global flags of the half-written line: which cluster and which namespace it speaks of.
fn written_global() -> Global {
    global_of(&std::env::args().collect::<Vec<_>>())
}

fn global_of(words: &[String]) -> Global {
    let value = |names: &[&str]| {
        let at = words.iter().position(|word| names.contains(&word.as_str()));
        let next = at.and_then(|at| words.get(at + 1)).filter(|value| !value.is_empty()).cloned();
        let joined =
            |word: &String| names.iter().find_map(|name| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned()));
        next.or_else(|| words.iter().find_map(joined))
    };
    Global {
        kubeconfig: value(&["--kubeconfig"]).map(PathBuf::from),
        context: value(&["--context"]),
        namespace: value(&["--namespace", "-n"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_flags_say_which_cluster_is_asked() {
        let words = ["pdctl", "--context=b", "-n", "team", "--kubeconfig", "kc", "get", "jobs"].map(str::to_owned);
        let global = global_of(&words);
        assert_eq!(global.context.as_deref(), Some("b"));
        assert_eq!(global.namespace.as_deref(), Some("team"));
        assert_eq!(global.kubeconfig, Some(PathBuf::from("kc")));
        assert!(global_of(&["pdctl".to_owned()]).context.is_none());
    }
}

//! Which kinds the server serves, and which of them a person means by a word.

use std::collections::BTreeSet;

use http::Request;
use kube::{
    Api,
    core::{ApiResource, DynamicObject},
};
use serde::Deserialize;

use crate::{
    client::Cluster,
    errors::{Error, Result},
    suggest,
};

/// Aggregated discovery: two requests for everything.
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// One kind as the server serves it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
}

impl Kind {
    /// One that pdctl knows without asking.
    pub(crate) fn of<K: kube::Resource<DynamicType = ()>>(namespaced: bool) -> Self {
        let resource = ApiResource::erase::<K>(&());
        let singular = resource.kind.to_lowercase();
        Self { resource, singular, short_names: Vec::new(), categories: Vec::new(), namespaced }
    }

    /// Our Job.
    pub(crate) fn job() -> Self {
        Self::of::<schemas::Job>(true)
    }

    /// `job.processdistro.dev`, or `node` of the core group.
    pub(crate) fn full_name(&self) -> String {
        match self.resource.group.as_str() {
            "" => self.singular.clone(),
            group => format!("{}.{group}", self.singular),
        }
    }

    /// The API of it; in all namespaces when `namespace` is absent.
    pub(crate) fn api(&self, cluster: &Cluster, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &self.resource),
            None => Api::all_with(cluster.client.clone(), &self.resource),
        }
    }

    /// The path of its collection.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        use kube::Resource as _;
        DynamicObject::url_path(&self.resource, namespace.filter(|_| self.namespaced))
    }

    /// True for our own Job.
    pub(crate) fn is_job(&self) -> bool {
        self.resource.group == schemas::well_known::GROUP && self.resource.kind == "Job"
    }

    /// Whether a person may mean this kind by `word`.
    fn answers_to(&self, word: &str) -> bool {
        let (name, group) = word.split_once('.').map_or((word, None), |(name, group)| (name, Some(group)));
        let in_group = group.is_none_or(|group| group == self.resource.group || group == self.versioned_group());
        let named = [&self.resource.plural, &self.singular, &self.resource.kind];
        in_group && (named.iter().any(|n| n.eq_ignore_ascii_case(name)) || self.short_names.iter().any(|n| n == name))
    }

    /// `v1.processdistro.dev`, as kubectl also takes it.
    fn versioned_group(&self) -> String {
        format!("{}.{}", self.resource.version, self.resource.group)
    }
}

/// All kinds that the server serves: core first, then in the server's order.
pub(crate) struct Kinds(Vec<Kind>);

impl Kinds {
    /// Asks the server.
    pub(crate) async fn discover(cluster: &Cluster) -> Result<Self> {
        const DOING: &str = "cannot ask the server for its kinds";
        let get = |path: &'static str| async move {
            let request = Request::get(path).body(Vec::new()).map_err(kube::core::request::Error::BuildRequest);
            cluster.request::<GroupList>(DOING, request, Some(ACCEPT)).await
        };
        let (core, groups) = futures::try_join!(get("/api"), get("/apis"))?;
        let kinds: Vec<Kind> = core.items.into_iter().chain(groups.items).flat_map(Group::kinds).collect();
        if kinds.is_empty() {
            return Err(Error::Answer { doing: DOING.to_owned(), reason: "it lists none".to_owned() });
        }
        Ok(Self(kinds))
    }

    /// What is needed to understand these words: everybody's kinds are known without asking.
    pub(crate) async fn for_words(cluster: &Cluster, words: &[String]) -> Result<Self> {
        let known = Self::well_known();
        let slashed = words.first().is_some_and(|word| word.contains('/'));
        let is_known = |word: &String| {
            let kinds = word.split_once('/').map_or(word.as_str(), |(kind, _)| kind);
            kinds.split(',').all(|kind| known.0.iter().any(|known| known.answers_to(kind)))
        };
        let named = if slashed { words } else { &words[..words.len().min(1)] };
        if named.iter().all(is_known) { Ok(known) } else { Self::discover(cluster).await }
    }

    /// Those that every server serves, so that the daily verbs spare two requests.
    fn well_known() -> Self {
        use k8s_openapi::api::core::v1::{Namespace, Node};
        let short = |kind: Kind, name: &str| Kind { short_names: vec![name.to_owned()], ..kind };
        Self(vec![
            short(Kind::of::<schemas::Job>(true), "pdj"),
            short(Kind::of::<schemas::Task>(true), "pdt"),
            short(Kind::of::<schemas::Assignment>(true), "pda"),
            short(Kind::of::<schemas::Subtask>(true), "pds"),
            short(Kind::of::<Node>(false), "no"),
            short(Kind::of::<Namespace>(false), "ns"),
        ])
    }

    /// The kinds meant by `jobs`, `jobs,nodes`, `pdj`, `Job`, `jobs.processdistro.dev` or a category like `all`.
    pub(crate) fn resolve(&self, words: &str) -> Result<Vec<&Kind>> {
        let mut kinds = Vec::new();
        for word in words.split(',').filter(|word| !word.is_empty()) {
            if let Some(kind) = self.0.iter().find(|kind| kind.answers_to(word)) {
                kinds.push(kind);
                continue;
            }
            let of_category: Vec<&Kind> =
                self.0.iter().filter(|kind| kind.categories.iter().any(|c| c == word)).collect();
            if of_category.is_empty() {
                return Err(self.unknown(word));
            }
            kinds.extend(of_category);
        }
        if kinds.is_empty() { Err(Error::usage("name a kind: `pdctl get jobs`")) } else { Ok(kinds) }
    }

    /// Their names as one writes them.
    pub(crate) fn plurals(&self) -> Vec<String> {
        self.0.iter().map(|kind| kind.resource.plural.clone()).collect()
    }

    /// The one kind meant by a word.
    pub(crate) fn one(&self, word: &str) -> Result<&Kind> {
        match self.resolve(word)?.as_slice() {
            [kind] => Ok(kind),
            _ => Err(Error::usage(format!("`{word}` is more than one kind; name one"))),
        }
    }

    /// The kind of a manifest.
    pub(crate) fn of_manifest(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        self.0.iter().find(|known| known.resource.api_version == api_version && known.resource.kind == kind)
    }

    /// Kinds that a manifest could have meant.
    pub(crate) fn nearest_to(&self, kind: &str) -> Option<&Kind> {
        let name = suggest::nearest(kind, self.0.iter().map(|known| known.resource.kind.as_str()))?;
        self.0.iter().find(|known| known.resource.kind == name)
    }

    fn unknown(&self, word: &str) -> Error {
        let names = self.0.iter().flat_map(|kind| [kind.resource.plural.as_str(), kind.singular.as_str()]);
        let hint = suggest::did_you_mean(word, names).unwrap_or_else(|| {
            // Reviews are asked by `auth`; nobody lists them.
            let plurals = self.0.iter().map(|kind| kind.resource.plural.as_str());
            let plurals: BTreeSet<&str> = plurals.filter(|plural| !plural.ends_with("reviews")).collect();
            let listed = plurals.into_iter().collect::<Vec<_>>().join(", ");
            format!("it has: {listed}; an object of one of them is named KIND/NAME")
        });
        Error::not_found(format!("the server has no kind `{word}`"), Some(hint))
    }
}

/// A kind and the names given with it; no names: all of it.
pub(crate) struct Target<'k> {
    pub(crate) kind: &'k Kind,
    pub(crate) names: Vec<String>,
}

/// Reads `KIND[,KIND] [NAME…]` or `KIND/NAME…`.
pub(crate) fn targets<'k>(kinds: &'k Kinds, words: &[String]) -> Result<Vec<Target<'k>>> {
    let Some(first) = words.first() else {
        return Err(Error::usage("name a kind, or KIND/NAME"));
    };
    if !first.contains('/') {
        let names = &words[1..];
        if let Some(mixed) = names.iter().find(|name| name.contains('/')) {
            return Err(Error::usage(format!("`{mixed}` after `{first}`: write either KIND NAME… or KIND/NAME…")));
        }
        return Ok(kinds.resolve(first)?.into_iter().map(|kind| Target { kind, names: names.to_vec() }).collect());
    }
    words
        .iter()
        .map(|word| match word.split_once('/') {
            Some((kind, name)) if !name.is_empty() && !name.contains('/') => {
                Ok(Target { kind: kinds.one(kind)?, names: vec![name.to_owned()] })
            }
            _ => Err(Error::usage(format!("`{word}` is not KIND/NAME"))),
        })
        .collect()
}

/// The name in `job/x`; a bare name is taken as a job's.
pub(crate) fn job_name(word: &str) -> Result<&str> {
    let name = match word.split_once('/') {
        None => word,
        Some(("job" | "jobs" | "pdj" | "Job" | "job.processdistro.dev" | "jobs.processdistro.dev", name)) => name,
        Some((kind, _)) => {
            return Err(Error::usage(format!("`{kind}` has no such thing; only jobs do: write job/NAME")));
        }
    };
    if name.is_empty() || name.contains('/') {
        Err(Error::usage(format!("`{word}` is not job/NAME")))
    } else {
        Ok(name)
    }
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    #[serde(rename = "resource")]
    plural: String,
    response_kind: ResponseKind,
    #[serde(default)]
    scope: String,
    #[serde(rename = "singularResource", default)]
    singular: String,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    #[serde(default)]
    group: String,
    version: String,
    kind: String,
}

impl Group {
    /// Those of its preferred version.
    fn kinds(self) -> Vec<Kind> {
        self.versions.into_iter().take(1).flat_map(|version| version.resources).map(Resource::kind).collect()
    }
}

impl Resource {
    fn kind(self) -> Kind {
        let ResponseKind { group, version, kind } = self.response_kind;
        let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        let singular = if self.singular.is_empty() { kind.to_lowercase() } else { self.singular };
        Kind {
            resource: ApiResource { group, version, api_version, kind, plural: self.plural },
            singular,
            short_names: self.short_names,
            categories: self.categories,
            namespaced: self.scope == "Namespaced",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds() -> Kinds {
        let item = |group: &str, plural: &str, kind: &str, scope: &str, short: &[&str], categories: &[&str]| {
            serde_json::json!({"resource": plural, "responseKind": {"group": group, "version": "v1", "kind": kind},
                "scope": scope, "singularResource": kind.to_lowercase(), "verbs": ["get", "list"],
                "shortNames": short, "categories": categories})
        };
        let list = serde_json::json!({"items": [
            {"versions": [{"resources": [item("", "nodes", "Node", "Cluster", &["no"], &[])]}]},
            {"versions": [{"resources": [
                item("processdistro.dev", "jobs", "Job", "Namespaced", &["pdj"], &["all"]),
                item("processdistro.dev", "tasks", "Task", "Namespaced", &["pdt"], &[])]}]},
        ]});
        let list: GroupList = serde_json::from_value(list).expect("a list");
        Kinds(list.items.into_iter().flat_map(Group::kinds).collect())
    }

    #[test]
    fn a_kind_answers_to_all_its_names() {
        let kinds = kinds();
        for word in ["jobs", "job", "Job", "pdj", "jobs.processdistro.dev", "job.v1.processdistro.dev", "all"] {
            assert_eq!(kinds.one(word).expect(word).resource.plural, "jobs", "{word}");
        }
        assert_eq!(kinds.one("no").expect("nodes").full_name(), "node");
        assert_eq!(kinds.one("job").expect("jobs").full_name(), "job.processdistro.dev");
        assert_eq!(kinds.resolve("jobs,nodes").expect("two").len(), 2);
    }

    #[test]
    fn an_unknown_kind_is_not_found_and_suggests() {
        let error = kinds().one("jbos").expect_err("unknown");
        assert_eq!(error.exit_code(), 3);
        let Error::NotFound { hint, .. } = error else { panic!("not found") };
        assert_eq!(hint.as_deref(), Some("did you mean `jobs`?"));
    }

    #[test]
    fn targets_read_both_forms() {
        let kinds = kinds();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let found = targets(&kinds, &words("job a b")).expect("names");
        assert_eq!(found[0].names, ["a", "b"]);
        let found = targets(&kinds, &words("job/a task/b")).expect("slashes");
        assert_eq!((found.len(), found[1].kind.resource.kind.as_str()), (2, "Task"));
        for wrong in ["job/a/b", "job/", "job a/b"] {
            assert_eq!(targets(&kinds, &words(wrong)).err().map(|e| e.exit_code()), Some(2), "{wrong}");
        }
    }

    #[test]
    fn the_known_kinds_are_spelt_as_the_server_spells_them() {
        let known = Kinds::well_known();
        let plurals: Vec<&str> = known.0.iter().map(|kind| kind.resource.plural.as_str()).collect();
        assert_eq!(plurals, ["jobs", "tasks", "assignments", "subtasks", "nodes", "namespaces"]);
        assert_eq!(known.one("pdj").expect("a job").full_name(), "job.processdistro.dev");
        assert_eq!(known.one("node").expect("a node").path(None), "/api/v1/nodes");
    }

    #[test]
    fn a_job_may_be_named_with_or_without_its_kind() {
        assert_eq!(job_name("job/x").expect("a job"), "x");
        assert_eq!(job_name("x").expect("a job"), "x");
        assert!(job_name("node/x").is_err());
        assert!(job_name("job/").is_err());
    }
}

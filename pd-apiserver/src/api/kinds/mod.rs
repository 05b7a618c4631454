//! The kinds that are served: their names, scope, verbs, schema and columns, in one table.
//!
//! Out: `KINDS`, in the order of discovery (our group first, so that `get jobs` means ours). Our own
//! kinds come from the CRDs that `schemas` derives, so that nothing is said twice.

mod built_in;

use std::sync::LazyLock;

use kube::CustomResourceExt;
use schemas::well_known::{GROUP, VERSION};
use serde_json::{Value, json};

use super::{error::Subject, schema::OBJECT_META};

/// Which rules of `strategies` a kind follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    Job,
    Task,
    Assignment,
    Subtask,
    Queue,
    CachedResult,
    ManifestSource,
    Token,
    Namespace,
    Node,
    Event,
    Lease,
    Csr,
    ConfigMap,
    Secret,
    Pod,
    /// A kind that tools list and that we have none of: Services, PodDisruptionBudgets.
    Service,
    PodDisruptionBudget,
    NodeMetrics,
    PodMetrics,
    SelfSubjectReview,
    SelfSubjectAccessReview,
    SelfSubjectRulesReview,
    SubjectAccessReview,
}

impl Rules {
    /// True for questions: they are created, answered and never stored.
    pub(crate) const fn is_review(self) -> bool {
        matches!(
            self,
            Self::SelfSubjectReview
                | Self::SelfSubjectAccessReview
                | Self::SelfSubjectRulesReview
                | Self::SubjectAccessReview
        )
    }
}

/// One column of a Table that a CRD declares.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) type_: String,
    pub(crate) description: String,
    pub(crate) priority: i64,
    /// For jsonpath-rust: with the leading `$`.
    pub(crate) path: String,
}

/// One served kind.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    /// `Job`.
    pub(crate) name: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: &'static [&'static str],
    pub(crate) has_status: bool,
    pub(crate) has_scale: bool,
    /// Field selectors beside `metadata.name` and `metadata.namespace`.
    pub(crate) selectable: Vec<String>,
    /// Columns after NAME; the built-in kinds have theirs in `table`.
    pub(crate) columns: Vec<Column>,
    /// OpenAPI v3 schema of the whole object.
    pub(crate) schema: Value,
    pub(crate) rules: Rules,
}

impl Kind {
    /// `processdistro.dev/v1`, or `v1` in core.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// True for the kinds of our own group: no strategic merge, a complete schema.
    pub(crate) fn is_ours(&self) -> bool {
        self.group == GROUP
    }

    /// First part of the keys of this kind.
    fn folder(&self) -> String {
        format!("/{}/{}/", if self.group.is_empty() { "core" } else { self.group }, self.plural)
    }

    /// Prefix of the keys whose changes are this kind's: those of another kind when it is computed from that.
    pub(crate) fn watched_prefix(&self, namespace: &str) -> String {
        match self.rules {
            Rules::Pod => by_rules(Rules::Assignment).prefix(namespace),
            _ => self.prefix(namespace),
        }
    }

    /// Prefix of the keys of a namespace; an empty one means all.
    pub(crate) fn prefix(&self, namespace: &str) -> String {
        if namespace.is_empty() { self.folder() } else { format!("{}{namespace}/", self.folder()) }
    }

    /// Key of one object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        format!("{}{name}", self.prefix(namespace))
    }

    /// Who an error speaks of.
    pub(crate) fn subject(&self, name: &str) -> Subject {
        Subject {
            group: self.group.to_owned(),
            resource: self.plural.to_owned(),
            kind: self.name.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The kind of a key, its namespace and name; `None`: a key of something else.
    pub(crate) fn of_key(key: &str) -> Option<(&'static Self, &str, &str)> {
        let mut parts = key.strip_prefix('/')?.split('/');
        let (group, plural) = (parts.next()?, parts.next()?);
        let group = if group == "core" { "" } else { group };
        let kind = KINDS.iter().find(|kind| kind.group == group && kind.plural == plural)?;
        if kind.namespaced { Some((kind, parts.next()?, parts.next()?)) } else { Some((kind, "", parts.next()?)) }
    }
}

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const READ: &[&str] = &["get", "list"];
const CREATE: &[&str] = &["create"];

/// Every served kind, in the order of discovery.
pub(crate) static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let mut kinds = vec![
        ours::<schemas::Job>("Job", "jobs", "job", ALL, Rules::Job),
        ours::<schemas::Task>("Task", "tasks", "task", ALL, Rules::Task),
        ours::<schemas::Assignment>("Assignment", "assignments", "assignment", ALL, Rules::Assignment),
        ours::<schemas::Subtask>("Subtask", "subtasks", "subtask", READ, Rules::Subtask),
        ours::<schemas::Queue>("Queue", "queues", "queue", ALL, Rules::Queue),
        ours::<schemas::CachedResult>("CachedResult", "cachedresults", "cachedresult", ALL, Rules::CachedResult),
        ours::<schemas::ManifestSource>(
            "ManifestSource",
            "manifestsources",
            "manifestsource",
            ALL,
            Rules::ManifestSource,
        ),
        ours::<schemas::Token>("Token", "tokens", "token", ALL, Rules::Token),
    ];
    kinds.extend(built_in::built_in());
    kinds
});

/// The kind of a plural name.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// The kind with these rules.
pub(crate) fn by_rules(rules: Rules) -> &'static Kind {
    KINDS.iter().find(|kind| kind.rules == rules).expect("invariant: every rule set has its kind")
}

/// Groups and their versions in the order of discovery.
pub(crate) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for kind in KINDS.iter() {
        if !found.contains(&(kind.group, kind.version)) {
            found.push((kind.group, kind.version));
        }
    }
    found
}

fn ours<K: CustomResourceExt>(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    verbs: &'static [&'static str],
    rules: Rules,
) -> Kind {
    let crd = serde_json::to_value(K::crd()).expect("invariant: a derived CRD is JSON");
    let version = &crd["spec"]["versions"][0];
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let paths = |value: &Value| -> Vec<String> {
        let paths = value.as_array().into_iter().flatten().filter_map(|field| field["jsonPath"].as_str());
        paths.map(|path| path.trim_start_matches('.').to_owned()).collect()
    };
    let mut schema = version["schema"]["openAPIV3Schema"].clone();
    if let Some(object) = schema.as_object_mut() {
        object.remove("title");
    }
    add_envelope(&mut schema);
    Kind {
        group: GROUP,
        version: VERSION,
        name: kind,
        plural,
        singular,
        short_names: texts(&crd["spec"]["names"]["shortNames"]),
        categories: texts(&crd["spec"]["names"]["categories"]),
        namespaced: crd["spec"]["scope"] == "Namespaced",
        verbs,
        has_status: rules != Rules::Subtask && version["subresources"]["status"].is_object(),
        has_scale: version["subresources"]["scale"].is_object(),
        selectable: paths(&version["selectableFields"]),
        columns: version["additionalPrinterColumns"].as_array().into_iter().flatten().map(column).collect(),
        schema,
        rules,
    }
}

/// Gives a schema the fields that every object has.
fn add_envelope(schema: &mut Value) {
    let version = "APIVersion defines the versioned schema of this representation of an object.";
    let kind = "Kind is a string value representing the REST resource this object represents.";
    schema["properties"]["apiVersion"] = json!({"type": "string", "description": version});
    schema["properties"]["kind"] = json!({"type": "string", "description": kind});
    schema["properties"]["metadata"] = OBJECT_META.clone();
}

fn column(declared: &Value) -> Column {
    let text = |key: &str| declared[key].as_str().unwrap_or_default().to_owned();
    Column {
        name: text("name"),
        type_: text("type"),
        description: text("description"),
        priority: declared["priority"].as_i64().unwrap_or_default(),
        path: format!("${}", text("jsonPath")),
    }
}

//! What a reading of the folder asks for: objects, each in one file, and what is wrong with which file.
//!
//! In: a reading, and what we remember of earlier ones. Out: the desired set. A file that cannot be read keeps
//! the objects it last held; an object in two files is an error of both and stays as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use schemas::{
    Digest,
    manifest::{self, Document, ManifestError},
    manifest_source::{FileProblem, InventoryEntry},
    validation::structural,
};

use crate::folder::Folder;

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for a kind without.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One object that a file asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The file, below the folder.
    pub file: String,
    /// What the file says of it, with places.
    pub document: Document,
    /// Of the object as it stands in the file, and of its local inputs.
    pub digest: Digest,
}

/// What the folder asks for.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// What is to be applied.
    pub objects: BTreeMap<ObjectId, Wanted>,
    /// Objects that stay as they are until their files are mended.
    pub held: BTreeSet<ObjectId>,
    /// Files whose present content is not known: what the inventory says they hold is held, too.
    pub broken: BTreeSet<String>,
    /// What is wrong.
    pub problems: Vec<FileProblem>,
    /// True when no file holds anything.
    pub is_empty: bool,
}

/// What each file last held, for the time when it does not parse.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    last_good: BTreeMap<String, (Digest, Vec<Document>)>,
}

/// Whether the kind lives in a namespace; none for a kind that the server does not serve.
pub type Scope<'a> = &'a dyn Fn(&str, &str) -> Option<bool>;

/// Decides what `folder` asks for.
pub fn decide(memory: &mut Memory, folder: &Folder, namespace: &str, scope: Scope<'_>) -> Desired {
    let mut desired = Desired { is_empty: true, ..Desired::default() };
    memory.last_good.retain(|file, _| folder.files.contains_key(file));
    let mut owners: BTreeMap<ObjectId, Vec<Wanted>> = BTreeMap::new();
    for (file, content) in &folder.files {
        for document in documents(memory, file, content, &mut desired) {
            desired.is_empty = false;
            match identify(&document, namespace, scope) {
                Ok(id) => {
                    let digest = Digest::of(document.object.to_string().as_bytes());
                    owners.entry(id).or_default().push(Wanted { file: file.clone(), document, digest });
                }
                Err(error) => {
                    desired.problems.push(problem(file, &error));
                    desired.broken.insert(file.clone());
                }
            }
        }
    }
    for (id, mut wanted) in owners {
        if wanted.len() == 1 {
            desired.objects.extend(wanted.pop().map(|only| (id, only)));
        } else {
            desired.problems.extend(duplicates(&id, &wanted));
            desired.held.insert(id);
        }
    }
    desired.problems.sort();
    desired
}

/// What the file holds, or held when it was last in order.
fn documents(
    memory: &mut Memory,
    file: &str,
    content: &Result<Vec<u8>, String>,
    desired: &mut Desired,
) -> Vec<Document> {
    let errors = match content {
        Err(reason) => vec![FileProblem { file: file.to_owned(), line: None, column: None, message: reason.clone() }],
        Ok(bytes) => {
            let digest = Digest::of(bytes);
            if let Some((_, documents)) = memory.last_good.get(file).filter(|(known, _)| *known == digest) {
                return documents.clone();
            }
            let text = manifest::decode(file, bytes.clone()).map_err(|error| vec![error]);
            match text.and_then(|text| manifest::parse(file, &text)) {
                Ok(documents) => {
                    memory.last_good.insert(file.to_owned(), (digest, documents.clone()));
                    return documents;
                }
                Err(errors) => errors.iter().map(|error| problem(file, error)).collect(),
            }
        }
    };
    desired.problems.extend(errors);
    desired.broken.insert(file.to_owned());
    memory.last_good.get(file).map(|(_, documents)| documents.clone()).unwrap_or_default()
}

fn identify(document: &Document, namespace: &str, scope: Scope<'_>) -> Result<ObjectId, ManifestError> {
    let (api_version, kind) = (document.api_version.clone(), document.kind.clone());
    let Some(name) = document.name.clone() else {
        let error = document.error("metadata.name", "Required value");
        return Err(error.with_help("an object that follows a file needs a name that stays, not a generateName"));
    };
    let is_namespaced = scope(&api_version, &kind)
        .or_else(|| structural::is_namespaced(&kind))
        .ok_or_else(|| document.error("kind", format!("the server has no kind `{kind}` in `{api_version}`")))?;
    let namespace = if is_namespaced { document.namespace.as_deref().unwrap_or(namespace) } else { "" };
    Ok(ObjectId { api_version, kind, namespace: namespace.to_owned(), name })
}

fn duplicates<'a>(id: &'a ObjectId, wanted: &'a [Wanted]) -> impl Iterator<Item = FileProblem> + 'a {
    wanted.iter().map(move |one| {
        let others: BTreeSet<&str> =
            wanted.iter().map(|other| other.file.as_str()).filter(|file| *file != one.file).collect();
        let places = match others.into_iter().collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "another document of this file".to_owned(),
            files => files,
        };
        let message = format!("{id} stands in {places} too; it stays as it is until one of them is taken out");
        problem(&one.file, &one.document.error("metadata.name", message))
    })
}

/// An error as the status of a source tells it.
pub(crate) fn problem(file: &str, error: &ManifestError) -> FileProblem {
    let number = |place: Option<usize>| place.and_then(|place| u32::try_from(place).ok());
    let field = error.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
    let help = error.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    FileProblem {
        file: file.to_owned(),
        line: number(error.line),
        column: number(error.column),
        message: format!("{field}{}{help}", error.message),
    }
}

impl From<&InventoryEntry> for ObjectId {
    fn from(entry: &InventoryEntry) -> Self {
        Self {
            api_version: entry.api_version.clone(),
            kind: entry.kind.clone(),
            namespace: entry.namespace.clone(),
            name: entry.name.clone(),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.to_lowercase(), self.name)?;
        if self.namespace.is_empty() { Ok(()) } else { write!(f, " in {}", self.namespace) }
    }
}

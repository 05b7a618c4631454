//! Manifests: files, folders and stdin become documents, each knowing where in which text it stands, so that
//! whoever refuses a field later, the server included, can be shown with line, column and caret.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use kube::core::Status;
use schemas::{
    limits::MANIFEST_BYTES_MAX,
    manifest::{self, ManifestError},
};
use serde_json::Value;

use crate::{
    errors::{Diagnosis, Error, Result},
    kinds::{Kind, Kinds},
};

/// Endings of the files that a folder is searched for.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// Folders inside folders; deeper is a loop of links.
const DEPTH_MAX: usize = 32;

/// One object of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) parsed: manifest::Document,
    /// Relative paths in it start here.
    pub(crate) folder: PathBuf,
    text: Arc<str>,
}

/// Reads everything that the arguments name. All that is wrong in any file is told at once.
pub(crate) fn load(arguments: &[String]) -> Result<Vec<Document>> {
    match load_what_parses(arguments)? {
        (documents, wrong) if wrong.is_empty() => Ok(documents),
        (_, wrong) => Err(Error::Manifests(wrong)),
    }
}

/// The documents that parse, and all that is wrong with the others.
pub(crate) fn load_what_parses(arguments: &[String]) -> Result<(Vec<Document>, Vec<Diagnosis>)> {
    let mut documents = Vec::new();
    let mut wrong = Vec::new();
    for argument in arguments {
        for (name, folder, bytes) in files(argument)? {
            match parse(&name, &folder, bytes) {
                Ok(found) => documents.extend(found),
                Err(found) => wrong.extend(found),
            }
        }
    }
    if documents.is_empty() && wrong.is_empty() {
        let message = format!("no object found in {}", arguments.join(", "));
        let hint = Some("a manifest ends in .yaml, .yml or .json and holds apiVersion, kind and metadata".to_owned());
        return Err(Error::Invalid { message, hint });
    }
    Ok((documents, wrong))
}

/// The one object of a text that a person has edited, called `name` in messages.
pub(crate) fn edited(name: &str, text: &str) -> Result<Document> {
    let mut documents = parse(name, Path::new(""), text.as_bytes().to_vec()).map_err(Error::Manifests)?;
    match documents.len() {
        1 => Ok(documents.remove(0)),
        count => Err(Error::invalid(format!("{name}: it has {count} objects; leave the one that it had"))),
    }
}

/// Name, folder and bytes of each file that an argument means.
fn files(argument: &str) -> Result<Vec<(String, PathBuf, Vec<u8>)>> {
    // One byte beyond the limit is enough to see that it is passed.
    let limit = MANIFEST_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    if argument == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(Error::file("read", "stdin"))?;
        return Ok(vec![("<stdin>".to_owned(), PathBuf::new(), bytes)]);
    }
    let path = Path::new(argument);
    let mut paths = Vec::new();
    if path.is_dir() {
        walk(path, 0, &mut paths)?;
        paths.sort();
    } else {
        paths.push(path.to_owned());
    }
    let read = |file: PathBuf| {
        let mut bytes = Vec::new();
        let opened = fs::File::open(&file).map_err(Error::file("read", &file))?;
        opened.take(limit).read_to_end(&mut bytes).map_err(Error::file("read", &file))?;
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        Ok((file.display().to_string(), folder, bytes))
    };
    paths.into_iter().map(read).collect()
}

/// Manifests in a folder and the folders in it; hidden ones are not looked at.
fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Error::invalid(format!("{}: folders nest more than {DEPTH_MAX} deep", folder.display())));
    }
    for entry in fs::read_dir(folder).map_err(Error::file("read", folder))? {
        let path = entry.map_err(Error::file("read", folder))?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_manifest = path.extension().and_then(|e| e.to_str()).is_some_and(|ending| ENDINGS.contains(&ending));
        if is_hidden {
            continue;
        }
        if path.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if is_manifest {
            files.push(path);
        }
    }
    Ok(())
}

/// The documents of one file, or all that is wrong with it.
fn parse(name: &str, folder: &Path, bytes: Vec<u8>) -> Result<Vec<Document>, Vec<Diagnosis>> {
    let text = manifest::decode(name, bytes).map_err(|error| vec![shown(error, None)])?;
    let text = Arc::<str>::from(text);
    let parsed = manifest::parse(name, &text)
        .map_err(|errors| errors.into_iter().map(|error| shown(error, Some(&text))).collect::<Vec<_>>())?;
    let documents: Vec<Document> =
        parsed.into_iter().map(|parsed| Document { parsed, folder: folder.to_owned(), text: text.clone() }).collect();
    Ok(documents)
}

/// All that is wrong with an object that stands in no file.
pub(crate) fn check_made_up(object: &Value) -> Result<()> {
    let wrong = manifest::parse("", &object.to_string()).err().unwrap_or_default();
    let shown = |error: ManifestError| Diagnosis { source: None, label: None, ..shown(error, None) };
    if wrong.is_empty() { Ok(()) } else { Err(Error::Manifests(wrong.into_iter().map(shown).collect())) }
}

/// For a person, with the line and a caret where there is a text to show.
pub(crate) fn shown(error: ManifestError, text: Option<&Arc<str>>) -> Diagnosis {
    let message = match &error.field {
        Some(field) => format!("{field}: {}", error.message),
        None => error.message,
    };
    let label = error.span.filter(|_| text.is_some()).map(|span| (span.start, span.len(), String::new()));
    let source = Some((error.file, text.cloned().unwrap_or_else(|| Arc::from(""))));
    Diagnosis { message, help: error.help, source, label }
}

impl Document {
    /// The object.
    pub(crate) fn object(&self) -> &Value {
        &self.parsed.object
    }

    /// `file:line` of its first line.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.parsed.file, self.parsed.line)
    }

    /// `metadata.name`; empty when the server shall generate one.
    pub(crate) fn name(&self) -> &str {
        self.parsed.name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`, if the document says one.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.parsed.namespace.as_deref()
    }

    /// `apiVersion` and `kind`.
    pub(crate) fn type_(&self) -> (&str, &str) {
        (&self.parsed.api_version, &self.parsed.kind)
    }

    /// `job.processdistro.dev/x`, without asking a server for the kind.
    pub(crate) fn full_name(&self) -> String {
        let (api_version, kind) = self.type_();
        match api_version.split_once('/') {
            Some((group, _)) => format!("{}.{group}/{}", kind.to_lowercase(), self.name()),
            None => format!("{}/{}", kind.to_lowercase(), self.name()),
        }
    }

    /// The kind as the server serves it.
    pub(crate) fn kind<'k>(&self, kinds: &'k Kinds) -> Result<&'k Kind> {
        let (api_version, kind) = self.type_();
        kinds.of_manifest(api_version, kind).ok_or_else(|| {
            let nearest = kinds.nearest_to(kind);
            let help = nearest.map(|known| {
                format!("did you mean `kind: {}` of `apiVersion: {}`?", known.resource.kind, known.resource.api_version)
            });
            let field = if nearest.is_some_and(|known| known.resource.kind == kind) { "apiVersion" } else { "kind" };
            Error::Manifests(vec![self.diagnosis(
                field,
                format!("the server has no kind `{kind}` in `{api_version}`"),
                help,
            )])
        })
    }

    /// A document without a name cannot be applied or deleted.
    pub(crate) fn check_name(&self) -> Option<Diagnosis> {
        let help = "apply needs a name that stays; `pdctl create` makes one up from metadata.generateName".to_owned();
        let is_nameless = self.name().is_empty();
        is_nameless.then(|| self.diagnosis("metadata", "metadata.name: Required value".to_owned(), Some(help)))
    }

    /// Something wrong with a field, shown where it stands; or where the nearest thing around it stands.
    pub(crate) fn diagnosis(&self, field: &str, message: String, help: Option<String>) -> Diagnosis {
        let error = ManifestError { field: None, help, ..self.parsed.error(field, message) };
        shown(error, Some(&self.text))
    }

    /// A refusal by the server, each cause shown in the manifest; absent when it speaks of no field.
    pub(crate) fn refusal(&self, status: &Status) -> Option<Vec<Diagnosis>> {
        let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        let of_fields: Vec<Diagnosis> = causes
            .iter()
            .filter(|cause| status.code == 422 && !cause.field.is_empty())
            .map(|cause| self.diagnosis(&cause.field, format!("{}: {}", cause.field, cause.message), None))
            .collect();
        if !of_fields.is_empty() {
            return Some(of_fields);
        }
        if !matches!(status.code, 400 | 413 | 422) {
            return None;
        }
        let strict: Vec<Diagnosis> = strict_fields(&status.message)
            .map(|(problem, field)| self.diagnosis(field, format!("{problem} `{field}`"), None))
            .collect();
        Some(if strict.is_empty() { vec![self.diagnosis("", status.message.clone(), None)] } else { strict })
    }
}

/// The problems in Kubernetes' `strict decoding error: unknown field "a.b", duplicate field "c"`.
fn strict_fields(message: &str) -> impl Iterator<Item = (&'static str, &str)> {
    ["unknown field", "duplicate field"].into_iter().flat_map(move |problem| {
        message.match_indices(problem).filter_map(move |(at, _)| {
            let rest = message[at + problem.len()..].trim_start().strip_prefix('"')?;
            rest.split('"').next().map(|field| (problem, field))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_errors_name_their_fields() {
        let message = r#"Job in version "v1" cannot be handled: strict decoding error: unknown field "spec.x", duplicate field "kind""#;
        let found: Vec<_> = strict_fields(message).collect();
        assert_eq!(found, [("unknown field", "spec.x"), ("duplicate field", "kind")]);
    }

    #[test]
    fn a_servers_field_is_shown_where_it_stands() {
        let text = "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {name: x}\nspec:\n  task:\n    name: noop\n    \
                    params:\n      width: -1\n";
        let documents = parse("job.yaml", Path::new(""), text.into()).expect("a job");
        let shown = documents[0].diagnosis("spec.task.params.width", "too small".to_owned(), None).render(false);
        assert!(shown.contains("job.yaml:8:14"), "{shown}");
        let shown = documents[0].diagnosis("spec.task.params.height", "missing".to_owned(), None).render(false);
        assert!(shown.contains("job.yaml:7:5"), "{shown}");
    }

    #[test]
    fn everything_wrong_with_a_file_is_told() {
        let wrong = parse("x.yaml", Path::new(""), "kind: Job\nspec: {}\n".into()).expect_err("no identity");
        let messages: Vec<&str> = wrong.iter().map(|d| d.message.as_str()).collect();
        assert!(messages.iter().any(|m| m.starts_with("apiVersion")), "{messages:?}");
        assert!(messages.iter().any(|m| m.starts_with("metadata.name")), "{messages:?}");
    }
}

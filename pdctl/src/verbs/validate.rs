//! `pdctl validate`: manifests, checked without a server, all that is wrong at once.

use crate::{
    errors::{Diagnosis, Error, Result},
    manifests::{self, Document},
    output,
    verbs::apply,
};

const EXAMPLES: &str = "\
What only the server knows (whether a Task exists, whether params fit its schema) is checked by \
`pdctl apply --dry-run=server`.

Examples:
  pdctl validate -f job.yaml
  pdctl validate manifests/                      # -f may be left out
  pdctl validate -q manifests/ && git commit";

/// What to check.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (searched for *.yaml, *.yml, *.json), or `-` for stdin
    #[arg(value_name = "FILE", required_unless_present = "filename")]
    files: Vec<String>,
    /// The same, as `apply` takes them
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<String>,
    /// Print nothing about what is valid
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb. Every error of every file is told, and what is valid beside it.
pub(crate) fn run(args: &Args, namespace: Option<&str>) -> Result<()> {
    let files: Vec<String> = args.filename.iter().chain(&args.files).cloned().collect();
    let (documents, mut wrong) = manifests::load_what_parses(&files)?;
    let (names, inputs) = (check_names(&documents, namespace), missing_inputs(&documents));
    wrong.extend(names);
    wrong.extend(inputs);
    if wrong.is_empty() && !args.quiet {
        for document in &documents {
            output::print_line(&format!("{} {} valid", document.place(), label(document)))?;
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::Manifests(wrong)) }
}

fn label(document: &Document) -> String {
    match document.name() {
        "" => format!("{} (with a generated name)", document.full_name().trim_end_matches('/')),
        _ => document.full_name(),
    }
}

/// Names given twice. A name may be absent: `create` makes one up.
fn check_names(documents: &[Document], namespace: Option<&str>) -> Vec<Diagnosis> {
    let named: Vec<Document> = documents.iter().filter(|document| !document.name().is_empty()).cloned().collect();
    match apply::check_names(&named, namespace) {
        Err(Error::Manifests(wrong)) => wrong,
        _ => Vec::new(),
    }
}

/// Inputs that are files, and are not there.
fn missing_inputs(documents: &[Document]) -> Vec<Diagnosis> {
    let mut wrong = Vec::new();
    for document in documents {
        for input in document.parsed.local_inputs() {
            let path = document.folder.join(&input.path);
            let problem = match std::fs::metadata(&path) {
                Ok(found) if found.is_file() => continue,
                Ok(_) => "it is not a file".to_owned(),
                Err(error) => crate::errors::io_reason(&error),
            };
            let message = format!("{}: cannot read the input `{}`: {problem}", input.field, path.display());
            let help = "an input is the path of a local file, relative to the manifest, or the digest of an artifact";
            wrong.push(document.diagnosis(&input.field, message, Some(help.to_owned())));
        }
    }
    wrong
}

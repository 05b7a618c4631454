//! `pdctl edit`: an object in an editor; what was changed in it is sent, and what the server refuses is shown in
//! the editor again.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Map, Value, json};

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Diagnosis, Error, Result},
    kinds::{self, Kind, Kinds},
    manifests, output,
    verbs::get,
    writes,
};

const EXAMPLES: &str = "\
The editor is $PDCTL_EDITOR, $KUBE_EDITOR, $VISUAL or $EDITOR, else vi.

Examples:
  pdctl edit job/mandelbrot
  EDITOR='code --wait' pdctl edit job/mandelbrot";

/// Where the editor's name may stand, the first that is set counts.
const VARIABLES: [&str; 4] = ["PDCTL_EDITOR", "KUBE_EDITOR", "VISUAL", "EDITOR"];
/// Lines that are ours and not the object's.
const HEAD: &str = "# Save and close to send what was changed; leave it as it is, or empty, to change nothing.\n";

/// What to edit.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// KIND/NAME or KIND NAME
    #[arg(required = true, num_args = 1..=2, value_name = "KIND/NAME", add = crate::complete::objects())]
    words: Vec<String>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let cluster = Cluster::connect(global).await?;
    let kinds = Kinds::for_words(&cluster, &args.words).await?;
    let targets = kinds::targets(&kinds, &args.words)?;
    let [target] = targets.as_slice() else { return Err(Error::usage("edit takes one object")) };
    let [name] = target.names.as_slice() else { return Err(Error::usage("edit takes one name: KIND/NAME")) };
    let old = get::one(&cluster, target.kind, name).await?;
    let full = format!("{}/{name}", target.kind.full_name());
    let shown = editable(old.clone());
    let mut head = HEAD.to_owned();
    let mut text = output::yaml_text(&shown)?;
    let mut refused = Vec::new();
    loop {
        let edited = edit(&head, &text)?;
        if edited.trim().is_empty() || edited == text {
            // Text that was refused and is left as it is is given up, not accepted.
            if refused.is_empty() {
                output::note("nothing changed");
                return Ok(());
            }
            return Err(Error::Manifests(refused));
        }
        match send(&cluster, target.kind, name, &old, &shown, &edited).await {
            Ok(true) => return output::print_line(&format!("{full} edited")),
            Ok(false) => {
                output::note("nothing changed");
                return Ok(());
            }
            Err(Error::Manifests(wrong)) => {
                head = HEAD.to_owned() + &as_comments(&wrong);
                text = edited;
                refused = wrong;
            }
            Err(error) => return Err(kept(&edited, error)),
        }
    }
}

/// Sends what was changed; false when that is nothing.
async fn send(cluster: &Cluster, kind: &Kind, name: &str, old: &Value, shown: &Value, edited: &str) -> Result<bool> {
    let document = manifests::edited("edited.yaml", edited)?;
    let Some(mut patch) = difference(shown, document.object()) else { return Ok(false) };
    // Somebody else's change in the meantime is a conflict, not something to write over.
    patch["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    match writes::merge(cluster, kind, &cluster.namespace, name, &patch).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) => Err(match document.refusal(&status) {
            Some(found) => Error::Manifests(found),
            None => Error::Refused { doing: format!("cannot change {name}"), status, hint: None },
        }),
        Err(error) => Err(cluster.failed(format!("cannot change {name}"))(error)),
    }
}

/// What a person may change: without the status and the server's bookkeeping.
fn editable(object: Value) -> Value {
    let mut object = output::identity_first(output::without_managed_fields(object));
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"] {
            metadata.shift_remove(field);
        }
    }
    object
}

/// The merge patch that makes the one the other; absent when they are equal.
fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for (field, value) in after {
        match before.get(field) {
            Some(old) => patch.extend(difference(old, value).map(|change| (field.clone(), change))),
            None => patch.extend([(field.clone(), value.clone())]),
        }
    }
    let removed = before.keys().filter(|field| !after.contains_key(*field));
    patch.extend(removed.map(|field| (field.clone(), Value::Null)));
    Some(json!(patch))
}

/// Opens the editor on a text; answers what was saved, without the lines that are ours.
fn edit(head: &str, text: &str) -> Result<String> {
    let failed = |source| Error::File { doing: "edit", path: "a temporary file".into(), source };
    let mut file = tempfile::Builder::new().prefix("pdctl-").suffix(".yaml").tempfile().map_err(failed)?;
    file.write_all(head.as_bytes()).and_then(|()| file.write_all(text.as_bytes())).map_err(failed)?;
    file.flush().map_err(failed)?;
    let editor = VARIABLES.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // Through a shell, since an editor may come with flags; the file is an argument of its own.
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file.path())
        .stdin(Stdio::inherit())
        .status()
        .map_err(|source| Error::File { doing: "start the editor", path: editor.clone().into(), source })?;
    if !status.success() {
        return Err(Error::invalid(format!("the editor `{editor}` ended with {status}; nothing was changed")));
    }
    let saved = std::fs::read_to_string(file.path()).map_err(failed)?;
    Ok(without_comments(&saved))
}

/// Without the comments at the top.
fn without_comments(text: &str) -> String {
    text.lines().skip_while(|line| line.starts_with('#')).fold(String::new(), |text, line| text + line + "\n")
}

fn as_comments(wrong: &[Diagnosis]) -> String {
    let mut comments = String::new();
    for line in wrong.iter().map(|diagnosis| diagnosis.render(false)).collect::<Vec<_>>().join("\n").lines() {
        let _ = writeln!(comments, "# {line}");
    }
    comments
}

/// An edit that cannot be stored is not lost.
fn kept(edited: &str, error: Error) -> Error {
    let file = tempfile::Builder::new().prefix("pdctl-edit-").suffix(".yaml").disable_cleanup(true).tempfile();
    if let Ok(mut file) = file
        && file.write_all(edited.as_bytes()).is_ok()
    {
        output::note(&format!("what was edited is kept in {}", file.path().display()));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_changed_is_sent() {
        let old =
            json!({"metadata": {"name": "x", "labels": {"a": "1", "b": "2"}}, "spec": {"list": [1, 2], "same": true}});
        let new =
            json!({"metadata": {"name": "x", "labels": {"a": "1"}}, "spec": {"list": [1], "same": true, "new": {}}});
        let expected = json!({"metadata": {"labels": {"b": null}}, "spec": {"list": [1], "new": {}}});
        assert_eq!(difference(&old, &new), Some(expected));
        assert_eq!(difference(&old, &old), None);
    }

    #[test]
    fn a_person_sees_what_a_person_may_change() {
        let object =
            json!({"metadata": {"name": "x", "uid": "u", "managedFields": []}, "kind": "Job", "status": {"a": 1}});
        assert_eq!(editable(object), json!({"kind": "Job", "metadata": {"name": "x"}}));
        assert_eq!(
            without_comments("# ours\n# error: x\nkind: Job # theirs\n# kept\n"),
            "kind: Job # theirs\n# kept\n"
        );
    }
}

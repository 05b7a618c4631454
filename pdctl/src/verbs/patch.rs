//! `pdctl patch`: a few fields of one object.

use serde_json::Value;

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    follow,
    kinds::{self, Kinds},
    output::{self, Format},
    writes::{self, Form, How},
};

const EXAMPLES: &str = "\
Examples:
  pdctl patch job/mandelbrot -p '{spec: {parallelism: 8}}'
  pdctl patch job/mandelbrot --type json -p '[{op: remove, path: /spec/parallelism}]'
  pdctl patch node/node-1 --patch-file labels.yaml --dry-run";

/// What to patch, and with what.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// KIND/NAME or KIND NAME
    #[arg(required = true, num_args = 1..=2, value_name = "KIND/NAME", add = crate::complete::objects())]
    words: Vec<String>,
    /// The patch, as YAML or JSON
    #[arg(short, long, value_name = "PATCH", required_unless_present = "patch_file")]
    patch: Option<String>,
    /// A file that holds it; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "patch")]
    patch_file: Option<String>,
    /// What the patch means
    #[arg(long = "type", value_name = "FORM", value_enum, default_value = "merge")]
    form: Form,
    /// Let the server check it and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the object: json, yaml, name, jsonpath=…
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Runs the verb.
pub(crate) async fn run(args: Args, global: &Global) -> Result<()> {
    let patch = read(&args)?;
    let cluster = Cluster::connect(global).await?;
    let kinds = Kinds::for_words(&cluster, &args.words).await?;
    let targets = kinds::targets(&kinds, &args.words)?;
    let [target] = targets.as_slice() else { return Err(Error::usage("patch takes one object")) };
    let [name] = target.names.as_slice() else { return Err(Error::usage("patch takes one name: KIND/NAME")) };
    let how = How { dry_run: args.dry_run, force: false };
    let full = format!("{}/{name}", target.kind.full_name());
    // What is stored before is asked for only to say whether the patch has changed it: it may be forbidden to read.
    let before = target.kind.api(&cluster, Some(&cluster.namespace)).get_metadata(name).await.ok();
    let patched = match writes::patch(&cluster, target.kind, &cluster.namespace, name, &patch, args.form, how).await {
        Ok(patched) => patched,
        Err(kube::Error::Api(status)) if status.code == 404 => {
            return Err(follow::absent(&cluster, target.kind, &cluster.namespace, name).await);
        }
        Err(error) => return Err(cluster.failed(format!("cannot patch {full}"))(error)),
    };
    let before = before.and_then(|before| before.metadata.resource_version);
    let note = match before.as_deref() {
        _ if args.dry_run => " (server dry run)",
        Some(before) if patched["metadata"]["resourceVersion"] == before => " (no change)",
        _ => "",
    };
    match &args.output {
        None => output::print_line(&format!("{full} patched{note}")),
        Some(format) => output::objects(format, vec![output::without_managed_fields(patched)], false),
    }
}

/// The patch as JSON, of the shape that its form wants.
fn read(args: &Args) -> Result<Value> {
    let (name, text) = match (&args.patch, args.patch_file.as_deref()) {
        (Some(patch), _) => ("--patch".to_owned(), patch.clone()),
        (None, Some("-")) => {
            let text =
                std::io::read_to_string(std::io::stdin()).map_err(Error::file("read the patch from", "stdin"))?;
            ("<stdin>".to_owned(), text)
        }
        (None, Some(file)) => {
            (file.to_owned(), std::fs::read_to_string(file).map_err(Error::file("read the patch from", file))?)
        }
        (None, None) => return Err(Error::usage("give the patch with -p or --patch-file")),
    };
    parse(&name, &text, args.form)
}

fn parse(name: &str, text: &str, form: Form) -> Result<Value> {
    let patch: Value = serde_yaml::from_str(text).map_err(|error| Error::Invalid {
        message: format!("{name}: the patch is neither YAML nor JSON: {error}"),
        hint: Some("write it like '{spec: {parallelism: 8}}'".to_owned()),
    })?;
    let (fits, wanted) = match form {
        Form::Json => (patch.is_array(), "a list of operations like '[{op: remove, path: /spec/parallelism}]'"),
        Form::Merge | Form::Strategic => (patch.is_object(), "a mapping like '{spec: {parallelism: 8}}'"),
    };
    if fits { Ok(patch) } else { Err(Error::usage(format!("{name}: a patch of this --type is {wanted}"))) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_has_the_shape_of_its_form() {
        let merge = parse("-p", "{spec: {parallelism: 8}}", Form::Merge).expect("a patch");
        assert_eq!(merge, json!({"spec": {"parallelism": 8}}));
        assert!(parse("-p", "[{op: remove, path: /spec/x}]", Form::Json).is_ok());
        assert_eq!(parse("-p", "[1]", Form::Merge).map_err(|error| error.exit_code()), Err(2));
        assert_eq!(parse("-p", "{a: 1}", Form::Json).map_err(|error| error.exit_code()), Err(2));
        assert_eq!(parse("-p", "{a: [", Form::Merge).map_err(|error| error.exit_code()), Err(1));
    }
}

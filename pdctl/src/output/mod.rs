//! What a verb prints: results on stdout in the form that `-o` asks for, everything else on stderr.

mod columns;
mod jsonpath;

use std::{
    io::{self, IsTerminal as _, Write as _},
    str::FromStr,
};

use serde_json::{Value, json};

pub(crate) use columns::Columns;
pub(crate) use jsonpath::Template;

use crate::{
    errors::{Error, Result},
    text,
};

/// The form that `-o` asks for.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    /// More columns.
    Wide,
    Json,
    Yaml,
    /// `job.processdistro.dev/x`
    Name,
    JsonPath(Template),
    Columns(Columns),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (form, argument) = text.split_once('=').map_or((text, None), |(form, argument)| (form, Some(argument)));
        match (form, argument) {
            ("wide", None) => Ok(Self::Wide),
            ("json", None) => Ok(Self::Json),
            ("yaml", None) => Ok(Self::Yaml),
            ("name", None) => Ok(Self::Name),
            ("jsonpath", Some(template)) => Template::parse(template).map(Self::JsonPath),
            ("custom-columns", Some(columns)) => Columns::parse(columns).map(Self::Columns),
            ("jsonpath" | "custom-columns", None) => Err(format!("write it with its argument: {form}=…")),
            _ => Err("one of wide, json, yaml, name, jsonpath=TEMPLATE, custom-columns=NAME:.path,…".to_owned()),
        }
    }
}

/// Writes to stdout.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Error::stdout)
}

/// Writes a line to stdout.
pub(crate) fn print_line(line: &str) -> Result<()> {
    print(&format!("{line}\n"))
}

/// Writes a line to stderr. A closed stderr is nobody's loss.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether animation is welcome on stderr: a terminal that can move its cursor.
pub(crate) fn stderr_is_live() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colour is welcome on stderr, see <https://no-color.org>.
pub(crate) fn stderr_has_colour() -> bool {
    stderr_is_live() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether colour is welcome on stdout.
pub(crate) fn stdout_has_colour() -> bool {
    let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let can = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    stdout_is_terminal() && is_wanted && can
}

/// Whether a person looks at stdout.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints objects as a whole: one as itself, several as a `List`.
pub(crate) fn objects(format: &Format, objects: Vec<Value>, as_list: bool) -> Result<()> {
    let objects: Vec<Value> = objects.into_iter().map(identity_first).collect();
    let whole = || match (as_list, objects.as_slice()) {
        (false, [one]) => one.clone(),
        _ => json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": objects}),
    };
    match format {
        Format::Json => print_line(&json_text(&whole())),
        Format::Yaml => print(&yaml_text(&whole())?),
        Format::JsonPath(template) => print(&text::plain(&template.render(&whole()))),
        Format::Columns(columns) => print(&columns.render(&objects)),
        Format::Name | Format::Wide => {
            print(&objects.iter().map(|object| name_line(object) + "\n").collect::<String>())
        }
    }
}

/// `job.processdistro.dev/x` of an object.
fn name_line(object: &Value) -> String {
    let field = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = field("/kind").to_lowercase();
    match field("/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", field("/metadata/name")),
        None => format!("{kind}/{}", field("/metadata/name")),
    }
}

/// Indented JSON.
pub(crate) fn json_text(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("invariant: a JSON value always serialises")
}

/// YAML. Its writer escapes control characters.
pub(crate) fn yaml_text(value: &Value) -> Result<String> {
    serde_yaml::to_string(value).map_err(|error| Error::invalid(format!("cannot write the object as YAML: {error}")))
}

/// As a person writes a manifest: apiVersion and kind above everything else.
pub(crate) fn identity_first(object: Value) -> Value {
    let Value::Object(mut fields) = object else { return object };
    let mut ordered = serde_json::Map::new();
    for field in ["apiVersion", "kind", "metadata"] {
        ordered.extend(fields.shift_remove(field).map(|value| (field.to_owned(), value)));
    }
    ordered.extend(fields);
    Value::Object(ordered)
}

/// Without the bookkeeping of server-side apply, which nobody reads.
pub(crate) fn without_managed_fields(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_parse_or_say_what_there_is() {
        assert!(matches!("wide".parse(), Ok(Format::Wide)));
        assert!(matches!("jsonpath={.a}".parse(), Ok(Format::JsonPath(_))));
        assert!(matches!("custom-columns=A:.a,B:.b".parse(), Ok(Format::Columns(_))));
        for wrong in ["xml", "jsonpath", "json=x", "custom-columns=A"] {
            assert!(wrong.parse::<Format>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_carry_their_group() {
        let job = json!({"apiVersion": "processdistro.dev/v1", "kind": "Job", "metadata": {"name": "x"}});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
        assert_eq!(name_line(&job), "job.processdistro.dev/x");
        assert_eq!(name_line(&node), "node/n");
    }
}

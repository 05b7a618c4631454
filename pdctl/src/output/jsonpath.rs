//! kubectl's JSONPath templates: text, `{.path}`, `{"literal"}` and `{range .path}…{end}`. The paths are
//! evaluated by `jsonpath-rust`; what is ours is the template around them and kubectl's looser spelling.

use std::fmt::Write as _;

use jsonpath_rust::JsonPath as _;
use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Path(String),
    Range(String, Vec<Part>),
}

impl Template {
    /// From the text after `jsonpath=`. A path without braces is taken as one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('{') {
            return Ok(Self(vec![Part::Path(standard_path(text)?)]));
        }
        let mut rest = text;
        let parts = parts(&mut rest, false)?;
        Ok(Self(parts))
    }

    /// What it says of a value; a path that leads nowhere says nothing.
    pub(crate) fn render(&self, value: &Value) -> String {
        let mut out = String::new();
        render(&self.0, value, &mut out);
        out
    }
}

/// All values that a path leads to.
pub(crate) fn query<'v>(value: &'v Value, standard_path: &str) -> Vec<&'v Value> {
    value.query(standard_path).unwrap_or_default()
}

/// Strings as they are, everything else as JSON.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn render(parts: &[Part], value: &Value, out: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(path) => {
                let found: Vec<String> = query(value, path).into_iter().map(text_of).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(path, body) => {
                for element in query(value, path) {
                    render(body, element, out);
                }
            }
        }
    }
}

/// Parts up to the end of the text, or up to `{end}` inside a range.
fn parts(rest: &mut &str, in_range: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    loop {
        let Some(open) = rest.find('{') else {
            if in_range {
                return Err("a {range} has no {end}".to_owned());
            }
            if !rest.is_empty() {
                parts.push(Part::Text((*rest).to_owned()));
            }
            return Ok(parts);
        };
        if open > 0 {
            parts.push(Part::Text(rest[..open].to_owned()));
        }
        let inner = &rest[open + 1..];
        let close = closing_brace(inner).ok_or_else(|| format!("`{{{inner}` has no closing brace"))?;
        *rest = &inner[close + 1..];
        let action = inner[..close].trim();
        match action {
            "end" if in_range => return Ok(parts),
            "end" => return Err("an {end} without its {range}".to_owned()),
            _ => parts.push(part(action, rest)?),
        }
    }
}

/// One `{action}`; a range reads on to its end.
fn part(action: &str, rest: &mut &str) -> Result<Part, String> {
    if let Some(path) = action.strip_prefix("range ") {
        return Ok(Part::Range(standard_path(path)?, parts(rest, true)?));
    }
    if action.starts_with('"') || action.starts_with('\'') {
        let quote = &action[..1];
        let literal = action[1..].strip_suffix(quote).ok_or_else(|| format!("`{action}` has no closing quote"))?;
        return Ok(Part::Text(literal.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"")));
    }
    standard_path(action).map(Part::Path)
}

/// Position of the brace that closes an action, not counting braces in quotes.
fn closing_brace(text: &str) -> Option<usize> {
    let mut quote = None;
    for (position, c) in text.char_indices() {
        match (quote, c) {
            (None, '}') => return Some(position),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

/// kubectl's spelling (`.metadata.labels.a\.b`, `items[*]`, `@.x`) in that of RFC 9535.
pub(crate) fn standard_path(path: &str) -> Result<String, String> {
    let trimmed = path.trim();
    let mut rest = trimmed.strip_prefix(['$', '@']).unwrap_or(trimmed);
    let mut standard = "$".to_owned();
    while let Some(first) = rest.chars().next() {
        match first {
            '[' => {
                let end = closing_bracket(rest).ok_or_else(|| format!("`{path}`: a bracket is not closed"))?;
                standard.push_str(&rest[..=end]);
                rest = &rest[end + 1..];
            }
            '.' if rest.starts_with("..") => {
                standard.push_str("..");
                rest = &rest[2..];
                rest = name_into(&mut standard, rest);
            }
            '.' if rest[1..].is_empty() || rest[1..].starts_with('[') => rest = &rest[1..],
            '.' => rest = name_into(&mut standard, &rest[1..]),
            _ => rest = name_into(&mut standard, rest),
        }
    }
    match Value::Null.query(&standard) {
        Ok(_) => Ok(standard),
        Err(_) => Err(format!("`{path}` is not a path; write it like .metadata.name or .items[*].status.state")),
    }
}

/// Moves one member name over, quoted; answers what is left.
fn name_into<'t>(standard: &mut String, text: &'t str) -> &'t str {
    let mut name = String::new();
    let mut characters = text.char_indices();
    let mut end = text.len();
    while let Some((position, c)) = characters.next() {
        match c {
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => {
                end = position;
                break;
            }
            c => name.push(c),
        }
    }
    match name.as_str() {
        "" => {}
        "*" => standard.push_str("[*]"),
        name => {
            let _ = write!(standard, "['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"));
        }
    }
    &text[end..]
}

/// Position of the bracket that closes the one at the start.
fn closing_bracket(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    for (position, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(position);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(template: &str) -> String {
        let value = json!({"metadata": {"name": "x", "labels": {"a.b/c": "dotted", "my-key": 1}}, "items": [
            {"name": "one", "status": {"conditions": [{"type": "Complete", "status": "True"}]}},
            {"name": "two", "status": {"conditions": []}}]});
        Template::parse(template).expect(template).render(&value)
    }

    #[test]
    fn templates_say_what_kubectls_say() {
        for (template, text) in [
            (".metadata.name", "x"),
            ("{.metadata.name}", "x"),
            ("{$.metadata.name}{\"\\n\"}", "x\n"),
            ("{.items[*].name}", "one two"),
            ("{.items[0].name}", "one"),
            ("{.items[-1:].name}", "two"),
            (
                "{range .items[*]}{.name}:{.status.conditions[?(@.type==\"Complete\")].status}{'\\n'}{end}",
                "one:True\ntwo:\n",
            ),
            ("{.metadata.labels.a\\.b/c}", "dotted"),
            ("{.metadata.labels.my-key}", "1"),
            ("{..name}", "x one two"),
            ("{.absent.field}", ""),
            ("name is {.metadata.name}!", "name is x!"),
            ("{.items[0].status}", "{\"conditions\":[{\"type\":\"Complete\",\"status\":\"True\"}]}"),
        ] {
            assert_eq!(shown(template), text, "{template}");
        }
    }

    #[test]
    fn broken_templates_are_refused() {
        for wrong in ["{.a", "{range .a}{.b}", "{end}", "{.a[}", "{\"x}", "{.a[?(]}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! From the server's Tables to lines on stdout.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::Args;
use crate::{
    age,
    errors::{Error, Result},
    output::Format,
    table::Table,
};

/// A page of a Table, as the server renders it.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerTable {
    #[serde(default)]
    pub(super) metadata: Value,
    #[serde(default)]
    column_definitions: Vec<Column>,
    #[serde(default)]
    pub(super) rows: Vec<Row>,
}

#[derive(Deserialize, Clone, Debug)]
pub(super) struct Column {
    name: String,
    #[serde(rename = "type", default)]
    type_: String,
    #[serde(default)]
    priority: i32,
}

#[derive(Deserialize, Clone, Debug)]
pub(super) struct Row {
    cells: Vec<Value>,
    #[serde(default)]
    pub(super) object: Value,
}

/// One table on its way to stdout.
pub(super) struct View<'a> {
    args: &'a Args,
    /// Prefix of the names when several kinds are printed.
    kind: Option<String>,
    columns: Vec<Column>,
    table: Option<Table>,
    has_header: bool,
    pub(super) rows: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(args: &'a Args, kind: Option<String>) -> Self {
        Self { args, kind, columns: Vec::new(), table: None, has_header: false, rows: 0 }
    }

    /// Adds the rows of a server's table; later ones may come without their columns.
    pub(super) fn add(&mut self, table: ServerTable) -> Result<()> {
        if self.columns.is_empty() {
            self.columns = table.column_definitions;
        }
        if self.columns.is_empty() && !table.rows.is_empty() {
            return Err(Error::Answer {
                doing: "cannot print the list".to_owned(),
                reason: "it is no Table".to_owned(),
            });
        }
        let is_wide = matches!(self.args.output, Some(Format::Wide));
        let shown: Vec<usize> =
            (0..self.columns.len()).filter(|&at| is_wide || self.columns[at].priority == 0).collect();
        let namespace_header = self.args.all_namespaces.then_some("namespace");
        let header = namespace_header.into_iter().chain(shown.iter().map(|&at| self.columns[at].name.as_str()));
        let lines = self.table.get_or_insert_with(|| Table::new(header));
        let now = Timestamp::now();
        for row in table.rows {
            let namespace = row.object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let cells = shown
                .iter()
                .map(|&at| cell(&self.columns[at], row.cells.get(at), self.kind.as_deref().filter(|_| at == 0), now));
            lines.push(namespace_header.map(|_| namespace).into_iter().chain(cells));
            self.rows += 1;
        }
        Ok(())
    }

    /// What is not printed yet, under the header if that is not printed yet.
    pub(super) fn flush(&mut self) -> String {
        let Some(table) = self.table.as_mut().filter(|_| self.rows > 0) else { return String::new() };
        let header = table.header_line();
        let lines = table.drain_lines();
        let is_first = !std::mem::replace(&mut self.has_header, true);
        let text = if is_first && !self.args.no_headers { header } else { String::new() };
        text + &lines
    }
}

/// The rows of a live table, in the order in which they came.
pub(super) struct Rows<'a> {
    args: &'a Args,
    table: ServerTable,
}

impl<'a> Rows<'a> {
    pub(super) fn new(args: &'a Args) -> Self {
        let table = ServerTable { metadata: Value::Null, column_definitions: Vec::new(), rows: Vec::new() };
        Self { args, table }
    }

    /// Puts rows in the place of those of the same objects; new ones at the end.
    pub(super) fn set(&mut self, table: ServerTable) {
        if self.table.column_definitions.is_empty() {
            self.table.column_definitions = table.column_definitions;
        }
        for row in table.rows {
            match self.table.rows.iter_mut().find(|known| known.is_of(&row)) {
                Some(known) => *known = row,
                None => self.table.rows.push(row),
            }
        }
    }

    /// Takes rows out.
    pub(super) fn remove(&mut self, table: &ServerTable) {
        self.table.rows.retain(|known| !table.rows.iter().any(|gone| known.is_of(gone)));
    }

    /// All of them, under their header.
    pub(super) fn render(&self) -> Result<String> {
        let mut view = View::new(self.args, None);
        view.add(self.table.clone())?;
        Ok(view.flush())
    }
}

impl Row {
    /// Whether both are of the same object.
    fn is_of(&self, other: &Self) -> bool {
        let identity = |row: &Self| {
            let metadata = &row.object["metadata"];
            (metadata["namespace"].clone(), metadata["name"].clone())
        };
        identity(self) == identity(other)
    }
}

/// One cell as a person reads it.
fn cell(column: &Column, value: Option<&Value>, kind: Option<&str>, now: Timestamp) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) if column.type_ == "date" => age::of_text(text, now),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    match kind {
        Some(kind) => format!("{kind}/{text}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_live_row_replaces_the_one_of_its_object() {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let args = Line::parse_from(["get", "jobs"]).args;
        let table = |rows: Value| -> ServerTable {
            serde_json::from_value(json!({"columnDefinitions": [{"name": "Name", "type": "string"},
                {"name": "State", "type": "string"}], "rows": rows}))
            .expect("a table")
        };
        let row = |name: &str, state: &str| json!({"cells": [name, state], "object": {"metadata": {"name": name}}});
        let mut rows = Rows::new(&args);
        rows.set(table(json!([row("a", "Running"), row("b", "Running")])));
        rows.set(table(json!([row("a", "Complete"), row("c", "Waiting")])));
        rows.remove(&table(json!([row("b", "Running")])));
        assert_eq!(rows.render().expect("rows"), "NAME   STATE\na      Complete\nc      Waiting\n");
    }

    #[test]
    fn cells_of_type_date_become_ages() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let column = |type_: &str| Column { name: "Age".to_owned(), type_: type_.to_owned(), priority: 0 };
        let then = json!("2026-01-01T00:00:00Z");
        assert_eq!(cell(&column("date"), Some(&then), None, now), "60s");
        assert_eq!(cell(&column("string"), Some(&then), None, now), "2026-01-01T00:00:00Z");
        assert_eq!(cell(&column("integer"), Some(&json!(3)), None, now), "3");
        assert_eq!(cell(&column("integer"), Some(&Value::Null), None, now), "");
        assert_eq!(
            cell(&column("string"), Some(&json!("x")), Some("job.processdistro.dev"), now),
            "job.processdistro.dev/x"
        );
    }
}

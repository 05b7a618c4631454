//! `-o custom-columns=NAME:.path,…`

use serde_json::Value;

use super::jsonpath;
use crate::table::Table;

/// The columns and their paths.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Columns(Vec<(String, String)>);

impl Columns {
    /// From the text after `custom-columns=`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(|column| {
                let (name, path) = column.split_once(':').ok_or_else(|| format!("`{column}` is not NAME:.path"))?;
                let path = path.trim().strip_prefix('{').and_then(|path| path.strip_suffix('}')).unwrap_or(path);
                Ok((name.to_owned(), jsonpath::standard_path(path)?))
            })
            .collect::<Result<_, String>>()
            .map(Self)
    }

    /// A table of the objects; what an object does not have is `<none>`.
    pub(crate) fn render(&self, objects: &[Value]) -> String {
        let mut table = Table::new(self.0.iter().map(|(name, _)| name));
        for object in objects {
            table.push(self.0.iter().map(|(_, path)| {
                let found: Vec<String> = jsonpath::query(object, path).into_iter().map(jsonpath::text_of).collect();
                if found.is_empty() { "<none>".to_owned() } else { found.join(",") }
            }));
        }
        table.render()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_show_their_paths() {
        let columns = Columns::parse("name:.metadata.name,done:.status.done").expect("columns");
        let objects = [json!({"metadata": {"name": "x"}, "status": {"done": 3}}), json!({"metadata": {"name": "y"}})];
        assert_eq!(columns.render(&objects), "NAME   DONE\nx      3\ny      <none>\n");
    }
}

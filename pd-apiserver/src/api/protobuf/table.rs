//! The table of messages, read from `messages.txt`.

use std::{collections::BTreeMap, sync::LazyLock};

/// How often a field's value stands in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    Map,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Boolean,
    Integer,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    /// Bytes that are JSON.
    Json,
    /// A message that is a list of texts and nothing else.
    Items,
    Message(&'static Message),
}

/// One field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// As in JSON.
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Whether a zero is something else than an absent value.
    pub(super) keeps_zero: bool,
    /// A name for `Type`; messages name each other.
    type_: &'static str,
}

/// Fields by their numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message(BTreeMap<u64, Field>);

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Field {}

static MESSAGES: LazyLock<BTreeMap<&'static str, Message>> = LazyLock::new(|| {
    let lines = include_str!("messages.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).map(|(name, fields)| (name, message(fields))).collect()
});

fn message(fields: &'static str) -> Message {
    let parsed = fields.split(' ').filter_map(|field| {
        let (number, rest) = field.split_once(':')?;
        let (name, type_) = rest.split_once('=').unwrap_or((rest, "s"));
        Some((number.parse().ok()?, declared(name, type_)))
    });
    Message(parsed.collect())
}

fn declared(name: &'static str, type_: &'static str) -> Field {
    let (type_, keeps_zero) = type_.strip_suffix('?').map_or((type_, false), |type_| (type_, true));
    let (shape, type_) = match (type_.strip_prefix('*'), type_.strip_prefix("{}")) {
        (Some(item), _) => (Shape::List, item),
        (None, Some(value)) => (Shape::Map, value),
        (None, None) => (Shape::One, type_),
    };
    Field { name, shape, keeps_zero, type_ }
}

/// A message by its name in the table.
pub(super) fn find(name: &str) -> Option<&'static Message> {
    MESSAGES.get(name)
}

impl Message {
    /// The field of a number.
    pub(super) fn field(&self, number: u64) -> Option<&Field> {
        self.0.get(&number)
    }
}

impl Field {
    /// What its values are.
    pub(super) fn type_(&self) -> Type {
        match self.type_ {
            "s" => Type::Text,
            "b" => Type::Boolean,
            "i" => Type::Integer,
            "y" => Type::Bytes,
            "Time" => Type::Time,
            "MicroTime" => Type::MicroTime,
            "Quantity" => Type::Quantity,
            "Json" => Type::Json,
            "Items" => Type::Items,
            name => Type::Message(find(name).expect("invariant: the table holds every message that it names")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_reads_and_every_message_is_there() {
        let lines = include_str!("messages.txt").lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let (name, fields) = line.split_once(' ').expect("a message has fields");
            let message = find(name).expect("a message");
            assert_eq!(message.0.len(), fields.split(' ').count(), "{name}");
            message.0.values().for_each(|field| {
                assert!(!field.name.is_empty() && field.type_() != Type::Items || field.type_ == "Items");
            });
        }
    }
}

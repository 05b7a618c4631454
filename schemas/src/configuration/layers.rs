//! Layers: what each source says of each key, the highest one heard.

use std::{collections::BTreeMap, fmt};

pub use serde_json::Value;
use serde_json::json;

use super::{Configuration, SETTINGS, Setting, file};
use crate::validation::structural;

/// Where a value came from, the strongest last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A file, by its name.
    File(String),
    /// An environment variable, by its name.
    Environment(&'static str),
    /// A flag, by its name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "file {file}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// A flag or an environment variable that does not fit its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin} for {key}: {message}")]
pub struct SettingError {
    origin: Origin,
    key: &'static str,
    message: String,
}

/// Everything that is wrong with a configuration, whatever its source; one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigurationError(pub Vec<String>);

/// The layers of one process: its file by name and text, its environment, its flags by their names without the
/// dashes.
pub fn layered<'a>(
    file: Option<(&str, &str)>,
    variable: impl Fn(&str) -> Option<String>,
    flags: impl IntoIterator<Item = (&'a str, String)>,
) -> Result<Layered, ConfigurationError> {
    let told = |errors: Vec<SettingError>| ConfigurationError(errors.iter().map(ToString::to_string).collect());
    let mut layered = Layered::default();
    if let Some((name, text)) = file {
        let said = file::parse(name, text)
            .map_err(|errors| ConfigurationError(errors.iter().map(ToString::to_string).collect()))?;
        layered = layered.with_file(name, &said);
    }
    layered.with_environment(variable).map_err(told)?.with_flags(flags).map_err(told)
}

/// The value of every key, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Layered {
    values: BTreeMap<&'static str, (Value, Origin)>,
}

impl Default for Layered {
    fn default() -> Self {
        let defaults = json!(Configuration::default());
        let value = |setting: &Setting| defaults.pointer(&setting.pointer()).cloned().unwrap_or_default();
        Self { values: SETTINGS.iter().map(|setting| (setting.key, (value(setting), Origin::Default))).collect() }
    }
}

impl Layered {
    /// With what a file says, as `parse` answers it.
    #[must_use]
    pub fn with_file(mut self, name: &str, said: &Value) -> Self {
        for setting in &SETTINGS {
            if let Some(value) = said.pointer(&setting.pointer()).filter(|value| !value.is_null()) {
                self.values.insert(setting.key, (value.clone(), Origin::File(name.to_owned())));
            }
        }
        self
    }

    /// With the environment variables that are set.
    pub fn with_environment(self, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<SettingError>> {
        let texts = SETTINGS.iter().filter_map(|setting| Some((setting, variable(setting.environment)?)));
        self.with_texts(texts, |setting| Origin::Environment(setting.environment))
    }

    /// With flags, by their names without the dashes; other flags are not looked at.
    pub fn with_flags<'a>(self, flags: impl IntoIterator<Item = (&'a str, String)>) -> Result<Self, Vec<SettingError>> {
        let texts = flags.into_iter().filter_map(|(name, text)| {
            SETTINGS.iter().find(|setting| setting.flag == name).map(|setting| (setting, text))
        });
        self.with_texts(texts, |setting| Origin::Flag(setting.flag))
    }

    fn with_texts<'a>(
        mut self,
        texts: impl Iterator<Item = (&'a Setting, String)>,
        origin: impl Fn(&Setting) -> Origin,
    ) -> Result<Self, Vec<SettingError>> {
        let mut wrong = Vec::new();
        for (setting, text) in texts {
            let value = value_of(&text);
            match problem(setting, &value) {
                None => drop(self.values.insert(setting.key, (value, origin(setting)))),
                Some(message) => wrong.push(SettingError { origin: origin(setting), key: setting.key, message }),
            }
        }
        if wrong.is_empty() { Ok(self) } else { Err(wrong) }
    }

    /// Every key with its value and its origin, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = (&'static Setting, &Value, &Origin)> {
        SETTINGS.iter().filter_map(|setting| {
            let (value, origin) = self.values.get(setting.key)?;
            Some((setting, value, origin))
        })
    }

    /// As a type.
    pub fn configuration(&self) -> Configuration {
        let mut tree = json!({});
        for (setting, value, _) in self.entries() {
            if let Some((section, key)) = setting.key.split_once('.') {
                tree[section][key] = value.clone();
            }
        }
        serde_json::from_value(tree).expect("invariant: every layer was checked against the schema")
    }

    /// `self` with the values of `newer` for the keys that a running server may take over, and the other keys
    /// whose values differ.
    #[must_use]
    pub fn reloaded(&self, newer: &Self) -> (Self, Vec<&'static Setting>) {
        let mut taken = newer.clone();
        let mut refused = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| !setting.is_live) {
            let (old, new) = (self.values.get(setting.key), newer.values.get(setting.key));
            if old.map(|(value, _)| value) != new.map(|(value, _)| value) {
                refused.push(setting);
            }
            if let Some(old) = old {
                taken.values.insert(setting.key, old.clone());
            }
        }
        (taken, refused)
    }
}

/// A flag's text as a value: a number and a truth value are what they look like, anything else is a text.
fn value_of(text: &str) -> Value {
    let plain = serde_json::from_str(text).ok().filter(|value: &Value| value.is_boolean() || value.is_u64());
    plain.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Why the value does not fit its key.
fn problem(setting: &Setting, value: &Value) -> Option<String> {
    let (section, key) = setting.key.split_once('.')?;
    let errors = structural::type_errors(&file::schema(file::Spelling::Plain), &json!({section: {key: value}}));
    errors.into_iter().next().map(|error| error.message)
}

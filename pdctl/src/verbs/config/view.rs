//! `pdctl config view`: the kubeconfig, or the servers' configuration and who says what of it.

use std::path::PathBuf;

use serde_json::Value;

use super::servers;
use crate::{
    cli::Global,
    client,
    errors::{Error, Result},
    output,
};

/// What to print.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// With the secrets
    #[arg(long)]
    raw: bool,
    /// Print the servers' configuration instead: every key with its value, by this file and the environment
    #[arg(long, value_name = "FILE", conflicts_with = "raw")]
    config: Option<PathBuf>,
    /// The same, and who says each value; without --config by $PD_CONFIG
    #[arg(long, conflicts_with = "raw")]
    show_origin: bool,
    /// yaml, json, jsonpath=…
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: output::Format,
}

/// Fields whose value is a secret.
const SECRETS: [&str; 5] = ["token", "password", "client-key-data", "client-secret", "id-token"];
/// Fields that are long and say nothing to a person.
const LONG: [&str; 2] = ["certificate-authority-data", "client-certificate-data"];

pub(super) fn run(args: &Args, global: &Global) -> Result<()> {
    if args.show_origin || args.config.is_some() {
        let file = args.config.clone().or_else(|| std::env::var_os("PD_CONFIG").map(PathBuf::from));
        return servers::show(file.as_deref(), args.show_origin);
    }
    let (kubeconfig, _) = client::read_kubeconfig(global)?;
    let mut shown = serde_json::to_value(&kubeconfig)
        .map_err(|error| Error::invalid(format!("cannot show the kubeconfig: {error}")))?;
    drop_absent(&mut shown);
    if !args.raw {
        redact(&mut shown);
    }
    output::objects(&args.output, vec![shown], false)
}

/// What is not set is not shown.
fn drop_absent(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_absent);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_absent),
        _ => {}
    }
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields.iter_mut() {
                if SECRETS.contains(&field.as_str()) {
                    *value = "REDACTED".into();
                } else if LONG.contains(&field.as_str()) {
                    *value = "DATA+OMITTED".into();
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let mut config = json!({"users": [{"name": "u", "user": {"token": "abc", "client-certificate-data": "x", "username": null}}]});
        drop_absent(&mut config);
        redact(&mut config);
        let expected =
            json!({"users": [{"name": "u", "user": {"token": "REDACTED", "client-certificate-data": "DATA+OMITTED"}}]});
        assert_eq!(config, expected);
    }
}

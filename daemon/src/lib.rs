//! daemon: what every process of ours does in the same way.
//!
//! In: a component's own registry and whether it is ready, its flags and its configuration file. Out: a plain HTTP
//! page (`page`), the figures of the process itself (`process`), its file descriptors (`descriptors`), the text in the
//! format that the scraper asks for (`text`), and the configuration as it is now (`settings`). It knows no component.

pub mod descriptors;
pub mod page;
mod process;
pub mod settings;
pub mod text;

use std::net::SocketAddr;

use prometheus_client::{encoding::EncodeLabelSet, metrics::info::Info, registry::Registry};

/// The flag of a component that serves its own page.
#[derive(Clone, Debug, Default, clap::Args)]
// The group of a struct bears its name, and whoever flattens this one is called so too.
#[group(skip)]
pub struct Options {
    /// Address of the plain HTTP page with /metrics, /livez and /readyz; absent: none
    #[arg(long = "metrics-listen", env = "PD_METRICS_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// A registry with the figures of this process, and what `register` adds under `prefix`.
pub fn registry(prefix: &str, register: impl FnOnce(&mut Registry)) -> Registry {
    let mut root = Registry::default();
    root.register_collector(Box::new(process::Process));
    let own = root.sub_registry_with_prefix(prefix);
    own.register("build", "What this process was built from", Info::new(BuildLabels { version: VERSION }));
    register(own);
    root
}

/// All crates of the workspace have one version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, metrics::counter::Counter};

    use super::*;

    #[test]
    fn a_registry_has_the_process_the_build_and_what_was_added() {
        let registry = registry("pd_thing", |own| own.register("steps", "Steps taken", Counter::<u64>::default()));
        let mut text = String::new();
        encode(&mut text, &registry).expect("encodes");
        for part in ["pd_thing_build_info{version=\"", "pd_thing_steps_total 0", "process_resident_memory_bytes "] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}

//! Where the programs and the task components under test are.

use std::{env, path::PathBuf};

use anyhow::{Context, Result, ensure};

/// The folders that `cargo xtask build` fills.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// Holds `pd-apiserver` and the others.
    programs: PathBuf,
    /// Holds `noop.wasm` and the others.
    tasks: PathBuf,
}

impl Binaries {
    /// Beside the running program, or one folder up (where cargo puts test programs).
    pub fn locate() -> Result<Self> {
        let own = env::current_exe().context("finding the running program's own path")?;
        let programs = own
            .ancestors()
            .skip(1)
            .take(2)
            .find(|folder| folder.join("pd-apiserver").is_file())
            .with_context(|| format!("no pd-apiserver beside {}: run `cargo xtask build` first", own.display()))?
            .to_path_buf();
        let tasks = programs.parent().context("the programs' folder has no parent")?.join("tasks");
        ensure!(tasks.is_dir(), "no task components in {}: run `cargo xtask build` first", tasks.display());
        Ok(Self { programs, tasks })
    }

    /// Path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Path of one built-in task's component.
    pub fn task(&self, name: &str) -> PathBuf {
        self.tasks.join(name).with_extension("wasm")
    }

    /// The components of all built-in tasks, in order of their names.
    pub fn tasks(&self) -> Result<Vec<PathBuf>> {
        let listing = self.tasks.read_dir().with_context(|| format!("listing {}", self.tasks.display()))?;
        let mut components = Vec::new();
        for entry in listing {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "wasm") {
                components.push(path);
            }
        }
        components.sort();
        Ok(components)
    }
}

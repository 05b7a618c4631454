//! `pd-kernel FILE count`: how many indexes the job in the file has. `pd-kernel FILE run INDEX`: writes the output of one
//! to standard output. `pd-kernel FILE all`: computes all on one thread and prints how many seconds it took.

use std::{env, fs, io::Write as _, time::Instant};

use anyhow::{Context, Result, bail};
use bench_kernels::Kernel;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [file, what, rest @ ..] = &arguments[..] else { bail!("pd-kernel FILE count | run INDEX | all") };
    let kernel = Kernel::open(&fs::read_to_string(file).with_context(|| format!("reading {file}"))?)?;
    match (*what, rest) {
        ("count", []) => println!("{}", kernel.subtasks()),
        ("run", [index]) => {
            let output = kernel.run(index.parse().with_context(|| format!("`{index}` is not an index"))?)?;
            std::io::stdout().write_all(&output).context("writing the output")?;
        }
        ("all", []) => {
            let started = Instant::now();
            for index in 0..kernel.subtasks() {
                std::hint::black_box(kernel.run(index)?);
            }
            println!("{}", started.elapsed().as_secs_f64());
        }
        _ => bail!("pd-kernel FILE count | run INDEX | all"),
    }
    Ok(())
}

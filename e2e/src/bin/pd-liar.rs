//! `pd-liar`: a `pd-executor` every output of which is wrong in one bit. A test's lying node runs it in place of the real
//! one, which it starts and through which it speaks.

use std::{
    env,
    io::{self, Write as _},
    process::{Command, ExitCode, Stdio},
    thread,
};

use anyhow::{Context, Result};
use executor_protocol::{EndedRun, Outcome, Reply, read, write};

fn main() -> ExitCode {
    match lie() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pd-liar: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn lie() -> Result<ExitCode> {
    let real = env::current_exe().context("finding the liar's own path")?.with_file_name("pd-executor");
    let mut command = Command::new(&real);
    command.args(env::args_os().skip(1));
    if env::args_os().len() > 1 {
        let status = command.status().with_context(|| format!("running {}", real.display()))?;
        return Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1))?));
    }
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.with_context(|| format!("starting {}", real.display()))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut stdin, mut from) = (stdin.context("it has no pipes")?, stdout.context("it has no pipes")?);
    thread::spawn(move || {
        // The end of either pipe is the end of the executor.
        let _ = io::copy(&mut io::stdin(), &mut stdin);
    });
    let mut to = io::stdout();
    while let Some(mut reply) = read::<Reply>(&mut from)? {
        if let Reply::Ended(run) = &mut reply {
            falsify(run);
        }
        write(&mut to, &reply)?;
        to.flush()?;
    }
    let status = child.wait()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1))?))
}

/// Changes the last byte of each output, which in a number with a point is the exponent.
fn falsify(run: &mut EndedRun) {
    let mut end = 0;
    for (times, bytes) in &run.lengths {
        for _ in 0..*times {
            end += *bytes as usize;
            if *bytes > 0 {
                run.outputs[end - 1] ^= 1;
            }
        }
    }
    for ended in &mut run.notable {
        if let Outcome::Success(output) = &mut ended.call.outcome
            && let Some(last) = output.last_mut()
        {
            *last ^= 1;
        }
    }
}

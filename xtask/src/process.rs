//! Child processes: cargo found, run with its output on this terminal, waited for with a limit.
//!
//! Owns how a command is spelled and started; it must never know what a step means.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;

/// The cargo that runs this program, so that one toolchain does all the work.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs `cargo` with these arguments and variables; the terminal shows its output.
pub(crate) fn run_cargo(root: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<(), Failure> {
    let mut command = Command::new(cargo());
    command.args(arguments).envs(variables.iter().copied()).current_dir(root);
    succeed(command, &spell(arguments, variables))
}

/// Runs a command with the terminal's output and turns a bad end into a failure that names it.
pub(crate) fn succeed(mut command: Command, spelled: &str) -> Result<(), Failure> {
    let status = command.status().map_err(|error| format!("`{spelled}` does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{spelled}` ended with {status}").into()) }
}

/// Whether a command starts and ends well; its output is dropped. For asking which tools are installed.
pub(crate) fn works(program: impl Into<OsString>, arguments: &[&str]) -> bool {
    Command::new(program.into())
        .args(arguments)
        .env_remove("RUSTUP_TOOLCHAIN")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Waits for a child and kills it when `limit` has passed; `None` means that it was killed.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, Failure> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The command as a person would type it.
pub(crate) fn spell(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        text.push_str(&format!("{name}='{value}' "));
    }
    text.push_str("cargo ");
    text.push_str(&arguments.join(" "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_spelled_so_that_it_can_be_typed() {
        assert_eq!(
            spell(&["doc", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")]),
            "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps"
        );
    }

    #[test]
    fn a_missing_tool_does_not_work_and_cargo_does() {
        assert!(!works("np-no-such-program", &[]));
        assert!(works(cargo(), &["--version"]));
    }

    #[test]
    fn a_child_past_its_limit_is_killed_and_one_within_it_is_not() -> Result<(), Failure> {
        let mut slow = Command::new(cargo()).arg("--version").stdout(Stdio::null()).spawn()?;
        assert!(wait(&mut slow, Duration::from_secs(60))?.is_some_and(|status| status.success()));
        // This test binary again, asked to wait on a pipe that nobody closes: a child that never ends by itself.
        let mut stuck = Command::new(env::current_exe()?)
            .args(["--exact", "process::tests::waits_for_its_input", "--nocapture"])
            .env("XTASK_WAITS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let input = stuck.stdin.take();
        assert!(wait(&mut stuck, Duration::from_millis(200))?.is_none());
        drop(input);
        Ok(())
    }

    /// The child of the test above; by itself it does nothing.
    #[test]
    fn waits_for_its_input() -> Result<(), Failure> {
        if env::var_os("XTASK_WAITS").is_some() {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
        }
        Ok(())
    }
}

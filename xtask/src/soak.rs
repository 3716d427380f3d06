//! The soak: a server and clients under faults for as long as somebody wants.
//!
//! Owns the arguments alone; the work is the example `soak` of np-facade, which ends with 1 where something was lost,
//! doubled, late or left.

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

/// Minutes of a run that names none.
const MINUTES: &str = "20";

/// Runs the soak with the arguments of the command line.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let mut all =
        vec!["run", "--locked", "-p", "np-facade", "--example", "soak", "--", "--minutes", minutes(arguments)?];
    all.extend(arguments.iter().skip(2).map(String::as_str));
    process::run_cargo(&workspace.root, &all, &[])
}

/// The number behind `--minutes`, which comes first.
fn minutes(arguments: &[String]) -> Result<&str, Failure> {
    let usage = || "usage: cargo xtask soak [--minutes N [--seed N]]".to_owned();
    let minutes = match arguments {
        [] => MINUTES,
        [name, minutes] if name == "--minutes" => minutes,
        [name, minutes, seed, _] if name == "--minutes" && seed == "--seed" => minutes,
        _ => return Err(usage().into()),
    };
    let good = minutes.parse::<f64>().is_ok_and(|minutes| minutes.is_finite() && minutes > 0.0);
    if good { Ok(minutes) } else { Err(format!("{}; N is more than 0, and not `{minutes}`", usage()).into()) }
}

#[cfg(test)]
mod tests {
    use super::minutes;

    fn read(arguments: &[&str]) -> Result<String, String> {
        let arguments: Vec<_> = arguments.iter().map(|one| (*one).to_owned()).collect();
        minutes(&arguments).map(str::to_owned).map_err(|error| error.to_string())
    }

    #[test]
    fn minutes_are_read_and_everything_else_is_refused() {
        assert_eq!(read(&[]).as_deref(), Ok("20"));
        assert_eq!(read(&["--minutes", "0.5"]).as_deref(), Ok("0.5"));
        assert_eq!(read(&["--minutes", "1", "--seed", "7"]).as_deref(), Ok("1"));
        for wrong in [&["--minutes"][..], &["--minutes", "0"], &["--minutes", "x"], &["--hours", "1"]] {
            assert!(read(wrong).is_err_and(|error| error.contains("usage")), "{wrong:?}");
        }
    }
}

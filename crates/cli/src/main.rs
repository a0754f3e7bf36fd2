//! The `inferrum` command: a thin user of the library.

mod bench;
mod compare;
mod devices;
mod inputs;
mod inspect;
mod labels;
mod logger;
mod memory;
mod model;
mod npz;
mod picture;
mod progress;
mod quantity;
mod run;
mod style;
mod suggest;
mod table;
mod test;
mod top;
mod trace;
mod transfers;
mod value_json;
mod value_text;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs trained models (ONNX) fast, correctly and honestly on whatever hardware is there.
#[derive(Parser)]
#[command(name = "inferrum", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Says more on standard error: -v what is done, -vv details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  inferrum run model.onnx --input photo.jpg --top 5
  inferrum bench model.onnx --device cpu --threads 4
  inferrum inspect model.onnx --graph model.html
  inferrum COMMAND --help    more examples of each command";

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Bench(bench::Args),
    Inspect(inspect::Args),
    Test(test::Args),
    Compare(compare::Args),
    Devices(devices::Args),
}

/// How a command that met no error ended.
pub(crate) enum Outcome {
    /// As hoped.
    Good,
    /// What it checked is not so; it has said what.
    Bad,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    logger::install(cli.verbose);
    let mut out = BufWriter::new(anstream::stdout().lock());
    let result = match cli.command {
        Command::Run(args) => run::execute(&args, &mut out),
        Command::Bench(args) => bench::execute(&args, &mut out),
        Command::Inspect(args) => inspect::execute(&args, &mut out),
        Command::Test(args) => test::execute(&args, &mut out),
        Command::Compare(args) => compare::execute(&args, &mut out),
        Command::Devices(args) => devices::execute(&args, &mut out),
    };
    match result.and_then(|outcome| Ok(out.flush().map(|()| outcome)?)) {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::FAILURE,
        // Whoever reads has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = out.flush();
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |io: &io::Error| io.kind() == io::ErrorKind::BrokenPipe;
    let json = |error: &serde_json::Error| error.io_error_kind() == Some(io::ErrorKind::BrokenPipe);
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(broken)
            || cause.downcast_ref::<serde_json::Error>().is_some_and(json)
    })
}

/// An error and its causes, in one paragraph on standard error.
pub(crate) fn say_error(error: &anyhow::Error) {
    let bad = style::BAD;
    let _ = writeln!(anstream::stderr(), "{bad}error:{bad:#} {}", message(error));
}

/// An error and its causes in one paragraph. A cause that the text before it tells already is not told twice.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some decoders end their messages with empty lines.
        let cause = cause.trim_end();
        if text.is_empty() {
            text = cause.to_owned();
        } else if !text.ends_with(cause) {
            text.push_str(": ");
            text.push_str(cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cause_is_told_twice() {
        let twice = anyhow::anyhow!("no such file").context("a.onnx: no such file").context("loading");
        assert_eq!(message(&twice), "loading: a.onnx: no such file");
        let lines = anyhow::anyhow!("not enough bytes\n\n").context("a.jpg");
        assert_eq!(message(&lines), "a.jpg: not enough bytes");
    }
}

//! Helps.

use crate::command::succeed;

#[test]
fn every_command_has_examples() {
    for command in ["run", "bench", "inspect", "test", "compare", "devices"] {
        let help = succeed(&[command, "--help"]);
        let examples = help.split("Examples:").nth(1).unwrap_or_else(|| panic!("{command}: {help}"));
        assert!(examples.contains(&format!("inferrum {command}")), "{command}: {help}");
        assert!(succeed(&["--help"]).contains(command));
    }
    assert!(succeed(&["--version"]).starts_with("inferrum "));
}

#[test]
fn the_forms_that_tools_call_are_there() {
    let has = |command: &str, flags: &[&str]| {
        let help = succeed(&[command, "--help"]);
        flags.iter().for_each(|flag| assert!(help.contains(flag), "{command} {flag}"));
    };
    has(
        "run",
        &[
            "--input",
            "--inputs",
            "--output",
            "--device",
            "--precision",
            "--threads",
            "--top",
            "--labels",
            "--format",
            "--profile",
        ],
    );
    has("run", &["--mean", "--std", "--layout", "--resize"]);
    has(
        "bench",
        &[
            "--device",
            "--inputs",
            "--shape",
            "--batch",
            "--threads",
            "--iters",
            "--seconds",
            "--concurrency",
            "--json",
        ],
    );
    has("inspect", &["--json", "--graph"]);
    has("test", &["--device", "--rtol", "--atol", "--tolerance", "--json"]);
    has("compare", &["--device", "--against", "--inputs", "--per-node"]);
    has("devices", &["--json"]);
}

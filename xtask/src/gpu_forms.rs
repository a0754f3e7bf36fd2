//! The GPU kernels' tests in other forms than the machine's first adapter gives: other sizes of subgroups, and OpenGL.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::drivers;

/// Bits of a vector of lavapipe's: subgroups of 4 and 16. The tests themselves run with those of 8, which is its own choice on
/// most processors.
const WIDTHS: [&str; 2] = ["128", "512"];

/// The tests of what subgroups compute.
const SUBGROUPS: [&str; 10] = [
    "arg_max",
    "attention",
    "dynamic_quantize",
    "global_pool",
    "group_norm",
    "layer_norm",
    "lp_norm",
    "reduce",
    "softmax",
    "top_k",
];

/// A test or more of each way in which kernels are made. OpenGL does not keep NaN, so tests of that are not among them.
const GL: [&str; 14] = [
    "batch_norm",
    "cum_sum",
    "elementwise::tests::integers_wrap",
    "elementwise::tests::operands_broadcast",
    "gather",
    "layer_norm",
    "linear::tests::batches_broadcast",
    "lstm",
    "pad",
    "pool",
    "reduce::tests::every_reduction",
    "resize",
    "softmax::tests::hidden",
    "transpose",
];

/// The commands, each with its name; where a driver is missing, the reason is printed. `built` is Cargo's command that builds the
/// tests of the workspace and does not run them.
///
/// # Errors
/// The tests cannot be built.
pub(crate) fn commands(built: Command) -> anyhow::Result<Vec<(String, Command)>> {
    let binary = binary(built)?;
    let tests = |filters: &[&str]| {
        let mut command = Command::new(&binary);
        command.current_dir("crates/wgpu").args(filters);
        command
    };
    let mut commands = Vec::new();
    match drivers::lavapipe() {
        None => println!("subgroups of other sizes: not tested, lavapipe is not installed"),
        Some(manifest) => {
            for width in WIDTHS {
                let mut command = tests(&SUBGROUPS);
                command.env("VK_DRIVER_FILES", &manifest).env("LP_NATIVE_VECTOR_WIDTH", width);
                command.env("INFERRUM_WGPU_BACKEND", "vulkan").env("INFERRUM_REQUIRE_ADAPTER", "1");
                commands.push((format!("GPU tests with vectors of {width} bits"), command));
            }
        }
    }
    if drivers::has_egl() {
        let mut command = tests(&GL);
        command.env("INFERRUM_WGPU_BACKEND", "gl").env("INFERRUM_REQUIRE_ADAPTER", "1");
        commands.push(("GPU tests by OpenGL".to_owned(), command));
    } else {
        println!("OpenGL: not tested, libEGL.so.1 is not installed");
    }
    Ok(commands)
}

/// The program of the unit tests, from what Cargo says of what it has built: built as part of the workspace, nothing is built
/// again for other features.
fn binary(mut built: Command) -> anyhow::Result<PathBuf> {
    let output = built.output().with_context(|| format!("{built:?} cannot be started"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let path = text.split(['(', ')']).find(|word| word.contains("/inferrum_wgpu-"));
    let path = path.with_context(|| format!("the tests of inferrum-wgpu are not built:\n{text}"))?;
    Ok(std::env::current_dir()?.join(path))
}

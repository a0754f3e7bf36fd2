//! Developer commands of the workspace: `cargo xtask help`.

mod drivers;
mod gpu_bundle;
mod gpu_forms;
#[cfg(feature = "proto")]
mod proto;
mod provision;
mod test;

const HELP: &str = "\
Developer commands of Inferrum

  cargo xtask test        provision what the tests need, then fmt, clippy, docs, all tests
  cargo xtask provision   only bring what the tests need (a Python venv in .venv, the ONNX node suite,
                          NVRTC, software drivers of Vulkan and OpenGL)
  cargo xtask gpu-bundle  pack programs, cases and scripts into target/gpu-bundle, for a machine with a GPU
                          and without Rust: there, `sh run.sh` tests and measures, and writes a table
  cargo run -p xtask --features proto -- proto
                          regenerate crates/onnx/src/proto.rs from its .proto files";

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("test") => test::run(),
        Some("provision") => provision::run(),
        Some("gpu-bundle") => gpu_bundle::make(),
        #[cfg(feature = "proto")]
        Some("proto") => proto::generate(),
        Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        other => anyhow::bail!("unknown command {}\n\n{HELP}", other.unwrap_or("(none)")),
    }
}

//! Developer commands of the workspace: `cargo xtask COMMAND`.

mod proto;

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("proto") => proto::generate(),
        _ => anyhow::bail!("usage: cargo xtask proto"),
    }
}

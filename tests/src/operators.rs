//! The table of operators and of the devices that have kernels for them, as `docs/OPERATORS.md` shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const HEAD: &str = "\
# Operators

Printed from the registry by `cargo run -p inferrum-tests --bin operators > docs/OPERATORS.md`; do not edit.

Every operator runs on every device: where a device has no kernel for a node, the processor runs it, by a kernel or by the
operator's reference, and the placement says so. `native` means that the device has kernels for the operator, for f32 at least
and for some shapes and attributes; `inferrum inspect MODEL --device D` tells for each node of a model.

| domain | operator | CPU | CUDA | GPU (wgpu) |
|---|---|---|---|---|
";

/// The text of `docs/OPERATORS.md`.
pub fn table() -> String {
    let cpu: BTreeSet<&str> = inferrum_cpu::operator_rooms().collect();
    let cuda: BTreeSet<&str> = inferrum_cuda::operator_rooms().collect();
    let wgpu: BTreeSet<&str> = inferrum_wgpu::operator_rooms().collect();
    let rows: BTreeMap<(&str, &str), &str> = inferrum_ops::operators()
        .map(|(room, entry)| ((entry.key.domain, entry.key.op_type), room))
        .collect();
    let native = |rooms: &BTreeSet<&str>, room: &str| if rooms.contains(room) { "native" } else { "" };
    let mut text = HEAD.to_owned();
    for ((domain, op_type), room) in &rows {
        let domain = if domain.is_empty() { "ai.onnx" } else { domain };
        let _ = write!(text, "| {domain} | {op_type} |");
        for device in [&cpu, &cuda, &wgpu] {
            let _ = write!(text, " {} |", native(device, room));
        }
        text.push('\n');
    }
    text
}

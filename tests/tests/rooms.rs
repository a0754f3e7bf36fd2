//! The structure: tables, files and names do not drift apart.

use std::collections::BTreeSet;
use std::path::Path;

use inferrum_tests::corpus::root;

/// Extensions of Rust and of CUDA sources.
const SOURCES: &[&str] = &["rs", "cu", "cuh", "h", "cpp"];
/// Lines of a file at most, its tests included; generated code is exempt.
const LONGEST: usize = 800;
const GENERATED: &[&str] = &["crates/onnx/src/proto.rs"];

/// Stems of the Rust files directly in a folder.
fn stems(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there").flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn every_room_in_the_table_is_a_file_that_names_its_operators() {
    let files = stems(&root().join("crates/ops/src"));
    let mut operators = 0;
    for (room, entry) in inferrum_ops::operators() {
        assert!(files.contains(room), "{} is in room `{room}`, which is no file", entry.key);
        operators += 1;
    }
    assert!(operators > 200, "only {operators} operators");
}

#[test]
fn every_file_that_declares_operators_is_in_the_table() {
    let folder = root().join("crates/ops/src");
    let rooms: BTreeSet<&str> = inferrum_ops::operators().map(|(room, _)| room).collect();
    for stem in stems(&folder) {
        let text = std::fs::read_to_string(folder.join(format!("{stem}.rs"))).expect("the file is there");
        let declares = text.contains("const OPERATORS: &[OpEntry]");
        assert!(
            !declares || rooms.contains(stem.as_str()),
            "{stem}.rs declares operators, but is not in the table"
        );
    }
}

#[test]
fn every_kernel_source_is_used() {
    let mut used = String::new();
    let mut folders = vec![root().join("crates/cuda/src")];
    while let Some(folder) = folders.pop() {
        for path in
            std::fs::read_dir(&folder).expect("the folder is there").flatten().map(|entry| entry.path())
        {
            if path.is_dir() {
                folders.push(path);
            } else {
                used.push_str(&std::fs::read_to_string(&path).expect("the file is there"));
            }
        }
    }
    for entry in std::fs::read_dir(root().join("kernels")).expect("the folder is there").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let found = entry.path().is_dir() || used.contains(&format!("kernels/{name}\""));
        assert!(found, "nothing includes kernels/{name}");
    }
}

#[test]
fn no_file_is_too_long() {
    let mut folders: Vec<_> =
        ["crates", "tests", "benches", "xtask", "kernels"].iter().map(|folder| root().join(folder)).collect();
    let mut long = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in
            std::fs::read_dir(&folder).expect("the folder is there").flatten().map(|entry| entry.path())
        {
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| SOURCES.iter().any(|known| extension == *known))
            {
                let lines = std::fs::read_to_string(&path).expect("the file is there").lines().count();
                let generated = GENERATED.iter().any(|file| path.ends_with(file));
                if lines > LONGEST && !generated {
                    long.push(format!("{}: {lines} lines", path.display()));
                }
            }
        }
    }
    assert!(long.is_empty(), "split these:\n{}", long.join("\n"));
}

#[test]
fn the_table_of_operators_is_printed_from_the_registry() {
    let stored = std::fs::read_to_string(root().join("docs/OPERATORS.md")).expect("the table is there");
    let printed = inferrum_tests::operators::table();
    assert!(
        stored == printed,
        "docs/OPERATORS.md is old: cargo run -p inferrum-tests --bin operators > docs/OPERATORS.md"
    );
}

#[test]
fn only_the_native_edge_waits_for_futures() {
    let edge = root().join("crates/wgpu/src/edge.rs");
    let mut folders = vec![root().join("crates")];
    let mut waiting = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("the file is there");
                waiting.extend(text.contains("block_on").then_some(path));
            }
        }
    }
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!(waiting[0].canonicalize().ok(), edge.canonicalize().ok());
}

//! Whole models: the demonstration model, and every `.onnx` file in the folder that `INFERRUM_MODELS` names.
//! `INFERRUM_MODELS=DIR cargo bench -p inferrum-benches --bench models`

use std::path::{Path, PathBuf};

use criterion::{Criterion, criterion_group, criterion_main};
use inferrum_benches::model;

fn files() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/digits.onnx");
    let folder = std::env::var_os("INFERRUM_MODELS").map(PathBuf::from);
    let entries = folder.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    files.sort();
    files.insert(0, own);
    files
}

fn models(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("models");
    group.sample_size(10);
    for file in files() {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for threads in [1, 2] {
            match model(&file, threads) {
                Err(error) => eprintln!("left out: {name}: {error}"),
                Ok((session, feeds)) => {
                    group.bench_function(format!("{name}/{threads} threads"), |bencher| {
                        bencher.iter(|| session.run(feeds.clone()).expect("the model runs"));
                    });
                }
            }
        }
    }
}

criterion_group!(all, models);
criterion_main!(all);

//! Models changed at random give an error or a result, never a panic.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};

use inferrum_tests::corpus::{cases, node_suite};
use inferrum_tests::hostile::{Random, exercise, mutate};

/// Where panics happened, with what was said there and how often.
fn panics() -> &'static Mutex<BTreeMap<String, usize>> {
    static PANICS: OnceLock<Mutex<BTreeMap<String, usize>>> = OnceLock::new();
    PANICS.get_or_init(|| {
        std::panic::set_hook(Box::new(|info| {
            let text = format!("{info}");
            *panics().lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(text).or_default() += 1;
        }));
        Mutex::default()
    })
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `INFERRUM_HOSTILE_ROUNDS` (changes of each model) and `INFERRUM_HOSTILE_SEED` make it search further.
#[test]
fn changed_models_of_the_node_suite_never_panic() {
    let Some(suite) = node_suite() else { return };
    let (rounds, seed) = (setting("INFERRUM_HOSTILE_ROUNDS", 2), setting("INFERRUM_HOSTILE_SEED", 1));
    let only = std::env::var("INFERRUM_HOSTILE_ONLY").unwrap_or_default();
    let _ = panics();
    let mut random = Random::new(seed);
    let mut loaded = 0;
    let mut tried = 0;
    let mut culprits = BTreeMap::new();
    for folder in cases(&suite) {
        if !folder.to_string_lossy().contains(&only) {
            continue;
        }
        let Ok(model) = std::fs::read(folder.join("model.onnx")) else { continue };
        if model.len() > 1 << 14 {
            continue;
        }
        for _ in 0..rounds {
            let Some(changed) = mutate(&model, &mut random) else { break };
            tried += 1;
            let start = std::time::Instant::now();
            match catch_unwind(AssertUnwindSafe(|| exercise(&changed))) {
                Ok(outcome) => loaded += usize::from(outcome.is_ok()),
                Err(_) => drop(culprits.insert(folder.clone(), changed)),
            }
            if start.elapsed().as_secs() > 3 {
                eprintln!("slow: {} took {:?}", folder.display(), start.elapsed());
            }
        }
    }
    eprintln!("{tried} models tried, {loaded} ran");
    // The hook takes the lock when the assertion fails.
    let panics = panics().lock().map(|places| places.clone()).unwrap_or_default();
    let list: Vec<String> = panics.iter().map(|(place, count)| format!("{count} x {place}")).collect();
    assert!(list.is_empty(), "{} places panicked:\n{}\n{:?}", list.len(), list.join("\n"), culprits.keys());
}

//! Every shader that the models of the corpus and the node suite need is valid, whatever the adapter can do. No adapter is
//! asked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use inferrum_onnx::Case;
use inferrum_optimize::Target;
use inferrum_tests::{bound, corpus};
use inferrum_wgpu::{Abilities, shaders};
use rayon::prelude::*;

const GPU: Target = Target { integer_products: true };

/// What was seen over all cases.
#[derive(Default)]
struct Seen {
    /// Shaders with the number of the combination that they were made for.
    shaders: HashSet<(usize, String)>,
    count: bound::Count,
    lowered: usize,
    wrong: Vec<String>,
}

/// Lowers all nodes of a case for every combination of abilities, and validates the shaders that no other case had.
fn look(folder: &Path, seen: &Mutex<Seen>) {
    let Ok(case) = Case::load(folder) else { return };
    let inputs = case.sets.first().map_or(Vec::new(), |set| set.inputs.clone());
    for (number, abilities) in Abilities::every().iter().enumerate() {
        let graph = shaders::legalize(case.model.graph.clone(), abilities).expect("it is rewritten");
        let (graph, _) = inferrum_optimize::optimize_for(graph, GPU).expect("it is rewritten");
        let (mut lowered, mut texts) = (0, Vec::new());
        let count = bound::nodes(&graph, &inputs, &mut |node| {
            if let Ok(shaders) = shaders::of_node(node, abilities) {
                lowered += 1;
                texts.extend(shaders);
            }
        });
        let new: Vec<(&str, String)> = {
            let mut seen = seen.lock().unwrap();
            if number == 0 {
                seen.count.nodes += count.nodes;
                seen.count.bound += count.bound;
                seen.lowered += lowered;
            }
            texts.into_iter().filter(|(_, text)| seen.shaders.insert((number, text.clone()))).collect()
        };
        for (name, text) in new {
            if let Err(error) = shaders::validate(&text, abilities) {
                let error = format!("{}: `{name}` with {}:\n{error}", case.name, abilities.names());
                seen.lock().unwrap().wrong.push(error);
            }
        }
    }
}

/// Looks at all cases; what was lowered must be at least `part` of the nodes whose shapes are known, and these `known` of all.
fn all(cases: &[PathBuf], known: f64, part: f64) {
    let seen = Mutex::new(Seen::default());
    cases.par_iter().for_each(|case| look(case, &seen));
    let Seen { shaders, count, lowered, wrong } = seen.into_inner().unwrap();
    println!(
        "{} shaders; {lowered} nodes with kernels of {} with shapes of {}",
        shaders.len(),
        count.bound,
        count.nodes
    );
    assert!(wrong.is_empty(), "{} invalid shaders:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count.bound as f64 >= known * count.nodes as f64, "{count:?}: the walk misses nodes");
    assert!(lowered as f64 >= part * count.bound as f64, "{lowered} of {count:?} have kernels");
}

#[test]
fn shaders_of_the_node_suite() {
    let Some(folder) = corpus::node_suite() else { return };
    all(&corpus::inference_cases(Some(folder)), 0.5, 0.3);
}

#[test]
fn shaders_of_the_models() {
    let Some(folder) = corpus::folder("models") else { return };
    all(&corpus::cases(&folder), 0.8, 0.6);
}

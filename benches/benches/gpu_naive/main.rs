//! A GPU's kernels against a plain loop of kernels, at the shapes of ResNet-50 and BERT-base:
//! `cargo bench -p inferrum-benches --features wgpu --bench gpu_naive [-- ROUNDS]`
//!
//! The plain loop has one dispatch for each operator, tiles of 16 x 16 with one sum for each invocation, and no fusion. Both compute
//! the same network from the same weights on the same adapter; rounds are interleaved and the outputs compared.

mod naive;
mod network;

use std::time::{Duration, Instant};

use inferrum::{Device, Session};

use crate::naive::Naive;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(5);
    let device = Device::Named { family: "wgpu".into(), selector: None };
    let Some(naive) = Naive::open() else {
        println!("skipped: no adapter");
        return;
    };
    println!("{}, {rounds} rounds, median\n", naive.adapter());
    println!("{:<34}{:>12}{:>14}{:>10}{:>12}", "network", "plain loop", "Inferrum", "ratio", "difference");
    for (name, network) in [
        ("ResNet-50: stem, a block a stage", network::resnet50()),
        ("BERT-base: a layer, 128 tokens", network::bert_base(128)),
    ] {
        let (graph, feed) = network.graph();
        let session = Session::builder().device(device.clone()).build(graph).expect("it compiles");
        let plain = naive.prepare(&network);
        let run = || session.run(vec![feed.clone()]).expect("it runs");
        // The first runs compile.
        let (ours, theirs) = (run(), plain.run());
        let ours = ours[0].as_slice::<f32>().expect("floats");
        let greatest = theirs.iter().fold(0.0f32, |greatest, x| greatest.max(x.abs()));
        let apart = ours.iter().zip(&theirs).fold(0.0f32, |apart, (a, b)| apart.max((a - b).abs()));
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            times[0].push(timed(|| drop(plain.run())));
            times[1].push(timed(|| drop(run())));
        }
        let [plain, own] = times.map(median);
        println!(
            "{name:<34}{:>9.1} ms{:>11.1} ms{:>9.2}x{:>12.1e}",
            plain.as_secs_f64() * 1e3,
            own.as_secs_f64() * 1e3,
            plain.as_secs_f64() / own.as_secs_f64(),
            apart / greatest,
        );
    }
}

fn timed(f: impl FnOnce()) -> Duration {
    let start = Instant::now();
    f();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

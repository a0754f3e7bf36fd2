//! A language model decodes with its cache in the device's memory: the cache never crosses, and the tokens are the CPU's.

use inferrum::{
    Bindings, Crossing, DType, Device, Input, Inputs, RunOptions, Session, Tensor, TransferLog, Value,
};
use inferrum_onnx::Case;
use inferrum_tests::corpus;

/// Tokens that are decoded.
const STEPS: usize = 6;

/// The greatest of the last row.
fn best(logits: &Tensor) -> i64 {
    let vocabulary = *logits.shape().dims().last().expect("a row of scores");
    let scores = logits.as_slice::<f32>().expect("float32");
    let last = &scores[scores.len() - vocabulary..];
    let best = (0..vocabulary).max_by(|&a, &b| last[a].total_cmp(&last[b]));
    best.expect("a vocabulary") as i64
}

/// The tokens that follow a prompt, and what crossed while they were decoded. Inputs: token ids, then the cache; outputs: scores,
/// then the cache.
fn decode(session: &Session, prompt: &[Tensor]) -> (Vec<i64>, Vec<Tensor>, TransferLog) {
    let caches: Vec<String> = session.outputs()[1..].iter().map(|output| output.name.clone()).collect();
    let mut bindings = caches.iter().fold(Bindings::new(), |bindings, name| bindings.staying(name));
    let mut inputs: Vec<Input> = prompt.iter().cloned().map(Input::from).collect();
    let (mut tokens, log) = (Vec::new(), TransferLog::new());
    for _ in 0..STEPS {
        let options = RunOptions { transfers: Some(&log), ..RunOptions::default() };
        let outputs = session.run_bound(Inputs::from(inputs), &mut bindings, options).expect("it runs");
        tokens.push(best(&outputs[0]));
        let next = Tensor::from_vec([1, 1], vec![tokens[tokens.len() - 1]]).expect("a token");
        let kept = caches.iter().map(|name| Input::from(bindings.resident(name).expect("it stayed")));
        inputs = std::iter::once(Input::from(next)).chain(kept).collect();
    }
    let cache = caches.iter().map(|name| bindings.resident(name).expect("it stayed").to_host());
    (tokens, cache.collect::<Result<_, _>>().expect("it is read"), log)
}

#[test]
fn the_cache_of_a_language_model_never_leaves_the_gpu() {
    let has = inferrum::devices().iter().any(|info| info.id.starts_with("wgpu:") && info.usable.is_ok());
    assert!(has || std::env::var_os("INFERRUM_REQUIRE_ADAPTER").is_none(), "no adapter");
    let Some(folder) = corpus::folder("models").filter(|_| has) else {
        eprintln!("skipped: no adapter, or no corpus");
        return;
    };
    for name in ["tinystories260k_ts17", "tinystories260k_dynamo21"] {
        let case = Case::load(&folder.join(name)).expect("the case is there");
        let on = |device: Device| {
            let session = Session::builder().device(device).build(case.model.graph.clone());
            session.expect("a session")
        };
        let gpu = on(Device::Named { family: "wgpu".into(), selector: None });
        let cpu = on(Device::Cpu);
        let tensor = |value: &Value| value.as_tensor().expect("tensors").clone();
        let sets = case.sets.iter().map(|set| set.inputs.iter().map(tensor).collect::<Vec<_>>());
        // The set without a past is a prompt.
        let mut prompts = sets.filter(|set| set[1..].iter().all(Tensor::is_empty));
        let prompt = prompts.next().expect("a prompt");
        assert_eq!(prompt[0].dtype(), DType::I64);
        let (tokens, cache, log) = decode(&gpu, &prompt);
        let (want_tokens, want_cache, _) = decode(&cpu, &prompt);
        assert_eq!(tokens, want_tokens, "{name}");
        for (got, want) in cache.iter().zip(&want_cache) {
            assert_eq!(got.shape(), want.shape());
            let pairs = got.to_f64().expect("floats").into_iter().zip(want.to_f64().expect("floats"));
            let worst = pairs.map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-3, "{name}: the cache is off by {worst}");
        }
        let transfers = log.transfers();
        println!("{name}: {tokens:?}, {transfers}");
        // In went the prompt with its empty cache, then one token a step; out came scores.
        let ins = prompt.len() + STEPS - 1;
        assert_eq!(
            (transfers.count(Crossing::In).0, transfers.count(Crossing::Out).0),
            (ins, STEPS),
            "{name}"
        );
        assert_eq!(transfers.between().count(), 0, "{name}: {transfers}");
    }
}

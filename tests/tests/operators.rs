//! Every operator, given attributes and inputs that nobody checked, answers with an error or a result; what its reference
//! gives is what it inferred.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

use inferrum::graph::{Attr, Fact, Facts, NodeDef, Operator, ShapeFact, SymDim};
use inferrum::{DType, Shape, Tensor, Value};
use inferrum_ops::OpEntry;
use inferrum_tensor::AllocationLimit;
use inferrum_tests::hostile::Random;

/// Bytes of one allocation of an operator at most.
const MEMORY: usize = 16 << 20;

/// Attributes that hold an integer, 0 or 1 mostly.
const INTS: &str = "
    axis keepdims to group num_outputs largest sorted exclusive reverse ceil_mode count_include_pad
    storage_order transA transB select_last_index noop_with_empty_axes batch_dims blocksize hidden_size
    num_heads kv_num_heads q_num_heads is_causal saturate block_size output_dtype dtype training_mode
    linear_before_reset layout input_forget p size min_gram_length max_gram_length max_skip_count
    detect_negative detect_positive upper align_corners antialias exclude_outside output_height
    output_width sampling_ratio inverse onesided periodic stash_type center_point_box num_groups
    ignore_index bits N K accuracy_level rotary_embedding_dim interleaved scale_base sample_size
    new_axis K_size time_axis batch_axis allowzero start end offset_group max_gram activation_type";
/// Attributes that hold integers.
const LISTS: &str = "
    axes perm pads strides dilations kernel_shape output_shape output_padding split shape starts ends
    repeats block_shape pooled_shape cats_int64s classlabels_ints keys_int64s values_int64s ngram_counts
    ngram_indexes pool_int64s inputdimensions border permA permB class_ids class_nodeids class_treeids
    nodes_nodeids nodes_treeids nodes_featureids nodes_truenodeids nodes_falsenodeids target_ids
    target_nodeids target_treeids vectors_per_class tree_roots nodes_trueleafs nodes_falseleafs
    leaf_targetids k";
/// Attributes that hold a float.
const FLOATS: &str = "
    alpha beta epsilon gamma lambd bias scale threshold momentum ratio low high mean value spatial_scale
    clip softcap cubic_coeff_a extrapolation_value default_float mask_filter_value norm_epsilon max min
    seed replaced_value_float";
/// Attributes that hold a text, and texts that some operator takes.
const TEXTS: &str = "
    mode auto_pad equation reduction direction coordinate_transformation_mode nearest_mode padding_mode
    approximate norm post_transform aggregate_function kernel_type round_mode keep_aspect_ratio_policy
    case_change_action cast_to map_form pattern delimiter rnn_mode";
const WORDS: &str = "
    constant edge reflect wrap linear nearest cubic SAME_UPPER SAME_LOWER VALID NOTSET ij,jk->ik ii->i
    ...i,i i-> add mul none mean sum max forward reverse bidirectional align_corners asymmetric
    tf_crop_and_resize zeros border reflection DCR CRD tanh MAX L1 L2 SOFTMAX LOGISTIC RBF POLY TF IDF
    TFIDF avg LOWER stretch not_larger not_smaller TO_FLOAT DENSE floor ceil ( [a-z]+ ,";

/// One of [`WORDS`], or nothing.
fn word(random: &mut Random) -> &'static str {
    let words: Vec<&str> = WORDS.split_whitespace().chain([""]).collect();
    random.pick(&words).copied().unwrap_or_default()
}

fn attributes(random: &mut Random) -> BTreeMap<String, Attr> {
    let small = |random: &mut Random| if random.one_in(3) { random.whole() } else { random.below(3) as i64 };
    let mut attributes = BTreeMap::new();
    for name in INTS.split_whitespace() {
        let attr = Attr::Int(small(random));
        attributes.insert(name.to_owned(), attr);
    }
    for name in LISTS.split_whitespace() {
        let attr = Attr::Ints((0..random.below(6)).map(|_| small(random)).collect());
        attributes.insert(name.to_owned(), attr);
    }
    for name in FLOATS.split_whitespace() {
        attributes.insert(name.to_owned(), Attr::Float(random.float()));
    }
    for name in TEXTS.split_whitespace() {
        attributes.insert(name.to_owned(), Attr::String(word(random).into()));
    }
    // Few at once, or else one that is wrong hides the others.
    let few = 1 + random.below(4);
    attributes.retain(|_, _| random.one_in(few));
    attributes
}

fn tensor(dtype: DType, shape: Shape, random: &mut Random) -> Option<Tensor> {
    let count = shape.elements();
    match dtype {
        DType::String => {
            let words = (0..count).map(|_| word(random).into());
            Tensor::from_strings(shape, words.collect()).ok()
        }
        DType::Complex64 | DType::Complex128 => Tensor::zeros(dtype, shape).ok(),
        dtype if dtype.is_integer() => {
            let wild = random.one_in(3);
            let numbers = (0..count).map(|_| if wild { random.whole() } else { random.below(4) as i64 });
            Tensor::from_i64(dtype, shape, &numbers.collect::<Vec<_>>()).ok()
        }
        dtype => {
            let numbers: Vec<f64> = (0..count).map(|_| random.float().into()).collect();
            Tensor::from_f64(dtype, shape, &numbers).ok()
        }
    }
}

/// Tensors, alike in type and shape more often than not; some are left out, some are no tensors.
fn inputs(count: usize, random: &mut Random) -> Vec<Option<Value>> {
    const COMMON: &[DType] =
        &[DType::F32, DType::F32, DType::I64, DType::U8, DType::Bool, DType::String, DType::F16];
    let dtype = |random: &mut Random| {
        let all = if random.one_in(4) { DType::ALL } else { COMMON };
        random.pick(all).copied().unwrap_or(DType::F32)
    };
    let shape = |random: &mut Random| (0..random.below(5)).map(|_| random.below(4)).collect::<Shape>();
    let alike = (dtype(random), shape(random));
    let (same_type, same_shape) = (!random.one_in(3), random.one_in(2));
    (0..count)
        .map(|_| {
            if random.one_in(12) {
                return None;
            }
            let dtype = if same_type && !random.one_in(4) { alike.0 } else { dtype(random) };
            let shape = if same_shape && !random.one_in(4) { alike.1.clone() } else { shape(random) };
            let tensor = tensor(dtype, shape, random)?;
            Some(if random.one_in(40) { Value::Sequence(vec![tensor.into()]) } else { Value::Tensor(tensor) })
        })
        .collect()
}

/// What may be known of a value before a run: less than all.
fn blurred(value: &Value, random: &mut Random) -> Fact {
    let Value::Tensor(tensor) = value else { return Fact::of(value) };
    let blur = |dim: &usize, random: &mut Random| match random.below(4) {
        0 => SymDim::Unknown,
        1 => SymDim::Symbol("n".into()),
        _ => SymDim::Known(*dim),
    };
    match random.below(4) {
        0 => Fact::constant(tensor.clone()),
        1 => Fact::tensor(tensor.dtype(), ShapeFact::unknown()),
        2 => Fact::tensor(tensor.dtype(), tensor.shape().clone()),
        _ => {
            let dims: Vec<SymDim> = tensor.shape().iter().map(|dim| blur(dim, random)).collect();
            Fact::tensor(tensor.dtype(), dims)
        }
    }
}

/// Tries one operator once; an error if what it gives is not what it inferred.
fn attempt(entry: &OpEntry, random: &mut Random) -> Result<bool, String> {
    let mut def = NodeDef::new(entry.key.op_type, 1 + random.below(25) as i64, attributes(random));
    let mut values = inputs(random.below(9), random);
    def.inputs = values.iter().map(Option::is_some).collect();
    def.outputs = vec![true; 1 + random.below(3)];
    let Ok(op) = (entry.parse)(&mut def) else { return Ok(false) };
    // What `parse` makes of attributes of old opsets; that no attribute is unknown does not matter here.
    for names in [INTS, LISTS, FLOATS, TEXTS] {
        def.ignore(&names.split_whitespace().collect::<Vec<_>>());
    }
    for (index, tensor) in def.finish().unwrap_or_default() {
        if index >= values.len() {
            values.resize(index + 1, None);
        }
        values[index] = Some(tensor.into());
    }
    let facts: Vec<Option<Fact>> = values.iter().map(|v| v.as_ref().map(|v| blurred(v, random))).collect();
    let blurry = op.infer(Facts(&facts.iter().map(Option::as_ref).collect::<Vec<_>>()));
    if op.control().is_some() {
        return Ok(false);
    }
    compute(&*op, &values, blurry.ok())
}

fn compute(op: &dyn Operator, values: &[Option<Value>], blurry: Option<Vec<Fact>>) -> Result<bool, String> {
    let refs: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
    let inputs = inferrum::graph::Inputs(&refs);
    let Ok(inferred) = inputs.with_facts(|facts| op.infer(facts)) else { return Ok(false) };
    let Ok(outputs) = op.reference(inputs) else { return Ok(false) };
    for (index, output) in outputs.iter().enumerate() {
        let got = Fact::of(output);
        for fact in
            [inferred.get(index), blurry.as_ref().and_then(|facts| facts.get(index))].into_iter().flatten()
        {
            if fact.merge(&got).is_none() {
                let given: Vec<String> =
                    values.iter().map(|v| v.as_ref().map_or("-".into(), Value::describe)).collect();
                return Err(format!("{op:?} of ({}): inferred {fact}, gave {got}", given.join(", ")));
            }
        }
    }
    Ok(true)
}

#[test]
fn no_operator_panics_and_each_gives_what_it_inferred() {
    let rounds: usize =
        std::env::var("INFERRUM_HOSTILE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150);
    let seed = std::env::var("INFERRUM_HOSTILE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    static PANICS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    static CURRENT: Mutex<String> = Mutex::new(String::new());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let current = CURRENT.lock().map(|name| name.clone()).unwrap_or_default();
        if let Ok(mut panics) = PANICS.lock() {
            // A place in the standard library is several.
            let key = if place.contains("crates/") { place } else { format!("{current} at {place}") };
            panics.insert(key, format!("{current}: {info}"));
        }
    }));
    let mut random = Random::new(seed);
    let mut wrong = BTreeMap::new();
    let mut computed = BTreeSet::new();
    for (_, entry) in inferrum_ops::operators() {
        let key = entry.key.to_string();
        if let Ok(mut current) = CURRENT.lock() {
            current.clone_from(&key);
        }
        let start = Instant::now();
        for _ in 0..rounds {
            let _limit = AllocationLimit::new(MEMORY);
            match catch_unwind(AssertUnwindSafe(|| attempt(entry, &mut random))) {
                Ok(Ok(true)) => drop(computed.insert(key.clone())),
                Ok(Err(message)) => drop(wrong.insert(key.clone(), message)),
                Ok(Ok(false)) | Err(_) => {}
            }
        }
        if start.elapsed().as_secs() > 5 {
            eprintln!("{key}: {rounds} rounds took {:?}", start.elapsed());
        }
    }
    std::panic::set_hook(hook);
    let panics: Vec<String> = PANICS.lock().map(|all| all.values().cloned().collect()).unwrap_or_default();
    eprintln!("{} operators computed something", computed.len());
    assert!(panics.is_empty(), "{} places panicked:\n{}", panics.len(), panics.join("\n"));
    let wrong: Vec<String> = wrong.into_iter().map(|(key, message)| format!("{key}: {message}")).collect();
    assert!(
        wrong.is_empty(),
        "{} operators gave what they did not infer:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(computed.len() > 100, "only {} operators were ever given what they take", computed.len());
}

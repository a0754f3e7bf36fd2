//! Which of several forms of a kernel an adapter runs fastest: measured once, and kept on disk.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use inferrum_backend::{
    BackendError, BoundNode, Cache, Destination, Executable, Profile, Region, Resident, RunContext, Unusable,
};
use inferrum_graph::{NodeId, ValueId};
use inferrum_tensor::{DType, Shape, Tensor, TensorError};

use crate::backend::Shared;
use crate::edge;
use crate::lower::lower;

/// The variable that says for how many seconds forms are measured when a model is compiled; 0 is never.
pub(crate) const TUNE_VARIABLE: &str = "INFERRUM_TUNE";

/// Seconds where the variable says nothing. A processor that plays the GPU takes the likeliest form.
const SECONDS: f64 = 2.0;

/// Runs that are timed of each form.
const ROUNDS: usize = 3;

/// What names of the cache's entries begin with.
const ENTRY: &str = "wgpu-forms";

/// The names of the forms that are taken.
type Made = BTreeMap<Question, String>;

/// A kernel that has several forms, and the extents that decide which is fastest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) kernel: String,
    pub(crate) extents: [usize; 4],
}

impl Question {
    fn multiplications(&self) -> f64 {
        self.extents.iter().map(|&extent| extent as f64).product()
    }
}

/// Who says which form of a kernel is taken.
pub(crate) trait Choose {
    /// The place of one of `forms`, the first of which is the likeliest.
    fn choose(&self, question: Question, forms: &[String]) -> usize;
}

/// The form of this number, or the last one; how many there are.
#[derive(Default)]
pub(crate) struct Forced {
    form: usize,
    forms: Cell<usize>,
}

impl Forced {
    pub(crate) fn new(form: usize) -> Forced {
        Forced { form, forms: Cell::new(1) }
    }

    /// How many forms there are of what was lowered with this.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn forms(&self) -> usize {
        self.forms.get()
    }
}

impl Choose for Forced {
    fn choose(&self, _: Question, forms: &[String]) -> usize {
        self.forms.set(forms.len().max(1));
        self.form.min(forms.len().saturating_sub(1))
    }
}

/// Writes down what is asked.
#[derive(Default)]
struct Asked(RefCell<Option<(Question, Vec<String>)>>);

impl Choose for Asked {
    fn choose(&self, question: Question, forms: &[String]) -> usize {
        *self.0.borrow_mut() = Some((question, forms.to_vec()));
        0
    }
}

/// The choices made for an adapter and its driver.
pub(crate) struct Choices {
    made: Mutex<Made>,
    /// How long forms may still be measured.
    left: Mutex<Duration>,
    cache: Cache,
    /// The adapter's entry in the cache.
    entry: String,
    key: String,
}

impl Choices {
    /// Those that earlier processes kept in `cache`; `seconds` is how long forms may be measured, if somebody said it.
    pub(crate) fn open(info: &wgpu::AdapterInfo, cache: Cache, seconds: Option<f64>) -> Choices {
        let key = format!("{} {} {} {}", info.name, info.backend, info.driver, info.driver_info);
        let entry = format!("{ENTRY} {} {}", info.name, info.backend);
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let seconds = seconds.unwrap_or(if software { 0.0 } else { SECONDS });
        let left = Mutex::new(Duration::from_secs_f64(seconds));
        let choices = Choices { made: Mutex::default(), left, cache, entry, key };
        *choices.made() = choices.kept();
        choices
    }

    /// What is on disk.
    fn kept(&self) -> Made {
        self.cache.get(&self.entry, &self.key).map(|bytes| read(&bytes)).unwrap_or_default()
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Keeps what is chosen, beside what other processes have kept since.
    fn keep(&self) {
        let mut all = self.kept();
        all.extend(self.made().clone());
        self.cache.put(&self.entry, &self.key, &written(&all));
    }
}

impl Choose for Choices {
    fn choose(&self, question: Question, forms: &[String]) -> usize {
        // Another version may know other forms.
        let made = self.made();
        made.get(&question).and_then(|name| forms.iter().position(|form| form == name)).unwrap_or(0)
    }
}

/// What [`TUNE_VARIABLE`] says.
///
/// # Errors
/// It is no number of seconds.
pub(crate) fn asked() -> Result<Option<f64>, Unusable> {
    seconds(std::env::var(TUNE_VARIABLE).ok().as_deref())
}

fn seconds(text: Option<&str>) -> Result<Option<f64>, Unusable> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    seconds.map(Some).ok_or_else(|| Unusable {
        reason: format!("{TUNE_VARIABLE} is `{text}`"),
        remedy: "set it to the seconds that kernels may be measured for (0 to 3600), or unset it".into(),
    })
}

/// A choice to a line: kernel, extents, form, with tabs between.
fn written(made: &Made) -> Vec<u8> {
    let line = |(question, form): (&Question, &String)| {
        let [a, b, c, d] = question.extents;
        format!("{}\t{a}\t{b}\t{c}\t{d}\t{form}\n", question.kernel)
    };
    made.iter().map(line).collect::<String>().into_bytes()
}

/// The choices in an entry; lines that are none are left out.
fn read(bytes: &[u8]) -> Made {
    let choice = |line: &str| {
        let mut fields = line.split('\t');
        let kernel = fields.next()?.to_owned();
        let mut number = || fields.next()?.parse::<usize>().ok();
        let extents = [number()?, number()?, number()?, number()?];
        Some((Question { kernel, extents }, fields.next()?.to_owned()))
    };
    String::from_utf8_lossy(bytes).lines().filter_map(choice).collect()
}

/// Measures the forms of a region's kernels of which nothing is known yet, those with most work first, until the time for it is
/// spent; then the fastest of those measured is taken. What cannot be measured is left to be found out when the region is compiled.
pub(crate) fn tune(shared: &Arc<Shared>, region: &Region) {
    let choices = &shared.choices;
    let mut left = choices.left.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if left.is_zero() || !shared.gpu.features.contains(wgpu::Features::TIMESTAMP_QUERY) {
        return;
    }
    let mut open: BTreeMap<Question, (NodeId, Vec<String>)> = BTreeMap::new();
    for &id in &region.nodes {
        let asked = Asked::default();
        let lowered = lower(&region.bound(id), &shared.gpu.abilities, &asked);
        if let (Ok(_), Some((question, forms))) = (lowered, asked.0.into_inner())
            && forms.len() > 1
            && choices.made().get(&question).is_none_or(|name| !forms.contains(name))
        {
            open.insert(question, (id, forms));
        }
    }
    let mut open: Vec<_> = open.into_iter().collect();
    open.sort_by(|(a, _), (b, _)| b.multiplications().total_cmp(&a.multiplications()));
    let mut found = false;
    for (question, (id, forms)) in open {
        let start = Instant::now();
        let mut times = Vec::new();
        let mut likeliest: Option<Vec<Resident>> = None;
        for (form, name) in forms.iter().enumerate() {
            if form > 0 && start.elapsed() >= *left {
                break;
            }
            let Ok((time, outputs)) = time(shared, region, id, form) else { continue };
            match &likeliest {
                Some(expected) if !agree(expected, &outputs) => {
                    log::warn!("{}: form `{name}` computes something else and is left out", question.kernel);
                    continue;
                }
                Some(_) => {}
                None => likeliest = Some(outputs),
            }
            times.push((form, time));
        }
        log::debug!("{} {:?}: {times:?}", question.kernel, question.extents);
        if let Some(best) = fastest(&times) {
            choices.made().insert(question, forms[best].clone());
            found = true;
        }
        *left = left.saturating_sub(start.elapsed());
        if left.is_zero() {
            break;
        }
    }
    if found {
        choices.keep();
    }
}

/// The form of the shortest time; the likeliest one, which is form 0, unless another is clearly faster: clocks are noisy.
fn fastest(times: &[(usize, Duration)]) -> Option<usize> {
    let &(best, time) = times.iter().min_by_key(|&&(_, time)| time)?;
    let likeliest = times.first().filter(|&&(form, own)| form == 0 && own.mul_f64(0.95) <= time);
    Some(likeliest.map_or(best, |_| 0))
}

/// Whether two forms' outputs are the same but for the order of sums and the rounding to their type.
fn agree(expected: &[Resident], got: &[Resident]) -> bool {
    let numbers = |outputs: &[Resident]| -> Option<Vec<f64>> {
        let one = |output: &Resident| output.to_host().ok()?.to_f64().ok();
        Some(outputs.iter().map(one).collect::<Option<Vec<_>>>()?.concat())
    };
    let (Some(expected), Some(got)) = (numbers(expected), numbers(got)) else { return false };
    let greatest = expected.iter().fold(0.0f64, |greatest, x| greatest.max(x.abs()));
    expected.len() == got.len() && expected.iter().zip(&got).all(|(a, b)| (a - b).abs() <= 2e-3 * greatest)
}

/// How long a node takes in a form, over memory of its own, and what it gives for made-up inputs.
fn time(
    shared: &Arc<Shared>,
    region: &Region,
    id: NodeId,
    form: usize,
) -> Result<(Duration, Vec<Resident>), BackendError> {
    let node = &region.graph.nodes()[id.0];
    let comes = |value: &ValueId| region.facts[value.index()].value().is_none();
    let mut inputs: Vec<_> = node.inputs.iter().flatten().copied().filter(comes).collect();
    inputs.sort_unstable();
    inputs.dedup();
    let alone = Region {
        nodes: vec![id],
        inputs,
        outputs: node.outputs.iter().flatten().copied().collect(),
        graph: Arc::clone(&region.graph),
        facts: Arc::clone(&region.facts),
    };
    let forced = Forced::new(form);
    let executable = edge::wait(
        shared.compile(&alone, |bound: &BoundNode<'_>| lower(bound, &shared.gpu.abilities, &forced)),
    )?;
    let feed = |value: &ValueId| {
        let fact = &region.facts[value.index()];
        let refused = || BackendError::Device("a value has no shape yet".into());
        let (tensor, shape) = fact.as_tensor().zip(fact.concrete_shape()).ok_or_else(refused)?;
        made_up(tensor.dtype, shape)
            .map(Resident::Host)
            .map_err(|error| BackendError::Device(error.to_string()))
    };
    let feeds = alone.inputs.iter().map(feed).collect::<Result<Vec<_>, _>>()?;
    let mut best = Duration::MAX;
    let mut outputs = Vec::new();
    // The first run also pays for what the driver does once.
    for round in 0..=ROUNDS {
        let profile = Profile::new();
        let context = RunContext { profile: Some(&profile), ..RunContext::default() };
        let stay = alone.outputs.iter().map(|_| Destination::Stay).collect();
        outputs = executable.run(&feeds, stay, &context)?;
        let took: Duration = profile.spans().iter().map(|span| span.duration).sum();
        if round > 0 {
            best = best.min(took);
        }
    }
    if best.is_zero() {
        return Err(BackendError::Device("the adapter has no clock".into()));
    }
    Ok((best, outputs.into_iter().flatten().collect()))
}

/// Floats between -1 and 1; zeros of other types.
fn made_up(dtype: DType, shape: Shape) -> Result<Tensor, TensorError> {
    if !matches!(dtype, DType::F32 | DType::F16) {
        return Tensor::zeros(dtype, shape);
    }
    let number = |i: usize| ((i * 7919) % 2003) as f64 / 1001.0 - 1.0;
    let numbers: Vec<f64> = (0..shape.elements()).map(number).collect();
    Tensor::from_f64(dtype, shape, &numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abilities::Without;
    use crate::{WgpuBackend, adapter, testing};
    use inferrum_graph::{Fact, Graph};
    use std::sync::atomic::Ordering;

    #[test]
    fn choices_come_back_and_nonsense_does_not() {
        let question = |kernel: &str, m| Question { kernel: kernel.into(), extents: [1, m, 3, 4] };
        let made = BTreeMap::from([
            (question("gemm a", 2), "64x64 by 4x4".to_owned()),
            (question("conv", 7), "rows 4x64".to_owned()),
        ]);
        let mut bytes = written(&made);
        bytes.extend(b"gemm\t1\t2\nconv\t1\t2\t3\tfour\tfive\nconv\t1\t2\t3\t4\n\xff\n");
        assert_eq!(read(&bytes), made);
    }

    fn product() -> Question {
        Question { kernel: "gemm".into(), extents: [1, 2, 3, 4] }
    }

    #[test]
    fn a_choice_outlives_a_change_of_the_candidates() {
        let Ok(found) = adapter::adapters() else { return };
        let choices = Choices::open(&found[0].info, Cache::default(), None);
        choices.made().insert(product(), "b".into());
        let choose = |forms: &[&str]| {
            let forms: Vec<String> = forms.iter().map(|form| form.to_string()).collect();
            choices.choose(product(), &forms)
        };
        assert_eq!((choose(&["a", "b"]), choose(&["b", "c", "a"]), choose(&["a", "c"])), (1, 0, 0));
    }

    #[test]
    fn processes_and_adapters_keep_their_choices_beside_each_other() {
        let Ok(found) = adapter::adapters() else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let of = |name: &str| {
            let info = wgpu::AdapterInfo { name: name.into(), ..found[0].info.clone() };
            Choices::open(&info, Cache::at(folder.path()), None)
        };
        let make = |choices: &Choices, m: usize, form: &str| {
            choices.made().insert(Question { extents: [1, m, 3, 4], ..product() }, form.into());
            choices.keep();
        };
        let (one, other, elsewhere) = (of("this"), of("this"), of("that"));
        make(&one, 1, "a");
        make(&other, 2, "b");
        make(&elsewhere, 1, "c");
        let kept = of("this");
        assert_eq!(kept.made().values().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(of("that").made().values().collect::<Vec<_>>(), ["c"]);
    }

    /// How many runs it takes to tune a product of several forms on the first adapter, and what is known then.
    fn tuned(timestamps: bool, seconds: f64) -> Option<(usize, usize)> {
        testing::backend()?;
        let without = Without { timestamps: !timestamps, ..Without::default() };
        let backend = WgpuBackend::private_without(without, Some(seconds), |_| ());
        let mut graph = Graph::new("test");
        let [a, b] = ["a", "b"].map(|name| graph.add_input(name, Fact::tensor(DType::F32, [65, 67])));
        let b = testing::add(&mut graph, "Transpose", &[], &[b]);
        let y = testing::add(&mut graph, "MatMul", &[], &[a, b]);
        graph.outputs = vec![y];
        tune(backend.shared(), &testing::whole(graph));
        let shared = backend.shared();
        Some((shared.gpu.submitted.load(Ordering::SeqCst), shared.choices.made().len()))
    }

    #[test]
    fn nothing_is_run_that_cannot_be_measured() {
        let Some(runs) = tuned(false, 60.0) else { return };
        assert_eq!(runs, (0, 0));
    }

    #[test]
    fn time_is_kept_form_by_form() {
        let Some((runs, known)) = tuned(true, 60.0) else { return };
        assert!(runs > 2 * (ROUNDS + 1) && known == 1, "{runs} runs, {known} choices");
        assert_eq!(tuned(true, 1e-9), Some((ROUNDS + 1, 1)));
    }

    #[test]
    fn the_variable_is_seconds() {
        assert_eq!(seconds(None), Ok(None));
        assert_eq!(seconds(Some(" 1.5")), Ok(Some(1.5)));
        for wrong in ["abc", "-1", "nan", "1e9"] {
            assert!(seconds(Some(wrong)).unwrap_err().to_string().contains(TUNE_VARIABLE), "{wrong}");
        }
    }

    #[test]
    fn a_form_that_computes_something_else_is_found_out() {
        let outputs = |numbers: &[f32]| {
            vec![Resident::Host(Tensor::from_vec([numbers.len()], numbers.to_vec()).expect("as many"))]
        };
        let expected = outputs(&[1.0, -200.0, 0.0]);
        assert!(agree(&expected, &outputs(&[1.1, -200.1, 0.1])));
        for wrong in [&[1.0, -200.0][..], &[1.0, -190.0, 0.0], &[f32::NAN, -200.0, 0.0]] {
            assert!(!agree(&expected, &outputs(wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn the_likeliest_form_is_kept_unless_another_is_clearly_faster() {
        let times = |micros: &[u64]| -> Vec<(usize, Duration)> {
            micros.iter().copied().map(Duration::from_micros).enumerate().collect()
        };
        assert_eq!(fastest(&times(&[100, 98, 200])), Some(0));
        assert_eq!(fastest(&times(&[100, 90, 80])), Some(2));
        assert_eq!(fastest(&times(&[100, 90])[1..]), Some(1));
        assert_eq!(fastest(&[]), None);
    }

    #[test]
    fn a_form_that_is_not_there_is_the_last() {
        let forced = Forced::new(7);
        let question = Question { kernel: "gemm".into(), extents: [1; 4] };
        let names = ["a", "b", "c"].map(String::from);
        assert_eq!((forced.choose(question, &names), forced.forms()), (2, 3));
    }
}

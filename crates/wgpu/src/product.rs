//! Matrix products: the loops of a [`Form`] around an operator's loads and stores.

use inferrum_backend::Decline;
use inferrum_tensor::DType;

use crate::bindings::Bindings;
use crate::cooperative::Cooperative;
use crate::kernel::{Dispatch, Lowered, Lowering, MOST_GROUPS, Operand, Work, linear_groups, word};
use crate::shader::{FUNCTIONS, Template};
use crate::tile::{DEPTH, Form};
use crate::tuner::Question;

const SOURCE: &str = include_str!("../../../shaders/product.wgsl");
const ADD: &str = include_str!("../../../shaders/split_sums.wgsl");

/// Rows and columns up to which a matrix of a subgroup's would be mostly empty.
const FEW: usize = 8;

/// Invocations of a workgroup that adds parts of sums.
const ADDING: usize = 64;

/// `batches` products of `m` x `k` by `k` x `n`, and what an operator's shader says of them.
pub(crate) struct Product {
    pub(crate) name: &'static str,
    /// WGSL: `begin` and, between `#if loads` and `#if stores`, what `product.wgsl` asks for.
    pub(crate) source: &'static str,
    /// What its operators share with others.
    pub(crate) included: Option<&'static str>,
    pub(crate) batches: usize,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// What is multiplied.
    pub(crate) loads: Bindings,
    /// What is added, and the output.
    pub(crate) stores: Bindings,
    pub(crate) params: Vec<u32>,
    /// Replacements in the source, and switches that are on.
    pub(crate) values: Vec<(&'static str, String)>,
    pub(crate) switches: Vec<&'static str>,
    /// The type of both factors as they stand in memory, if it is the same.
    pub(crate) factors: Option<DType>,
    /// In blocks of how many products a sum is added, each with one rounding; None where the order is free.
    pub(crate) block: Option<usize>,
    /// Tells apart, for the tuner, products of the same extents that are loaded in other ways.
    pub(crate) kind: String,
}

impl Product {
    /// The kernel in the form that suits the adapter best.
    ///
    /// # Errors
    /// More workgroups than an adapter counts.
    pub(crate) fn lower(self, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
        let (m, n, k) = (self.m, self.n, self.k);
        let extents = [self.batches, m, n, k];
        let ordered = self.block.is_some();
        let mut forms = Form::candidates(extents, ordered, lowering.abilities);
        // Never the likeliest: only a measurement takes them.
        let fits = |matrices: &&Cooperative| {
            Some(matrices.factors) == self.factors && m > FEW && n > FEW && !ordered
        };
        forms.extend(lowering.abilities.cooperative.iter().filter(fits).copied().map(Form::Cooperative));
        forms.retain(|form| form.groups(extents).iter().all(|&count| count <= MOST_GROUPS));
        if forms.is_empty() {
            return Err(Decline(format!(
                "{} products of {m} x {n} are more than the kernel takes",
                self.batches
            )));
        }
        let order = if ordered { " ordered" } else { "" };
        let question = Question { kernel: format!("{} {}{order}", self.name, self.kind), extents };
        let names: Vec<String> = forms.iter().map(|form| form.name()).collect();
        let form = forms[lowering.chooser.choose(question, &names)];
        let mut params = self.params.clone();
        let split_words = params.len();
        let splits = form.splits();
        let part = k.div_ceil(splits).next_multiple_of(DEPTH);
        for number in [splits, part, self.batches, self.block.unwrap_or(0)] {
            params.push(word(number)?);
        }
        let groups = form.groups(extents).map(|count| count as u32);
        let name = format!("{} {}", self.name, form.name());
        if splits == 1 {
            let bindings = self.loads.clone().and(&self.stores);
            let template =
                self.template(&bindings, params.len(), lowering).switch("loads", true).switch("stores", true);
            let shader = form.fill(template).with("split_words", split_words).build();
            let operands = bindings.operands().iter().cloned().collect();
            return Ok(Lowered::one(name, Dispatch { shader, operands, params, groups }));
        }
        let bytes = form.part_bytes(extents);
        let mut bindings = self.loads.clone();
        bindings.write("parts", "vec4<f32>", Operand::Scratch(0));
        let template =
            self.template(&bindings, params.len(), lowering).switch("loads", true).switch("split", true);
        let shader = form.fill(template).with("split_words", split_words).build();
        let multiply = Dispatch {
            shader,
            operands: bindings.operands().iter().cloned().collect(),
            params: params.clone(),
            groups,
        };
        let mut bindings = Bindings::default();
        bindings.read("parts", "vec4<f32>", Operand::ReadScratch(0));
        let bindings = bindings.and(&self.stores);
        let template = self.template(&bindings, params.len(), lowering).including(ADD).switch("stores", true);
        let shader = template.with("split_words", split_words).build();
        let fours = self.batches * m * n.div_ceil(4);
        let groups = linear_groups(fours.div_ceil(ADDING))?;
        let add =
            Dispatch { shader, operands: bindings.operands().iter().cloned().collect(), params, groups };
        Ok(Lowered::Work(Work { name, dispatches: vec![multiply, add], scratch: vec![bytes] }))
    }

    /// The operator's source with everything but loops.
    fn template(&self, bindings: &Bindings, params: usize, lowering: &Lowering<'_>) -> Template {
        let mut template = Template::new(self.name, self.source)
            .including(FUNCTIONS)
            .including(SOURCE)
            .params(params)
            .with("buffers", bindings.declarations());
        for (name, value) in &self.values {
            template = template.with(name, value);
        }
        if let Some(included) = self.included {
            template = template.including(included);
        }
        template = template
            .switch("ordered", self.block.is_some())
            .switch("wide_fma", self.block.is_some() && lowering.abilities.wide_fma);
        self.switches.iter().fold(template, |template, name| template.switch(name, true))
    }
}

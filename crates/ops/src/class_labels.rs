//! The labels of classes: the `classlabels_*` attributes of the classifiers of `ai.onnx.ml`.

use inferrum_graph::{NodeDef, OpError};
use inferrum_tensor::{DType, Tensor};

/// What classes are called.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassLabels {
    /// Numbers.
    Int(Vec<i64>),
    /// Texts.
    String(Vec<String>),
}

/// The class that a classifier gives an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// The class of this place among the labels.
    Class(usize),
    /// Yes or no, where the labels name no two classes: 1 or 0, as ONNX Runtime has it.
    Flag(bool),
}

impl ClassLabels {
    /// Reads the attributes, one of which must be there.
    ///
    /// # Errors
    /// None is there, or both are.
    pub(crate) fn parse(def: &mut NodeDef, ints: &str, strings: &str) -> Result<ClassLabels, OpError> {
        let both = (def.ints(ints)?.unwrap_or_default(), def.strings(strings)?.unwrap_or_default());
        match both {
            (ints, strings) if !ints.is_empty() && strings.is_empty() => Ok(ClassLabels::Int(ints)),
            (ints, strings) if ints.is_empty() && !strings.is_empty() => Ok(ClassLabels::String(strings)),
            (all, _) => {
                let got = if all.is_empty() { "neither" } else { "both" };
                Err(OpError::attribute(ints, format!("labels either here or in `{strings}`"), got))
            }
        }
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        match self {
            ClassLabels::Int(labels) => labels.len(),
            ClassLabels::String(labels) => labels.len(),
        }
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels' element type.
    pub fn dtype(&self) -> DType {
        match self {
            ClassLabels::Int(_) => DType::I64,
            ClassLabels::String(_) => DType::String,
        }
    }

    /// The labels of examples, shape `[N]`.
    ///
    /// # Errors
    /// There is no such class.
    pub(crate) fn tensor(&self, chosen: &[Chosen]) -> Result<Tensor, OpError> {
        let missing =
            |class: usize| OpError::Invalid(format!("class {class} has no label, there are {}", self.len()));
        match self {
            ClassLabels::Int(labels) => {
                let label = |choice: &Chosen| match *choice {
                    Chosen::Class(class) => labels.get(class).copied().ok_or_else(|| missing(class)),
                    Chosen::Flag(flag) => Ok(i64::from(flag)),
                };
                Ok(Tensor::vector(chosen.iter().map(label).collect::<Result<_, _>>()?))
            }
            ClassLabels::String(labels) => {
                let label = |choice: &Chosen| match *choice {
                    Chosen::Class(class) => labels.get(class).cloned().ok_or_else(|| missing(class)),
                    Chosen::Flag(flag) => Ok(u8::from(flag).to_string()),
                };
                let strings: Vec<String> = chosen.iter().map(label).collect::<Result<_, _>>()?;
                Ok(Tensor::from_strings([strings.len()], strings)?)
            }
        }
    }
}

/// The place of the first greatest score.
pub(crate) fn greatest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (place, &score) in scores.iter().enumerate() {
        if score > scores[best] {
            best = place;
        }
    }
    best
}

//! Convolutions as matrix products: rows are the filters of a group, columns the elements of an image.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_ops::conv::ConvGeometry;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_tensor::{DType, Tensor};

use crate::bindings::{Bindings, fours};
use crate::epilogue::activate;
use crate::kernel::{Lowered, Lowering, Operand, Packing};
use crate::product::Product;
use crate::storage::packed;

/// What such products have in common, put before the sources of [`Images`].
const SOURCE: &str = include_str!("../../../shaders/filters.wgsl");

/// Position of the bias among the inputs.
pub(crate) const BIAS: usize = 2;
/// Position of the residual among the inputs.
pub(crate) const RESIDUAL: usize = 3;

/// The buffers of a kernel that reads images and filters element by element.
///
/// # Errors
/// One is not of floats that the adapter stores.
pub(crate) fn by_element(lowering: &Lowering<'_>) -> Result<Bindings, Decline> {
    let mut bindings = Bindings::default();
    for (name, input) in [("x", 0), ("w", 1), ("bias", BIAS), ("residual", RESIDUAL)] {
        if lowering.has(input) {
            bindings.read(name, lowering.float(input)?, Operand::Input(input));
        }
    }
    bindings.write("output", lowering.output_float(0)?, Operand::Output(0));
    Ok(bindings)
}

/// How a kernel reads its images.
pub(crate) struct Images {
    pub(crate) name: &'static str,
    pub(crate) source: &'static str,
    /// Elements of an output image.
    pub(crate) elements: usize,
    pub(crate) loads: Bindings,
    pub(crate) params: Vec<u32>,
    pub(crate) values: Vec<(&'static str, String)>,
    pub(crate) switches: Vec<&'static str>,
    /// In blocks of how many products sums are added; None where the order is free.
    pub(crate) block: Option<usize>,
}

impl Images {
    /// The kernel of a convolution of floats with a bias and a residual, if the node has them.
    ///
    /// # Errors
    /// More elements than the kernel takes.
    pub(crate) fn lower(
        mut self,
        geometry: &ConvGeometry,
        activation: Option<FusedActivation>,
        lowering: &Lowering<'_>,
    ) -> Result<Lowered, Decline> {
        let filters = geometry.out_channels;
        let depth = geometry.in_channels * geometry.window.kernel.iter().product::<usize>();
        if lowering.constant(1).is_some() {
            let packing = by_fours(geometry.groups, filters, depth, lowering.dtype(1)?);
            self.loads.read("w", &fours(lowering.float(1)?, true), Operand::Packed(packing));
            self.switches.extend(["wide_a", "a_by_row"]);
        } else {
            self.loads.read("w", lowering.float(1)?, Operand::Input(1));
        }
        let wide = self.elements.is_multiple_of(4);
        let mut stores = Bindings::default();
        if lowering.has(BIAS) {
            stores.read("bias", lowering.float(BIAS)?, Operand::Input(BIAS));
            self.switches.push("bias");
        }
        if lowering.has(RESIDUAL) {
            stores.read("residual", &fours(lowering.float(RESIDUAL)?, wide), Operand::Input(RESIDUAL));
            self.switches.push("residual");
        }
        stores.write("output", &fours(lowering.output_float(0)?, wide), Operand::Output(0));
        self.switches.extend(wide.then_some("wide_y"));
        self.values.push(("activation", activate(activation)?));
        let taps =
            geometry.window.kernel.iter().map(|extent| extent.to_string()).collect::<Vec<_>>().join("x");
        Product {
            name: self.name,
            source: self.source,
            included: Some(SOURCE),
            block: self.block,
            factors: Some(lowering.dtype(0)?).filter(|dtype| lowering.dtype(1).as_ref() == Ok(dtype)),
            kind: format!("{taps} {} {}", lowering.float(1)?, self.switches.join(" ")),
            batches: geometry.batch * geometry.groups,
            m: filters,
            n: self.elements,
            k: depth,
            loads: self.loads,
            stores,
            params: self.params,
            values: self.values,
            switches: self.switches,
        }
        .lower(lowering)
    }
}

/// The filters of each group with those of a depth next to each other, as many as make vectors of four.
fn by_fours(groups: usize, filters: usize, depth: usize, dtype: DType) -> Packing {
    let width = filters.next_multiple_of(4);
    let bytes = groups * depth * width * dtype.size();
    let pack = move |tensor: &Tensor| {
        packed(tensor, groups * depth * width, |at| {
            let (group, row, filter) = (at / width / depth, at / width % depth, at % width);
            (filter < filters).then_some((group * filters + filter) * depth + row)
        })
    };
    let form = format!("{groups} groups of {filters} filters by fours");
    Packing { input: 1, form, bytes, pack: Arc::new(pack) }
}

//! `QuantizeLinear`, `DequantizeLinear` of ONNX and `com.microsoft`
//! (<https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>).
//!
//! Opset 13 added `axis`, 19 `saturate`, 21 `block_size` and `output_dtype`, 23 `precision`.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, TensorFact};
use inferrum_tensor::{DType, Real, Shape, Tensor, Value, collected, dispatch};

use crate::OpEntry;
use crate::cast::Conversion;
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("DequantizeLinear", 3, DequantizeLinear::parse),
    OpEntry::onnx("QuantizeLinear", 3, QuantizeLinear::parse),
    OpEntry::microsoft("DequantizeLinear", 3, DequantizeLinear::parse),
    OpEntry::microsoft("QuantizeLinear", 3, QuantizeLinear::parse),
];

/// `saturate(round(x / scale) + zero_point)`. Inputs: data of any shape (float or int32); scale; zero point (optional, of
/// the output's type and the scale's shape). The scale is a scalar, a vector along an axis, or has one element for each
/// block of the axis. Output: the data's shape; an integer of up to 16 bits, float8 or float4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantizeLinear {
    /// The axis of a vector or of blocks; negative counts from the end.
    pub axis: i64,
    /// Elements of the axis that share a scale; 0 where there are no blocks.
    pub block_size: usize,
    /// The output's type, where it does not follow from the zero point; uint8 without either.
    pub output_dtype: Option<DType>,
    /// The type in which is divided, if that is not the scale's.
    pub precision: Option<DType>,
    /// Whether 8-bit floats keep to their finite range.
    pub saturate: bool,
}

/// `(x - zero_point) * scale`. Inputs: data of any shape, of a type that [`QuantizeLinear`] gives or int32; scale and zero
/// point as there. Output: the data's shape; the scale's type unless another is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DequantizeLinear {
    /// As [`QuantizeLinear::axis`].
    pub axis: i64,
    /// As [`QuantizeLinear::block_size`].
    pub block_size: usize,
    /// The output's type, if that is not the scale's.
    pub output_dtype: Option<DType>,
}

/// Which elements share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granularity {
    /// All.
    Tensor,
    /// Those with the same index of an axis.
    Axis(usize),
    /// Those whose index of an axis lies in the same block, and that agree in every other index.
    Blocks {
        /// The axis.
        axis: usize,
        /// The block's extent; the last may be shorter.
        size: usize,
    },
}

impl Granularity {
    /// How a scale of shape `scale` covers data of shape `data`.
    ///
    /// # Errors
    /// The axis is out of range, or the shapes do not fit.
    pub fn of(axis: i64, block_size: usize, data: &Shape, scale: &Shape) -> Result<Granularity, OpError> {
        if scale.rank() <= 1 && scale.elements() == 1 {
            return Ok(Granularity::Tensor);
        }
        let rank = data.rank();
        let axis = data.axis(axis).ok_or_else(|| {
            OpError::attribute("axis", format!("an axis of the data's {rank} dimensions"), axis)
        })?;
        let (expected, granularity) = if block_size == 0 {
            (Shape::from([data[axis]]), Granularity::Axis(axis))
        } else {
            let mut expected = data.clone();
            expected.dims_mut()[axis] = data[axis].div_ceil(block_size);
            (expected, Granularity::Blocks { axis, size: block_size })
        };
        if *scale == expected { Ok(granularity) } else { Err(OpError::shape(1, expected.to_string(), scale)) }
    }

    /// For each element of data of shape `data`, row-major, the index of its scale.
    pub fn indices(self, data: &Shape) -> impl Iterator<Item = usize> {
        let (axis, size) = match self {
            Granularity::Tensor => (None, 1),
            Granularity::Axis(axis) => (Some(axis), 1),
            Granularity::Blocks { axis, size } => (Some(axis), size),
        };
        let (_, extent, inner) = axis.map_or((1, 1, 1), |axis| data.split_at_axis(axis));
        let blocks = extent.div_ceil(size.max(1));
        (0..data.elements()).map(move |i| {
            let (outer, along, within) = (i / inner / extent, i / inner % extent, i % inner);
            match self {
                Granularity::Tensor => 0,
                Granularity::Axis(_) => along,
                Granularity::Blocks { .. } => (outer * blocks + along / size) * inner + within,
            }
        })
    }
}

fn is_quantized(dtype: DType) -> bool {
    use DType::*;
    matches!(
        dtype,
        I8 | U8 | I16 | U16 | I4 | U4 | I2 | U2 | F8E4M3Fn | F8E4M3Fnuz | F8E5M2 | F8E5M2Fnuz | F4E2M1
    )
}

const QUANTIZED: &str = "an integer type of up to 16 bits, float8 or float4";

/// The type that an attribute names; 0, the default, is none.
fn optional_dtype(def: &mut NodeDef, name: &str) -> Result<Option<DType>, OpError> {
    let code = def.int_or(name, 0)?;
    if code == 0 {
        return Ok(None);
    }
    let dtype = i32::try_from(code).ok().and_then(DType::from_onnx_code);
    dtype.map(Some).ok_or_else(|| OpError::attribute(name, "a TensorProto.DataType", code))
}

fn block_size(def: &mut NodeDef) -> Result<usize, OpError> {
    let size = def.int_or("block_size", 0)?;
    usize::try_from(size).map_err(|_| OpError::attribute("block_size", "0 or more", size))
}

/// Checks scale and zero point, as far as they are known, and gives the scale.
fn check_scale<'a>(
    inputs: Facts<'a>,
    axis: i64,
    block_size: usize,
    zero_dtype: DType,
) -> Result<&'a TensorFact, OpError> {
    let (data, scale) = (inputs.tensor(0)?, inputs.tensor(1)?);
    if !FLOATS.hold(scale.dtype) && !matches!(scale.dtype, DType::F8E8M0 | DType::I32) {
        return Err(OpError::dtype(1, "a float type of 16 bits or more, float8e8m0 or int32", scale.dtype));
    }
    let scale_shape = scale.shape.concrete();
    if let (Some(data), Some(scale)) = (data.shape.concrete(), &scale_shape) {
        Granularity::of(axis, block_size, &data, scale)?;
    }
    let Some(zero) = inputs.optional(2)? else { return Ok(scale) };
    if zero.dtype != zero_dtype {
        return Err(OpError::dtype(2, zero_dtype.name(), zero.dtype));
    }
    if let (Some(zero), Some(scale)) = (zero.shape.concrete(), scale_shape) {
        let singles = zero.elements() == 1 && scale.elements() == 1;
        if zero != scale && !singles {
            return Err(OpError::shape(2, scale.to_string(), &zero));
        }
    }
    Ok(scale)
}

impl QuantizeLinear {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let output_dtype = optional_dtype(def, "output_dtype")?;
        if let Some(dtype) = output_dtype.filter(|&dtype| !is_quantized(dtype)) {
            return Err(OpError::attribute("output_dtype", QUANTIZED, dtype));
        }
        let precision = optional_dtype(def, "precision")?;
        if let Some(dtype) = precision.filter(|&dtype| !FLOATS.hold(dtype)) {
            return Err(OpError::attribute("precision", FLOATS.name, dtype));
        }
        Ok(Arc::new(QuantizeLinear {
            axis: def.int_or("axis", 1)?,
            block_size: block_size(def)?,
            output_dtype,
            precision,
            saturate: def.flag("saturate", true)?,
        }))
    }

    /// The type in which data is divided by the scale.
    pub fn precision(&self, data: DType, scale: DType) -> DType {
        let first_float = [scale, data].into_iter().find(|&dtype| FLOATS.hold(dtype));
        self.precision.or(first_float).unwrap_or(DType::F32)
    }
}

impl Operator for QuantizeLinear {
    fn key(&self) -> OpKey {
        OpKey::onnx("QuantizeLinear")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        if !FLOATS.hold(data.dtype) && data.dtype != DType::I32 {
            return Err(OpError::dtype(0, "a float type of 16 bits or more or int32", data.dtype));
        }
        let zero = inputs.optional(2)?.map(|zero| zero.dtype);
        let dtype = self.output_dtype.or(zero).unwrap_or(DType::U8);
        if !is_quantized(dtype) {
            return Err(OpError::dtype(2, QUANTIZED, dtype));
        }
        check_scale(inputs, self.axis, self.block_size, dtype)?;
        Ok(vec![Fact::tensor(dtype, data.shape.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (data, scale, zero) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.optional(2)?);
        let dtype = self.output_dtype.or(zero.map(Tensor::dtype)).unwrap_or(DType::U8);
        let granularity = Granularity::of(self.axis, self.block_size, data.shape(), scale.shape())?;
        // Dividing in f64 and rounding is the same as dividing in the narrower type, which has less than half the bits.
        let round = rounding(self.precision(data.dtype(), scale.dtype()));
        let scales: Vec<f64> = scale.to_f64()?.into_iter().map(round).collect();
        let zeros = zero.map(Tensor::to_f64).transpose()?;
        let quantized = data.to_f64()?.into_iter().zip(granularity.indices(data.shape())).map(|(x, i)| {
            let steps = round(round(x) / scales[i]);
            let zero = zeros.as_ref().map_or(0.0, |zeros| zeros[i]);
            if dtype.is_integer() { steps.round_ties_even() + zero } else { steps + zero }
        });
        let quantized = collected(data.len(), quantized)?;
        let output = if dtype.is_integer() {
            Tensor::from_f64(dtype, data.shape().clone(), &quantized)?
        } else {
            let exact = Tensor::from_f64(DType::F64, data.shape().clone(), &quantized)?;
            Conversion { saturate: self.saturate, ..Conversion::default() }.convert(&exact, dtype)?
        };
        Ok(vec![output.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        3 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

/// Rounds to the numbers of a float type.
fn rounding(dtype: DType) -> fn(f64) -> f64 {
    dispatch!(float, dtype, T => |x| <T as Real>::from_f64(x).to_f64(), else |x| x)
}

impl DequantizeLinear {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let output_dtype = optional_dtype(def, "output_dtype")?;
        if let Some(dtype) = output_dtype.filter(|&dtype| !FLOATS.hold(dtype)) {
            return Err(OpError::attribute("output_dtype", FLOATS.name, dtype));
        }
        Ok(Arc::new(DequantizeLinear {
            axis: def.int_or("axis", 1)?,
            block_size: block_size(def)?,
            output_dtype,
        }))
    }
}

impl Operator for DequantizeLinear {
    fn key(&self) -> OpKey {
        OpKey::onnx("DequantizeLinear")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        if !is_quantized(data.dtype) && data.dtype != DType::I32 {
            return Err(OpError::dtype(0, format!("{QUANTIZED}, or int32"), data.dtype));
        }
        let scale = check_scale(inputs, self.axis, self.block_size, data.dtype)?;
        let dtype = self.output_dtype.unwrap_or(scale.dtype);
        if !FLOATS.hold(dtype) {
            return Err(OpError::attribute(
                "output_dtype",
                FLOATS.name,
                format!("nothing, with a scale of {dtype}"),
            ));
        }
        Ok(vec![Fact::tensor(dtype, data.shape.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (data, scale, zero) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.optional(2)?);
        let granularity = Granularity::of(self.axis, self.block_size, data.shape(), scale.shape())?;
        let (scales, zeros) = (scale.to_f64()?, zero.map(Tensor::to_f64).transpose()?);
        let real = data.to_f64()?.into_iter().zip(granularity.indices(data.shape()));
        let real = real.map(|(x, i)| (x - zeros.as_ref().map_or(0.0, |zeros| zeros[i])) * scales[i]);
        let real = collected(data.len(), real)?;
        let dtype = self.output_dtype.unwrap_or(scale.dtype());
        Ok(vec![Tensor::from_f64(dtype, data.shape().clone(), &real)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        2 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, parse_in, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{F8E8M0, I2, U4, f16};

    fn quantized(op: &dyn Operator, inputs: &[Tensor]) -> Vec<f64> {
        run(op, inputs)[0].to_f64().unwrap()
    }

    #[test]
    fn a_scalar_scale_covers_everything() {
        let op = parse_at(21, "QuantizeLinear", &[]);
        let x = Tensor::vector(vec![0f32, 2.0, 3.0, 1000.0, -254.0, -1000.0, 1.0, 5.0]);
        let got = quantized(&*op, &[x.clone(), Tensor::scalar(2f32), Tensor::scalar(128u8)]);
        assert_eq!(got, [128., 129., 130., 255., 1., 0., 128., 130.]);
        let without_zero = run(&*op, &[x, Tensor::vector(vec![2f32])]).remove(0);
        assert_eq!(without_zero.as_slice::<u8>().unwrap(), [0, 1, 2, 255, 0, 0, 0, 2]);
        let strange = Tensor::vector(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        assert_eq!(quantized(&*op, &[strange, Tensor::scalar(1f32), Tensor::scalar(3i8)]), [0., 127., -128.]);
    }

    #[test]
    fn a_vector_of_scales_goes_along_its_axis() {
        let x = Tensor::from_vec([2, 2, 2], vec![1f32, 2., 3., 4., 5., 6., 7., 8.]).unwrap();
        let (scale, zero) = (Tensor::vector(vec![1f32, 2.0]), Tensor::vector(vec![0i16, 10]));
        for axis in [1, -2] {
            let op = parse_at(13, "QuantizeLinear", &[("axis", Attr::Int(axis))]);
            let got = run(&*op, &[x.clone(), scale.clone(), zero.clone()]).remove(0);
            assert_eq!(got.to_f64().unwrap(), [1., 2., 12., 12., 5., 6., 14., 14.]);
            let back = parse_at(13, "DequantizeLinear", &[("axis", Attr::Int(axis))]);
            assert_eq!(
                quantized(&*back, &[got, scale.clone(), zero.clone()]),
                [1., 2., 4., 4., 5., 6., 8., 8.]
            );
        }
    }

    #[test]
    fn blocks_share_scales_and_the_last_may_be_short() {
        let attrs = [("axis", Attr::Int(1)), ("block_size", Attr::Int(2)), ("output_dtype", Attr::Int(2))];
        let x = Tensor::from_vec([2, 3], vec![2f32, 4., 6., 8., 10., 12.]).unwrap();
        let scale = Tensor::from_vec([2, 2], vec![1f32, 2., 4., 0.5]).unwrap();
        assert_eq!(
            quantized(&*parse_at(21, "QuantizeLinear", &attrs), &[x, scale.clone()]),
            [2., 4., 3., 2., 2., 24.]
        );
        let x = Tensor::from_vec([2, 3], vec![2i8, 4, 6, 8, 10, 12]).unwrap();
        let back = DequantizeLinear { axis: 1, block_size: 2, output_dtype: None };
        assert_eq!(quantized(&back, &[x, scale]), [2., 4., 12., 32., 40., 6.]);
        // Along the outer axis.
        let x = Tensor::from_vec([3, 2], vec![1i8, 1, 1, 1, 1, 1]).unwrap();
        let scale = Tensor::from_vec([2, 2], vec![1f32, 2., 3., 4.]).unwrap();
        let back = DequantizeLinear { axis: 0, block_size: 2, output_dtype: None };
        assert_eq!(quantized(&back, &[x, scale]), [1., 2., 1., 2., 3., 4.]);
    }

    #[test]
    fn narrow_outputs_saturate() {
        let x = Tensor::vector(vec![-9f32, 1.4, 99.0]);
        let inputs = |zero: Tensor| [x.clone(), Tensor::scalar(1f32), zero];
        let op = parse_at(25, "QuantizeLinear", &[]);
        assert_eq!(quantized(&*op, &inputs(Tensor::scalar(U4::wrap(1)))), [0., 2., 15.]);
        assert_eq!(quantized(&*op, &inputs(Tensor::scalar(I2::wrap(0)))), [-2., 1., 1.]);
        let fp8 = QuantizeLinear {
            axis: 1,
            block_size: 0,
            output_dtype: Some(DType::F8E4M3Fn),
            precision: None,
            saturate: true,
        };
        let great = [Tensor::vector(vec![1000f32, -3.3]), Tensor::scalar(2f32)];
        assert_eq!(quantized(&fp8, &great), [448., -1.625]);
        assert!(quantized(&QuantizeLinear { saturate: false, ..fp8 }, &great)[0].is_nan());
    }

    #[test]
    fn division_rounds_to_the_precision() {
        // In float32 0.35 / 0.1 is exactly 3.5, which rounds to 4; the exact quotient is a little less.
        let op = parse_at(23, "QuantizeLinear", &[]);
        assert_eq!(quantized(&*op, &[Tensor::scalar(0.35f32), Tensor::scalar(0.1f32)]), [4.0]);
        assert!(f64::from(0.35f32) / f64::from(0.1f32) < 3.5);
        let halves = QuantizeLinear {
            axis: 1,
            block_size: 0,
            output_dtype: Some(DType::I16),
            precision: Some(DType::F16),
            saturate: true,
        };
        assert_eq!(quantized(&halves, &[Tensor::scalar(2049f32), Tensor::scalar(1f32)]), [2048.0]);
        assert_eq!(quantized(&*op, &[Tensor::vector(vec![7i32]), Tensor::scalar(2f32)]), [4.0]);
    }

    #[test]
    fn the_output_type_of_dequantising_is_the_scale_s_or_the_asked_one() {
        let x = Tensor::vector(vec![-3i8, 5]);
        let op = parse_at(23, "DequantizeLinear", &[]);
        let y = run(&*op, &[x.clone(), Tensor::scalar(f16::from_f32(0.5))]).remove(0);
        assert_eq!(y.as_slice::<f16>().unwrap(), [f16::from_f32(-1.5), f16::from_f32(2.5)]);
        let power = Tensor::scalar(F8E8M0::from_f64(4.0));
        let asked = parse_at(24, "DequantizeLinear", &[("output_dtype", Attr::Int(1))]);
        assert_eq!(run(&*asked, &[x.clone(), power.clone()])[0].as_slice::<f32>().unwrap(), [-12.0, 20.0]);
        assert!(matches!(try_run(&*op, &[Some(x), Some(power)]), Err(OpError::Attribute { .. })));
        let sums = run(&*op, &[Tensor::vector(vec![i32::MAX]), Tensor::scalar(1f32)]).remove(0);
        assert_eq!(sums.as_slice::<f32>().unwrap(), [2147483648.0]);
    }

    #[test]
    fn both_domains_give_one_operator() {
        let op = parse_in("com.microsoft", 1, "QuantizeLinear", &[("axis", Attr::Int(0))]);
        assert_eq!(op.key(), OpKey::onnx("QuantizeLinear"));
        assert_eq!(
            parse_in("com.microsoft", 1, "DequantizeLinear", &[]).key(),
            OpKey::onnx("DequantizeLinear")
        );
    }

    #[test]
    fn unfit_shapes_and_types_are_errors() {
        let zeros = |dtype, dims: &[usize]| Some(Tensor::zeros(dtype, dims).unwrap());
        let refused = |op_type: &str, attrs: &[(&str, Attr)], inputs: &[Option<Tensor>]| {
            assert!(try_run(&*parse_at(21, op_type, attrs), inputs).is_err(), "{op_type} {inputs:?}");
        };
        let x = zeros(DType::F32, &[2, 3]);
        refused("QuantizeLinear", &[], &[x.clone(), zeros(DType::F32, &[2])]);
        refused("QuantizeLinear", &[("axis", Attr::Int(2))], &[x.clone(), zeros(DType::F32, &[3])]);
        refused("QuantizeLinear", &[], &[x.clone(), zeros(DType::F32, &[]), zeros(DType::F32, &[])]);
        refused("QuantizeLinear", &[], &[x.clone(), zeros(DType::F32, &[3]), zeros(DType::U8, &[])]);
        refused(
            "QuantizeLinear",
            &[("output_dtype", Attr::Int(3))],
            &[x.clone(), zeros(DType::F32, &[]), zeros(DType::U8, &[])],
        );
        refused("QuantizeLinear", &[("block_size", Attr::Int(2))], &[x.clone(), zeros(DType::F32, &[2, 3])]);
        refused("DequantizeLinear", &[], &[x, zeros(DType::F32, &[])]);
        refused(
            "DequantizeLinear",
            &[],
            &[zeros(DType::U8, &[2]), zeros(DType::F32, &[]), zeros(DType::I8, &[])],
        );
        let empty = run(
            &*parse_at(21, "QuantizeLinear", &[]),
            &[zeros(DType::F32, &[0, 3]).unwrap(), zeros(DType::F32, &[3]).unwrap()],
        );
        assert_eq!(empty[0].shape().dims(), [0, 3]);
    }
}

//! `Cast`, `CastLike`, `BitCast` (<https://onnx.ai/onnx/operators/onnx__Cast.html>).
//!
//! In opset 1 the target was a name such as `FLOAT`. `saturate` came with opset 19, `round_mode` with 24.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{
    DType, F8E4M3Fn, F8E4M3Fnuz, F8E5M2, F8E5M2Fnuz, F8E8M0, Real, ScaleRounding, Tensor, Value, collected,
    dispatch,
};

use crate::OpEntry;
use crate::number_text::{parse_float, parse_integer, to_text};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("BitCast", 1, BitCast::parse),
    OpEntry::onnx("Cast", 1, Cast::parse),
    OpEntry::onnx("CastLike", 2, |def| Ok(Arc::new(CastLike { conversion: Conversion::parse(def)? }))),
];

/// The elements in another type. Input and output: any shape, any type but complex numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    /// The output's type.
    pub to: DType,
    /// How narrow floats round.
    pub conversion: Conversion,
}

/// [`Cast`] to the type of a second input, whose elements do not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CastLike {
    /// How narrow floats round.
    pub conversion: Conversion,
}

/// The same bits as another type of the same width. Input and output: any shape, any type but strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitCast {
    /// The output's type.
    pub to: DType,
}

/// How elements become narrow floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// Whether 8-bit floats keep to their finite range, and do not become infinity or NaN.
    pub saturate: bool,
    /// How numbers become powers of two (float8e8m0).
    pub rounding: ScaleRounding,
}

impl Default for Conversion {
    fn default() -> Conversion {
        Conversion { saturate: true, rounding: ScaleRounding::Up }
    }
}

impl Conversion {
    fn parse(def: &mut NodeDef) -> Result<Conversion, OpError> {
        let rounding = match def.string_or("round_mode", "up")?.as_str() {
            "up" => ScaleRounding::Up,
            "down" => ScaleRounding::Down,
            "nearest" => ScaleRounding::Nearest,
            other => {
                return Err(OpError::attribute(
                    "round_mode",
                    "`up`, `down` or `nearest`",
                    format!("`{other}`"),
                ));
            }
        };
        Ok(Conversion { saturate: def.flag("saturate", true)?, rounding })
    }

    /// The elements of `x` as `to`.
    ///
    /// - Float to integer truncates. What lies outside saturates for `int32` and `int64`; of other types the lowest bits
    ///   are kept, as ONNX Runtime does. NaN becomes 0.
    /// - Integer to integer keeps the lowest bits.
    /// - To `bool`: whether it differs from 0; NaN does.
    /// - To a float: the nearest, ties to even; see also the fields.
    /// - To a string: up to 8 significant digits, as C's `%.8g`; `NaN`, `INF`, `-INF`; `bool` is `0` or `1`.
    ///
    /// # Errors
    /// [`OpError::Value`] for text that is no number, [`OpError::DType`] for complex numbers, memory.
    pub fn convert(&self, x: &Tensor, to: DType) -> Result<Tensor, OpError> {
        if x.dtype() == to {
            return Ok(x.clone());
        }
        match (x.dtype(), to) {
            (DType::String, _) => self.read(x, to),
            (_, DType::String) => to_strings(x),
            (from, _) if from.is_float() || is_narrow_float(to) => self.round(x, to),
            _ => from_integers(x, to),
        }
    }

    fn round(&self, x: &Tensor, to: DType) -> Result<Tensor, OpError> {
        self.round_all(to, x.shape().dims(), &x.to_f64()?)
    }

    fn round_all(&self, to: DType, shape: &[usize], x: &[f64]) -> Result<Tensor, OpError> {
        macro_rules! overflowing {
            ($($t:ident),*) => {
                match to {
                    $(DType::$t if !self.saturate => return build(shape, x, |x| $t::from_f64_overflowing(x)),)*
                    DType::F8E8M0 => return build(shape, x, |x| F8E8M0::rounded(x, self.rounding, self.saturate)),
                    _ => {}
                }
            };
        }
        overflowing!(F8E4M3Fn, F8E4M3Fnuz, F8E5M2, F8E5M2Fnuz);
        if to.is_integer() && !matches!(to, DType::I32 | DType::I64) {
            return dispatch!(real, to, T => build(shape, x, |x| {
                // NaN is 0; beyond what any integer type holds, the bits mean nothing.
                <T as Real>::from_i128(x.clamp(i64::MIN as f64, u64::MAX as f64) as i128)
            }), else Err(no_number(to)));
        }
        dispatch!(real, to, T => build(shape, x, <T as Real>::from_f64), else Err(no_number(to)))
    }

    fn read(&self, x: &Tensor, to: DType) -> Result<Tensor, OpError> {
        let texts = x.as_strings()?;
        let unfit = |text: &str| OpError::value(0, format!("expected text that is a number, got {text:?}"));
        if to.is_float() {
            let numbers: Result<Vec<f64>, OpError> =
                texts.iter().map(|text| parse_float(text).ok_or_else(|| unfit(text))).collect();
            return self.round_all(to, x.shape().dims(), &numbers?);
        }
        dispatch!(real, to, T => {
            let numbers: Result<Vec<T>, OpError> = texts
                .iter()
                .map(|text| parse_integer(text).map(<T as Real>::from_i128).ok_or_else(|| unfit(text)))
                .collect();
            Ok(Tensor::from_vec(x.shape().clone(), numbers?)?)
        }, else Err(no_number(to)))
    }
}

fn is_narrow_float(dtype: DType) -> bool {
    dtype.is_float() && dtype.size() == 1
}

fn no_number(dtype: DType) -> OpError {
    OpError::dtype(0, "a real type or string", dtype)
}

fn build<T: inferrum_tensor::Element>(
    shape: &[usize],
    x: &[f64],
    convert: impl Fn(f64) -> T,
) -> Result<Tensor, OpError> {
    Ok(Tensor::from_vec(shape, collected(x.len(), x.iter().map(|&x| convert(x)))?)?)
}

fn from_integers(x: &Tensor, to: DType) -> Result<Tensor, OpError> {
    let wide = dispatch!(real, x.dtype(), T => {
        let elements = x.as_slice::<T>()?;
        collected(elements.len(), elements.iter().map(|x| x.to_i128()))?
    }, else return Err(no_number(x.dtype())));
    dispatch!(real, to, T => {
        let elements = collected(wide.len(), wide.iter().map(|&x| <T as Real>::from_i128(x)))?;
        Ok(Tensor::from_vec(x.shape().clone(), elements)?)
    }, else Err(no_number(to)))
}

fn to_strings(x: &Tensor) -> Result<Tensor, OpError> {
    let texts: Vec<String> = if x.dtype().is_float() {
        x.to_f64()?.into_iter().map(to_text).collect()
    } else {
        dispatch!(real, x.dtype(), T => x.as_slice::<T>()?.iter().map(|x| x.to_i128().to_string()).collect(),
            else return Err(no_number(x.dtype())))
    };
    Ok(Tensor::from_strings(x.shape().clone(), texts)?)
}

/// The type of an attribute `to`, by its number or, in opset 1, its name.
fn target(def: &mut NodeDef) -> Result<DType, OpError> {
    let known = "a TensorProto.DataType";
    if def.opset < 6 {
        let name = def.string("to")?.ok_or_else(|| OpError::attribute("to", known, "nothing"))?;
        return dtype_of_name(&name).ok_or_else(|| OpError::attribute("to", known, format!("`{name}`")));
    }
    let code = def.int("to")?.ok_or_else(|| OpError::attribute("to", known, "nothing"))?;
    let dtype = i32::try_from(code).ok().and_then(DType::from_onnx_code);
    dtype.ok_or_else(|| OpError::attribute("to", known, code))
}

/// The types that opset 1 knew, by their names in `TensorProto.DataType`.
fn dtype_of_name(name: &str) -> Option<DType> {
    match name.to_ascii_uppercase().as_str() {
        "FLOAT" => Some(DType::F32),
        "DOUBLE" => Some(DType::F64),
        other => DType::ALL.iter().copied().find(|dtype| dtype.name().eq_ignore_ascii_case(other)),
    }
}

impl Cast {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Cast { to: target(def)?, conversion: Conversion::parse(def)? }))
    }
}

/// The fact of an output with the shape of input 0.
fn cast_fact(inputs: Facts<'_>, to: DType) -> Result<Vec<Fact>, OpError> {
    let input = inputs.tensor(0)?;
    for (dtype, index) in [(input.dtype, 0), (to, 1)] {
        if matches!(dtype, DType::Complex64 | DType::Complex128) && input.dtype != to {
            return Err(OpError::dtype(index, "a real type or string", dtype));
        }
    }
    Ok(vec![Fact::tensor(to, input.shape.clone())])
}

impl Operator for Cast {
    fn key(&self) -> OpKey {
        OpKey::onnx("Cast")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        cast_fact(inputs, self.to)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![self.conversion.convert(inputs.tensor(0)?, self.to)?.into()])
    }
}

impl Operator for CastLike {
    fn key(&self) -> OpKey {
        OpKey::onnx("CastLike")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        cast_fact(inputs, inputs.dtype(1)?)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![self.conversion.convert(inputs.tensor(0)?, inputs.tensor(1)?.dtype())?.into()])
    }
}

impl BitCast {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let to = target(def)?;
        if to == DType::String {
            return Err(OpError::attribute("to", "a type of fixed width", to));
        }
        Ok(Arc::new(BitCast { to }))
    }
}

impl Operator for BitCast {
    fn key(&self) -> OpKey {
        OpKey::onnx("BitCast")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let input = inputs.tensor(0)?;
        if input.dtype == DType::String || bits(input.dtype) != bits(self.to) {
            return Err(OpError::dtype(
                0,
                format!("a type of {} bits, as {} has", bits(self.to), self.to),
                input.dtype,
            ));
        }
        Ok(vec![Fact::tensor(self.to, input.shape.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let bytes: Vec<u8> = match self.to {
            // In memory a narrow type takes a byte, sign-extended where it is signed.
            DType::I4 | DType::I2 => {
                let unused = 8 - bits(self.to);
                x.bytes().iter().map(|&byte| (((byte << unused) as i8) >> unused) as u8).collect()
            }
            DType::U4 | DType::F4E2M1 => x.bytes().iter().map(|byte| byte & 0xF).collect(),
            DType::U2 => x.bytes().iter().map(|byte| byte & 0x3).collect(),
            _ => x.bytes().to_vec(),
        };
        Ok(vec![Tensor::from_bytes(self.to, x.shape().clone(), bytes)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

fn bits(dtype: DType) -> usize {
    dtype.file_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{F4E2M1, I4, U2, f16};

    fn cast(x: Tensor, to: DType) -> Tensor {
        run(&Cast { to, conversion: Conversion::default() }, &[x]).remove(0)
    }

    fn strings(texts: &[&str]) -> Tensor {
        Tensor::from_strings([texts.len()], texts.iter().map(|text| text.to_string()).collect()).unwrap()
    }

    #[test]
    fn floats_truncate_and_leave_the_range_as_documented() {
        let x = Tensor::vector(vec![1.9f32, -2.5, 300.7, f32::NAN, 1e20, -1e20]);
        assert_eq!(cast(x.clone(), DType::I8).as_slice::<i8>().unwrap()[..4], [1, -2, 44, 0]);
        assert_eq!(cast(x.clone(), DType::U32).as_slice::<u32>().unwrap()[..4], [1, u32::MAX - 1, 300, 0]);
        assert_eq!(
            cast(x.clone(), DType::I32).as_slice::<i32>().unwrap(),
            [1, -2, 300, 0, i32::MAX, i32::MIN]
        );
        assert_eq!(cast(x, DType::Bool).as_slice::<bool>().unwrap(), [true; 6]);
        let x = Tensor::vector((-9..=15).map(f64::from).collect());
        let wrapped: Vec<i8> = [7].into_iter().chain(-8..=7).chain(-8..=-1).collect();
        let got: Vec<i8> = cast(x, DType::I4).as_slice::<I4>().unwrap().iter().map(|x| x.get()).collect();
        assert_eq!(got, wrapped);
    }

    #[test]
    fn integers_keep_their_lowest_bits() {
        assert_eq!(cast(Tensor::vector(vec![200i16, -1]), DType::I8).as_slice::<i8>().unwrap(), [-56, -1]);
        assert_eq!(cast(Tensor::vector(vec![u64::MAX]), DType::I64).as_slice::<i64>().unwrap(), [-1]);
        assert_eq!(
            cast(Tensor::vector(vec![u64::MAX]), DType::F32).as_slice::<f32>().unwrap(),
            [1.8446744e19]
        );
        assert_eq!(
            cast(Tensor::vector(vec![70000i32]), DType::F16).as_slice::<f16>().unwrap(),
            [f16::INFINITY]
        );
        assert_eq!(
            cast(Tensor::vector(vec![0i64, 36]), DType::Bool).as_slice::<bool>().unwrap(),
            [false, true]
        );
        assert_eq!(cast(Tensor::vector(vec![true, false]), DType::I32).as_slice::<i32>().unwrap(), [1, 0]);
        assert_eq!(cast(Tensor::vector(vec![1000i32]), DType::F8E4M3Fn).to_f64().unwrap(), [448.0]);
    }

    #[test]
    fn narrow_floats_saturate_unless_told_otherwise() {
        let x = Tensor::vector(vec![1e6f32, f32::INFINITY, -1e6, f32::NAN]);
        let at = |saturate, to| {
            let op = Cast { to, conversion: Conversion { saturate, ..Conversion::default() } };
            run(&op, std::slice::from_ref(&x))[0].to_f64().unwrap()
        };
        assert_eq!(at(true, DType::F8E5M2)[..3], [57344.0, 57344.0, -57344.0]);
        assert_eq!(at(false, DType::F8E5M2)[..3], [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY]);
        assert!(at(false, DType::F8E4M3Fnuz).iter().all(|x| x.is_nan()));
        assert!(at(true, DType::F8E4M3Fnuz)[3].is_nan());
        let powers = |mode: &str| {
            let attrs = [("to", Attr::Int(24)), ("round_mode", Attr::String(mode.into()))];
            run(&*parse_at(24, "Cast", &attrs), &[Tensor::vector(vec![1.1f32, 1.5, 8.0])])[0]
                .to_f64()
                .unwrap()
        };
        assert_eq!(
            [powers("up"), powers("down"), powers("nearest")],
            [[2., 2., 8.], [1., 1., 8.], [1., 2., 8.]]
        );
    }

    #[test]
    fn strings_are_read_and_written() {
        let x = strings(&["1.5", "inf", "-INF", "+Inf", "1e3", " 2"]);
        let expected = [1.5, f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY, 1000.0, 2.0];
        assert_eq!(cast(x, DType::F32).as_slice::<f32>().unwrap(), expected);
        assert_eq!(
            cast(strings(&["100.5", "300", "-1"]), DType::I64).as_slice::<i64>().unwrap(),
            [100, 300, -1]
        );
        assert_eq!(cast(strings(&["7"]), DType::U8).as_slice::<u8>().unwrap(), [7]);
        let unfit = try_run(
            &Cast { to: DType::F32, conversion: Conversion::default() },
            &[Some(strings(&["Hello"]))],
        );
        assert!(matches!(unfit, Err(OpError::Value { index: 0, .. })));
        assert_eq!(
            cast(Tensor::vector(vec![0.1f32, 1e20]), DType::String).as_strings().unwrap(),
            ["0.1", "1e+20"]
        );
        assert_eq!(cast(Tensor::vector(vec![-5i64]), DType::String).as_strings().unwrap(), ["-5"]);
        assert_eq!(cast(Tensor::vector(vec![true]), DType::String).as_strings().unwrap(), ["1"]);
    }

    #[test]
    fn every_real_type_casts_to_every_other() {
        let real: Vec<DType> = DType::ALL
            .iter()
            .copied()
            .filter(|dtype| !matches!(dtype, DType::Complex64 | DType::Complex128))
            .collect();
        for &from in &real {
            let one = cast(Tensor::vector(vec![1f32]), from);
            for &to in &real {
                let there = cast(one.clone(), to);
                assert_eq!(cast(there, DType::F32).as_slice::<f32>().unwrap(), [1.0], "{from} to {to}");
            }
        }
    }

    #[test]
    fn opset_1_names_its_target() {
        let op = parse_at(1, "Cast", &[("to", Attr::String(b"DOUBLE".to_vec()))]);
        assert_eq!(run(&*op, &[Tensor::scalar(2i32)])[0].to_scalar::<f64>().unwrap(), 2.0);
    }

    #[test]
    fn cast_like_takes_the_type_only() {
        let op = parse_at(19, "CastLike", &[]);
        let y = run(&*op, &[Tensor::vector(vec![1.5f32]), Tensor::zeros(DType::I32, [0, 3]).unwrap()]);
        assert_eq!(y[0].as_slice::<i32>().unwrap(), [1]);
    }

    #[test]
    fn bits_are_reinterpreted() {
        let bit_cast = |x: Tensor, to| try_run(&BitCast { to }, &[Some(x)]).map(|mut y| y.remove(0));
        let y = bit_cast(Tensor::vector(vec![1f32, -0.0]), DType::U32).unwrap();
        assert_eq!(y.as_slice::<u32>().unwrap(), [0x3F80_0000, 0x8000_0000]);
        let nibbles = Tensor::vector(vec![I4::wrap(-1), I4::wrap(2)]);
        let y = bit_cast(nibbles, DType::U4).unwrap();
        assert_eq!(y.bytes(), [15, 2]);
        assert_eq!(bit_cast(y.clone(), DType::I4).unwrap().bytes(), [255, 2]);
        let floats = bit_cast(y, DType::F4E2M1).unwrap();
        assert_eq!(floats.as_slice::<F4E2M1>().unwrap()[0].to_f64(), -6.0);
        assert_eq!(bit_cast(Tensor::scalar(U2::wrap(3)), DType::I2).unwrap().bytes(), [255]);
        assert_eq!(
            bit_cast(Tensor::scalar([1f32, 0.0]), DType::U64).unwrap().as_slice::<u64>().unwrap(),
            [0x3F80_0000]
        );
        assert!(matches!(bit_cast(Tensor::scalar(1f32), DType::F64), Err(OpError::DType { .. })));
        assert!(matches!(bit_cast(strings(&["a"]), DType::U8), Err(OpError::DType { .. })));
        assert!(bit_cast(Tensor::scalar(2u8), DType::Bool).is_err());
    }
}

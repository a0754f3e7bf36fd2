//! `Resize`: to the nearest of elements of any stored type; linear and cubic of f32. Tables say for each axis which elements an
//! output element is made of.

use std::fmt::Write as _;

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::resize::{Arguments, Axis, Coordinates, Mode, Resize, Taps};
use inferrum_tensor::Shape;

use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, c_type, word};
use crate::rows::{TOGETHER, width};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/resize.cu");

/// The place of what lies outside.
const OUTSIDE: u32 = u32::MAX;

pub(crate) fn lower(op: &Resize, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let shape = lowering.shape(0)?;
    let declined = |error: OpError| Decline(error.to_string());
    let plan = op.plan(&shape, &arguments(op, lowering)?).map_err(declined)?;
    let taps = plan.iter().map(|axis| axis.taps(op)).collect::<Result<Vec<Taps>, _>>().map_err(declined)?;
    let output: Shape = plan.iter().map(|axis| axis.output).collect();
    if shape.elements() == 0 || output != lowering.output_shape(0)? {
        return Err(Decline("nothing to resize".into()));
    }
    let nearest = matches!(op.mode, Mode::Nearest(_));
    let dtype = lowering.dtype(0)?;
    let outside = taps.iter().any(|taps| taps.outside.contains(&true));
    let float = lowering.float(0).is_ok();
    if !float && (!nearest || outside) {
        return Err(Decline(format!("{:?} of {dtype}, or extrapolation", op.mode)));
    }
    let changes = |axis: &Axis, taps: &Taps| {
        let region = op.coordinates == Coordinates::CropAndResize && axis.region != (0.0, 1.0);
        if nearest {
            return axis.input != axis.output
                || outside
                || taps.starts.iter().enumerate().any(|(i, &at)| i != at);
        }
        axis.input != axis.output || axis.scale.0 != axis.scale.1 || region
    };
    let changed: Vec<bool> = plan.iter().zip(&taps).map(|(axis, taps)| changes(axis, taps)).collect();
    if !changed.contains(&true) {
        return Ok(Lowered::View);
    }
    let mut walk = Walk::default();
    walk.axes(&plan, &taps, &changed, &shape, nearest)?;
    let elements = output.elements();
    let width = width_of(&walk, elements, dtype.size(), nearest, lowering);
    let element = c_type(dtype).ok_or_else(|| Decline(format!("elements of {dtype}")))?;
    let source = Template::new("resize", SOURCE)
        .define("X", element)
        .define("COUNT", walk.numbers.len())
        .define("WIDTH", width)
        .define("PLACES", walk.places)
        .define("OWN", walk.own)
        .define("SUM", walk.sum)
        .switch("NEAREST", nearest)
        .switch("FLOATS", float)
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Table(bytemuck::cast_slice(&walk.tables).into()),
        Operand::Output(0),
        Operand::word(elements)?,
        Operand::float(op.extrapolation),
        Operand::words(&walk.numbers),
    ];
    let kernel = Kernel::over(elements / width, source, &operands)?;
    Ok(Lowered::one(if nearest { "resize nearest" } else { "resize" }, kernel))
}

/// Neighbours that a thread takes, if that leaves enough to do for all.
fn width_of(walk: &Walk, elements: usize, bytes: usize, nearest: bool, lowering: &Lowering<'_>) -> usize {
    let least = lowering.abilities.multiprocessors as usize * BLOCK;
    let row = walk.numbers.first().map_or(1, |&row| row as usize);
    // Sums take instructions of their own for each.
    let most = if nearest { TOGETHER } else { 4 };
    width(bytes, |factor| factor <= most && row.is_multiple_of(factor) && elements / factor >= least)
}

/// The numbers of scales, sizes and region.
fn arguments(op: &Resize, lowering: &Lowering<'_>) -> Result<Arguments, Decline> {
    let numbers = |index: usize| {
        if !lowering.has(index) {
            return Ok(None);
        }
        let constant =
            lowering.constant(index).ok_or_else(|| Decline(format!("input {index} is not constant")))?;
        let numbers = constant.to_f64().map_err(|error| Decline(error.to_string()))?;
        Ok(Some(numbers).filter(|numbers| !numbers.is_empty()))
    };
    let late = op.scales_at == 2;
    let scales: Option<Vec<f64>> = numbers(op.scales_at)?;
    let sizes: Option<Vec<f64>> = if late { numbers(3)? } else { None };
    Ok(Arguments {
        // The region only matters to one transformation, and may be anything otherwise.
        region: if late { numbers(1).unwrap_or(None) } else { None },
        scales: scales.map(|scales| scales.into_iter().map(|scale| scale as f32).collect()),
        sizes: sizes.map(|sizes| sizes.into_iter().map(|size| size as i64).collect()),
    })
}

/// The way from an output element to those it is made of.
#[derive(Default)]
struct Walk {
    /// What the statements read as `number.at`.
    numbers: Vec<u32>,
    tables: Vec<u32>,
    /// Statements that add up `place` along all axes but the innermost one, and along that.
    places: String,
    own: String,
    /// Loops over the taps of all resized axes.
    sum: String,
}

impl Walk {
    fn axes(
        &mut self,
        plan: &[Axis],
        taps: &[Taps],
        changed: &[bool],
        shape: &Shape,
        nearest: bool,
    ) -> Result<(), Decline> {
        let strides = shape.strides();
        let mut axis = plan.len();
        let mut filtered = Vec::new();
        while axis > 0 {
            axis -= 1;
            // Neighbours that stay as they are count as one axis.
            let (mut extent, stride) = (plan[axis].output, strides[axis]);
            let own = axis;
            while !changed[own] && axis > 0 && !changed[axis - 1] {
                axis -= 1;
                extent = extent.saturating_mul(plan[axis].output);
            }
            let first = self.numbers.len();
            self.numbers.extend([word(extent)?, word(stride)?]);
            let step = format!("number.at[{}]", first + 1);
            let mut places = match first {
                0 => format!("u32 i{own} = column; "),
                _ => format!("u32 i{own} = rest % number.at[{first}]; rest /= number.at[{first}]; "),
            };
            if changed[own] {
                self.numbers.push(word(self.tables.len())?);
                let table = format!("number.at[{}]", first + 2);
                self.add_table(&taps[own], nearest)?;
                let _ = write!(places, "u32 start{own} = tables[{table} + i{own}]; ");
                let _ = write!(places, "outside = outside || start{own} == OUTSIDE; ");
                let _ = write!(places, "place += start{own} * {step}; ");
                if !nearest {
                    let _ = write!(places, "u32 bounds{own} = {table} + number.at[{first}] + i{own}; ");
                    filtered.push((own, step));
                }
            } else {
                let _ = write!(places, "place += i{own} * {step}; ");
            }
            match first {
                0 => self.own = places,
                _ => self.places.push_str(&places),
            }
        }
        self.nest(&filtered);
        Ok(())
    }

    fn add_table(&mut self, taps: &Taps, nearest: bool) -> Result<(), Decline> {
        for (&start, &outside) in taps.starts.iter().zip(&taps.outside) {
            self.tables.push(if outside { OUTSIDE } else { word(start)? });
        }
        if nearest {
            return Ok(());
        }
        let first = self.tables.len() + taps.offsets.len();
        for &offset in &taps.offsets {
            self.tables.push(word(first + offset)?);
        }
        self.tables.extend(taps.weights.iter().map(|&weight| (weight as f32).to_bits()));
        Ok(())
    }

    /// Loops over the taps of the axes, innermost axis first.
    fn nest(&mut self, axes: &[(usize, String)]) {
        let (mut weight, mut place) = ("1.0f".to_owned(), "place".to_owned());
        for (axis, step) in axes.iter().rev() {
            let _ = write!(
                self.sum,
                "u32 first{axis} = tables[bounds{axis}], end{axis} = tables[bounds{axis} + 1]; \
                 for (u32 tap{axis} = first{axis}; tap{axis} < end{axis}; tap{axis}++) {{ \
                 float weight{axis} = {weight} * __uint_as_float(tables[tap{axis}]); \
                 u32 place{axis} = {place} + (tap{axis} - first{axis}) * {step}; "
            );
            (weight, place) = (format!("weight{axis}"), format!("place{axis}"));
        }
        let _ = write!(self.sum, "sum = fmaf({weight}, float(x[{place}]), sum); ");
        self.sum.push_str(&"} ".repeat(axes.len()));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::resize;

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 2e-5 };

    #[test]
    fn every_mode_and_transformation() {
        agree_on(resize::modes_and_transformations(), CLOSE);
    }

    #[test]
    fn many_elements() {
        agree_on(resize::many_elements(), CLOSE);
    }

    #[test]
    fn scales_of_either_place() {
        agree_on(resize::scales_of_either_place(), CLOSE);
    }
}

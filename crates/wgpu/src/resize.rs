//! `Resize`: to the nearest of elements of any stored type; linear and cubic of f32. Tables say for each axis which elements an
//! output element is made of.

use std::fmt::Write as _;

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::resize::{Arguments, Axis, Coordinates, Mode, Resize, Taps};
use inferrum_tensor::Shape;

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word};
use crate::shader::Template;
use crate::storage;

const SOURCE: &str = include_str!("../../../shaders/resize.wgsl");

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
    let mut walk =
        Walk { params: vec![word(output.elements())?, op.extrapolation.to_bits()], ..Walk::default() };
    walk.axes(&plan, &taps, &changed, &shape, nearest)?;
    let element = storage::words(dtype).ok_or_else(|| Decline(format!("elements of {dtype}")))?;
    let mut bindings = Bindings::default();
    bindings.read("x", element, Operand::Input(0));
    bindings.read("tables", "u32", Operand::Table(walk.tables.into()));
    bindings.write("y", element, Operand::Output(0));
    let shader = Template::new("resize", SOURCE)
        .params(walk.params.len())
        .with("buffers", bindings.declarations())
        .with("places", walk.places)
        .with("loops", walk.loops)
        .switch("nearest", nearest)
        .switch("float", float)
        .build();
    let dispatch = Dispatch::over(output.elements(), shader, bindings.operands(), walk.params)?;
    Ok(Lowered::one(if nearest { "resize nearest" } else { "resize" }, dispatch))
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
    params: Vec<u32>,
    tables: Vec<u32>,
    /// Statements that add up `place`.
    places: String,
    /// Loops over the taps of all resized axes.
    loops: String,
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
            let first = self.params.len();
            self.params.extend([word(extent)?, word(stride)?]);
            let _ = writeln!(self.places, "    let i{own} = rest % param({first}u);");
            let _ = writeln!(self.places, "    rest = rest / param({first}u);");
            let step = format!("param({}u)", first + 1);
            if !changed[own] {
                let _ = writeln!(self.places, "    place += i{own} * {step};");
                continue;
            }
            self.params.push(word(self.tables.len())?);
            let table = format!("param({}u)", first + 2);
            self.add_table(&taps[own], nearest)?;
            let _ = writeln!(self.places, "    let start{own} = tables[{table} + i{own}];");
            let _ = writeln!(self.places, "    outside = outside || start{own} == {OUTSIDE}u;");
            let _ = writeln!(self.places, "    place += start{own} * {step};");
            if !nearest {
                let _ = writeln!(self.places, "    let bounds{own} = {table} + param({first}u) + i{own};");
                filtered.push((own, step));
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
        let (mut weight, mut place) = ("1.0".to_owned(), "place".to_owned());
        for (axis, step) in axes.iter().rev() {
            let _ = writeln!(self.loops, "    let first{axis} = tables[bounds{axis}];");
            let _ = writeln!(self.loops, "    let end{axis} = tables[bounds{axis} + 1u];");
            let _ = writeln!(
                self.loops,
                "    for (var tap{axis} = first{axis}; tap{axis} < end{axis}; tap{axis}++) {{"
            );
            let _ =
                writeln!(self.loops, "    let weight{axis} = {weight} * bitcast<f32>(tables[tap{axis}]);");
            let _ =
                writeln!(self.loops, "    let place{axis} = {place} + (tap{axis} - first{axis}) * {step};");
            (weight, place) = (format!("weight{axis}"), format!("place{axis}"));
        }
        let _ = writeln!(self.loops, "    sum = fma({weight}, f32(x[{place}]), sum);");
        self.loops.push_str(&"    }\n".repeat(axes.len()));
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

//! The attributes of `Resize` and `Upsample`, of every opset.

use std::sync::Arc;

use inferrum_graph::{NodeDef, OpError, Operator};
use inferrum_tensor::Tensor;

use super::{Coordinates, Mode, Policy, Resize, Rounding};

impl Resize {
    pub(super) fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        if def.opset < 11 {
            let mode = early_mode(def)?;
            return Ok(Arc::new(Resize { mode, scales_at: 1, ..Resize::early() }));
        }
        let rounding = match def.string_or("nearest_mode", "round_prefer_floor")?.as_str() {
            "round_prefer_floor" | "" => Rounding::PreferFloor,
            "round_prefer_ceil" => Rounding::PreferCeil,
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            other => {
                let expected = "`round_prefer_floor`, `round_prefer_ceil`, `floor` or `ceil`";
                return Err(OpError::attribute("nearest_mode", expected, other));
            }
        };
        let cubic = def.float_or("cubic_coeff_a", -0.75)?;
        let mode = match def.string_or("mode", "nearest")?.as_str() {
            "nearest" => Mode::Nearest(rounding),
            "linear" => Mode::Linear,
            "cubic" => Mode::Cubic(cubic),
            other => return Err(OpError::attribute("mode", "`nearest`, `linear` or `cubic`", other)),
        };
        let antialias = def.flag("antialias", false)?;
        if antialias && matches!(mode, Mode::Nearest(_)) {
            return Err(OpError::attribute("antialias", "0, as the mode is `nearest`", 1));
        }
        let policy = match def.string_or("keep_aspect_ratio_policy", "stretch")?.as_str() {
            "stretch" => Policy::Stretch,
            "not_larger" => Policy::NotLarger,
            "not_smaller" => Policy::NotSmaller,
            other => {
                let expected = "`stretch`, `not_larger` or `not_smaller`";
                return Err(OpError::attribute("keep_aspect_ratio_policy", expected, other));
            }
        };
        Ok(Arc::new(Resize {
            mode,
            coordinates: coordinates(&def.string_or("coordinate_transformation_mode", "half_pixel")?)?,
            antialias,
            exclude_outside: def.flag("exclude_outside", false)?,
            extrapolation: def.float_or("extrapolation_value", 0.0)?,
            axes: def.ints("axes")?,
            policy,
            scales_at: 2,
        }))
    }

    pub(super) fn parse_upsample(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let mode = early_mode(def)?;
        let scales = if def.opset < 7 {
            let required = |scale: Option<f32>, name| {
                scale.ok_or_else(|| OpError::attribute(name, "a positive number", "nothing"))
            };
            let height = required(def.float("height_scale")?, "height_scale")?;
            let width = required(def.float("width_scale")?, "width_scale")?;
            Some(vec![1.0, 1.0, height, width])
        } else {
            def.floats("scales")?
        };
        if let Some(scales) = scales {
            def.lift(1, Tensor::vector(scales));
        }
        Ok(Arc::new(Resize { mode, scales_at: 1, ..Resize::early() }))
    }

    /// What held before opset 11.
    pub(super) fn early() -> Resize {
        Resize {
            mode: Mode::Linear,
            coordinates: Coordinates::Asymmetric,
            antialias: false,
            exclude_outside: false,
            extrapolation: 0.0,
            axes: None,
            policy: Policy::Stretch,
            scales_at: 1,
        }
    }
}

/// The mode of an operator before opset 11.
fn early_mode(def: &mut NodeDef) -> Result<Mode, OpError> {
    match def.string_or("mode", "nearest")?.as_str() {
        "nearest" => Ok(Mode::Nearest(Rounding::Direction)),
        "linear" | "bilinear" => Ok(Mode::Linear),
        other => Err(OpError::attribute("mode", "`nearest` or `linear`", other)),
    }
}

fn coordinates(name: &str) -> Result<Coordinates, OpError> {
    Ok(match name {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinates::HalfPixelForNearest,
        "tf_crop_and_resize" => Coordinates::CropAndResize,
        other => {
            let expected = "`half_pixel`, `half_pixel_symmetric`, `pytorch_half_pixel`, `align_corners`, `asymmetric`, \
                            `tf_half_pixel_for_nn` or `tf_crop_and_resize`";
            return Err(OpError::attribute("coordinate_transformation_mode", expected, other));
        }
    })
}

//! What kernels ask of an adapter.

use inferrum_backend::Unusable;
use inferrum_tensor::DType;

use crate::cooperative::Cooperative;

/// The name of the variable that turns abilities off: names of them, with commas between.
pub(crate) const WITHOUT_VARIABLE: &str = "INFERRUM_WGPU_WITHOUT";

/// Workgroups that a card runs at the same time: no interface tells how many.
const MANY_AT_ONCE: usize = 128;

/// What kernels ask of an adapter; lowering needs no more of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Abilities {
    /// Float16 in shaders and in storage buffers.
    pub f16: bool,
    /// Sums and the like over the invocations of a subgroup, of whatever size.
    pub subgroups: bool,
    /// 64-bit integers in shaders.
    pub i64: bool,
    /// Workgroups that run at the same time, roughly.
    pub at_once: usize,
    /// Whether a product has to be added in 64-bit floats to be rounded once: a processor that plays the GPU may round it before.
    pub wide_fma: bool,
    /// Matrices that a subgroup multiplies as one.
    pub cooperative: Vec<Cooperative>,
    /// Sizes of buffers, workgroups and bindings.
    pub limits: wgpu::Limits,
}

impl Abilities {
    pub(crate) fn new(features: wgpu::Features, limits: wgpu::Limits, kind: wgpu::DeviceType) -> Abilities {
        let at_once = match kind {
            wgpu::DeviceType::Cpu => 4,
            wgpu::DeviceType::IntegratedGpu => 32,
            _ => MANY_AT_ONCE,
        };
        Abilities {
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            i64: features.contains(wgpu::Features::SHADER_INT64),
            at_once,
            wide_fma: kind == wgpu::DeviceType::Cpu && features.contains(wgpu::Features::SHADER_F64),
            cooperative: Vec::new(),
            limits,
        }
    }

    /// Bytes of the largest tensor that a kernel can bind.
    pub(crate) fn most_bytes(&self) -> u64 {
        let limits = &self.limits;
        // Metal tells a shader the sizes of its buffers in 32 bits.
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(u64::from(u32::MAX))
    }

    /// The names of those that are there, for tests.
    pub fn names(&self) -> String {
        let name = |on: bool, name| on.then_some(name);
        let names = [name(self.f16, "f16"), name(self.subgroups, "subgroups"), name(self.i64, "i64")];
        names.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Every combination of abilities, under the limits that WebGPU guarantees: what shaders are tested under without an
    /// adapter.
    pub fn every() -> Vec<Abilities> {
        let bit = |number: usize, bit: usize| number & bit != 0;
        let combination = |number| Abilities {
            f16: bit(number, 1),
            subgroups: bit(number, 2),
            i64: bit(number, 4),
            at_once: MANY_AT_ONCE,
            wide_fma: bit(number, 4),
            cooperative: if bit(number, 2) { cooperative(bit(number, 1)) } else { Vec::new() },
            limits: wgpu::Limits::default(),
        };
        (0..8).rev().map(combination).collect()
    }
}

/// What [`Abilities::every`] knows of matrices.
fn cooperative(f16: bool) -> Vec<Cooperative> {
    let matrices = |size, factors| Cooperative { size, factors, lanes: 32 };
    let half = [matrices(16, DType::F16), matrices(8, DType::F16)];
    [matrices(8, DType::F32)].into_iter().chain(half.into_iter().filter(|_| f16)).collect()
}

/// Abilities that are not used even where an adapter has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Without {
    pub(crate) f16: bool,
    pub(crate) subgroups: bool,
    pub(crate) i64: bool,
    /// See [`Cooperative`].
    pub(crate) matrices: bool,
    /// The GPU's own clock.
    pub(crate) timestamps: bool,
}

impl Without {
    /// Those that [`WITHOUT_VARIABLE`] names.
    ///
    /// # Errors
    /// It names what is none.
    pub(crate) fn asked() -> Result<Without, Unusable> {
        Without::parse(&std::env::var(WITHOUT_VARIABLE).unwrap_or_default())
    }

    fn parse(text: &str) -> Result<Without, Unusable> {
        let mut without = Without::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name.to_ascii_lowercase().as_str() {
                "f16" => without.f16 = true,
                "subgroups" => without.subgroups = true,
                "i64" => without.i64 = true,
                "matrices" => without.matrices = true,
                "timestamps" => without.timestamps = true,
                _ => {
                    return Err(Unusable {
                        reason: format!("{WITHOUT_VARIABLE} names `{name}`"),
                        remedy: "set it to some of f16, subgroups, i64, matrices, timestamps, with commas between, \
                                 or unset it"
                            .into(),
                    });
                }
            }
        }
        Ok(without)
    }

    /// The features that are not asked for.
    pub(crate) fn features(self) -> wgpu::Features {
        let off = |feature, off: bool| if off { feature } else { wgpu::Features::empty() };
        off(wgpu::Features::SHADER_F16, self.f16)
            | off(wgpu::Features::SUBGROUP, self.subgroups)
            | off(wgpu::Features::SHADER_INT64, self.i64)
            | off(wgpu::Features::TIMESTAMP_QUERY, self.timestamps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_turns_abilities_off() {
        let without = Without::parse(" F16, subgroups,").unwrap();
        assert_eq!(without, Without { f16: true, subgroups: true, ..Without::default() });
        assert_eq!(without.features(), wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP);
        assert_eq!(Without::parse(""), Ok(Without::default()));
        let error = Without::parse("f16,f8").unwrap_err().to_string();
        assert!(error.contains("f8") && error.contains(WITHOUT_VARIABLE), "{error}");
    }

    #[test]
    fn combinations_are_distinct() {
        let every = Abilities::every();
        assert_eq!(every.len(), 8);
        assert!(every.iter().enumerate().all(|(i, a)| every[..i].iter().all(|b| a != b)));
        assert!(every[0].f16 && every[0].subgroups && every[0].i64);
    }
}

//! Matrices that a subgroup multiplies as one (tensor cores, simdgroup matrices).
//!
//! What a driver offers is asked for when the adapter is opened. A product takes them only where the tuner has found them faster than
//! the other forms, with the same results.

use inferrum_tensor::DType;

use crate::shader::Template;

/// The loops, for [`Template::including`].
const SOURCE: &str = include_str!("../../../shaders/cooperative.wgsl");

/// Matrices of `size` x `size` x `size` of a type, whose sums are of f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// 8 or 16.
    pub size: usize,
    /// The type of the factors, f16 or f32.
    pub factors: DType,
    /// Invocations of a subgroup, the same for all.
    pub lanes: usize,
}

impl Cooperative {
    /// Those of an adapter that kernels are made for, if it is opened with `features` and `limits`.
    pub(crate) fn offered(
        adapter: &wgpu::Adapter,
        features: wgpu::Features,
        limits: &wgpu::Limits,
    ) -> Vec<Cooperative> {
        if !features.contains(wgpu::Features::SUBGROUP) {
            return Vec::new();
        }
        let info = adapter.get_info();
        let lanes = info.subgroup_min_size;
        if lanes != info.subgroup_max_size || !(8..=64).contains(&lanes) {
            return Vec::new();
        }
        let offered = adapter.cooperative_matrix_properties();
        let taken = offered.into_iter().filter_map(|offer| {
            let cube = offer.m_size == offer.n_size && offer.n_size == offer.k_size;
            let factors = match offer.ab_type {
                wgpu::CooperativeScalarType::F16 if features.contains(wgpu::Features::SHADER_F16) => {
                    DType::F16
                }
                wgpu::CooperativeScalarType::F32 => DType::F32,
                _ => return None,
            };
            let sums = offer.cr_type == wgpu::CooperativeScalarType::F32;
            let known = cube && sums && matches!(offer.m_size, 8 | 16);
            known.then_some(Cooperative { size: offer.m_size as usize, factors, lanes: lanes as usize })
        });
        let most = limits.max_compute_workgroup_storage_size as usize;
        taken.filter(|matrices| matrices.shared_bytes() <= most).collect()
    }

    /// Bytes that a workgroup shares: a block of each factor, and the tile's sums.
    fn shared_bytes(self) -> usize {
        self.tile() * (2 * self.size * self.factors.size() + 4 * self.tile())
    }

    /// Rows and columns of a workgroup's tile: four subgroups with two by two matrices each.
    pub(crate) fn tile(self) -> usize {
        4 * self.size
    }

    /// Puts the loops before the functions that they call.
    pub(crate) fn fill(self, template: Template) -> Template {
        template
            .including(SOURCE)
            .with("size", self.size)
            .with("tile", self.tile())
            .with("lanes", self.lanes)
            .with("element", if self.factors == DType::F16 { "f16" } else { "f32" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_matrices_share_more_than_every_adapter_has() {
        let bytes = |size, factors| Cooperative { size, factors, lanes: 32 }.shared_bytes();
        assert_eq!(
            [bytes(8, DType::F32), bytes(16, DType::F16), bytes(16, DType::F32)],
            [6144, 20480, 24576]
        );
    }
}

//! CPU kernels and backend of Inferrum.

mod arena;
mod backend;
mod compile;
pub mod conv;
mod copies;
mod epilogue;
mod executor;
mod fallback;
pub mod gemm;
mod index_tuples;
mod indices;
pub mod kernel;
mod moments;
mod passes;
mod recurrent;
pub mod simd;
mod strided;
mod tables;
mod team;
#[cfg(test)]
mod testing;
pub mod threads;
mod weights;

pub use backend::CpuBackend;
pub use weights::Weights;

use inferrum_backend::KernelRow;

use crate::kernel::Lower;

/// The rooms of the operators that have kernels here, for some of their types and shapes at least.
pub fn operator_rooms() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().map(KernelRow::operator_room)
}

inferrum_backend::kernels! {
    Lower;
    arg_max: inferrum_ops::arg_max::ArgReduce;
    attention: inferrum_ops::attention::Attention, inferrum_ops::fused::attention::Attention,
        inferrum_ops::multi_head_attention::MultiHeadAttention;
    batch_norm: inferrum_ops::batch_norm::BatchNormalization;
    cast: inferrum_ops::cast::BitCast, inferrum_ops::cast::Cast, inferrum_ops::cast::CastLike;
    channels_first: inferrum_ops::conv::Conv, inferrum_ops::conv_transpose::ConvTranspose,
        inferrum_ops::global_pool::GlobalPool, inferrum_ops::pool::AveragePool, inferrum_ops::pool::MaxPool;
    channels_last: inferrum_ops::fused::channels_last::ChannelsLast;
    concat: inferrum_ops::concat::Concat;
    crop: inferrum_ops::crop::Crop;
    cum_sum: inferrum_ops::cum_sum::Cumulative;
    depth_to_space: inferrum_ops::depth_to_space::DepthToSpace, inferrum_ops::depth_to_space::SpaceToDepth;
    elementwise: inferrum_ops::activation::Activation, inferrum_ops::bias_gelu::BiasGelu,
        inferrum_ops::binary::Binary, inferrum_ops::clip::Clip, inferrum_ops::fused::elementwise::Elementwise,
        inferrum_ops::is_inf::IsInf, inferrum_ops::prelu::PRelu, inferrum_ops::select::Where,
        inferrum_ops::swiglu::SwiGlu, inferrum_ops::unary::Unary, inferrum_ops::variadic::Variadic;
    expand: inferrum_ops::expand::Expand;
    gather: inferrum_ops::gather::Gather;
    gather_elements: inferrum_ops::gather_elements::GatherElements;
    gather_nd: inferrum_ops::gather_nd::GatherND;
    group_norm: inferrum_ops::group_norm::GroupNormalization, inferrum_ops::instance_norm::InstanceNormalization;
    gru: inferrum_ops::gru::GRU;
    layer_norm: inferrum_ops::layer_norm::LayerNormalization, inferrum_ops::layer_norm::RMSNormalization;
    linear: inferrum_ops::fused::linear::Linear;
    lp_norm: inferrum_ops::lp_norm::LpNormalization;
    lrn: inferrum_ops::lrn::LRN;
    lstm: inferrum_ops::lstm::LSTM;
    matmul: inferrum_ops::fused_matmul::FusedMatMul, inferrum_ops::gemm::Gemm, inferrum_ops::matmul::MatMul;
    matmul_nbits: inferrum_ops::matmul_nbits::MatMulNBits;
    one_hot: inferrum_ops::one_hot::OneHot;
    pad: inferrum_ops::pad::Pad;
    planar: inferrum_ops::conv::FusedConv;
    quantize: inferrum_ops::dynamic_quantize::DynamicQuantizeLinear, inferrum_ops::quantize::DequantizeLinear,
        inferrum_ops::quantize::QuantizeLinear;
    reduce: inferrum_ops::reduce::Reduce;
    resize: inferrum_ops::resize::Resize;
    rnn: inferrum_ops::rnn::RNN;
    scatter: inferrum_ops::scatter_elements::ScatterElements, inferrum_ops::scatter_nd::ScatterND;
    skip_layer_norm: inferrum_ops::skip_layer_norm::SkipLayerNormalization;
    slice: inferrum_ops::slice::Slice;
    softmax: inferrum_ops::softmax::Softmax;
    split: inferrum_ops::split::Split;
    table: inferrum_ops::fused::table::Table;
    tile: inferrum_ops::tile::Tile;
    top_k: inferrum_ops::top_k::TopK;
    transpose: inferrum_ops::transpose::Transpose;
    trilu: inferrum_ops::trilu::Trilu;
    view: inferrum_ops::dropout::Dropout, inferrum_ops::flatten::Flatten, inferrum_ops::identity::Identity,
        inferrum_ops::reshape::Reshape, inferrum_ops::squeeze::Squeeze, inferrum_ops::unsqueeze::Unsqueeze;
}

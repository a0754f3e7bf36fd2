//! NVIDIA GPUs as an Inferrum backend.
//!
//! A region becomes a list of launches over an arena (`compile.rs`), which is recorded once as a CUDA graph and replayed
//! (`executor.rs`). Kernels are CUDA C++ sources in `kernels/`, made for types and switches by the room of the same name here and
//! compiled at run time. What runs them is behind `driver.rs`: NVIDIA's driver (`nvidia/`), or in tests the host (`host/`).

mod abilities;
mod backend;
mod compile;
mod conv_depthwise;
mod conv_direct;
mod copies;
mod division;
mod driver;
mod epilogue;
mod executor;
mod filters;
mod form;
mod functions;
#[cfg(feature = "host")]
mod host;
mod images;
mod index_tuples;
mod indices;
mod integer_conv;
mod integer_product;
mod integer_tile;
mod integers;
mod kernel;
mod legalize;
mod library;
mod loops;
mod lower;
mod memory;
mod moments;
mod nvidia;
mod packed;
mod plan;
mod product;
mod recurrent;
mod requantize;
mod rows;
mod set;
mod source;
mod stream;
mod tensor;
#[cfg(test)]
mod testing;
mod transfer;
mod weights;
mod window;

pub use backend::CudaBackend;
pub use nvidia::devices;

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
    concat: inferrum_ops::concat::Concat;
    constant_of_shape: inferrum_ops::constant_of_shape::ConstantOfShape;
    conv: inferrum_ops::conv::Conv, inferrum_ops::conv::FusedConv;
    conv_integer: inferrum_ops::conv_integer::ConvInteger;
    conv_transpose: inferrum_ops::conv_transpose::ConvTranspose;
    crop: inferrum_ops::crop::Crop;
    cum_sum: inferrum_ops::cum_sum::Cumulative;
    depth_to_space: inferrum_ops::depth_to_space::DepthToSpace, inferrum_ops::depth_to_space::SpaceToDepth;
    dynamic_quantize: inferrum_ops::dynamic_quantize::DynamicQuantizeLinear;
    elementwise: inferrum_ops::activation::Activation, inferrum_ops::bias_gelu::BiasGelu,
        inferrum_ops::binary::Binary, inferrum_ops::cast::Cast, inferrum_ops::clip::Clip,
        inferrum_ops::fused::elementwise::Elementwise, inferrum_ops::is_inf::IsInf, inferrum_ops::prelu::PRelu,
        inferrum_ops::select::Where, inferrum_ops::swiglu::SwiGlu, inferrum_ops::unary::Unary,
        inferrum_ops::variadic::Variadic;
    expand: inferrum_ops::expand::Expand, inferrum_ops::tile::Tile;
    gather: inferrum_ops::gather::Gather;
    gather_elements: inferrum_ops::gather_elements::GatherElements;
    gather_nd: inferrum_ops::gather_nd::GatherND;
    global_pool: inferrum_ops::global_pool::GlobalPool;
    grid_sample: inferrum_ops::grid_sample::GridSample;
    group_norm: inferrum_ops::group_norm::GroupNormalization, inferrum_ops::instance_norm::InstanceNormalization;
    group_query_attention: inferrum_ops::group_query_attention::GroupQueryAttention;
    gru: inferrum_ops::gru::GRU;
    layer_norm: inferrum_ops::layer_norm::LayerNormalization, inferrum_ops::layer_norm::RMSNormalization;
    linear: inferrum_ops::fused::linear::Linear;
    lp_norm: inferrum_ops::lp_norm::LpNormalization;
    lrn: inferrum_ops::lrn::LRN;
    lstm: inferrum_ops::lstm::LSTM;
    matmul: inferrum_ops::fused_matmul::FusedMatMul, inferrum_ops::gemm::FusedGemm, inferrum_ops::gemm::Gemm,
        inferrum_ops::matmul::MatMul;
    matmul_integer: inferrum_ops::matmul_integer::MatMulInteger,
        inferrum_ops::matmul_integer::MatMulIntegerToFloat;
    matmul_nbits: inferrum_ops::matmul_nbits::MatMulNBits;
    one_hot: inferrum_ops::one_hot::OneHot;
    pad: inferrum_ops::pad::Pad;
    pool: inferrum_ops::pool::AveragePool, inferrum_ops::pool::LpPool, inferrum_ops::pool::MaxPool;
    qgemm: inferrum_ops::qgemm::QGemm;
    qlinear_conv: inferrum_ops::qlinear_conv::QLinearConv;
    qlinear_matmul: inferrum_ops::qlinear_matmul::QLinearMatMul;
    qlinear_pool: inferrum_ops::qlinear_pool::QLinearPool;
    qlinear_softmax: inferrum_ops::qlinear_softmax::QLinearSoftmax;
    quantize: inferrum_ops::quantize::DequantizeLinear, inferrum_ops::quantize::QuantizeLinear;
    reduce: inferrum_ops::reduce::Reduce;
    resize: inferrum_ops::resize::Resize;
    rnn: inferrum_ops::rnn::RNN;
    rotary_embedding: inferrum_ops::rotary_embedding::RotaryEmbedding;
    scatter: inferrum_ops::scatter_elements::ScatterElements, inferrum_ops::scatter_nd::ScatterND;
    skip_layer_norm: inferrum_ops::skip_layer_norm::SkipLayerNormalization;
    slice: inferrum_ops::slice::Slice;
    softmax: inferrum_ops::softmax::Softmax;
    split: inferrum_ops::split::Split;
    table: inferrum_ops::fused::table::Table;
    top_k: inferrum_ops::top_k::TopK;
    transpose: inferrum_ops::transpose::Transpose;
    trilu: inferrum_ops::trilu::Trilu;
    view: inferrum_ops::dropout::Dropout, inferrum_ops::flatten::Flatten, inferrum_ops::identity::Identity,
        inferrum_ops::reshape::Reshape, inferrum_ops::squeeze::Squeeze, inferrum_ops::unsqueeze::Unsqueeze;
}

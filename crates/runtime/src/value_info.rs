//! What a model says of its inputs and outputs.

use std::fmt;

use inferrum_graph::{Fact, SymDim};
use inferrum_tensor::DType;

/// An input or output of a model; printed as `image: float32[batchx1x28x28]`.
///
/// ```
/// use inferrum::{DType, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
/// let session = Session::load(model)?;
/// let image = &session.inputs()[0];
/// assert_eq!(image.to_string(), "image: float32[batchx1x28x28]");
/// assert_eq!(image.dtype(), Some(DType::F32));
/// let dims = image.dims().expect("its rank is known");
/// assert_eq!((dims[0].known(), dims[3].known()), (None, Some(28)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ValueInfo {
    /// Its name.
    pub name: String,
    /// Its element type and shape (or what kind of sequence, optional or map it is). An extent is a number, a symbol
    /// that stands for one number in all inputs of a run, or unknown.
    pub fact: Fact,
}

impl ValueInfo {
    /// The element type; `None` of what is no tensor, or of which the model says nothing.
    pub fn dtype(&self) -> Option<DType> {
        self.fact.as_tensor().map(|tensor| tensor.dtype)
    }

    /// The extents: each a number, a symbol or unknown. `None` of what is no tensor, or a tensor of unknown rank.
    pub fn dims(&self) -> Option<&[SymDim]> {
        self.fact.as_tensor()?.shape.dims()
    }
}

impl fmt::Display for ValueInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.fact)
    }
}

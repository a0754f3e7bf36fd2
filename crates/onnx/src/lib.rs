//! Reads ONNX files into Inferrum graphs.
#![allow(missing_docs)]
pub struct Model {
    pub graph: inferrum_graph::Graph,
}
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("x")]
    X,
}
pub fn load(_: &std::path::Path) -> Result<Model, LoadError> {
    Err(LoadError::X)
}
pub fn load_bytes(_: bytes::Bytes, _: Option<&std::path::Path>) -> Result<Model, LoadError> {
    Err(LoadError::X)
}

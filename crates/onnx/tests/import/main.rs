//! What the importer makes of models, good and hostile. The models are built from ONNX's messages, one concern per file.

mod bodies;
mod bytes;
mod extents;
mod external;
mod functions;
mod model;
mod names;
mod nesting;
mod operators;
mod sparse;
mod storage;
mod types;
mod versions;

#[allow(missing_docs, unreachable_pub, clippy::all, dead_code)]
#[path = "../../src/proto.rs"]
mod proto;

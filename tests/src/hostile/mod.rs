//! Hostile models: files that were changed at random, and a harness that loads and runs whatever is left of them. Shared
//! by the tests and by the fuzz targets.

mod harness;
mod mutation;
mod random;

#[allow(missing_docs, unreachable_pub, clippy::all, dead_code)]
#[path = "../../../crates/onnx/src/proto.rs"]
mod proto;

pub use harness::{MEMORY, exercise};
pub use mutation::mutate;
pub use random::Random;

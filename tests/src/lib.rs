//! What the conformance tests share: where the corpus is, how a case is run, and which failures are known.

pub mod bound;
pub mod corpus;
pub mod expectations;
pub mod hostile;
pub mod operators;
pub mod suite;

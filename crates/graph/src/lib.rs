//! The typed operator graph of Inferrum.

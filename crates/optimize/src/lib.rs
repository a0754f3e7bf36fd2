//! Device-neutral graph rewrites of Inferrum.

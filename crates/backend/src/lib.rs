//! The waist between Inferrum's graph and its devices.

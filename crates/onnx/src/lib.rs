//! Reads ONNX files into Inferrum graphs.

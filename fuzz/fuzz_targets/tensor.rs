//! Bytes as values: ONNX's `TensorProto` and containers, NumPy's `.npy` and `.npz`.

#![no_main]

use inferrum::DType;
use inferrum::graph::Fact;
use inferrum::onnx::value;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../crates/cli/src/npz.rs"]
mod npz;

fuzz_target!(|bytes: &[u8]| {
    let facts = [
        Fact::Unknown,
        Fact::Sequence(Box::new(Fact::Unknown)),
        Fact::Optional(Box::new(Fact::Unknown)),
        Fact::Map { key: DType::I64, value: DType::F32 },
    ];
    for fact in &facts {
        if let Ok(read) = value::decode(bytes.to_vec(), fact) {
            let written = value::encode(&read, "x").expect("what was read can be written");
            let again = value::decode(written, fact).expect("what was written can be read");
            assert_eq!(read.describe(), again.describe());
        }
    }
    if let Ok(tensor) = npz::decode(bytes) {
        let mut written = Vec::new();
        npz::encode(&mut written, &tensor).expect("what was read can be written");
        let again = npz::decode(&written).expect("what was written can be read");
        assert_eq!((tensor.dtype(), tensor.shape()), (again.dtype(), again.shape()));
    }
    if let Ok(mut archive) = zip::ZipArchive::new(std::io::Cursor::new(bytes)) {
        let _ = npz::read_archive(&mut archive);
    }
});

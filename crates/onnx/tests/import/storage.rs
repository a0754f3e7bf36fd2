//! Every form in which a tensor's elements are stored, for every element type.

use bytes::Bytes;
use inferrum_tensor::{DType, Tensor};

use crate::model::{constant, graph, load, model, node, refused, tensor_attribute};
use crate::proto::TensorProto;

fn stored(data_type: i32, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: Some("w".into()),
        data_type: Some(data_type),
        dims: dims.to_vec(),
        ..TensorProto::default()
    }
}

fn raw(data_type: i32, dims: &[i64], bytes: &[u8]) -> TensorProto {
    TensorProto { raw_data: Some(Bytes::copy_from_slice(bytes)), ..stored(data_type, dims) }
}

fn ints(data_type: i32, dims: &[i64], int32_data: &[i32]) -> TensorProto {
    TensorProto { int32_data: int32_data.to_vec(), ..stored(data_type, dims) }
}

/// The tensor as an initializer becomes it; as an attribute it must become the same.
#[track_caller]
fn read(tensor: TensorProto) -> Tensor {
    let as_initializer = load(&model(graph(vec![], vec![], &["w"]).storing(tensor.clone())));
    let constant_node = node("Constant", &[], &["w"]).with(tensor_attribute("value", tensor));
    let as_attribute = load(&model(graph(vec![], vec![constant_node], &["w"])));
    let (a, b) = (as_initializer.unwrap_or_else(|e| panic!("{e}")), as_attribute.unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(constant(&a), constant(&b));
    constant(&a)
}

#[track_caller]
fn bad(tensor: TensorProto, parts: &[&str]) {
    let constant_node = node("Constant", &[], &["w"]).with(tensor_attribute("value", tensor.clone()));
    refused(&model(graph(vec![], vec![], &["w"]).storing(tensor)), &[&["initializer `w`"], parts].concat());
    let place = ["attribute `value` of node `the_Constant` (Constant)"];
    refused(&model(graph(vec![], vec![constant_node], &["w"])), &[&place, parts].concat());
}

#[test]
fn raw_data_of_every_type() {
    // (type, bytes of three elements, their values)
    let cases: &[(DType, &[u8], [f64; 3])] = &[
        (DType::U8, &[0, 1, 255], [0., 1., 255.]),
        (DType::I8, &[0, 1, 255], [0., 1., -1.]),
        (DType::Bool, &[0, 1, 1], [0., 1., 1.]),
        (DType::U16, &[0, 0, 1, 0, 0, 1], [0., 1., 256.]),
        (DType::I16, &[0, 0, 1, 0, 255, 255], [0., 1., -1.]),
        (DType::F16, &[0, 0, 0, 0x3C, 0, 0xC0], [0., 1., -2.]),
        (DType::BF16, &[0, 0, 0x80, 0x3F, 0, 0xC0], [0., 1., -2.]),
        (DType::U32, &[0, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255], [0., 1., 4294967295.]),
        (DType::I32, &[0, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255], [0., 1., -1.]),
        (DType::F8E4M3Fn, &[0x00, 0x38, 0xB8], [0., 1., -1.]),
        (DType::F8E4M3Fnuz, &[0x00, 0x40, 0xC0], [0., 1., -1.]),
        (DType::F8E5M2, &[0x00, 0x3C, 0xBC], [0., 1., -1.]),
        (DType::F8E5M2Fnuz, &[0x00, 0x40, 0xC0], [0., 1., -1.]),
        (DType::F8E8M0, &[126, 127, 128], [0.5, 1., 2.]),
        // The first element stands in the lowest bits.
        (DType::U4, &[0xF1, 0x02], [1., 15., 2.]),
        (DType::I4, &[0xF1, 0x08], [1., -1., -8.]),
        (DType::F4E2M1, &[0xA2, 0x01], [1., -1., 0.5]),
        (DType::U2, &[0b00_11_10_01], [1., 2., 3.]),
        (DType::I2, &[0b00_11_10_01], [1., -2., -1.]),
    ];
    for (dtype, bytes, expected) in cases {
        let tensor = read(raw(dtype.onnx_code(), &[3], bytes));
        assert_eq!((tensor.dtype(), tensor.to_f64().unwrap()), (*dtype, expected.to_vec()), "{dtype}");
    }
    let wide: Vec<u8> = [0.5f64, -1.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(read(raw(DType::F64.onnx_code(), &[2], &wide)).to_f64().unwrap(), [0.5, -1.0]);
    let wide: Vec<u8> = [0.5f32, -1.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(read(raw(DType::F32.onnx_code(), &[2], &wide)).to_f64().unwrap(), [0.5, -1.0]);
    assert_eq!(read(raw(DType::Complex64.onnx_code(), &[], &wide)).bytes(), wide);
    let wide: Vec<u8> = [i64::MIN, 7].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(read(raw(DType::I64.onnx_code(), &[2], &wide)).as_slice::<i64>().unwrap(), [i64::MIN, 7]);
    assert_eq!(read(raw(DType::U64.onnx_code(), &[2], &wide)).as_slice::<u64>().unwrap(), [1 << 63, 7]);
    assert_eq!(read(raw(DType::Complex128.onnx_code(), &[], &wide)).bytes(), wide);
    // Every type but strings was here.
    assert_eq!(DType::ALL.len(), cases.len() + 6 + 1);
}

#[test]
fn int32_data_of_every_narrow_type() {
    let cases: &[(DType, &[i32], [f64; 3])] = &[
        (DType::I32, &[0, i32::MAX, i32::MIN], [0., 2147483647., -2147483648.]),
        (DType::I16, &[0, 32767, -32768], [0., 32767., -32768.]),
        (DType::U16, &[0, 1, 65535], [0., 1., 65535.]),
        (DType::I8, &[0, 127, -128], [0., 127., -128.]),
        (DType::U8, &[0, 1, 255], [0., 1., 255.]),
        (DType::Bool, &[0, 1, 2], [0., 1., 1.]),
        (DType::F16, &[0, 0x3C00, 0xC000], [0., 1., -2.]),
        (DType::BF16, &[0, 0x3F80, -0x4000], [0., 1., -2.]),
        (DType::F8E4M3Fn, &[0x00, 0x38, 0xB8], [0., 1., -1.]),
        (DType::F8E4M3Fnuz, &[0x00, 0x40, 0xC0], [0., 1., -1.]),
        (DType::F8E5M2, &[0x00, 0x3C, 0xBC], [0., 1., -1.]),
        (DType::F8E5M2Fnuz, &[0x00, 0x40, 0xC0], [0., 1., -1.]),
        (DType::F8E8M0, &[126, 127, 128], [0.5, 1., 2.]),
        (DType::U4, &[0xF1, 0x02], [1., 15., 2.]),
        (DType::I4, &[0xF1, 0x08], [1., -1., -8.]),
        (DType::F4E2M1, &[0xA2, 0x01], [1., -1., 0.5]),
        (DType::U2, &[0b00_11_10_01], [1., 2., 3.]),
        (DType::I2, &[0b00_11_10_01], [1., -2., -1.]),
    ];
    for (dtype, data, expected) in cases {
        let tensor = read(ints(dtype.onnx_code(), &[3], data));
        assert_eq!((tensor.dtype(), tensor.to_f64().unwrap()), (*dtype, expected.to_vec()), "{dtype}");
    }
}

#[test]
fn the_other_typed_fields() {
    let tensor = TensorProto { float_data: vec![0.5, -1.0], ..stored(DType::F32.onnx_code(), &[2, 1]) };
    assert_eq!(read(tensor), Tensor::from_vec([2, 1], vec![0.5f32, -1.0]).unwrap());
    let tensor = TensorProto { float_data: vec![0.5, -1.0], ..stored(DType::Complex64.onnx_code(), &[1]) };
    assert_eq!(read(tensor).shape().dims(), [1]);
    let tensor = TensorProto { double_data: vec![0.5, -1.0], ..stored(DType::F64.onnx_code(), &[2]) };
    assert_eq!(read(tensor), Tensor::vector(vec![0.5f64, -1.0]));
    let tensor = TensorProto { double_data: vec![0.5; 4], ..stored(DType::Complex128.onnx_code(), &[2]) };
    assert_eq!(read(tensor).bytes().len(), 32);
    let tensor = TensorProto { int64_data: vec![i64::MIN, 3], ..stored(DType::I64.onnx_code(), &[2]) };
    assert_eq!(read(tensor), Tensor::vector(vec![i64::MIN, 3]));
    let tensor = TensorProto { uint64_data: vec![u64::MAX, 3], ..stored(DType::U64.onnx_code(), &[2]) };
    assert_eq!(read(tensor), Tensor::vector(vec![u64::MAX, 3]));
    let tensor = TensorProto { uint64_data: vec![u32::MAX.into(), 3], ..stored(DType::U32.onnx_code(), &[2]) };
    assert_eq!(read(tensor), Tensor::vector(vec![u32::MAX, 3]));
    let texts = vec![Bytes::from_static(b""), Bytes::from_static("žluť".as_bytes())];
    let tensor = TensorProto { string_data: texts, ..stored(DType::String.onnx_code(), &[2]) };
    assert_eq!(read(tensor), Tensor::from_strings([2], vec![String::new(), "žluť".into()]).unwrap());
}

#[test]
fn empty_tensors_and_scalars() {
    for dtype in DType::ALL.iter().copied() {
        for dims in [&[0][..], &[3, 0, 2], &[0, 1_000_000_000_000_000_000, 1_000_000_000_000_000_000]] {
            let tensor = read(stored(dtype.onnx_code(), dims));
            assert_eq!((tensor.dtype(), tensor.len()), (dtype, 0));
        }
    }
    assert_eq!(read(raw(DType::F32.onnx_code(), &[], &[0, 0, 0x80, 0x3F])), Tensor::scalar(1f32));
    // An empty `raw_data` beside the field that holds the elements.
    let tensor = TensorProto { float_data: vec![2.0], ..raw(DType::F32.onnx_code(), &[1], &[]) };
    assert_eq!(read(tensor), Tensor::vector(vec![2f32]));
}

#[test]
fn wrong_lengths_say_what_was_needed() {
    for dtype in DType::ALL.iter().copied().filter(|&dtype| dtype != DType::String) {
        let bits = dtype.file_bits();
        let right = 5 * bits / 8 + usize::from(5 * bits % 8 > 0);
        for got in [1, right - 1, right + 1] {
            if got == right {
                continue;
            }
            let (name, needs) = (dtype.to_string(), format!("needs {right} bytes in `raw_data`, got {got}"));
            bad(raw(dtype.onnx_code(), &[5], &vec![0; got]), &[&name, &needs]);
        }
    }
    let f32s = TensorProto { float_data: vec![1.0], ..stored(DType::F32.onnx_code(), &[2]) };
    bad(f32s, &["float32[2] needs 2 elements in `float_data`, got 1"]);
    bad(stored(DType::I64.onnx_code(), &[2]), &["needs 16 bytes in `raw_data`, got 0"]);
    let odd = TensorProto { float_data: vec![1.0; 3], ..stored(DType::Complex64.onnx_code(), &[1]) };
    bad(odd, &["complex64[1] needs 2 numbers in `float_data`, got 3"]);
    let texts = TensorProto { string_data: vec![Bytes::new()], ..stored(DType::String.onnx_code(), &[2]) };
    bad(texts, &["string[2] needs 2 elements in `string_data`, got 1"]);
}

#[test]
fn numbers_that_the_type_cannot_hold() {
    for (dtype, value) in [
        (DType::U8, 256),
        (DType::U8, -129),
        (DType::I8, -129),
        (DType::I16, 32768),
        (DType::U16, -1),
        (DType::F16, 65536),
        (DType::BF16, -32769),
        (DType::F8E4M3Fn, 256),
        (DType::I4, 256),
    ] {
        bad(ints(dtype.onnx_code(), &[1], &[value]), &[&format!("{value} in `int32_data` is no {dtype}")]);
    }
    let wide = TensorProto { uint64_data: vec![1 << 32], ..stored(DType::U32.onnx_code(), &[1]) };
    bad(wide, &["4294967296 in `uint64_data` is no uint32"]);
    bad(raw(DType::Bool.onnx_code(), &[2], &[0, 2]), &["not valid elements of bool"]);
    let text = TensorProto { string_data: vec![Bytes::from_static(b"\xFF")], ..stored(DType::String.onnx_code(), &[1]) };
    bad(text, &["string 0 is not UTF-8"]);
    bad(raw(DType::String.onnx_code(), &[1], b"x"), &["raw_data", "string"]);
    for code in [0, -1, 27, 28, 29, i32::MAX, i32::MIN] {
        bad(raw(code, &[1], &[0]), &[&format!("data type {code} of TensorProto is not supported")]);
    }
}

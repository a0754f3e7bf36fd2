//! Small models.

use inferrum_onnx::{LoadError, Model, load_bytes};
use inferrum_tensor::{DType, Tensor};
use prost::Message;

use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::type_proto::{self, Value as Kind};
use crate::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};

pub(crate) const F32: i32 = 1;
pub(crate) const I64: i32 = 7;
pub(crate) const STRING: i32 = 8;
pub(crate) const BOOL: i32 = 9;

pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// The type of a tensor; an extent of -1 is unknown.
pub(crate) fn tensor_type(elem_type: i32, dims: &[i64]) -> TypeProto {
    let dim = |&n: &i64| Dimension { value: Some(dimension::Value::DimValue(n)), ..Dimension::default() };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(elem_type), shape: Some(shape) };
    TypeProto { value: Some(Kind::TensorType(tensor)), ..TypeProto::default() }
}

pub(crate) fn value(name: &str, declared: TypeProto) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), r#type: Some(declared), ..ValueInfoProto::default() }
}

/// A declared tensor of float32.
pub(crate) fn floats(name: &str, dims: &[i64]) -> ValueInfoProto {
    value(name, tensor_type(F32, dims))
}

/// A value without a type.
pub(crate) fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() }
}

/// A node whose name is `the_` and its operator.
pub(crate) fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.into()),
        name: Some(format!("the_{op_type}")),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    }
}

impl NodeProto {
    pub(crate) fn named(mut self, name: &str) -> NodeProto {
        self.name = Some(name.into());
        self
    }

    pub(crate) fn of(mut self, domain: &str) -> NodeProto {
        self.domain = Some(domain.into());
        self
    }

    pub(crate) fn with(mut self, attribute: AttributeProto) -> NodeProto {
        self.attribute.push(attribute);
        self
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(kind.into()), ..AttributeProto::default() }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i: Some(i), ..attribute(name, AttributeType::Int) }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f: Some(f), ..attribute(name, AttributeType::Float) }
}

pub(crate) fn body(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(g), ..attribute(name, AttributeType::Graph) }
}

pub(crate) fn tensor_attribute(name: &str, t: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(t), ..attribute(name, AttributeType::Tensor) }
}

/// An attribute that takes the value of the enclosing function's attribute `from`.
pub(crate) fn reference(name: &str, from: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { ref_attr_name: Some(from.into()), ..attribute(name, kind) }
}

pub(crate) fn float_data(name: &str, dims: &[i64], float_data: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(F32),
        float_data: float_data.to_vec(),
        ..TensorProto::default()
    }
}

pub(crate) fn int_data(name: &str, dims: &[i64], int64_data: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(I64),
        int64_data: int64_data.to_vec(),
        ..TensorProto::default()
    }
}

/// A graph named `g`.
pub(crate) fn graph(inputs: Vec<ValueInfoProto>, nodes: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
    GraphProto {
        name: Some("g".into()),
        input: inputs,
        node: nodes,
        output: outputs.iter().map(|name| untyped(name)).collect(),
        ..GraphProto::default()
    }
}

impl GraphProto {
    pub(crate) fn storing(mut self, tensor: TensorProto) -> GraphProto {
        self.initializer.push(tensor);
        self
    }
}

pub(crate) fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) }
}

/// A model of IR version 10 and opset 17.
pub(crate) fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![opset("", 17), opset("local", 1)],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

impl ModelProto {
    pub(crate) fn defining(mut self, functions: Vec<FunctionProto>) -> ModelProto {
        self.functions = functions;
        self
    }
}

/// A function of domain `local` with opset 17.
pub(crate) fn function(
    name: &str,
    inputs: &[&str],
    nodes: Vec<NodeProto>,
    outputs: &[&str],
) -> FunctionProto {
    FunctionProto {
        name: Some(name.into()),
        domain: Some("local".into()),
        input: names(inputs),
        output: names(outputs),
        node: nodes,
        opset_import: vec![opset("", 17), opset("local", 1)],
        ..FunctionProto::default()
    }
}

pub(crate) fn load(model: &ModelProto) -> Result<Model, LoadError> {
    load_bytes(model.encode_to_vec().into(), None)
}

#[track_caller]
pub(crate) fn accepted(model: &ModelProto) -> Model {
    load(model).unwrap_or_else(|error| panic!("{error}"))
}

/// The message of the error, which must contain all of `parts`.
#[track_caller]
pub(crate) fn refused(model: &ModelProto, parts: &[&str]) -> String {
    let error = load(model).expect_err("the model is refused").to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    error
}

/// The elements of a model's only output, which is a constant.
#[track_caller]
pub(crate) fn constant(model: &Model) -> Tensor {
    model.graph.constant(model.graph.outputs[0]).expect("a constant").clone()
}

/// What the model's first output is for float inputs, by the operators' references.
#[track_caller]
pub(crate) fn computed(model: &Model, inputs: &[&[f32]]) -> Vec<f32> {
    let inputs = inputs.iter().zip(&model.graph.inputs).map(|(elements, &id)| {
        let shape = model.graph.fact(id).concrete_shape().expect("a known shape");
        Tensor::from_vec(shape, elements.to_vec()).expect("as many elements as the shape needs").into()
    });
    let outputs = inferrum_graph::interpret(&model.graph, inputs.collect()).unwrap_or_else(|e| panic!("{e}"));
    let tensor = outputs.into_iter().next().and_then(|value| value.into_tensor()).expect("a tensor");
    assert_eq!(tensor.dtype(), DType::F32);
    tensor.as_slice::<f32>().expect("float32").to_vec()
}

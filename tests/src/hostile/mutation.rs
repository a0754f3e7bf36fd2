//! Changes of models that keep them models: most bit flips only break the protobuf encoding, so they never get as far as
//! an operator.

use bytes::Bytes;
use prost::Message;

use super::Random;
use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::type_proto::{self, Value as Kind};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
};

/// The model with one to four changes; `None` if the bytes are no model.
pub fn mutate(model: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut proto = ModelProto::decode(model).ok()?;
    for _ in 0..=random.below(4) {
        change_model(&mut proto, random);
    }
    Some(proto.encode_to_vec())
}

fn change_model(proto: &mut ModelProto, random: &mut Random) {
    if random.one_in(24) {
        if let Some(import) = random.pick_mut(&mut proto.opset_import) {
            import.version = Some(1 + random.below(28) as i64);
        }
    } else if random.one_in(16)
        && let Some(function) = random.pick_mut(&mut proto.functions)
    {
        change_nodes(&mut function.node, random);
    } else if let Some(graph) = &mut proto.graph {
        change_graph(graph, random);
    }
}

fn change_graph(graph: &mut GraphProto, random: &mut Random) {
    let mut bodies: Vec<&mut GraphProto> = Vec::new();
    if random.one_in(3) {
        let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
        bodies.extend(attributes.flat_map(|attr| attr.g.iter_mut().chain(&mut attr.graphs)));
    }
    if let Some(body) = random.pick_mut(&mut bodies) {
        return change_graph(body, random);
    }
    match random.below(10) {
        0..=2 => {
            if let Some(info) = random.pick_mut(&mut graph.input) {
                change_declaration(info, random);
            }
        }
        3 | 4 => {
            if let Some(tensor) = random.pick_mut(&mut graph.initializer) {
                change_tensor(tensor, random);
            }
        }
        5 => make_constant(graph, random),
        6 if random.one_in(4) => {
            if let Some(info) = random.pick_mut(&mut graph.output) {
                change_declaration(info, random);
            }
        }
        _ => change_nodes(&mut graph.node, random),
    }
}

/// Turns an input into an initializer, so that operators see its elements.
fn make_constant(graph: &mut GraphProto, random: &mut Random) {
    let index = random.below(graph.input.len());
    let Some(info) = graph.input.get(index) else { return };
    let Some(Kind::TensorType(declared)) = info.r#type.as_ref().and_then(|ty| ty.value.as_ref()) else {
        return;
    };
    let dims = declared.shape.iter().flat_map(|shape| &shape.dim).map(|dim| match &dim.value {
        Some(dimension::Value::DimValue(n)) => (*n).clamp(0, 64),
        _ => random.below(4) as i64,
    });
    let mut tensor = TensorProto {
        name: info.name.clone(),
        dims: dims.collect(),
        data_type: declared.elem_type,
        ..TensorProto::default()
    };
    fill(&mut tensor, random);
    graph.input.remove(index);
    graph.initializer.push(tensor);
}

fn change_nodes(nodes: &mut Vec<NodeProto>, random: &mut Random) {
    if random.one_in(20)
        && let Some(node) = random.pick(nodes).cloned()
    {
        nodes.push(node);
        return;
    }
    let names: Vec<String> =
        nodes.iter().flat_map(|node| node.input.iter().chain(&node.output)).cloned().collect();
    if let Some(node) = random.pick_mut(nodes) {
        change_node(node, &names, random);
    }
}

fn change_node(node: &mut NodeProto, names: &[String], random: &mut Random) {
    match random.below(12) {
        0 => {
            if let (Some(input), Some(name)) = (random.pick_mut(&mut node.input), random.pick(names)) {
                input.clone_from(name);
            }
        }
        1 => {
            if let Some(input) = random.pick_mut(&mut node.input) {
                input.clear();
            }
        }
        2 => drop(node.input.pop()),
        3 => node.input.extend(random.pick(names).cloned()),
        4 => {
            let (a, b) = (random.below(node.input.len()), random.below(node.input.len()));
            if a < node.input.len() && b < node.input.len() {
                node.input.swap(a, b);
            }
        }
        5 if random.one_in(2) => {
            let known: Vec<_> = inferrum_ops::operators().map(|(_, entry)| entry.key).collect();
            if let Some(key) = random.pick(&known) {
                node.op_type = Some(key.op_type.into());
                node.domain = Some(key.domain.into());
            }
        }
        6 => {
            let index = random.below(node.attribute.len());
            if index < node.attribute.len() {
                node.attribute.remove(index);
            }
        }
        7 if random.one_in(3) => node.output.push(format!("more{}", random.below(100))),
        _ => {
            if let Some(attribute) = random.pick_mut(&mut node.attribute) {
                change_attribute(attribute, random);
            }
        }
    }
}

fn change_attribute(attribute: &mut AttributeProto, random: &mut Random) {
    if random.one_in(16) {
        attribute.r#type = Some(random.below(15) as i32);
        return;
    }
    if let Some(tensor) = &mut attribute.t {
        return change_tensor(tensor, random);
    }
    match AttributeType::try_from(attribute.r#type.unwrap_or_default()) {
        Ok(AttributeType::Int) => attribute.i = Some(random.whole()),
        Ok(AttributeType::Float) => attribute.f = Some(random.float()),
        Ok(AttributeType::String) => attribute.s = Some(text(random)),
        Ok(AttributeType::Ints) => change_list(&mut attribute.ints, Random::whole, random),
        Ok(AttributeType::Floats) => change_list(&mut attribute.floats, Random::float, random),
        Ok(AttributeType::Strings) => change_list(&mut attribute.strings, text, random),
        _ => {}
    }
}

fn text(random: &mut Random) -> Bytes {
    const TEXTS: &[&[u8]] =
        &[b"", b"a", b"(", b"[a-z]*", b"\xFF", b"linear", b"SAME_UPPER", b"ij,jk->ik", b"ii->i", b"..."];
    Bytes::from_static(random.pick(TEXTS).copied().unwrap_or_default())
}

fn change_list<T>(list: &mut Vec<T>, make: impl Fn(&mut Random) -> T, random: &mut Random) {
    match random.below(5) {
        0 => drop(list.pop()),
        1 => list.push(make(random)),
        _ => {
            let new = make(random);
            if let Some(item) = random.pick_mut(list) {
                *item = new;
            }
        }
    }
}

fn change_declaration(info: &mut ValueInfoProto, random: &mut Random) {
    if let Some(declared) = &mut info.r#type {
        change_type(declared, random);
    }
}

fn change_type(declared: &mut TypeProto, random: &mut Random) {
    if random.one_in(32) {
        declared.value = Some(Kind::TensorType(type_proto::Tensor::default()));
    }
    match &mut declared.value {
        Some(Kind::TensorType(tensor)) => change_tensor_type(tensor, random),
        Some(Kind::SequenceType(of)) => {
            of.elem_type.iter_mut().for_each(|inner| change_type(inner, random));
        }
        Some(Kind::OptionalType(of)) => {
            of.elem_type.iter_mut().for_each(|inner| change_type(inner, random));
        }
        _ => {}
    }
}

fn change_tensor_type(tensor: &mut type_proto::Tensor, random: &mut Random) {
    let extent = |random: &mut Random| Dimension {
        value: match random.below(8) {
            0 => None,
            1 => Some(dimension::Value::DimParam("n".into())),
            2 => Some(dimension::Value::DimValue(random.whole())),
            _ => Some(dimension::Value::DimValue(random.below(7) as i64)),
        },
        ..Dimension::default()
    };
    match random.below(6) {
        0 => tensor.elem_type = Some(random.below(28) as i32),
        1 if random.one_in(3) => tensor.shape = None,
        1 => tensor.shape = Some(TensorShapeProto { dim: vec![Dimension::default(); random.below(4)] }),
        _ => {
            if let Some(shape) = &mut tensor.shape {
                change_list(&mut shape.dim, extent, random);
            }
        }
    }
}

fn change_tensor(tensor: &mut TensorProto, random: &mut Random) {
    match random.below(8) {
        0 => tensor.data_type = Some(random.below(28) as i32),
        1 => change_list(&mut tensor.dims, Random::whole, random),
        2 | 3 => {
            change_list(&mut tensor.dims, |random| random.below(7) as i64, random);
            fill(tensor, random);
        }
        4 if !tensor.int64_data.is_empty() => change_list(&mut tensor.int64_data, Random::whole, random),
        5 if !tensor.float_data.is_empty() => change_list(&mut tensor.float_data, Random::float, random),
        6 if !tensor.int32_data.is_empty() => {
            change_list(&mut tensor.int32_data, |random| random.whole() as i32, random)
        }
        _ => fill(tensor, random),
    }
}

/// Gives a tensor as many elements as its extents ask for, unless those are absurd.
fn fill(tensor: &mut TensorProto, random: &mut Random) {
    const MOST: i64 = 4096;
    let product =
        tensor.dims.iter().try_fold(1i64, |n, &dim| n.checked_mul(dim).filter(|n| (0..=MOST).contains(n)));
    let Some(elements) = product.and_then(|n| usize::try_from(n).ok()) else { return };
    let empty = TensorProto {
        name: tensor.name.take(),
        dims: std::mem::take(&mut tensor.dims),
        data_type: tensor.data_type,
        ..TensorProto::default()
    };
    *tensor = empty;
    match tensor.data_type.unwrap_or_default() {
        1 => tensor.float_data = (0..elements).map(|_| random.float()).collect(),
        7 => tensor.int64_data = (0..elements).map(|_| random.whole()).collect(),
        8 => tensor.string_data = (0..elements).map(|_| text(random)).collect(),
        11 => tensor.double_data = (0..elements).map(|_| random.float().into()).collect(),
        13 => tensor.uint64_data = (0..elements).map(|_| random.number()).collect(),
        14 => tensor.float_data = (0..2 * elements).map(|_| random.float()).collect(),
        _ => tensor.int32_data = (0..elements).map(|_| random.below(4) as i32).collect(),
    }
}

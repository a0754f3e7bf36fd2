//! Values for the eye.

use std::io::{self, Write};

use inferrum::{DType, MapKeys, Tensor, Value};

use crate::style;
use crate::table::cut;

/// Tensors of more elements are shown in part.
const SHOWN_WHOLE: usize = 60;
/// Items shown at each end of an axis that is not shown whole.
const ENDS: usize = 3;
/// Items of a sequence or map that are shown.
const ITEMS: usize = 10;
/// An item that is cut keeps so many characters.
const SHORTEST: usize = 8;
/// Columns of a line.
const WIDTH: usize = 78;

/// Writes a value under its name.
pub(crate) fn write(out: &mut dyn Write, name: &str, value: &Value) -> io::Result<()> {
    let heading = style::HEADING;
    writeln!(out, "{heading}{name}{heading:#}: {}", value.describe())?;
    content(out, value, 2)
}

fn content(out: &mut dyn Write, value: &Value, indent: usize) -> io::Result<()> {
    let blanks = " ".repeat(indent);
    match value {
        Value::Tensor(tensor) => self::tensor(out, tensor, &blanks),
        Value::Optional(inner) => inner.iter().try_for_each(|inner| content(out, inner, indent)),
        Value::Sequence(items) => {
            for (index, item) in items.iter().take(ITEMS).enumerate() {
                writeln!(out, "{blanks}{index}: {}", item.describe())?;
                content(out, item, indent + 2)?;
            }
            more(out, items.len(), &blanks)
        }
        Value::Map { keys, values } => {
            let elements = Elements::of(values);
            for index in 0..keys.len().min(ITEMS) {
                let key = match keys {
                    MapKeys::Int(keys) => keys[index].to_string(),
                    MapKeys::String(keys) => format!("{:?}", keys[index]),
                };
                writeln!(out, "{blanks}{key}: {}", elements.text(index))?;
            }
            more(out, keys.len(), &blanks)
        }
    }
}

fn more(out: &mut dyn Write, items: usize, blanks: &str) -> io::Result<()> {
    match items.checked_sub(ITEMS) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "{blanks}and {more} more"),
    }
}

fn tensor(out: &mut dyn Write, tensor: &Tensor, blanks: &str) -> io::Result<()> {
    if tensor.is_empty() {
        return writeln!(out, "{blanks}no elements");
    }
    let elements = Elements::of(tensor);
    let ends = if tensor.len() > SHOWN_WHOLE { ENDS } else { usize::MAX / 4 };
    let mut lines = vec![vec![String::new()]];
    nested(&elements, tensor.shape(), 0, 0, ends, &mut lines);
    let more = " ".repeat(tensor.shape().rank());
    lines.iter().try_for_each(|items| wrapped(out, items, blanks, &more))?;
    if let (true, Some(summary)) = (tensor.len() > SHOWN_WHOLE, summary(tensor)) {
        writeln!(out, "{blanks}{summary}")?;
    }
    Ok(())
}

/// Writes items after another, on as many lines as they need; `more` stands before those of a further line.
fn wrapped(out: &mut dyn Write, items: &[String], blanks: &str, more: &str) -> io::Result<()> {
    let length = |text: &str| text.chars().count();
    let room = WIDTH.saturating_sub(length(blanks)).max(SHORTEST);
    let mut line = String::new();
    for item in items {
        let item = cut(item, room.saturating_sub(length(more)).max(SHORTEST));
        if line.is_empty() {
            line = item;
        } else if length(&line) + 1 + length(&item) <= room {
            line.extend([" ", &item]);
        } else {
            writeln!(out, "{blanks}{line}")?;
            line = format!("{more}{item}");
        }
    }
    writeln!(out, "{blanks}{line}")
}

/// Brackets within brackets, as NumPy does it: the rows of the last axis are lines, each a list of items.
fn nested(
    elements: &Elements,
    shape: &[usize],
    axis: usize,
    start: usize,
    ends: usize,
    lines: &mut Vec<Vec<String>>,
) {
    let push = |lines: &mut Vec<Vec<String>>, text: &str| {
        if let Some(item) = lines.last_mut().and_then(|line| line.last_mut()) {
            item.push_str(text);
        }
    };
    let Some(&extent) = shape.get(axis) else { return push(lines, &elements.text(start)) };
    let step: usize = shape[axis + 1..].iter().product();
    let last = axis + 1 == shape.len();
    push(lines, "[");
    for index in 0..extent {
        if index > ends && index + ends < extent {
            continue;
        }
        match lines.last_mut() {
            Some(line) if index > 0 && last => line.push(String::new()),
            _ if index > 0 => lines.push(vec![" ".repeat(axis + 1)]),
            _ => {}
        }
        if index == ends && index + ends < extent {
            push(lines, "…");
        } else {
            nested(elements, shape, axis + 1, start + index * step, ends, lines);
        }
    }
    push(lines, "]");
}

/// Least, mean and greatest element.
fn summary(tensor: &Tensor) -> Option<String> {
    let values = tensor.to_f64().ok()?;
    let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    let mut summary = if finite.is_empty() {
        "no finite elements".to_owned()
    } else {
        let least = finite.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = finite.iter().sum::<f64>() / finite.len() as f64;
        format!("least {}, mean {}, greatest {}", number(least), number(mean), number(greatest))
    };
    if finite.len() < values.len() {
        summary.push_str(&format!("; {} elements are NaN or infinite", values.len() - finite.len()));
    }
    Some(summary)
}

/// The elements of a tensor, each as a text.
enum Elements<'a> {
    Strings(&'a [String]),
    Integers(Vec<i64>),
    Unsigned(&'a [u64]),
    Bools(Vec<f64>),
    Floats(Vec<f64>),
    Other,
}

impl Elements<'_> {
    fn of(tensor: &Tensor) -> Elements<'_> {
        match tensor.dtype() {
            DType::String => tensor.as_strings().map_or(Elements::Other, Elements::Strings),
            DType::Bool => tensor.to_f64().map_or(Elements::Other, Elements::Bools),
            DType::U64 => tensor.as_slice().map_or(Elements::Other, Elements::Unsigned),
            dtype if dtype.is_integer() => tensor.to_i64().map_or(Elements::Other, Elements::Integers),
            _ => tensor.to_f64().map_or(Elements::Other, Elements::Floats),
        }
    }

    fn text(&self, index: usize) -> String {
        match self {
            Elements::Strings(strings) => format!("{:?}", strings[index]),
            Elements::Integers(integers) => integers[index].to_string(),
            Elements::Unsigned(integers) => integers[index].to_string(),
            Elements::Bools(bools) => (bools[index] != 0.0).to_string(),
            Elements::Floats(floats) => number(floats[index]),
            Elements::Other => "?".into(),
        }
    }
}

/// A float with five digits: `0.12346`, `1234.6`, `1.2346e-7`.
pub(crate) fn number(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    let magnitude = x.abs().log10().floor() as i32;
    if !(-4..7).contains(&magnitude) {
        return format!("{x:.4e}");
    }
    let decimals = usize::try_from(4 - magnitude).unwrap_or(0);
    let text = format!("{x:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: Value) -> String {
        let mut text = Vec::new();
        write(&mut text, "y", &value).unwrap();
        anstream::adapter::strip_str(&String::from_utf8(text).unwrap()).to_string()
    }

    #[test]
    fn tensors_are_nested_brackets() {
        let small = Tensor::from_vec([2, 2], vec![1.0f32, -0.5, 1e-9, 12345.678]).unwrap();
        assert_eq!(text(small.into()), "y: float32[2x2]\n  [[1 -0.5]\n   [1.0000e-9 12346]]\n");
        let large = Tensor::from_vec([100], (0..100i32).collect()).unwrap();
        assert_eq!(
            text(large.into()),
            "y: int32[100]\n  [0 1 2 … 97 98 99]\n  least 0, mean 49.5, greatest 99\n"
        );
        assert_eq!(text(Tensor::scalar(true).into()), "y: bool[scalar]\n  true\n");
        let unsigned = Tensor::vector(vec![u64::MAX, 5]);
        assert_eq!(text(unsigned.into()), "y: uint64[2]\n  [18446744073709551615 5]\n");
        assert!(text(Tensor::zeros(DType::F32, [0, 3]).unwrap().into()).contains("no elements"));
    }

    #[test]
    fn long_rows_go_on_below_and_no_number_is_cut() {
        let numbers: Vec<f32> = (0..40).map(|i| 1.2345e-20 * (i + 1) as f32).collect();
        let text = text(Tensor::from_vec([2, 20], numbers.clone()).unwrap().into());
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert!(lines.len() > 4 && lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(lines[0].starts_with("  [[1.2345e-20 ") && lines[1].starts_with("    "), "{text}");
        let read: Vec<f32> = lines
            .iter()
            .flat_map(|line| line.split_whitespace())
            .map(|word| word.trim_matches(['[', ']']).parse().unwrap())
            .collect();
        assert!(read.iter().zip(&numbers).all(|(a, b)| (a - b).abs() <= 1e-4 * b) && read.len() == 40);
        let long = Tensor::from_strings([2], vec!["a b ".repeat(50), "c".into()]).unwrap();
        assert!(super::tests::text(long.into()).lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn containers_are_lists() {
        let map =
            Value::Map { keys: MapKeys::String(vec!["a".into()]), values: Tensor::vector(vec![0.5f32]) };
        assert_eq!(
            text(Value::Sequence(vec![map])),
            "y: sequence of 1\n  0: map of 1 to float32\n    \"a\": 0.5\n"
        );
        let many = Value::Sequence(vec![Tensor::scalar(1i64).into(); 12]);
        assert!(text(many).ends_with("and 2 more\n"));
    }
}

//! Text files as inputs: lines of strings, or numbers.

use anyhow::{Context, Result, bail, ensure};
use inferrum::graph::{Fact, SymDim, TensorFact};
use inferrum::{DType, Tensor, Value};

/// A string input takes one string a line, or the whole text where it has one element; another input takes the numbers
/// in the text, apart by blanks or commas. One axis may be open; it follows from how many there are.
pub(super) fn value(text: &str, fact: &Fact) -> Result<Value> {
    let Some(tensor) = fact.as_tensor() else { bail!("a text cannot be {fact}") };
    if tensor.dtype == DType::String {
        let one = tensor.shape.concrete().is_some_and(|shape| shape.elements() == 1);
        let strings: Vec<String> = if one {
            vec![text.strip_suffix('\n').unwrap_or(text).to_owned()]
        } else {
            text.lines().map(str::to_owned).collect()
        };
        let shape = shape(tensor, strings.len())?;
        return Ok(Tensor::from_strings(shape, strings)?.into());
    }
    let words =
        text.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    ensure!(!words.is_empty() || holds_nothing(tensor), "holds no numbers; expected some for {fact}");
    let shape = shape(tensor, words.len())?;
    let number = |word: &&str| format!("`{word}` is no {}", tensor.dtype);
    if tensor.dtype == DType::Bool {
        let truth = |word: &&str| match *word {
            "1" | "true" | "True" => Ok(true),
            "0" | "false" | "False" => Ok(false),
            _ => bail!("`{word}` is no bool; expected true, false, 1 or 0"),
        };
        return Ok(Tensor::from_vec(shape, words.iter().map(truth).collect::<Result<Vec<bool>>>()?)?.into());
    }
    if tensor.dtype == DType::U64 {
        let numbers = words.iter().map(|word| word.parse::<u64>().with_context(|| number(word)));
        return Ok(Tensor::from_vec(shape, numbers.collect::<Result<Vec<_>>>()?)?.into());
    }
    if tensor.dtype.is_integer() {
        let numbers = words.iter().map(|word| word.parse::<i64>().with_context(|| number(word)));
        return Ok(Tensor::from_i64(tensor.dtype, shape, &numbers.collect::<Result<Vec<_>>>()?)?.into());
    }
    let numbers = words.iter().map(|word| word.parse::<f64>().with_context(|| number(word)));
    Ok(Tensor::from_f64(tensor.dtype, shape, &numbers.collect::<Result<Vec<_>>>()?)?.into())
}

/// Whether no element is what the shape asks for.
fn holds_nothing(tensor: &TensorFact) -> bool {
    tensor.shape.concrete().is_some_and(|shape| shape.elements() == 0)
}

/// The input's shape for so many elements: the last open axis takes them, other open axes are 1.
pub(super) fn shape(tensor: &TensorFact, elements: usize) -> Result<Vec<usize>> {
    let Some(dims) = tensor.shape.dims() else { return Ok(vec![elements]) };
    let fixed = dims.iter().filter_map(SymDim::known).fold(1usize, usize::saturating_mul);
    let open = dims.iter().rposition(|dim| dim.known().is_none());
    let shape: Vec<usize> = dims
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim.known() {
            Some(n) => n,
            None if Some(axis) == open => elements / fixed.max(1),
            None => 1,
        })
        .collect();
    let needed = shape.iter().copied().fold(1usize, usize::saturating_mul);
    ensure!(needed == elements, "{elements} elements do not fill {}", tensor.shape);
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum::graph::ShapeFact;

    fn fact(dtype: DType, dims: &[Option<usize>]) -> Fact {
        Fact::tensor(
            dtype,
            dims.iter().map(|d| d.map_or(SymDim::Unknown, SymDim::Known)).collect::<ShapeFact>(),
        )
    }

    #[test]
    fn numbers_fill_the_open_axis() {
        let tensor =
            value("1 2,3\n4;5 6", &fact(DType::I64, &[None, Some(3)])).unwrap().into_tensor().unwrap();
        assert_eq!(tensor.shape().dims(), [2, 3]);
        assert_eq!(tensor.as_slice::<i64>().unwrap(), [1, 2, 3, 4, 5, 6]);
        assert!(value("1 2 3 4", &fact(DType::F32, &[None, Some(3)])).is_err());
        assert!(value("1 x", &fact(DType::F32, &[None])).is_err());
        assert!(value("1.5", &fact(DType::I32, &[None])).is_err());
        let large = value("18446744073709551615", &fact(DType::U64, &[None])).unwrap().into_tensor().unwrap();
        assert_eq!(large.as_slice::<u64>().unwrap(), [u64::MAX]);
        let truths = value("true 0 1", &fact(DType::Bool, &[None])).unwrap().into_tensor().unwrap();
        assert_eq!(truths.as_slice::<bool>().unwrap(), [true, false, true]);
        assert!(value("2", &fact(DType::Bool, &[None])).is_err());
        assert!(value(" \n", &fact(DType::F32, &[None])).is_err(), "most likely not meant");
        assert!(value("", &fact(DType::F32, &[Some(0)])).is_ok());
    }

    #[test]
    fn strings_are_lines_or_the_text() {
        let lines = value("a b\nc\n", &fact(DType::String, &[None, Some(1)])).unwrap().into_tensor().unwrap();
        assert_eq!(lines.as_strings().unwrap(), ["a b", "c"]);
        let whole = value("a b\nc\n", &fact(DType::String, &[Some(1)])).unwrap().into_tensor().unwrap();
        assert_eq!(whole.as_strings().unwrap(), ["a b\nc"]);
    }
}

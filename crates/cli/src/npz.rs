//! NumPy's files: `.npy` (one array) and `.npz` (arrays by name).

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use inferrum::{DType, Shape, Tensor, Value};
use npyz::{Endianness, NpyHeader, Order, TypeChar, TypeStr, WriteOptions, WriterBuilder};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Reads a `.npy` file.
pub(crate) fn read_npy(path: &Path) -> Result<Tensor> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    decode(&bytes).with_context(|| path.display().to_string())
}

/// Reads a `.npz` file: names and arrays, in the file's order.
pub(crate) fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let read = || {
        let mut archive = ZipArchive::new(BufReader::new(File::open(path)?)).context("is no .npz file")?;
        read_archive(&mut archive)
    };
    read().with_context(|| path.display().to_string())
}

/// The arrays of a `.npz` file.
pub(crate) fn read_archive<R: Read + Seek>(archive: &mut ZipArchive<R>) -> Result<Vec<(String, Tensor)>> {
    let mut arrays = Vec::new();
    let mut limit = inferrum::machine_limit();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let file_name = entry.name().context("a name is not UTF-8")?.into_owned();
        let Some(name) = npyz::npz::array_name_from_file_name(&file_name) else { continue };
        let bytes = inflated(&mut entry, limit).with_context(|| format!("array `{name}`"))?;
        limit = limit.saturating_sub(bytes.len());
        let array = decode(&bytes).with_context(|| format!("array `{name}`"))?;
        arrays.push((name.to_owned(), array));
    }
    Ok(arrays)
}

/// What an entry inflates to, if that is at most `limit` bytes: a small file may be of any size inflated.
fn inflated(entry: &mut dyn Read, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(u64::try_from(limit)?.saturating_add(1)).read_to_end(&mut bytes)?;
    ensure!(bytes.len() <= limit, "it is larger than the memory ({limit} bytes are left)");
    Ok(bytes)
}

/// Opening brackets in a header at most.
const MOST_BRACKETS: usize = 8;

/// An error if the header nests deeply, or says that it is longer than the file, which the header's reader does not check.
fn check_header(file: &[u8]) -> Result<()> {
    // The magic, the version, and the header's length: 16 bits in version 1, 32 in later ones.
    let (header, length) = match file {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, low, high, header @ ..] => {
            (header, u32::from(u16::from_le_bytes([*low, *high])))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', _, _, a, b, c, d, header @ ..] => {
            (header, u32::from_le_bytes([*a, *b, *c, *d]))
        }
        _ => bail!("is no .npy file"),
    };
    let there = header.len();
    let Some(header) = header.get(..usize::try_from(length)?) else {
        bail!("is cut off: its header has {length} bytes, got {there}");
    };
    // The header of an array has a dictionary and a tuple. Its reader's time doubles with every bracket within another.
    let brackets = header.iter().filter(|byte| b"({[".contains(byte)).count();
    ensure!(
        brackets <= MOST_BRACKETS,
        "holds records, or its header is none: it has {brackets} opening brackets"
    );
    Ok(())
}

/// An error if the extents in a header multiply to more than memory holds, which the header's reader does not check.
fn check_extents(file: &[u8]) -> Result<()> {
    let header = String::from_utf8_lossy(&file[..file.len().min(1 << 16)]);
    let extents = header.split_once("'shape':").and_then(|(_, rest)| rest.split_once('(')?.1.split_once(')'));
    let Some((extents, _)) = extents else { return Ok(()) };
    let numbers = extents.split(',').filter_map(|text| text.trim().parse::<u64>().ok());
    let product = numbers.filter(|&n| n > 0).try_fold(1u64, u64::checked_mul);
    ensure!(
        product.is_some_and(|product| usize::try_from(product).is_ok()),
        "its shape ({extents}) does not fit into memory"
    );
    Ok(())
}

/// The array in the bytes of a `.npy` file.
pub(crate) fn decode(file: &[u8]) -> Result<Tensor> {
    let mut rest = file;
    check_header(file)?;
    check_extents(file)?;
    let header = NpyHeader::from_reader(&mut rest).context("is no .npy file")?;
    let npyz::DType::Plain(stored) = header.dtype() else {
        bail!("holds records; expected an array of one type");
    };
    let extent = |&dim: &u64| usize::try_from(dim).context("its shape does not fit into memory");
    let shape: Shape = header.shape().iter().map(extent).collect::<Result<_>>()?;
    let item = stored.num_bytes().context("holds Python objects; expected numbers or strings")?;
    let needed = shape.elements().saturating_mul(item);
    ensure!(rest.len() >= needed, "is cut off: {shape} needs {needed} bytes of data, got {}", rest.len());
    let data = &rest[..needed];
    let big = stored.endianness() == Endianness::Big;
    if let TypeChar::UnicodeStr | TypeChar::ByteStr = stored.type_char() {
        let strings = strings(data, item, stored.type_char(), big)?;
        let strings = match header.order() {
            Order::C => strings,
            Order::Fortran => row_major(&strings, &shape),
        };
        return Ok(Tensor::from_strings(shape, strings)?);
    }
    let dtype = dtype(&stored).with_context(|| format!("type `{stored}` is not supported"))?;
    let mut bytes = match header.order() {
        Order::C => data.to_vec(),
        Order::Fortran if item == 0 => Vec::new(),
        Order::Fortran => row_major(&data.chunks_exact(item).collect::<Vec<_>>(), &shape).concat(),
    };
    let number = if matches!(dtype, DType::Complex64 | DType::Complex128) { item / 2 } else { item };
    if big && number > 1 {
        bytes.chunks_exact_mut(number).for_each(<[u8]>::reverse);
    }
    Ok(Tensor::from_bytes(dtype, shape, bytes)?)
}

/// The element type of a stored type.
fn dtype(stored: &TypeStr) -> Option<DType> {
    Some(match (stored.type_char(), stored.size_field()) {
        (TypeChar::Bool, 1) => DType::Bool,
        (TypeChar::Int, 1) => DType::I8,
        (TypeChar::Int, 2) => DType::I16,
        (TypeChar::Int, 4) => DType::I32,
        (TypeChar::Int, 8) => DType::I64,
        (TypeChar::Uint, 1) => DType::U8,
        (TypeChar::Uint, 2) => DType::U16,
        (TypeChar::Uint, 4) => DType::U32,
        (TypeChar::Uint, 8) => DType::U64,
        (TypeChar::Float, 2) => DType::F16,
        (TypeChar::Float, 4) => DType::F32,
        (TypeChar::Float, 8) => DType::F64,
        (TypeChar::Complex, 8) => DType::Complex64,
        (TypeChar::Complex, 16) => DType::Complex128,
        _ => return None,
    })
}

/// How an element type is stored; `None` for types that NumPy does not have.
fn stored(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "|b1",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::Complex64 => "<c8",
        DType::Complex128 => "<c16",
        _ => return None,
    })
}

/// Strings of fixed size, filled up with zeros: UTF-32, or bytes.
fn strings(data: &[u8], item: usize, kind: TypeChar, big: bool) -> Result<Vec<String>> {
    if item == 0 {
        bail!("holds strings of no length");
    }
    let text = |bytes: &[u8]| -> Result<String> {
        if kind == TypeChar::ByteStr {
            let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            return String::from_utf8(bytes[..end].to_vec()).context("a string is not UTF-8");
        }
        let code = |unit: &[u8]| {
            let unit = <[u8; 4]>::try_from(unit).unwrap_or_default();
            if big { u32::from_be_bytes(unit) } else { u32::from_le_bytes(unit) }
        };
        let text: Option<String> = bytes.chunks_exact(4).map(|unit| char::from_u32(code(unit))).collect();
        Ok(text.context("a string is not Unicode")?.trim_end_matches('\0').to_owned())
    };
    data.chunks_exact(item).map(text).collect()
}

/// Column-major items in row-major order.
fn row_major<T: Clone>(items: &[T], shape: &Shape) -> Vec<T> {
    let mut steps = vec![1usize; shape.rank()];
    for axis in 1..shape.rank() {
        steps[axis] = steps[axis - 1] * shape.dims()[axis - 1];
    }
    let strides = shape.strides();
    let place = |index: usize| -> usize {
        (0..shape.rank()).map(|axis| index / strides[axis] % shape.dims()[axis] * steps[axis]).sum()
    };
    (0..shape.elements()).map(|index| items[place(index)].clone()).collect()
}

/// Writes values by name as a `.npz` file. Types that NumPy lacks (bfloat16, float8, 4-bit) are stored as float32, an
/// item of a sequence as `name.0`, a map as `name.keys` and `name.values`; an absent optional has no array.
pub(crate) fn write_npz<'a>(
    path: &Path,
    values: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Result<()> {
    let write = || {
        let file = File::create(path)?;
        let mut archive = ZipWriter::new(BufWriter::new(file));
        for (name, value) in values {
            write_value(&mut archive, name, value)?;
        }
        archive.finish()?.flush()?;
        anyhow::Ok(())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

fn write_value<W: Write + Seek>(archive: &mut ZipWriter<W>, name: &str, value: &Value) -> Result<()> {
    match value {
        Value::Tensor(tensor) => write_array(archive, name, tensor),
        Value::Sequence(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| write_value(archive, &format!("{name}.{index}"), item)),
        Value::Optional(inner) => inner.iter().try_for_each(|inner| write_value(archive, name, inner)),
        Value::Map { keys, values } => {
            let keys = match keys {
                inferrum::MapKeys::Int(keys) => Tensor::vector(keys.clone()),
                inferrum::MapKeys::String(keys) => Tensor::from_strings([keys.len()], keys.clone())?,
            };
            write_array(archive, &format!("{name}.keys"), &keys)?;
            write_array(archive, &format!("{name}.values"), values)
        }
    }
}

fn write_array<W: Write + Seek>(archive: &mut ZipWriter<W>, name: &str, tensor: &Tensor) -> Result<()> {
    // Entries of 4 GiB and more need to be announced.
    let large = tensor.bytes().len() >= 1 << 31;
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
    archive.start_file(npyz::npz::file_name_from_array_name(name), options)?;
    encode(archive, tensor)
}

/// Writes an array as the content of a `.npy` file.
pub(crate) fn encode(out: &mut dyn Write, tensor: &Tensor) -> Result<()> {
    let header = |out: &mut dyn Write, stored: &str| -> Result<()> {
        let stored: TypeStr = stored.parse().context("a type of NumPy")?;
        let shape: Vec<u64> = tensor.shape().iter().map(|&dim| dim as u64).collect();
        WriteOptions::new_header_only()
            .dtype(npyz::DType::Plain(stored))
            .shape(&shape)
            .writer(out)
            .write_header_only()?;
        Ok(())
    };
    if tensor.dtype() == DType::String {
        let strings = tensor.as_strings()?;
        let longest = strings.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
        header(out, &format!("<U{longest}"))?;
        for text in strings {
            let codes = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(longest);
            out.write_all(&codes.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())?;
        }
        return Ok(());
    }
    let Some(stored) = stored(tensor.dtype()) else {
        let wide = Tensor::from_f64(DType::F32, tensor.shape().clone(), &tensor.to_f64()?)?;
        log::warn!("NumPy has no {}; it is stored as float32", tensor.dtype());
        return encode(out, &wide);
    };
    header(out, stored)?;
    let number = tensor.dtype().size() / if stored.contains('c') { 2 } else { 1 };
    if cfg!(target_endian = "little") || number == 1 {
        out.write_all(tensor.bytes())?;
    } else {
        let swapped = tensor.bytes().chunks_exact(number).flat_map(|bytes| bytes.iter().rev());
        out.write_all(&swapped.copied().collect::<Vec<u8>>())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(tensor: &Tensor) -> Tensor {
        let mut bytes = Vec::new();
        encode(&mut bytes, tensor).unwrap();
        decode(&bytes).unwrap()
    }

    #[test]
    fn every_type_round_trips() {
        for &dtype in DType::ALL.iter().filter(|&&dtype| stored(dtype).is_some()) {
            let bytes: Vec<u8> = (0..6 * dtype.size()).map(|i| (i % 2) as u8).collect();
            let tensor = Tensor::from_bytes(dtype, [2, 3], bytes).unwrap();
            assert_eq!(round_trip(&tensor), tensor, "{dtype}");
        }
        let strings = Tensor::from_strings([3], vec!["a".into(), String::new(), "žluť".into()]).unwrap();
        assert_eq!(round_trip(&strings), strings);
        for shape in [vec![], vec![0], vec![3, 0, 2]] {
            let tensor = Tensor::zeros(DType::F32, shape).unwrap();
            assert_eq!(round_trip(&tensor), tensor);
        }
    }

    #[test]
    fn a_header_that_nests_deeply_is_refused_at_once() {
        let mut file = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        file.extend([b'{'; 0x76]);
        assert!(decode(&file).unwrap_err().to_string().contains("opening brackets"));
    }

    #[test]
    fn types_that_numpy_lacks_become_float32() {
        let tensor = Tensor::from_f64(DType::BF16, [2], &[1.5, -2.0]).unwrap();
        assert_eq!(round_trip(&tensor).as_slice::<f32>().unwrap(), [1.5, -2.0]);
    }

    /// A `.npy` file with a header as NumPy writes it.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{header}\n");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.bytes());
        file.extend(data);
        file
    }

    #[test]
    fn column_major_and_big_endian_files_are_turned() {
        let data: Vec<u8> = [1i16, 4, 2, 5, 3, 6].iter().flat_map(|x| x.to_be_bytes()).collect();
        let tensor =
            decode(&file("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }", &data)).unwrap();
        assert_eq!(tensor.shape().dims(), [2, 3]);
        assert_eq!(tensor.as_slice::<i16>().unwrap(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_header_that_claims_to_be_longer_than_the_file_takes_no_memory() {
        for version in [1, 2, 3] {
            let file = [&b"\x93NUMPY"[..], &[version, 0], &[0xFF; 4], b"{'descr': '|b1'"].concat();
            let error = decode(&file).unwrap_err().to_string();
            assert!(error.contains("is cut off: its header has"), "{error}");
        }
        assert!(decode(b"\x93NUMPY\x03\x00\xFF").is_err());
    }

    #[test]
    fn an_entry_inflates_to_no_more_than_the_memory_left() {
        assert_eq!(inflated(&mut &[7u8; 10][..], 10).unwrap(), [7; 10]);
        let error = inflated(&mut std::io::repeat(0), 1000).unwrap_err().to_string();
        assert!(error.contains("larger than the memory (1000 bytes are left)"), "{error}");
    }

    #[test]
    fn bad_files_are_errors() {
        for (header, data) in [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1000000000), }", &[0; 8][..]),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", &[0; 11]),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", &[0; 8]),
            ("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }", &[0; 8]),
            ("{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", &[2]),
            ("nonsense", &[]),
        ] {
            assert!(decode(&file(header, data)).is_err(), "{header}");
        }
        assert!(decode(b"").is_err());
    }
}

//! WAV files as inputs.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hound::{SampleFormat, WavReader};
use inferrum::graph::{Fact, ShapeFact, SymDim};
use inferrum::{DType, Tensor};

use crate::quantity;

/// The samples of a file, and what they are. Float inputs get -1 to 1, integer inputs the stored numbers. The last axis
/// is time: a fixed one is filled up with zeros, or the sound cut. The axis before it is channels if it has as many;
/// otherwise the channels are averaged.
pub(super) fn read(path: &Path, fact: &Fact) -> Result<(Tensor, String)> {
    let Some(tensor) = fact.as_tensor() else { bail!("a sound cannot be {fact}") };
    let mut reader = WavReader::open(path).context("is no WAV file")?;
    let spec = reader.spec();
    let full = f64::from(2f32.powi(i32::from(spec.bits_per_sample) - 1));
    let samples: Vec<f64> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().map(|x| x.map(f64::from)).collect::<Result<_, _>>(),
        SampleFormat::Int => reader.samples::<i32>().map(|x| x.map(|x| f64::from(x) / full)).collect(),
    }
    .context("is cut off, or no WAV file")?;
    let channels = usize::from(spec.channels.max(1));
    let frames = samples.len() / channels;
    let (shape, planes, length) = shape(&tensor.shape, channels, frames)?;
    let scale = if tensor.dtype.is_float() { 1.0 } else { full };
    let sample = |plane: usize, time: usize| {
        let frame = samples.get(time * channels..(time + 1) * channels)?;
        let value =
            if planes == channels { frame[plane] } else { frame.iter().sum::<f64>() / channels as f64 };
        Some(value * scale)
    };
    let values: Vec<f64> =
        (0..planes * length).map(|i| sample(i / length, i % length).unwrap_or(0.0)).collect();
    if tensor.dtype == DType::String {
        bail!("a sound cannot be {fact}");
    }
    let mut what = format!(
        " ({frames} samples of {channels} channel{}, {} Hz",
        quantity::plural(channels),
        spec.sample_rate
    );
    if length < frames {
        what.push_str(&format!(", cut to {length}"));
    } else if length > frames {
        what.push_str(&format!(", filled up with zeros to {length}"));
    }
    Ok((Tensor::from_f64(tensor.dtype, shape, &values)?, what + ")"))
}

/// The tensor's shape, the number of channels in it, and the number of samples of each.
fn shape(declared: &ShapeFact, channels: usize, frames: usize) -> Result<(Vec<usize>, usize, usize)> {
    let Some(dims) = declared.dims() else { return Ok((vec![1, frames], 1, frames)) };
    let Some((time, before)) = dims.split_last() else { bail!("a sound is no scalar") };
    let length = time.known().unwrap_or(frames);
    let stereo = before.len() > 1
        && before.last().is_some_and(|dim| dim.known().is_none_or(|n| n == channels))
        && before.last().and_then(SymDim::known) != Some(1);
    let planes = if stereo { channels } else { 1 };
    let mut shape: Vec<usize> = before.iter().map(|dim| dim.known().unwrap_or(1)).collect();
    if let Some(last) = shape.last_mut().filter(|_| stereo) {
        *last = channels;
    }
    if shape.iter().product::<usize>() != planes {
        let s = quantity::plural(channels);
        bail!("a sound of {channels} channel{s} does not fill {declared}, whose last axis is taken for time");
    }
    shape.push(length);
    Ok((shape, planes, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaped(dims: &[Option<usize>], channels: usize, frames: usize) -> Option<Vec<usize>> {
        let declared: ShapeFact = dims.iter().map(|d| d.map_or(SymDim::Unknown, SymDim::Known)).collect();
        shape(&declared, channels, frames).ok().map(|(shape, ..)| shape)
    }

    #[test]
    fn time_is_the_last_axis() {
        assert_eq!(shaped(&[None], 1, 100), Some(vec![100]));
        assert_eq!(shaped(&[None, Some(64)], 2, 100), Some(vec![1, 64]));
        assert_eq!(shaped(&[Some(1), Some(2), None], 2, 100), Some(vec![1, 2, 100]));
        assert_eq!(shaped(&[Some(1), Some(1), None], 2, 100), Some(vec![1, 1, 100]));
        assert_eq!(shaped(&[Some(1), Some(5), None], 2, 100), None);
        assert_eq!(shaped(&[], 1, 100), None);
    }
}

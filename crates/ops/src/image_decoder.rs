//! `ImageDecoder` (<https://onnx.ai/onnx/operators/onnx__ImageDecoder.html>), since opset 20. Decodes with the cargo feature
//! `image`: BMP, JPEG, PNG, PNM, TIFF and WebP, but not JPEG 2000.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("ImageDecoder", 1, ImageDecoder::parse)];

/// The pixels of an image file.
///
/// Input: the file's bytes, u8 `[N]`. Output: u8 `[height, width, channels]`; `[0, 0, channels]` for bytes that are no image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDecoder {
    /// What the channels are.
    pub format: PixelFormat,
}

/// The channels of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luma of ITU-R BT.601.
    Grayscale,
}

impl ImageDecoder {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let format = match def.string_or("pixel_format", "RGB")?.as_str() {
            "RGB" => PixelFormat::Rgb,
            "BGR" => PixelFormat::Bgr,
            "Grayscale" => PixelFormat::Grayscale,
            other => return Err(OpError::attribute("pixel_format", "`RGB`, `BGR` or `Grayscale`", other)),
        };
        Ok(Arc::new(ImageDecoder { format }))
    }

    fn channels(&self) -> usize {
        if self.format == PixelFormat::Grayscale { 1 } else { 3 }
    }

    /// Pixels in the operator's format from red, green and blue.
    fn convert(&self, mut rgb: Vec<u8>) -> Vec<u8> {
        match self.format {
            PixelFormat::Rgb => {}
            PixelFormat::Bgr => rgb.chunks_exact_mut(3).for_each(<[u8]>::reverse),
            PixelFormat::Grayscale => {
                rgb = rgb.chunks_exact(3).map(|pixel| luma([pixel[0], pixel[1], pixel[2]])).collect();
            }
        }
        rgb
    }
}

/// `0.299 R + 0.587 G + 0.114 B`, rounded, in 16-bit fixed point.
fn luma(rgb: [u8; 3]) -> u8 {
    let weighted: u32 = rgb.iter().zip([19595, 38470, 7471]).map(|(&x, weight)| u32::from(x) * weight).sum();
    ((weighted + (1 << 15)) >> 16) as u8
}

/// Height, width, and red, green and blue of each pixel; `None` for bytes that are no image.
#[cfg(feature = "image")]
fn decode(bytes: &[u8]) -> Result<Option<(usize, usize, Vec<u8>)>, OpError> {
    const JPEG_2000: [&[u8]; 2] = [b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"];
    if JPEG_2000.iter().any(|signature| bytes.starts_with(signature)) {
        return Err(OpError::Unsupported("JPEG 2000 images".into()));
    }
    let Ok(reader) = image::ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format() else {
        return Ok(None);
    };
    Ok(reader.decode().ok().map(|image| {
        let (width, height) = (image.width() as usize, image.height() as usize);
        (height, width, image.into_rgb8().into_raw())
    }))
}

#[cfg(not(feature = "image"))]
fn decode(_bytes: &[u8]) -> Result<Option<(usize, usize, Vec<u8>)>, OpError> {
    Err(OpError::Unsupported("decoding images without the cargo feature `image` (build with it)".into()))
}

impl Operator for ImageDecoder {
    fn key(&self) -> OpKey {
        OpKey::onnx("ImageDecoder")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let bytes = inputs.tensor(0)?;
        if bytes.dtype != DType::U8 {
            return Err(OpError::dtype(0, "uint8", bytes.dtype));
        }
        if bytes.shape.rank().is_some_and(|rank| rank != 1) {
            return Err(OpError::shape(0, "[N]", &bytes.shape));
        }
        let dims = vec![SymDim::Unknown, SymDim::Unknown, SymDim::Known(self.channels())];
        Ok(vec![Fact::tensor(DType::U8, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (height, width, rgb) = decode(inputs.tensor(0)?.bytes())?.unwrap_or_default();
        let pixels = self.convert(rgb);
        Ok(vec![Tensor::from_vec([height, width, self.channels()], pixels)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        0
    }
}

#[cfg(all(test, feature = "image"))]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};
    use inferrum_graph::Attr;

    fn decoded(format: &str, bytes: &[u8]) -> Result<Tensor, OpError> {
        let op = parse_at(20, "ImageDecoder", &[("pixel_format", Attr::String(format.into()))]);
        try_run(&*op, &[Some(Tensor::vector(bytes.to_vec()))]).map(|mut y| y.remove(0))
    }

    /// Two pixels: red, and a grey.
    const PNM: &[u8] = b"P6 2 1 255\n\xff\x00\x00\x07\x07\x07";

    #[test]
    fn channels_are_ordered_or_weighted() {
        assert_eq!(decoded("RGB", PNM).unwrap().as_slice::<u8>().unwrap(), [255, 0, 0, 7, 7, 7]);
        assert_eq!(decoded("BGR", PNM).unwrap().as_slice::<u8>().unwrap(), [0, 0, 255, 7, 7, 7]);
        let grey = decoded("Grayscale", PNM).unwrap();
        assert_eq!((grey.shape().dims(), grey.as_slice::<u8>().unwrap()), (&[1, 2, 1][..], &[76, 7][..]));
    }

    #[test]
    fn what_is_no_image_is_empty() {
        for bytes in [&b""[..], b"no image", &PNM[..14], b"\x89PNG\r\n\x1a\n", b"P6 99999999 99999999 255\n"]
        {
            assert_eq!(decoded("RGB", bytes).unwrap().shape().dims(), [0, 0, 3]);
        }
        assert!(decoded("RGB", b"\xff\x4f\xff\x51\xff").is_err());
    }
}

//! Images as inputs of models (feature `image`).
//!
//! ```
//! use inferrum::{Session, image::ImageInput};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
//! # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/seven.png");
//! let session = Session::load(model)?;
//! let input = &session.inputs()[0].fact; // float32[batchx1x28x28]: grey, resized to 28 x 28, from 0 to 1
//! let picture = inferrum::image::open(file)?;
//! let outputs = session.run(ImageInput::new().tensor(&picture, input)?)?;
//! assert!(outputs[0].as_slice::<f32>()?[7] > 0.99);
//!
//! // What models trained on ImageNet want.
//! let imagenet = ImageInput::new().mean([0.485, 0.456, 0.406]).std([0.229, 0.224, 0.225]);
//! # drop(imagenet);
//! # Ok(())
//! # }
//! ```

use std::path::Path;
use std::str::FromStr;

use ::image::imageops::{self, FilterType};
use ::image::{DynamicImage, ImageBuffer, ImageReader, Luma, Pixel, Rgb, Rgba};
use inferrum_graph::{Fact, ShapeFact, SymDim};
use inferrum_tensor::{DType, Tensor, TensorError};

/// Pixels of a resized image at most: a shape is merely read, so memory is not taken by it without bound.
const MOST_PIXELS: u64 = 1 << 27;

/// Where the channels stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Channels, height, width; with a batch axis before them where the rank is 4.
    Chw,
    /// Height, width, channels; with a batch axis before them where the rank is 4.
    Hwc,
}

impl FromStr for Layout {
    type Err = ImageError;
    /// `nchw`, `chw`, `nhwc` or `hwc`, in any case.
    fn from_str(text: &str) -> Result<Layout, ImageError> {
        match text.to_ascii_lowercase().as_str() {
            "nchw" | "chw" => Ok(Layout::Chw),
            "nhwc" | "hwc" => Ok(Layout::Hwc),
            _ => Err(ImageError::Option(format!("layout `{text}`; expected nchw, chw, nhwc or hwc"))),
        }
    }
}

/// Why an image cannot be an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be read as an image.
    #[error("{file}: {reason}")]
    Read {
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// The input takes no image.
    #[error("an image does not fit an input of {input}: {reason}")]
    Input {
        /// The input's type and shape.
        input: String,
        /// Why not.
        reason: String,
    },
    /// A setting means nothing.
    #[error("{0}")]
    Option(String),
    /// The tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Reads an image file (PNG or JPEG, by its content).
///
/// # Errors
/// [`ImageError::Read`].
pub fn open(path: impl AsRef<Path>) -> Result<DynamicImage, ImageError> {
    let path = path.as_ref();
    let failed = |reason: String| ImageError::Read { file: path.display().to_string(), reason };
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    reader.map_err(|error| failed(error.to_string()))?.decode().map_err(|error| match error {
        ::image::ImageError::Limits(_) => {
            failed("the picture is too large to decode; make it smaller".into())
        }
        other => failed(other.to_string()),
    })
}

/// How an image becomes a tensor.
///
/// Layout and number of channels follow from the input's shape, and so does the size; an extent that the shape leaves
/// open is the image's own. Pixels are resized bilinearly, with a wider filter (antialiasing) when the image shrinks. A
/// float input gets `(x - mean) / std` with `x` from 0 to 1; an integer input gets 0 to 255. Grey is the luma of
/// ITU-R BT.709; an alpha channel is dropped, unless the input has 4 channels.
#[derive(Clone, Debug, Default)]
pub struct ImageInput {
    layout: Option<Layout>,
    size: Option<(u32, u32)>,
    mean: Vec<f32>,
    std: Vec<f32>,
    bgr: bool,
}

impl ImageInput {
    /// Everything from the input's shape; values from 0 to 1.
    pub fn new() -> ImageInput {
        ImageInput::default()
    }

    /// Where the channels stand, where the shape does not tell.
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> ImageInput {
        self.layout = Some(layout);
        self
    }

    /// Width and height to resize to, where the shape leaves them open.
    #[must_use]
    pub fn size(mut self, width: u32, height: u32) -> ImageInput {
        self.size = Some((width, height));
        self
    }

    /// What to subtract: one number, or one for each channel; pixels are from 0 to 1.
    #[must_use]
    pub fn mean(mut self, mean: impl Into<Vec<f32>>) -> ImageInput {
        self.mean = mean.into();
        self
    }

    /// What to divide by after that: one number, or one for each channel.
    #[must_use]
    pub fn std(mut self, std: impl Into<Vec<f32>>) -> ImageInput {
        self.std = std.into();
        self
    }

    /// Whether the channels are blue, green, red.
    #[must_use]
    pub fn bgr(mut self, bgr: bool) -> ImageInput {
        self.bgr = bgr;
        self
    }

    /// The tensor of `image` for an input that is like `fact`, with a batch of 1.
    ///
    /// # Errors
    /// [`ImageError`]: the input takes no image of this kind, or a setting contradicts its shape.
    pub fn tensor(&self, image: &DynamicImage, fact: &Fact) -> Result<Tensor, ImageError> {
        let wrong = |reason: String| ImageError::Input { input: fact.to_string(), reason };
        let Some(tensor) = fact.as_tensor() else {
            return Err(wrong("it is no tensor".into()));
        };
        let frame = Frame::of(&tensor.shape, self.layout, self.size).map_err(wrong)?;
        let (width, height) = (
            self.extent("width", frame.width, self.size.map(|size| size.0), image.width()).map_err(wrong)?,
            self.extent("height", frame.height, self.size.map(|size| size.1), image.height())
                .map_err(wrong)?,
        );
        if u64::from(width) * u64::from(height) > MOST_PIXELS || width == 0 || height == 0 {
            return Err(wrong(format!("it would be {width} pixels wide and {height} high")));
        }
        let mut pixels = pixels(image, frame.channels, width, height);
        if self.bgr && frame.channels >= 3 {
            pixels.chunks_exact_mut(frame.channels).for_each(|pixel| pixel.swap(0, 2));
        }
        let values = self.normalised(pixels, frame.channels, tensor.dtype).map_err(wrong)?;
        let (area, channels) = (width as usize * height as usize, frame.channels);
        let values = match frame.layout {
            Layout::Hwc => values,
            Layout::Chw => (0..channels * area).map(|i| values[(i % area) * channels + i / area]).collect(),
        };
        let shape = frame.shape(width as usize, height as usize);
        Ok(Tensor::from_f64(tensor.dtype, shape, &values)?)
    }

    /// An extent in pixels: the shape's, else the setting's, else the image's.
    fn extent(&self, what: &str, shape: Option<usize>, set: Option<u32>, own: u32) -> Result<u32, String> {
        let Some(shape) = shape else { return Ok(set.unwrap_or(own)) };
        let shape = u32::try_from(shape).map_err(|_| format!("its {what} of {shape} is too large"))?;
        match set {
            Some(set) if set != shape => Err(format!("its {what} is {shape}, not {set}")),
            _ => Ok(shape),
        }
    }

    /// Pixels from 0 to 1 as the values that the input takes.
    fn normalised(&self, pixels: Vec<f32>, channels: usize, dtype: DType) -> Result<Vec<f64>, String> {
        let plain = self.mean.is_empty() && self.std.is_empty();
        match dtype {
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {}
            DType::U8 | DType::U16 | DType::I16 | DType::I32 | DType::I64 | DType::U32 | DType::U64
                if plain =>
            {
                return Ok(pixels.into_iter().map(|x| (f64::from(x) * 255.0).round()).collect());
            }
            _ if !plain => return Err("mean and std need a float input".into()),
            _ => return Err(format!("pixels cannot be {dtype}; give the input as an array")),
        }
        let each = |what: &str, given: &[f32], default: f64| match given.len() {
            0 => Ok(vec![default; channels]),
            1 => Ok(vec![f64::from(given[0]); channels]),
            n if n == channels => Ok(given.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>()),
            n if channels == 1 => {
                Err(format!("{what} has {n} numbers; expected 1, for there is one channel"))
            }
            n => Err(format!("{what} has {n} numbers; expected 1, or {channels}: one for each channel")),
        };
        let (mean, std) = (each("mean", &self.mean, 0.0)?, each("std", &self.std, 1.0)?);
        if mean.iter().chain(&std).any(|x| !x.is_finite()) {
            return Err("mean and std must be finite".into());
        }
        if std.contains(&0.0) {
            return Err("std must not be 0".into());
        }
        let normal = |(i, x): (usize, f32)| (f64::from(x) - mean[i % channels]) / std[i % channels];
        Ok(pixels.into_iter().enumerate().map(normal).collect())
    }
}

/// Pixels of `width` x `height`, channels last, from 0 to 1.
fn pixels(image: &DynamicImage, channels: usize, width: u32, height: u32) -> Vec<f32> {
    match channels {
        1 => resized::<Luma<f32>>(image.to_luma32f(), width, height),
        4 => resized::<Rgba<f32>>(image.to_rgba32f(), width, height),
        _ => resized::<Rgb<f32>>(image.to_rgb32f(), width, height),
    }
}

fn resized<P: Pixel<Subpixel = f32> + 'static>(
    image: ImageBuffer<P, Vec<f32>>,
    width: u32,
    height: u32,
) -> Vec<f32> {
    if image.dimensions() == (width, height) {
        return image.into_raw();
    }
    imageops::resize(&image, width, height, FilterType::Triangle).into_raw()
}

/// How an input holds an image.
#[derive(Debug, PartialEq)]
struct Frame {
    form: Form,
    layout: Layout,
    channels: usize,
    width: Option<usize>,
    height: Option<usize>,
}

/// The axes of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// All elements in a row.
    Row,
    /// All elements in a row, after a batch axis.
    BatchRow,
    /// Height and width.
    Plane,
    /// Height, width and channels.
    Image,
    /// Height, width and channels, after a batch axis.
    BatchImage,
}

impl Frame {
    fn of(shape: &ShapeFact, layout: Option<Layout>, size: Option<(u32, u32)>) -> Result<Frame, String> {
        let Some(dims) = shape.dims() else {
            let layout = layout.unwrap_or(Layout::Chw);
            return Ok(Frame { form: Form::BatchImage, layout, channels: 3, width: None, height: None });
        };
        let batch_of_one = |dim: &SymDim| dim.known().is_none_or(|n| n == 1);
        match dims {
            [batch, _, _, _] if !batch_of_one(batch) => {
                Err(format!("its batch is {batch}, and one image is given"))
            }
            [_, rest @ ..] if rest.len() == 3 => Frame::of_three(rest, Form::BatchImage, layout),
            [_, _, _] => Frame::of_three(dims, Form::Image, layout),
            [first, SymDim::Known(n)] if batch_of_one(first) => Frame::row(Form::BatchRow, *n, layout, size),
            [SymDim::Known(n)] => Frame::row(Form::Row, *n, layout, size),
            [height, width] => Ok(Frame {
                form: Form::Plane,
                layout: Layout::Hwc,
                channels: 1,
                width: width.known(),
                height: height.known(),
            }),
            _ => Err("expected 1 to 4 axes".into()),
        }
    }

    fn of_three(dims: &[SymDim], form: Form, layout: Option<Layout>) -> Result<Frame, String> {
        let channels = |dim: &SymDim| dim.known().filter(|n| matches!(n, 1 | 3 | 4));
        let (first, last) = (&dims[0], &dims[2]);
        let layout = match layout {
            Some(layout) => layout,
            None if channels(first).is_some() => Layout::Chw,
            None if channels(last).is_some() => Layout::Hwc,
            None if first.known().is_none() => Layout::Chw,
            None => return Err("no axis has 1, 3 or 4 channels".into()),
        };
        let (axis, height, width) = match layout {
            Layout::Chw => (first, &dims[1], &dims[2]),
            Layout::Hwc => (last, &dims[0], &dims[1]),
        };
        let channels = match (channels(axis), axis.known()) {
            (Some(channels), _) => channels,
            (None, None) => 3,
            (None, Some(other)) => return Err(format!("it has {other} channels; expected 1, 3 or 4")),
        };
        Ok(Frame { form, layout, channels, width: width.known(), height: height.known() })
    }

    /// An input of `n` elements in a row: of the size that is set, or square.
    fn row(form: Form, n: usize, layout: Option<Layout>, size: Option<(u32, u32)>) -> Result<Frame, String> {
        let layout = layout.unwrap_or(Layout::Chw);
        let fits = |&channels: &usize| {
            let side = (n / channels).isqrt();
            let (width, height) =
                size.map_or((side, side), |(width, height)| (width as usize, height as usize));
            let exact = width.checked_mul(height)?.checked_mul(channels)? == n;
            exact.then_some(Frame { form, layout, channels, width: Some(width), height: Some(height) })
        };
        [1, 3, 4].iter().find_map(fits).ok_or_else(|| {
            format!("{n} elements in a row are no square image of 1, 3 or 4 channels; give its size")
        })
    }

    /// The tensor's shape.
    fn shape(&self, width: usize, height: usize) -> Vec<usize> {
        let image = match self.layout {
            Layout::Chw => [self.channels, height, width],
            Layout::Hwc => [height, width, self.channels],
        };
        match self.form {
            Form::Row => vec![self.channels * width * height],
            Form::BatchRow => vec![1, self.channels * width * height],
            Form::Plane => vec![height, width],
            Form::Image => image.to_vec(),
            Form::BatchImage => [&[1], &image[..]].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{Rgb, RgbImage};

    /// Red grows to the right, green downwards, blue is full.
    fn gradient(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 255])).into()
    }

    fn fact(dims: &[Option<usize>]) -> Fact {
        let dim = |dim: &Option<usize>| dim.map_or(SymDim::Unknown, SymDim::Known);
        Fact::tensor(DType::F32, dims.iter().map(dim).collect::<ShapeFact>())
    }

    #[test]
    fn layout_and_channels_follow_from_the_shape() {
        let image = gradient(5, 4);
        for (dims, shape) in [
            (&[Some(1), Some(3), Some(4), Some(5)][..], &[1, 3, 4, 5][..]),
            (&[None, Some(4), Some(5), Some(3)], &[1, 4, 5, 3]),
            (&[None, Some(3), None, None], &[1, 3, 4, 5]),
            (&[None, None, None, None], &[1, 3, 4, 5]),
            (&[Some(1), None, None, Some(1)], &[1, 4, 5, 1]),
            (&[Some(3), Some(8), Some(10)], &[3, 8, 10]),
            (&[None, None], &[4, 5]),
            (&[Some(1), Some(784)], &[1, 784]),
            (&[Some(12)], &[12]),
        ] {
            let tensor = ImageInput::new().tensor(&image, &fact(dims)).unwrap();
            assert_eq!(tensor.shape().dims(), shape, "{dims:?}");
        }
        for dims in [&[Some(2), Some(3), None, None][..], &[Some(1), Some(7), Some(7), Some(7)], &[Some(13)]]
        {
            assert!(ImageInput::new().tensor(&image, &fact(dims)).is_err(), "{dims:?}");
        }
    }

    #[test]
    fn elements_stand_where_the_layout_says() {
        let image = gradient(5, 4);
        let planes = ImageInput::new().tensor(&image, &fact(&[Some(3), None, None])).unwrap();
        let pixels = ImageInput::new().tensor(&image, &fact(&[None, None, Some(3)])).unwrap();
        let (planes, pixels) = (planes.as_slice::<f32>().unwrap(), pixels.as_slice::<f32>().unwrap());
        for (y, x) in [(0, 0), (3, 4), (2, 1)] {
            let want = [x as f32 / 255.0, y as f32 / 255.0, 1.0];
            for channel in 0..3 {
                assert!((planes[channel * 20 + y * 5 + x] - want[channel]).abs() < 1e-6);
                assert!((pixels[(y * 5 + x) * 3 + channel] - want[channel]).abs() < 1e-6);
            }
        }
        let bgr = ImageInput::new().bgr(true).tensor(&image, &fact(&[Some(3), None, None])).unwrap();
        assert_eq!(bgr.as_slice::<f32>().unwrap()[..20], planes[40..]);
    }

    #[test]
    fn shrinking_averages() {
        // Columns of black and white: without antialiasing a shrunken image would be all of one colour.
        let image: DynamicImage =
            RgbImage::from_fn(64, 64, |x, _| if x % 2 == 0 { Rgb([0; 3]) } else { Rgb([255; 3]) }).into();
        let small = ImageInput::new().tensor(&image, &fact(&[Some(1), Some(8), Some(8)])).unwrap();
        assert!(small.as_slice::<f32>().unwrap().iter().all(|x| (x - 0.5).abs() < 0.1), "{small:?}");
    }

    #[test]
    fn normalisation_is_by_channel() {
        let image = gradient(2, 2);
        let input = ImageInput::new().mean([0.0, 0.0, 0.5]).std([0.25]);
        let tensor = input.tensor(&image, &fact(&[Some(3), None, None])).unwrap();
        assert_eq!(tensor.as_slice::<f32>().unwrap()[8..], [2.0; 4]);
        let bytes = Fact::tensor(DType::U8, [1, 2, 2, 3]);
        let tensor = ImageInput::new().tensor(&image, &bytes).unwrap();
        assert_eq!(tensor.as_slice::<u8>().unwrap()[..6], [0, 0, 255, 1, 0, 255]);
        assert!(input.tensor(&image, &bytes).is_err());
        for wrong in [ImageInput::new().mean([0.0; 2]), ImageInput::new().std([0.0])] {
            assert!(wrong.tensor(&image, &fact(&[Some(3), None, None])).is_err());
        }
    }

    #[test]
    fn sizes_that_contradict_the_shape_or_memory_are_errors() {
        let image = gradient(2, 2);
        let fixed = fact(&[Some(1), Some(3), Some(4), Some(4)]);
        assert!(ImageInput::new().size(8, 8).tensor(&image, &fixed).is_err());
        assert!(ImageInput::new().size(4, 4).tensor(&image, &fixed).is_ok());
        let huge = fact(&[Some(1), Some(3), Some(1 << 31), Some(1 << 31)]);
        assert!(matches!(ImageInput::new().tensor(&image, &huge), Err(ImageError::Input { .. })));
        let open = fact(&[None, Some(3), None, None]);
        let tensor = ImageInput::new().size(6, 3).tensor(&image, &open).unwrap();
        assert_eq!(tensor.shape().dims(), [1, 3, 3, 6]);
    }
}

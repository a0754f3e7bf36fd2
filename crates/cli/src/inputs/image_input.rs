//! Images as inputs.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};
use inferrum::image::{self, ImageInput, Layout};
use inferrum::{Tensor, ValueInfo};

/// How images become inputs.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Images")]
pub(crate) struct ImageArgs {
    /// What to subtract from pixels, which are from 0 to 1: one number, or one for each channel
    #[arg(long, value_name = "M,M,M", value_delimiter = ',', allow_hyphen_values = true)]
    mean: Vec<f32>,
    /// What to divide by after that (0.00392157 gives 0 to 255)
    #[arg(long, value_name = "S,S,S", value_delimiter = ',', allow_hyphen_values = true)]
    std: Vec<f32>,
    /// Where the channels stand: nchw, nhwc [default: as the input's shape tells]
    #[arg(long, value_name = "LAYOUT")]
    layout: Option<Layout>,
    /// Size to resize to [default: the input's, or the image's where the input takes any]
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    resize: Option<Size>,
    /// Channels in the order blue, green, red
    #[arg(long)]
    bgr: bool,
}

/// Width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Size(u32, u32);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let parts = text
            .split_once(['x', ','])
            .and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)));
        match parts {
            Some((width, height)) if width > 0 && height > 0 => Ok(Size(width, height)),
            _ => Err("expected WIDTHxHEIGHT, such as 640x480".into()),
        }
    }
}

impl ImageArgs {
    /// An option of these that is given.
    pub(super) fn any(&self) -> Option<&'static str> {
        let given = [
            ("--mean", !self.mean.is_empty()),
            ("--std", !self.std.is_empty()),
            ("--layout", self.layout.is_some()),
            ("--resize", self.resize.is_some()),
            ("--bgr", self.bgr),
        ];
        given.into_iter().find_map(|(name, given)| given.then_some(name))
    }

    /// The tensor of the image in a file for an input, and how it was made.
    pub(super) fn tensor(&self, path: &Path, input: &ValueInfo) -> Result<(Tensor, String)> {
        let picture = image::open(path)?;
        let mut how = ImageInput::new().mean(self.mean.clone()).std(self.std.clone()).bgr(self.bgr);
        if let Some(layout) = self.layout {
            how = how.layout(layout);
        }
        if let Some(Size(width, height)) = self.resize {
            how = how.size(width, height);
        }
        let tensor = how
            .tensor(&picture, &input.fact)
            .with_context(|| format!("{} as input `{}`", path.display(), input.name))?;
        let values = match (self.mean.is_empty() && self.std.is_empty(), tensor.dtype().is_float()) {
            (true, true) => "values 0 to 1",
            (true, false) => "values 0 to 255",
            (false, _) => "normalised by mean and std",
        };
        Ok((tensor, format!(" ({} x {} pixels), {values}", picture.width(), picture.height())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!("640x480".parse(), Ok(Size(640, 480)));
        assert_eq!("28,28".parse(), Ok(Size(28, 28)));
        assert!("640".parse::<Size>().is_err() && "0x3".parse::<Size>().is_err());
    }
}

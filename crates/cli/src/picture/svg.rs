//! A picture as SVG that needs nothing beside itself.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Part;
use super::diagram::Box;
use super::layers::Vertex;

/// Around everything.
const MARGIN: f64 = 24.0;
/// Between two parts, and around a body on its panel.
const PART_GAP: f64 = 60.0;
const PANEL: f64 = 14.0;
/// Above the first part: title and legend.
const HEAD: f64 = 64.0;
/// Height of a part's title.
const PART_HEAD: f64 = 26.0;
/// Size of a sample of the legend, and width of a character beside it.
const SAMPLE: (f64, f64) = (12.0, 6.6);
/// Length of an arrowhead.
const ARROW: f64 = 6.0;

const STYLE: &str = "\
text{font-family:'Helvetica Neue',Helvetica,Arial,sans-serif;fill:#fff;text-anchor:middle}\
.t{font-size:12.5px;font-weight:600}.l{font-size:10px;fill-opacity:.88}\
.h{font-size:17px;font-weight:600;fill:#1d2733;text-anchor:start}\
.k{font-size:11.5px;fill:#3a4550;text-anchor:start}\
.e{fill:none;stroke:#8b96a3;stroke-width:1.3}.e:hover{stroke:#d1242f;stroke-width:2.6}\
.b rect{stroke:#fff;stroke-width:1}.b:hover rect{stroke:#d1242f;stroke-width:2.5}\
.p{fill:#fff;stroke:#d5dbe1}.faint{opacity:.15}";

/// Draws the parts side by side.
pub(super) fn draw(title: &str, parts: &[Part]) -> String {
    let legend = legend(parts);
    let mut body = String::new();
    // A narrow graph stands in the middle below the legend.
    let drawn: f64 = parts.iter().map(|part| part.width() + PART_GAP).sum::<f64>() - PART_GAP;
    let mut x = MARGIN + ((legend.1 - MARGIN - drawn) / 2.0).max(0.0);
    let mut height: f64 = 0.0;
    for (index, part) in parts.iter().enumerate() {
        let top = MARGIN + HEAD + if index > 0 { PART_HEAD } else { 0.0 };
        let room = part.width().max(if index > 0 { part.title.chars().count() as f64 * 10.5 } else { 0.0 });
        if index > 0 {
            let _ = write!(
                body,
                "<rect class=\"p\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"10\"/>",
                n(x - PANEL),
                n(top - PART_HEAD - PANEL),
                n(room + 2.0 * PANEL),
                n(part.height() + PART_HEAD + 2.0 * PANEL)
            );
            let _ = write!(
                body,
                "<text class=\"h\" x=\"{}\" y=\"{}\">{}</text>",
                n(x),
                n(top - 14.0),
                escape(&part.title)
            );
        }
        let _ = write!(body, "<g transform=\"translate({} {})\">", n(x), n(top));
        part.draw(&mut body);
        body.push_str("</g>\n");
        x += room + PART_GAP;
        height = height.max(top + part.height() + if index > 0 { PANEL } else { 0.0 });
    }
    let (width, height) = ((x - PART_GAP + PANEL).max(legend.1) + MARGIN, height + MARGIN);
    let (w, h) = (n(width), n(height));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\">\n\
         <title>{title}</title><style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#f6f7f9\"/>\n\
         <text class=\"h\" x=\"{m}\" y=\"{}\">{title}</text>\n{}\n{body}</svg>\n",
        n(MARGIN + 12.0),
        legend.0,
        title = escape(title),
        m = n(MARGIN),
    )
}

/// The families that occur with their colours, and how wide that is.
fn legend(parts: &[Part]) -> (String, f64) {
    let families: BTreeSet<_> =
        parts.iter().flat_map(|part| &part.diagram.boxes).map(|b| (b.family.name, b.family.colour)).collect();
    let mut text = String::new();
    let mut x = MARGIN;
    let y = MARGIN + 26.0;
    for (name, colour) in families {
        let size = SAMPLE.0;
        let _ = write!(
            text,
            "<rect x=\"{}\" y=\"{}\" width=\"{size}\" height=\"{size}\" rx=\"3\" fill=\"{colour}\"/>\
             <text class=\"k\" x=\"{}\" y=\"{}\">{name}</text>",
            n(x),
            n(y),
            n(x + size + 5.0),
            n(y + 10.0),
        );
        x += size + 5.0 + name.chars().count() as f64 * SAMPLE.1 + 14.0;
    }
    (text, x)
}

impl Part {
    fn width(&self) -> f64 {
        let right = |vertex: usize| {
            let half = match self.layers.vertices[vertex] {
                Vertex::Box(index) => self.diagram.boxes[index].width / 2.0,
                Vertex::Bend(_) => 0.0,
            };
            self.places.x[vertex] + half
        };
        (0..self.layers.vertices.len()).map(right).fold(0.0, f64::max)
    }

    fn height(&self) -> f64 {
        self.places.bottom.last().copied().unwrap_or(0.0)
    }

    /// The edges, and the boxes over them.
    fn draw(&self, text: &mut String) {
        let mut paths = vec![String::new(); self.diagram.nets.len()];
        for upper in 0..self.layers.vertices.len() {
            for &(lower, net) in &self.layers.below[upper] {
                self.line(upper, lower, net, &mut paths[net]);
            }
        }
        for (net, path) in self.diagram.nets.iter().zip(paths) {
            let _ = writeln!(
                text,
                "<path class=\"e\" d=\"{path}\"><title>{}</title></path>",
                escape(&net.tooltip)
            );
        }
        for (index, shown) in self.diagram.boxes.iter().enumerate() {
            self.draw_box(index, shown, text);
        }
    }

    /// The vertical middle of a box: boxes hang from the top of their layer's middle.
    fn span(&self, vertex: usize) -> (f64, f64) {
        let layer = self.layers.layer[vertex];
        let (top, bottom) = (self.places.top[layer], self.places.bottom[layer]);
        match self.layers.vertices[vertex] {
            Vertex::Box(index) => {
                let middle = (top + bottom) / 2.0;
                let half = self.diagram.boxes[index].height / 2.0;
                (middle - half, middle + half)
            }
            Vertex::Bend(_) => (top, bottom),
        }
    }

    /// A curve from one layer to the next; a bend is a straight line through its layer, a box gets an arrowhead.
    fn line(&self, upper: usize, lower: usize, net: usize, path: &mut String) {
        let (x0, y0) = (self.places.x[upper], self.span(upper).1);
        let (x1, y1) = (self.port(lower, upper, net), self.span(lower).0);
        let middle = (y0 + y1) / 2.0;
        let _ = write!(path, "M{} {}", n(x0), n(y0));
        if (x0 - x1).abs() < 0.5 {
            let _ = write!(path, "V{}", n(y1));
        } else {
            let _ = write!(path, "C{} {} {} {} {} {}", n(x0), n(middle), n(x1), n(middle), n(x1), n(y1));
        }
        match self.layers.vertices[lower] {
            Vertex::Bend(_) => {
                let _ = write!(path, "V{}", n(self.span(lower).1));
            }
            Vertex::Box(_) => {
                let (left, right, back) = (n(x1 - ARROW / 2.0), n(x1 + ARROW / 2.0), n(y1 - ARROW));
                let _ = write!(path, "M{left} {back}L{} {}L{right} {back}", n(x1), n(y1));
            }
        }
    }

    /// Where a line ends at a box: lines stand side by side in the order of where they come from.
    fn port(&self, lower: usize, upper: usize, net: usize) -> f64 {
        let Vertex::Box(index) = self.layers.vertices[lower] else { return self.places.x[lower] };
        let mut ends: Vec<(usize, usize)> = self.layers.above[lower].clone();
        ends.sort_by(|a, b| self.places.x[a.0].total_cmp(&self.places.x[b.0]));
        ends.dedup();
        let place = ends.iter().position(|&end| end == (upper, net)).unwrap_or(0);
        let width = (self.diagram.boxes[index].width * 0.6).min(22.0 * (ends.len() as f64 - 1.0));
        let part = if ends.len() > 1 { place as f64 / (ends.len() as f64 - 1.0) - 0.5 } else { 0.0 };
        self.places.x[lower] + part * width
    }

    fn draw_box(&self, index: usize, shown: &Box, text: &mut String) {
        let (x, (top, _)) = (self.places.x[index], self.span(index));
        let (width, height) = (shown.width, shown.height);
        let radius = if shown.terminal { height / 2.0 } else { 5.0 };
        let _ = write!(
            text,
            "<g class=\"b\"><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\" fill=\"{}\"/>\
             <text class=\"t\" x=\"{}\" y=\"{}\">{}</text>",
            escape(&shown.tooltip),
            n(x - width / 2.0),
            n(top),
            n(width),
            n(height),
            n(radius),
            shown.family.colour,
            n(x),
            n(top + 16.0),
            escape(&shown.title),
        );
        for (line, content) in shown.lines.iter().enumerate() {
            let y = top + 29.0 + 13.0 * line as f64;
            let _ =
                write!(text, "<text class=\"l\" x=\"{}\" y=\"{}\">{}</text>", n(x), n(y), escape(content));
        }
        text.push_str("</g>\n");
    }
}

/// A coordinate with one decimal at most.
fn n(x: f64) -> String {
    let text = format!("{x:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Text for XML; characters that XML does not have become `?`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b & \"c\"\u{1}"), "a&lt;b &amp; &quot;c&quot;?");
        assert_eq!((n(1.0), n(1.25), n(-3.04)), ("1".into(), "1.2".into(), "-3".into()));
    }
}

//! Copies in which every axis has a table of where its elements come from: padding, and resizing to the nearest.

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_tensor::Shape;

use crate::threads::Threads;

/// Output element `[i, j, ...]` is source element `[tables[0][i], tables[1][j], ...]`, or a constant if one of them says so.
pub(crate) struct TableCopy {
    /// Bytes of an element.
    size: usize,
    /// For each axis but the last, the offset of each index in elements; [`FILL`] for the constant.
    outer: Vec<Vec<usize>>,
    segments: Vec<Segment>,
    /// Elements of an output row, and of the source.
    row: usize,
    source_elements: usize,
}

/// In a table: the constant.
const FILL: usize = usize::MAX;
/// Neighbours that are worth a run of their own.
const LEAST_RUN: usize = 8;
const TASK_BYTES: usize = 1 << 16;

/// A part of an output row.
#[derive(Clone, Debug, PartialEq)]
enum Segment {
    /// Elements that are neighbours in the source too.
    Run { from: usize, count: usize },
    /// Elements by their places in the source row.
    Each(Vec<usize>),
    /// The constant.
    Fill { count: usize },
}

impl TableCopy {
    /// A copy of elements of `size` bytes from a dense tensor of shape `source`; a table for each of its axes (`None`: the
    /// constant).
    ///
    /// # Errors
    /// Elements of another size than 1, 2, 4, 8; a table leads out of its axis.
    pub(crate) fn new(
        size: usize,
        source: &Shape,
        tables: &[Vec<Option<usize>>],
    ) -> Result<TableCopy, Decline> {
        if !matches!(size, 1 | 2 | 4 | 8) {
            return Err(Decline(format!("elements of {size} bytes")));
        }
        let inside = |(table, &extent): (&Vec<Option<usize>>, &usize)| {
            table.iter().flatten().all(|&place| place < extent)
        };
        if tables.len() != source.rank() || !tables.iter().zip(source.iter()).all(inside) {
            return Err(Decline("an index leads out of its axis".into()));
        }
        let Some((last, rest)) = tables.split_last() else { return Err(Decline("a scalar".into())) };
        let strides = source.strides();
        let outer = rest
            .iter()
            .zip(&strides)
            .map(|(table, stride)| {
                table.iter().map(|place| place.map_or(FILL, |place| place * stride)).collect()
            })
            .collect();
        Ok(TableCopy {
            size,
            outer,
            segments: segments(last),
            row: last.len(),
            source_elements: source.elements(),
        })
    }

    /// Copies; `fill` is the bytes of the constant.
    ///
    /// # Errors
    /// A buffer does not fit its shape.
    pub(crate) fn run(
        &self,
        threads: &Threads,
        source: &[u8],
        target: &mut [u8],
        fill: &[u8],
    ) -> Result<(), OpError> {
        match self.size {
            1 => self.copy::<1>(threads, source, target, fill),
            2 => self.copy::<2>(threads, source, target, fill),
            4 => self.copy::<4>(threads, source, target, fill),
            _ => self.copy::<8>(threads, source, target, fill),
        }
    }

    fn copy<const N: usize>(
        &self,
        threads: &Threads,
        source: &[u8],
        target: &mut [u8],
        fill: &[u8],
    ) -> Result<(), OpError> {
        let (source, target) = (source.as_chunks::<N>().0, target.as_chunks_mut::<N>().0);
        let rows: usize = self.outer.iter().map(Vec::len).product();
        if source.len() != self.source_elements || target.len() != rows * self.row {
            return Err(OpError::Invalid("a buffer does not fit its shape".into()));
        }
        if target.is_empty() {
            return Ok(());
        }
        let fill: [u8; N] = fill.try_into().unwrap_or([0; N]);
        let rows = (TASK_BYTES / (self.row * N)).max(1);
        threads.par_chunks_mut(target, rows * self.row, |index, chunk| {
            let mut before = None;
            for i in 0..chunk.len() / self.row {
                let (done, rest) = chunk.split_at_mut(i * self.row);
                let (out, start) = (&mut rest[..self.row], self.start(index * rows + i));
                match start {
                    // The same row again, as when an image grows.
                    Some(_) if start == before => out.copy_from_slice(&done[done.len() - self.row..]),
                    Some(start) => self.write_row(&source[start..], out, fill),
                    None => out.fill(fill),
                }
                before = start;
            }
        });
        Ok(())
    }

    /// The first source element of an output row, unless it is all constant.
    fn start(&self, mut row: usize) -> Option<usize> {
        let mut start = 0;
        for table in self.outer.iter().rev() {
            let offset = table[row % table.len()];
            row /= table.len();
            if offset == FILL {
                return None;
            }
            start += offset;
        }
        Some(start)
    }

    fn write_row<T: Copy>(&self, source: &[T], mut out: &mut [T], fill: T) {
        for segment in &self.segments {
            let count = match segment {
                Segment::Run { count, .. } | Segment::Fill { count } => *count,
                Segment::Each(places) => places.len(),
            };
            let (part, rest) = std::mem::take(&mut out).split_at_mut(count);
            out = rest;
            match segment {
                Segment::Run { from, count } => part.copy_from_slice(&source[*from..from + count]),
                Segment::Each(places) => {
                    part.iter_mut().zip(places).for_each(|(out, &from)| *out = source[from])
                }
                Segment::Fill { .. } => part.fill(fill),
            }
        }
    }
}

/// A row's table in parts.
fn segments(table: &[Option<usize>]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut at = 0;
    while let Some(&place) = table.get(at) {
        let rest = &table[at..];
        let Some(from) = place else {
            let count = rest.iter().take_while(|place| place.is_none()).count();
            segments.push(Segment::Fill { count });
            at += count;
            continue;
        };
        let count = rest.iter().enumerate().take_while(|&(i, &place)| place == Some(from + i)).count();
        if count >= LEAST_RUN {
            segments.push(Segment::Run { from, count });
            at += count;
            continue;
        }
        if let Some(Segment::Each(places)) = segments.last_mut() {
            places.push(from);
        } else {
            segments.push(Segment::Each(vec![from]));
        }
        at += 1;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_parts() {
        let mut table = vec![None, None, Some(2), Some(1)];
        table.extend((0..9).map(Some));
        table.extend([Some(8), None]);
        assert_eq!(
            segments(&table),
            [
                Segment::Fill { count: 2 },
                Segment::Each(vec![2, 1]),
                Segment::Run { from: 0, count: 9 },
                Segment::Each(vec![8]),
                Segment::Fill { count: 1 }
            ]
        );
        assert!(segments(&[]).is_empty());
    }

    #[test]
    fn tables_that_lead_outside_are_declined() {
        let shape = Shape::from([2, 3]);
        assert!(TableCopy::new(4, &shape, &[vec![Some(2)], vec![Some(0)]]).is_err());
        assert!(TableCopy::new(4, &shape, &[vec![Some(1)]]).is_err());
    }
}

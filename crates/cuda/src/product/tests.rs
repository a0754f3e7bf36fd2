//! Every form in turn, on products that it would not be chosen for.

use std::cell::Cell;

use inferrum_backend::testing::{Case, linear, region};
use inferrum_backend::{Backend, Precision, Resident, RunContext};
use inferrum_graph::NodeId;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_tensor::DType;

use crate::CudaBackend;
use crate::abilities::Abilities;
use crate::form::{Form, TILES};
use crate::kernel::Lowered;
use crate::lower::lower;
use crate::testing::{Tolerance, agree_as, agree_by_library, agree_on, assert_close};

pub(crate) const SUMS: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-4 };

/// Whether a form is the one that a test wants.
type Wanted = fn(&Form) -> bool;

thread_local! {
    /// Which of the candidates is taken, and whether it was there to take.
    static FORCED: Cell<Option<(Wanted, bool)>> = const { Cell::new(None) };
}

/// The candidates, with the one that a test asks for first.
pub(super) fn forced(mut forms: Vec<Form>) -> Vec<Form> {
    if let Some((wanted, _)) = FORCED.get()
        && let Some(place) = forms.iter().position(wanted)
    {
        FORCED.set(Some((wanted, true)));
        forms.swap(0, place);
    }
    forms
}

/// Whether a test wants a form of our own.
pub(super) fn is_forced() -> bool {
    FORCED.get().is_some()
}

#[test]
fn a_library_computes_what_it_can() {
    let cases = linear::operands_either_way().into_iter().chain(linear::batches_broadcast());
    let cases = cases.chain(linear::every_activation()).chain(linear::addends_of_every_shape());
    let count = agree_by_library(cases, SUMS);
    // The others have few rows or columns, or activations that it has not.
    assert!(count >= 3, "{count} products");
}

/// Compares with the reference while `wanted` names the form that is taken; it has to be among the candidates of a case at least.
pub(crate) fn agree_in(wanted: Wanted, cases: impl IntoIterator<Item = Case>, what: &str) {
    FORCED.set(Some((wanted, false)));
    agree_on(cases, SUMS);
    let found = FORCED.take().is_some_and(|(_, found)| found);
    assert!(found, "{what} is no candidate");
}

/// A function for each tile, as `agree_in` takes it.
macro_rules! every_tile {
    ($($place:literal)*) => {
        [$(|form: &Form| matches!(form, Form::Tiles { tile, splits: 1 } if *tile == TILES[$place])),*]
    };
}

const EVERY_TILE: [Wanted; TILES.len()] = every_tile!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17);

/// As [`agree_in`]; tiles of multiply-adds only take float32, the others float16.
fn agree_by_tile(place: usize, case: &Case) {
    let (tile, wanted) = (TILES[place], EVERY_TILE[place]);
    FORCED.set(Some((wanted, false)));
    if tile.is_tensor() {
        agree_as(&case.expected_in(DType::F16).expect("it takes float16"), SUMS, 1.0);
    } else {
        agree_as(&case.expected(), SUMS, 0.0);
    }
    let found = FORCED.take().is_some_and(|(_, found)| found);
    assert!(found, "{tile:?} is no candidate");
}

#[test]
fn every_tile_goes_over_its_edges() {
    for (place, tile) in TILES.into_iter().enumerate() {
        let extents = [tile.m + 9, 40, tile.n + 8];
        let [case, _] = linear::products(extents, [false, false], Some(FusedActivation::Relu));
        agree_by_tile(place, &case);
    }
}

#[test]
fn tiles_of_operands_either_way() {
    for place in [8, 14] {
        for transposed in [[false, true], [true, false], [true, true]] {
            // Of columns and depths that are read by one, and by as many as there are in 16 bytes.
            for extents in [[33, 47, 35], [40, 64, 72]] {
                let [_, alone] = linear::products(extents, transposed, None);
                agree_by_tile(place, &alone);
            }
        }
    }
}

#[test]
fn parts_of_the_depth_are_added() {
    let split = |form: &Form| matches!(form, Form::Tiles { splits: 2.., .. });
    agree_in(split, linear::products([33, 1100, 35], [false; 2], Some(FusedActivation::Gelu)), "a split");
    let split = |form: &Form| matches!(form, Form::Stream { splits: 2.., .. });
    agree_in(
        split,
        linear::products([3, 1100, 36], [false; 2], Some(FusedActivation::Relu)),
        "a split stream",
    );
}

#[test]
fn few_rows_and_few_columns() {
    let stream = |form: &Form| matches!(form, Form::Stream { .. });
    for (extents, transposed) in [
        ([1, 264, 40], [false, false]),
        ([1, 264, 40], [false, true]),
        ([3, 45, 19], [true, true]),
        ([8, 264, 40], [false, false]),
        ([40, 264, 1], [false, false]),
        ([40, 264, 2], [true, false]),
        ([19, 45, 8], [false, true]),
    ] {
        agree_in(stream, linear::products(extents, transposed, None), "a stream");
    }
    // Warps that have a column each.
    let narrow = |form: &Form| matches!(form, Form::Stream { down: 1, .. });
    agree_in(narrow, linear::products([3, 264, 40], [false, true], None), "a stream of many columns");
}

/// Products of float32 on tensor cores, which round them to tf32, where that is asked for.
#[test]
fn tf32_where_it_is_asked_for() {
    let backend = CudaBackend::open(Some("host"), Precision::Tf32).expect("the host");
    for transposed in [[false, false], [false, true], [true, false]] {
        let [case, _] = linear::products([40, 64, 40], transposed, None);
        let expected = case.expected();
        let region = region(expected.graph);
        let abilities =
            |tf32| Abilities { tf32, ..crate::testing::backend().shared.driver.abilities().clone() };
        let name = |tf32| match lower(&region.bound(NodeId(0)), &abilities(tf32)) {
            Ok(Lowered::Work(work)) => work.name,
            _ => panic!("it is lowered"),
        };
        assert!(name(true).contains("tensor"), "{}", name(true));
        assert!(name(false).contains("fma"), "{}", name(false));
        let executable = backend.compile(&region).expect("compiles");
        let feeds: Vec<Resident> = expected.feeds.into_iter().map(Resident::Host).collect();
        let mut outputs = executable.run(&feeds, Vec::new(), &RunContext::default()).expect("runs");
        let got = outputs.pop().flatten().expect("an output").to_host().expect("it is on the host");
        // Factors have 11 bits.
        let rounded = Tolerance { relative: 1e-3, absolute: 0.05 };
        assert_close(&got, &expected.want[0], rounded, "a product by tf32");
    }
}

use super::*;

/// The copy by index arithmetic.
fn slow(size: usize, dims: &[usize], source: Strided<'_>, target: Strided<'_>, from: &[u8], to: &mut [u8]) {
    for index in 0..dims.iter().product::<usize>() {
        let (mut rest, mut at) = (index, [source.start, target.start]);
        for axis in (0..dims.len()).rev() {
            at[0] += (rest % dims[axis]) as isize * source.strides[axis];
            at[1] += (rest % dims[axis]) as isize * target.strides[axis];
            rest /= dims[axis];
        }
        let [a, b] = at.map(|at| at as usize * size);
        to[b..b + size].copy_from_slice(&from[a..a + size]);
    }
}

fn check(size: usize, dims: &[usize], source: (isize, &[isize]), target: (isize, &[isize])) {
    let source = Strided { start: source.0, strides: source.1 };
    let target = Strided { start: target.0, strides: target.1 };
    let copy = StridedCopy::new(size, dims, source, target).unwrap();
    let (from_len, to_len) = (extent(size, dims, source).unwrap().1, extent(size, dims, target).unwrap().1);
    let from: Vec<u8> = (0..from_len).map(|i| (i * 37 % 251) as u8).collect();
    let mut expected = vec![0xAB; to_len + 16];
    slow(size, dims, source, target, &from, &mut expected);
    for isa in Isa::available() {
        for threads in [1, 2] {
            let mut got = vec![0xAB; to_len + 16];
            copy.run(isa, &Threads::new(threads), &from, &mut got).unwrap();
            assert!(got == expected, "{isa:?} {size} bytes, {dims:?} {source:?} {target:?} {}", copy.name());
        }
    }
    assert!(copy.run(Isa::best(), &Threads::single(), &from[..from_len - 1], &mut expected).is_err());
    assert!(copy.run(Isa::best(), &Threads::single(), &from, &mut expected[..to_len - 1]).is_err());
}

#[test]
fn every_method_copies_every_size() {
    for size in [1, 2, 4, 8, 16] {
        // Runs, within rows of another length.
        check(size, &[5, 7], (3, &[11, 1]), (0, &[7, 1]));
        check(size, &[300, 200], (0, &[400, 1]), (1, &[201, 1]));
        // One element repeated.
        check(size, &[6, 9], (0, &[1, 0]), (0, &[9, 1]));
        // Steps, backwards too.
        check(size, &[5, 7], (6, &[21, -1]), (0, &[7, 1]));
        check(size, &[2, 3], (0, &[6, 2]), (0, &[6, 2]));
        // Transposed: small, pixels, batches, more than one tile each way.
        check(size, &[3, 5], (0, &[1, 3]), (0, &[5, 1]));
        check(size, &[500, 3], (0, &[1, 500]), (0, &[3, 1]));
        check(size, &[3, 500], (0, &[1, 3]), (0, &[500, 1]));
        check(size, &[4, 33, 65], (0, &[33 * 65, 1, 33]), (0, &[33 * 65, 65, 1]));
        check(size, &[131, 200], (0, &[1, 131]), (0, &[200, 1]));
        check(size, &[65, 2, 70], (0, &[1, 65, 130]), (0, &[140, 70, 1]));
        // Nothing but a start.
        check(size, &[], (2, &[]), (1, &[]));
    }
}

#[test]
fn pairs_and_quadruples_become_wider_elements() {
    check(1, &[40, 70, 4], (0, &[4, 160, 1]), (0, &[280, 4, 1]));
    check(4, &[40, 70, 2], (1, &[2, 80, 1]), (3, &[140, 2, 1]));
    check(4, &[5, 7, 2], (0, &[3, 15, 1]), (0, &[14, 2, 1]));
}

#[test]
fn nothing_to_copy_and_impossible_copies() {
    let none = Strided { start: 0, strides: &[1, 1] };
    let copy = StridedCopy::new(4, &[0, 3], none, none).unwrap();
    copy.run(Isa::best(), &Threads::single(), &[], &mut []).unwrap();
    let before = Strided { start: 0, strides: &[-1] };
    assert!(StridedCopy::new(4, &[2], before, Strided { start: 0, strides: &[1] }).is_err());
    assert!(StridedCopy::new(3, &[2, 2], none, none).is_err());
}

//! Products of a library on a GPU.

use super::{INSIDE, driver};
use crate::driver::{Address, Driver, Stream};
use crate::library::tests::plain;
use crate::library::{Activation, Element, Matrix, Operands, Product};

/// Bytes that are random, but small numbers of the type.
fn small_numbers(element: Element, bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 60) as i8 - 8
    };
    let numbers: Vec<i8> = (0..bytes / element.bytes()).map(|_| next()).collect();
    let of = |x: &i8| match element {
        Element::F32 => f32::from(*x).to_ne_bytes().to_vec(),
        Element::F16 => half::f16::from_f32(f32::from(*x)).to_ne_bytes().to_vec(),
        Element::BF16 => half::bf16::from_f32(f32::from(*x)).to_ne_bytes().to_vec(),
        Element::I8 => x.to_ne_bytes().to_vec(),
        Element::I32 => i32::from(*x).to_ne_bytes().to_vec(),
    };
    numbers.iter().flat_map(of).collect()
}

fn put(driver: &dyn Driver, stream: &mut dyn Stream, bytes: &[u8]) -> Address {
    let mut pinned = driver.pinned(bytes.len()).unwrap();
    pinned.bytes_mut().copy_from_slice(bytes);
    let address = driver.allocate(bytes.len()).unwrap();
    stream.upload(address, &*pinned, bytes.len()).unwrap();
    stream.wait().unwrap();
    address
}

#[test]
fn products_of_the_library_are_those_of_the_reference() {
    let Some(driver) = driver().filter(|_| std::env::var_os(INSIDE).is_none()) else { return };
    let matrix = |leading, stride, transposed| Matrix { leading, stride, transposed };
    let product = plain(48, 32, 64, Element::F32, Element::F32);
    let half = plain(48, 32, 64, Element::F16, Element::F16);
    let integers = plain(48, 32, 64, Element::I8, Element::I32);
    let mut computed = 0;
    for product in [
        product,
        Product { bias: true, activation: Activation::Relu, ..product },
        Product { added: true, a: matrix(48, 0, true), ..product },
        Product {
            batch: 3,
            a: matrix(64, 64 * 48, false),
            b: matrix(64, 0, true),
            d: matrix(32, 32 * 48, false),
            ..product
        },
        plain(1, 7, 5, Element::F32, Element::F32),
        half,
        Product { factors: Element::BF16, result: Element::F32, bias: true, ..half },
        Product { bias: true, b: matrix(64, 0, true), ..half },
        Product { b: matrix(64, 0, true), ..integers },
    ] {
        let Some(ready) = driver.product(&product).unwrap() else {
            println!("not by a library: {product:?}");
            continue;
        };
        computed += 1;
        let mut stream = driver.stream().unwrap();
        let [a, b, d] = product.bytes();
        let (a, b) = (small_numbers(product.factors, a, 1), small_numbers(product.factors, b, 2));
        let c = small_numbers(product.result, d, 3);
        let bias = small_numbers(product.result, product.n * product.result.bytes(), 4);
        let mut expected = vec![0xff; d];
        let (added, biased) = (product.added.then_some(&c[..]), product.bias.then_some(&bias[..]));
        product.reference(&a, &b, added, biased, &mut expected);
        let at = Operands {
            a: put(&*driver, &mut *stream, &a),
            b: put(&*driver, &mut *stream, &b),
            c: put(&*driver, &mut *stream, &c),
            bias: put(&*driver, &mut *stream, &bias),
            d: put(&*driver, &mut *stream, &vec![0xff; d]),
            workspace: driver.allocate(ready.workspace()).unwrap(),
        };
        // Recorded, as it is used.
        let graph = stream.capture(&mut |stream| stream.multiply(&ready, &at)).unwrap();
        stream.replay(&*graph).unwrap();
        let mut pinned = driver.pinned(d).unwrap();
        stream.download(at.d, &mut *pinned, d).unwrap();
        stream.wait().unwrap();
        // Sums of small whole numbers are exact, or rounded once.
        assert!(pinned.bytes() == expected, "{product:?}");
    }
    println!("{computed} products were computed by a library");
}

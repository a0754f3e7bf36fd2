//! A product as the library describes it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::functions::{Functions, Object, Owned};
use super::value;
use crate::library::{Activation, Element, Matrix, Product};

/// A product with the library's descriptions of it.
pub(crate) struct Described {
    pub(crate) product: Product,
    /// Holds the address of the bias, too, which changes from call to call.
    descriptor: Mutex<Owned>,
    pub(super) a: Owned,
    pub(super) b: Owned,
    pub(super) d: Owned,
}

impl Described {
    pub(super) fn new(f: Functions, product: Product) -> Result<Described, String> {
        let (compute, scale) = match product.factors {
            Element::I8 | Element::I32 => (value::COMPUTE_32I, data_type(Element::I32)),
            Element::F32 if product.tf32 => (value::COMPUTE_32F_FAST_TF32, data_type(Element::F32)),
            _ => (value::COMPUTE_32F, data_type(Element::F32)),
        };
        // SAFETY: it makes an object, which is destroyed with its owner.
        let descriptor = unsafe {
            let create = |it: *mut Object| (f.descriptor)(it, compute, scale);
            Owned::new("cublasLtMatmulDescCreate", &f, f.descriptor_destroy, create)?
        };
        let set = |attribute, bytes: &[u8]| descriptor.set(f.descriptor_set, attribute, bytes);
        set(value::DESC_TRANS_A, &i32::from(product.b.transposed).to_ne_bytes())?;
        set(value::DESC_TRANS_B, &i32::from(product.a.transposed).to_ne_bytes())?;
        set(value::DESC_EPILOGUE, &epilogue(&product).to_ne_bytes())?;
        if product.bias {
            // What is asked for the ways looks at the address, for its alignment only.
            set(value::DESC_BIAS_POINTER, &u64::from(product.alignment).to_ne_bytes())?;
        }
        let layout = |element, matrix: Matrix, rows: usize, columns: usize| {
            let (rows, columns) = if matrix.transposed { (columns, rows) } else { (rows, columns) };
            let create = |it: *mut Object| {
                // Our columns are their rows.
                // SAFETY: it makes an object, which is destroyed with its owner.
                unsafe {
                    (f.layout)(it, data_type(element), columns as u64, rows as u64, matrix.leading as i64)
                }
            };
            // SAFETY: as above.
            let layout = unsafe { Owned::new("cublasLtMatrixLayoutCreate", &f, f.layout_destroy, create)? };
            let batch = i32::try_from(product.batch).map_err(|_| "the batch is too large".to_owned())?;
            layout.set(f.layout_set, value::LAYOUT_BATCH_COUNT, &batch.to_ne_bytes())?;
            layout.set(f.layout_set, value::LAYOUT_BATCH_OFFSET, &(matrix.stride as i64).to_ne_bytes())?;
            Ok::<Owned, String>(layout)
        };
        let Product { m, n, k, factors, result, .. } = product;
        let (a, b, d) = (
            layout(factors, product.a, m, k)?,
            layout(factors, product.b, k, n)?,
            layout(result, product.d, m, n)?,
        );
        Ok(Described { product, descriptor: Mutex::new(descriptor), a, b, d })
    }

    pub(super) fn descriptor(&self) -> MutexGuard<'_, Owned> {
        self.descriptor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn epilogue(product: &Product) -> u32 {
    let bias = if product.bias { value::EPILOGUE_BIAS } else { 0 };
    let activation = match product.activation {
        Activation::None => 0,
        Activation::Relu => value::EPILOGUE_RELU,
        Activation::GeluTanh => value::EPILOGUE_GELU,
    };
    if bias | activation == 0 { value::EPILOGUE_DEFAULT } else { bias | activation }
}

/// `cudaDataType_t`.
fn data_type(element: Element) -> i32 {
    match element {
        Element::F32 => 0,
        Element::F16 => 2,
        Element::I8 => 3,
        Element::I32 => 10,
        Element::BF16 => 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::tests::plain;
    use crate::nvidia::dynamic::Dynamic;
    use crate::nvidia::libraries::Library;
    use crate::nvidia::places;

    #[test]
    fn products_can_be_described_without_a_device() {
        let found = Library::CublasLt.candidates(&places::of_process(), None, true).into_iter();
        let Some(library) = found.filter_map(|it| Dynamic::open(&it.path).ok()).next() else {
            return println!("skipped: no cuBLASLt");
        };
        let functions = Functions::of(&library).unwrap();
        let turned = Matrix { leading: 40, stride: 4000, transposed: true };
        let product = plain(33, 17, 40, Element::F16, Element::F16);
        for product in [
            Product { bias: true, activation: Activation::GeluTanh, ..product },
            Product { b: turned, batch: 3, added: true, ..product },
            Product { tf32: true, ..plain(1, 1, 1, Element::F32, Element::F32) },
            plain(4, 4, 4, Element::I8, Element::I32),
            plain(4, 4, 4, Element::BF16, Element::F32),
        ] {
            let described = Described::new(functions, product).unwrap();
            assert!(!described.descriptor().object.is_null() && !described.a.object.is_null());
        }
        let error = Described::new(functions, Product { batch: usize::MAX, ..product }).err().unwrap();
        assert!(error.contains("batch"), "{error}");
    }

    #[test]
    fn epilogues_are_put_together() {
        let product = plain(1, 1, 1, Element::F32, Element::F32);
        let of = |bias, activation| epilogue(&Product { bias, activation, ..product });
        assert_eq!((of(false, Activation::None), of(true, Activation::None)), (1, 4));
        assert_eq!((of(true, Activation::Relu), of(true, Activation::GeluTanh)), (6, 36));
        assert_eq!((of(false, Activation::Relu), of(false, Activation::GeluTanh)), (2, 32));
    }
}

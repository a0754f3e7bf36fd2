//! A device's kernels by operator.

use std::any::{Any, TypeId};
use std::collections::HashMap;

use inferrum_graph::Operator;

/// A row: the Rust type of an operator, and what makes a kernel of it.
#[derive(Clone, Copy, Debug)]
pub struct KernelRow<L> {
    /// The operator's Rust type.
    pub operator: fn() -> TypeId,
    /// The path of that type: `inferrum_ops::softmax::Softmax`.
    pub path: &'static str,
    /// The room of the kernel.
    pub room: &'static str,
    /// Makes a kernel.
    pub lower: L,
}

/// Declares the rooms of a device's kernels, which are modules of the crate's root, and their table `KERNELS`. First comes the
/// type of what makes a kernel, a function pointer; then `room: operator type, ...;`. The room's function `lower` makes the
/// kernel.
#[macro_export]
macro_rules! kernels {
    ($lower:ty; $($room:ident: $($op:ty),+;)*) => {
        $(mod $room;)*
        pub(crate) const KERNELS: &[$crate::KernelRow<$lower>] = &[$($($crate::KernelRow {
            operator: || std::any::TypeId::of::<$op>(),
            path: stringify!($op),
            room: stringify!($room),
            lower: |op, lowering| match op.downcast_ref::<$op>() {
                Some(op) => $room::lower(op, lowering),
                None => Err($crate::Decline("another operator".into())),
            },
        }),+),*];
    };
}

impl<L> KernelRow<L> {
    /// The room of the operator: the module of its type.
    pub fn operator_room(&self) -> &'static str {
        self.path.rsplit("::").nth(1).unwrap_or_default().trim()
    }
}

/// A device's kernels, found by the Rust type of an operator. `L` is what makes a kernel on that device.
#[derive(Debug)]
pub struct KernelTable<L> {
    rows: HashMap<TypeId, KernelRow<L>>,
}

impl<L: Copy> KernelTable<L> {
    /// A table of `rows`; each operator may stand once.
    pub fn new(rows: &[KernelRow<L>]) -> KernelTable<L> {
        KernelTable { rows: rows.iter().map(|row| ((row.operator)(), *row)).collect() }
    }

    /// The row of an operator, if the device has a kernel for its type.
    pub fn find(&self, op: &dyn Operator) -> Option<&KernelRow<L>> {
        self.rows.get(&(op as &dyn Any).type_id())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

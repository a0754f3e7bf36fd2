//! Prints `docs/OPERATORS.md`.

fn main() {
    print!("{}", inferrum_tests::operators::table());
}

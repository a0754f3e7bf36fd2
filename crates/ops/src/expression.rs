//! Element-wise operators as text, from which GPU backends make kernels.

use inferrum_graph::Operator;

/// A scalar expression in the common subset of WGSL and CUDA C++, with a prelude on each side.
///
/// - Operands are `x`, `y`, `z`: the elements of inputs 0, 1, 2 under NumPy's broadcasting. Parameters stand by name.
/// - `T` is the type in which is computed; literals and operands that may be of another type are written `T(0.5)`,
///   `T(y)`. In WGSL `alias T = f32;`, in CUDA C++ `typedef float T;`.
/// - Operators are `+ - * /`, comparisons, `&& || !` of truth values and `& | ^ ~` of integers.
/// - Functions are [`FUNCTIONS`]; those that a language lacks come from its prelude.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// The expression.
    pub text: &'static str,
    /// How many operands it has; `x` is the first.
    pub operands: usize,
    /// Names and values of the constants in it.
    pub parameters: Vec<(&'static str, f32)>,
    /// Whether the result is a truth value and not a `T`.
    pub truth: bool,
    /// Whether the text also holds where `T` is an integer type; `T(0.0)` then is its zero.
    pub integers: bool,
}

/// Every function that an [`Expression`] may call, with the number of its arguments, in addition to `T`.
///
/// Not as in both languages: `select(if_false, if_true, condition)` is WGSL's; `round_even` rounds halves to even;
/// `maximum` and `minimum` give NaN if either argument is; `divide` of an integer by 0 is 0; `fmod` truncates the
/// quotient and `floor_mod` floors it; `power` takes negative bases; `sign` of NaN is NaN; `shift_left` and
/// `shift_right` by less than 0 or by the width or more give what shifting bit by bit would.
pub const FUNCTIONS: &[(&str, usize)] = &[
    ("abs", 1),
    ("acos", 1),
    ("acosh", 1),
    ("asin", 1),
    ("asinh", 1),
    ("atan", 1),
    ("atanh", 1),
    ("ceil", 1),
    ("cos", 1),
    ("cosh", 1),
    ("divide", 2),
    ("erf", 1),
    ("exp", 1),
    ("expm1", 1),
    ("floor", 1),
    ("floor_mod", 2),
    ("fmod", 2),
    ("is_inf", 1),
    ("is_nan", 1),
    ("log", 1),
    ("maximum", 2),
    ("minimum", 2),
    ("power", 2),
    ("round_even", 1),
    ("select", 3),
    ("shift_left", 2),
    ("shift_right", 2),
    ("sigmoid", 1),
    ("sign", 1),
    ("sin", 1),
    ("sinh", 1),
    ("softplus", 1),
    ("sqrt", 1),
    ("tan", 1),
    ("tanh", 1),
];

/// The operator as an expression of its inputs' elements, if it is element-wise and its operands broadcast as NumPy's.
pub fn expression(op: &dyn Operator) -> Option<Expression> {
    const FAMILIES: &[fn(&dyn Operator) -> Option<Expression>] = &[
        crate::activation::expression,
        crate::bias_gelu::expression,
        crate::binary::expression,
        crate::clip::expression,
        crate::is_inf::expression,
        crate::prelu::expression,
        crate::select::expression,
        crate::swiglu::expression,
        crate::unary::expression,
        crate::variadic::expression,
    ];
    FAMILIES.iter().find_map(|family| family(op))
}

#[cfg(test)]
pub(crate) mod evaluate {
    //! Evaluates expressions, to hold them against the closures beside them.

    use super::{Expression, FUNCTIONS};
    use crate::scalar;

    /// The value of an expression for operands; truth values are 0 and 1.
    pub(crate) fn evaluate(expression: &Expression, operands: &[f64]) -> f64 {
        assert_eq!(expression.operands, operands.len(), "{}", expression.text);
        let mut parser = Parser { rest: expression.text, expression, operands };
        let value = parser.binary(0);
        assert!(parser.peek().is_empty(), "`{}` is left of `{}`", parser.rest, expression.text);
        value
    }

    struct Parser<'a> {
        rest: &'a str,
        expression: &'a Expression,
        operands: &'a [f64],
    }

    /// From loose to tight, as in both languages; `&`, `|`, `^` stand alone in expressions.
    const LEVELS: &[&[&str]] = &[
        &["||", "|"],
        &["^"],
        &["&&", "&"],
        &["==", "!="],
        &["<=", ">=", "<", ">"],
        &["+", "-"],
        &["*", "/"],
    ];

    impl<'a> Parser<'a> {
        fn peek(&mut self) -> &'a str {
            self.rest = self.rest.trim_start();
            self.rest
        }

        fn accept(&mut self, token: &str) -> bool {
            let found = self.peek().strip_prefix(token);
            if let Some(rest) = found {
                self.rest = rest;
            }
            found.is_some()
        }

        fn expect(&mut self, token: &str) {
            assert!(
                self.accept(token),
                "expected {token} before `{}` in `{}`",
                self.rest,
                self.expression.text
            );
        }

        fn binary(&mut self, level: usize) -> f64 {
            let Some(tokens) = LEVELS.get(level) else { return self.prefix() };
            let mut left = self.binary(level + 1);
            while let Some(token) = tokens.iter().find(|token| self.accept(token)) {
                let right = self.binary(level + 1);
                left = apply(token, left, right);
            }
            left
        }

        fn prefix(&mut self) -> f64 {
            if self.accept("-") {
                -self.prefix()
            } else if self.accept("!") {
                f64::from(self.prefix() == 0.0)
            } else if self.accept("~") {
                !(self.prefix() as i64) as f64
            } else if self.accept("(") {
                let value = self.binary(0);
                self.expect(")");
                value
            } else {
                self.word()
            }
        }

        fn word(&mut self) -> f64 {
            let text = self.peek();
            let end =
                text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            self.rest = rest;
            if let Ok(number) = word.parse() {
                return number;
            }
            if self.accept("(") {
                let mut arguments = vec![self.binary(0)];
                while self.accept(",") {
                    arguments.push(self.binary(0));
                }
                self.expect(")");
                return call(word, &arguments);
            }
            match ["x", "y", "z"].iter().position(|operand| *operand == word) {
                Some(index) => self.operands[index],
                None => {
                    let parameter = self.expression.parameters.iter().find(|(name, _)| *name == word);
                    f64::from(parameter.unwrap_or_else(|| panic!("`{word}` in `{}`", self.expression.text)).1)
                }
            }
        }
    }

    fn apply(token: &str, a: f64, b: f64) -> f64 {
        match token {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => a / b,
            "<" => f64::from(a < b),
            "<=" => f64::from(a <= b),
            ">" => f64::from(a > b),
            ">=" => f64::from(a >= b),
            "==" => f64::from(a == b),
            "!=" => f64::from(a != b),
            "&&" | "&" => (a as i64 & b as i64) as f64,
            "||" | "|" => (a as i64 | b as i64) as f64,
            _ => (a as i64 ^ b as i64) as f64,
        }
    }

    fn call(name: &str, arguments: &[f64]) -> f64 {
        if name != "T" {
            assert!(FUNCTIONS.contains(&(name, arguments.len())), "{name} of {arguments:?}");
        }
        let x = arguments[0];
        let y = arguments.get(1).copied().unwrap_or(f64::NAN);
        match name {
            "T" => x,
            "abs" => x.abs(),
            "acos" => x.acos(),
            "acosh" => x.acosh(),
            "asin" => x.asin(),
            "asinh" => x.asinh(),
            "atan" => x.atan(),
            "atanh" => x.atanh(),
            "ceil" => x.ceil(),
            "cos" => x.cos(),
            "cosh" => x.cosh(),
            "divide" => x / y,
            "erf" => scalar::erf(x),
            "exp" => x.exp(),
            "expm1" => x.exp_m1(),
            "floor" => x.floor(),
            "floor_mod" => scalar::floor_mod(x, y),
            "fmod" => x % y,
            "is_inf" => f64::from(x.is_infinite()),
            "is_nan" => f64::from(x.is_nan()),
            "log" => x.ln(),
            "maximum" => scalar::maximum(x, y),
            "minimum" => scalar::minimum(x, y),
            "power" => x.powf(y),
            "round_even" => x.round_ties_even(),
            "select" => {
                if arguments[2] != 0.0 {
                    y
                } else {
                    x
                }
            }
            "shift_left" => ((x as i64) << y as i64) as f64,
            "shift_right" => (x as i64 >> y as i64) as f64,
            "sigmoid" => scalar::sigmoid(x),
            "sign" => scalar::sign(x),
            "sin" => x.sin(),
            "sinh" => x.sinh(),
            "softplus" => scalar::softplus(x),
            "sqrt" => x.sqrt(),
            "tan" => x.tan(),
            "tanh" => x.tanh(),
            _ => panic!("{name} is listed but not known here"),
        }
    }

    /// Whether two values are the same up to rounding; NaN equals NaN.
    pub(crate) fn close(a: f64, b: f64) -> bool {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * (1.0 + a.abs().min(b.abs()))
    }

    /// Numbers on which formulas tend to part.
    pub(crate) const SAMPLES: &[f64] = &[
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.0,
        -1.0,
        0.3,
        -0.7,
        1.5,
        2.5,
        -2.5,
        3.0,
        -3.25,
        7.75,
        -11.0,
        40.0,
        -40.0,
        f64::NAN,
    ];

    #[test]
    fn the_evaluator_follows_precedence() {
        let expression = Expression {
            text: "select(-x + T(2.0) * y, a / x, x < y && !(y == T(0.0)))",
            operands: 2,
            parameters: vec![("a", 8.0)],
            truth: false,
            integers: false,
        };
        assert_eq!(evaluate(&expression, &[3.0, 1.0]), -1.0);
        assert_eq!(evaluate(&expression, &[2.0, 4.0]), 4.0);
        assert_eq!(evaluate(&expression, &[-1.0, 0.0]), 1.0);
    }
}

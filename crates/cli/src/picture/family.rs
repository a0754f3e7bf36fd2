//! Families of operators, and their colours.

/// Operators that look alike in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Family {
    /// For the legend.
    pub(super) name: &'static str,
    /// The fill of boxes; white text is readable on it.
    pub(super) colour: &'static str,
}

/// Families in the order in which they are tried: an operator belongs to the first of which a pattern fits. A pattern
/// is a whole name, or a beginning (`Conv*`), or a part (`*Norm*`).
const FAMILIES: &[(Family, &[&str])] = &[
    (
        Family { name: "control flow", colour: "#7d3c98" },
        &["If", "Loop", "Scan", "Sequence*", "SplitToSequence", "ConcatFromSequence", "Optional*"],
    ),
    (
        Family { name: "classical ML", colour: "#5b7a26" },
        &[
            "TreeEnsemble*",
            "Linear*r",
            "SVM*",
            "Scaler",
            "ZipMap",
            "Normalizer",
            "LabelEncoder",
            "*Vectorizer",
            "Imputer",
            "Binarizer",
            "FeatureVectorizer",
            "ArrayFeatureExtractor",
            "CategoryMapper",
            "OneHotEncoder",
        ],
    ),
    (
        Family { name: "quantisation", colour: "#9c4a76" },
        &[
            "Quantize*",
            "Dequantize*",
            "DynamicQuantize*",
            "QLinear*",
            "QGemm",
            "*Integer",
            "*NBits",
            "*Quant*",
        ],
    ),
    (Family { name: "attention", colour: "#1b6f8f" }, &["*Attention*", "RotaryEmbedding"]),
    (Family { name: "convolution", colour: "#3b6fb0" }, &["*Conv*", "DeformConv"]),
    (
        Family { name: "matrix product", colour: "#5f51b5" },
        &["*MatMul*", "*Gemm*", "Einsum", "Linear*", "Det"],
    ),
    (Family { name: "recurrent", colour: "#9a6a12" }, &["LSTM", "GRU", "RNN"]),
    (Family { name: "normalisation", colour: "#24806a" }, &["*Norm*", "LRN", "*Softmax*", "Hardmax"]),
    (
        Family { name: "activation", colour: "#b0492f" },
        &[
            "*Relu",
            "Sigmoid",
            "Tanh",
            "*Gelu",
            "Silu",
            "Swish",
            "HardSwish",
            "HardSigmoid",
            "Elu",
            "Selu",
            "Celu",
            "Mish",
            "Softplus",
            "Softsign",
            "Erf",
            "Clip",
            "QuickGelu",
        ],
    ),
    (
        Family { name: "pooling, reduction", colour: "#3d8540" },
        &[
            "*Pool",
            "Reduce*",
            "ArgMax",
            "ArgMin",
            "TopK",
            "CumSum",
            "*RoiPool",
            "RoiAlign",
            "Resize",
            "Upsample",
            "NonMaxSuppression",
            "GridSample",
        ],
    ),
    (
        Family { name: "shape, layout", colour: "#7b6a58" },
        &[
            "Reshape",
            "Transpose",
            "Squeeze",
            "Unsqueeze",
            "Flatten",
            "Concat",
            "Split",
            "Slice",
            "Gather*",
            "Scatter*",
            "Pad",
            "Expand",
            "Tile",
            "Shape",
            "Size",
            "Identity",
            "Cast*",
            "ConstantOfShape",
            "Constant",
            "Range",
            "DepthToSpace",
            "SpaceToDepth",
            "NonZero",
            "Compress",
            "Unique",
            "OneHot",
            "EyeLike",
            "Trilu",
            "ReverseSequence",
            "ChannelsLast*",
            "Layout*",
        ],
    ),
    (
        Family { name: "element-wise", colour: "#5d6b77" },
        &[
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Pow",
            "Sqrt",
            "Exp",
            "Log",
            "Abs",
            "Neg",
            "Reciprocal",
            "Floor",
            "Ceil",
            "Round",
            "Sign",
            "Min",
            "Max",
            "Sum",
            "Mean",
            "Mod",
            "Where",
            "Equal",
            "Greater*",
            "Less*",
            "Not",
            "And",
            "Or",
            "Xor",
            "Bit*",
            "Sin*",
            "Cos*",
            "Tan",
            "Acos*",
            "Asin*",
            "Atan*",
            "IsNaN",
            "IsInf",
            "*wise*",
            "Chain*",
            "Fused*",
        ],
    ),
];

/// Operators of no known family.
const OTHER: Family = Family { name: "other", colour: "#6d6d6d" };
/// Inputs of the graph.
pub(super) const INPUT: Family = Family { name: "input", colour: "#222c3c" };
/// Outputs of the graph.
pub(super) const OUTPUT: Family = Family { name: "output", colour: "#8a1f3d" };

/// The family of an operator type.
pub(super) fn family(op_type: &str) -> Family {
    let of = FAMILIES.iter().find(|(_, patterns)| patterns.iter().any(|pattern| fits(pattern, op_type)));
    of.map_or(OTHER, |&(family, _)| family)
}

/// Whether a pattern fits: `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            let rest = &pattern[1..];
            text.char_indices().map(|(at, _)| &text[at..]).chain([""]).any(|tail| fits(rest, tail))
        }
        (Some(p), Some(c)) if p == c => fits(&pattern[p.len_utf8()..], &text[c.len_utf8()..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_find_their_family() {
        for (op, name) in [
            ("Conv", "convolution"),
            ("FusedConv", "convolution"),
            ("ConvInteger", "quantisation"),
            ("QLinearConv", "quantisation"),
            ("MatMulNBits", "quantisation"),
            ("FusedMatMul", "matrix product"),
            ("LayerNormalization", "normalisation"),
            ("Softmax", "normalisation"),
            ("LeakyRelu", "activation"),
            ("MultiHeadAttention", "attention"),
            ("LinearClassifier", "classical ML"),
            ("GlobalAveragePool", "pooling, reduction"),
            ("GatherElements", "shape, layout"),
            ("Acosh", "element-wise"),
            ("Unheard", "other"),
        ] {
            assert_eq!(family(op).name, name, "{op}");
        }
    }
}

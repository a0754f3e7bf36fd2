// Parameters as numbered words.

struct Params { words: array<vec4<u32>, {{params}}> }

@group(0) @binding(0) var<uniform> params: Params;

fn param(i: u32) -> u32 { return params.words[i / 4u][i % 4u]; }

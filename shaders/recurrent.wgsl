// What the steps of recurrent operators share. Words: elements of all states, steps, sequences, directions, elements of a state,
// this step, directions that are reversed by bits.

{{activations}}

struct Place { direction: u32, sequence: u32, element: u32, length: u32, step: u32 }

fn clipped(x: f32) -> f32 { return {{clipped}}; }

/// Where the state element is, and which step it takes.
fn place_of(at: u32) -> Place {
    var place: Place;
    place.element = at % param(4u);
    place.sequence = (at / param(4u)) % param(2u);
    place.direction = at / param(4u) / param(2u);
#if lengths
    // What is beyond the steps has failed the run already.
    place.length = u32(clamp(lengths[place.sequence], 0, i32(param(1u))));
#else
    place.length = param(1u);
#endif
    let reversed = ((param(6u) >> place.direction) & 1u) == 1u && param(5u) < place.length;
    place.step = select(param(5u), place.length - 1u - param(5u), reversed);
    return place;
}

/// Whether the sequence has ended before this step.
fn ended(place: Place) -> bool { return param(5u) >= place.length; }

/// Where the sums of a step begin among those of the inputs.
fn projected_at(place: Place, gates: u32) -> u32 {
    return ((place.step * param(3u) + place.direction) * param(2u) + place.sequence) * gates * param(4u) + place.element;
}

#if y
fn write_y(place: Place, value: f32) {
#if batch_first
    let outer = (place.sequence * param(1u) + place.step) * param(3u) + place.direction;
#else
    let outer = (place.step * param(3u) + place.direction) * param(2u) + place.sequence;
#endif
    y[outer * param(4u) + place.element] = Out(value);
}
#else
fn write_y(place: Place, value: f32) {}
#endif

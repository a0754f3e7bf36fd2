// Images as a product's factor B, planar: a column for each output element of all images, a depth for each channel and tap of the
// window. What each depth adds to the place where a window begins stands in a table. Macros: AXES (2 or 3), BACKWARDS for a transposed
// convolution, and SAME_TAP if all depths of a tile are channels of one tap.

struct __align__(16) Tap {
    // Elements from the image's first one, from which follow the places along each axis, but not the tap's own (unless SAME_TAP).
    i32 channel;
    i32 along[3];
};

struct Window {
    // Output elements; outputs of each axis but the first.
    Divisor positions, height, width;
    u32 images;
    // Elements from one image to the next, one channel, slice and row to the next.
    u32 image, channel, slice, row;
    // Extents of the input.
    u32 extents[3];
    // A window begins at an output's place times `steps` less `pads`. Of a transposed convolution, the input is met where that, less
    // the tap's place, is divided by `between`.
    i32 steps[3];
    i32 pads[3];
    Divisor between[3];
};

template <class T> struct Images {
    const T* start;
    const Tap* taps;
    Window window;

    struct Line {
        // Where the window begins, along each axis, and in memory.
        i32 at[3];
        u32 image;
        bool inside;
    };

    INLINE Line line(u32 column) const {
        Line line;
        u32 image = window.positions.divide(column);
        line.inside = image < window.images;
        line.image = image * window.image;
        u32 row = window.width.divide(column);
        line.at[2] = (i32)column * window.steps[2] - window.pads[2];
        u32 slice = 0;
        if (AXES == 3) slice = window.height.divide(row);
        line.at[0] = (i32)slice * window.steps[0] - window.pads[0];
        line.at[1] = (i32)row * window.steps[1] - window.pads[1];
        return line;
    }

    // The input element that a tap meets, or none.
    INLINE u32 meet(const Line& line, const Tap& tap, bool& inside) const {
        u32 at = line.image + (u32)tap.channel;
        inside = line.inside;
#pragma unroll
        for (int axis = 3 - AXES; axis < 3; axis++) {
            u32 place = (u32)(line.at[axis] + tap.along[axis]);
            if (BACKWARDS) {
                // What lies before the image, as a number without sign, is more than any place.
                if (place >> 31) {
                    inside = false;
                    place = 0;
                }
                u32 rest = place;
                place = window.between[axis].divide(rest);
                inside = inside && rest == 0;
            }
            inside = inside && place < window.extents[axis];
            at += place * (axis == 2 ? 1u : axis == 1 ? window.row : window.slice);
        }
        return at;
    }

    INLINE Line begin(const Line& line, u32 depth) const {
        if (!SAME_TAP) return line;
        Line of_tile = line;
        of_tile.image = meet(line, taps[depth], of_tile.inside);
        return of_tile;
    }

    INLINE const T* find(const Line& line, u32 depth, u32 step, bool& inside) const {
        if (SAME_TAP) {
            inside = line.inside;
            return start + (line.image + step * window.channel);
        }
        return start + meet(line, taps[depth], inside);
    }
};

// What an invocation knows of its subgroup. Drivers may choose other sizes than they state and leave places of a subgroup empty, so
// the invocations are counted.

var<private> subgroup_number: u32;
var<private> subgroup_count: u32;
/// Invocations of this subgroup, and which of them this one is.
var<private> own_count: u32;
var<private> own_place: u32;

fn enter(subgroup: u32, subgroups: u32) {
    subgroup_number = subgroup;
    subgroup_count = subgroups;
    own_count = subgroupAdd(1u);
    own_place = subgroupExclusiveAdd(1u);
}

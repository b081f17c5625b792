//! The scalar rows of the three groups as one list.

/// `for_each_scalar_row!(name)` becomes `name! { { numeric rows } { float rows } trapping rows }`.
macro_rules! for_each_scalar_row {
    ($name:ident) => {
        aura_validator::for_each_numeric_row!(for_each_scalar_row numeric $name);
    };
    (numeric $name:ident $($rows:tt)*) => {
        aura_validator::for_each_float_row!(for_each_scalar_row float $name { $($rows)* });
    };
    (float $name:ident { $($numeric:tt)* } $($rows:tt)*) => {
        aura_validator::for_each_trapping_row!($name { $($numeric)* } { $($rows)* });
    };
}
pub(super) use for_each_scalar_row;

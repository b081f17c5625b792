//! Rows of the vector operators that may compute a NaN.

#[doc(hidden)]
#[macro_export]
macro_rules! __vector_float_rows {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
        }
    };
}

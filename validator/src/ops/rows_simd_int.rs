//! Rows of the vector operators that compute no NaN.

#[doc(hidden)]
#[macro_export]
macro_rules! __vector_numeric_rows {
    ($mac:ident $($extra:tt)*) => {
        $mac! { $($extra)*
        }
    };
}

//! Tests of the crate as its users see it, against bytes that Python wrote and bytes that nobody meant.

mod golden;

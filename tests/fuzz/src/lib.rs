//! What is done with arbitrary bytes: one function for each parser that reads what a peer, a guest or a file says.
//!
//! Each function reads the bytes and checks what has to hold of whatever was read; it panics when something does not. `fuzz/` drives them
//! with libFuzzer, and this crate's test with the corpus that was found so.

#![forbid(unsafe_code)]

mod certs;
#[cfg(feature = "host")]
mod host;
mod messages;
mod order;
mod values;

/// A name and what is done with bytes under it.
pub type Target = (&'static str, fn(&[u8]));

/// All targets. The name is also that of the folder of its corpus.
pub const TARGETS: &[Target] = &[
    ("frames", messages::frames),
    ("message_body", messages::message_body),
    ("outcome", messages::outcome),
    ("manifest", messages::manifest),
    ("session_order", order::session_order),
    ("value", values::value),
    ("json", values::json),
    ("bundle", values::bundle),
    ("reply", values::reply),
    ("certificate", certs::certificate),
    ("identity", certs::identity),
    ("join_token", certs::join_token),
    #[cfg(feature = "host")]
    ("image", host::image),
    #[cfg(feature = "host")]
    ("library", host::library),
    #[cfg(feature = "host")]
    ("input_tree", host::input_tree),
];

/// Does with the bytes what the target of that name does.
///
/// # Panics
///
/// When something does not hold that has to, or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("there is no target {name}"));
    target(bytes);
}

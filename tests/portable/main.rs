//! The sandbox's tests with what other systems than Linux have: every call in an instance of its own from wasmtime's pool,
//! guests that look at their limits themselves. Left out is what compares that with the start path of Linux.

#[path = "../it/bounded.rs"]
mod bounded;
#[path = "../it/canary.rs"]
mod canary;
#[allow(dead_code, reason = "what is left out uses more of it")]
#[path = "../it/children.rs"]
mod children;
#[path = "../it/determinism.rs"]
mod determinism;
#[path = "../it/images.rs"]
mod images;
#[path = "../it/kept.rs"]
mod kept;
#[path = "../it/limits.rs"]
mod limits;
#[path = "../it/memory.rs"]
mod memory;
#[path = "../it/parts.rs"]
mod parts;
#[path = "../it/room.rs"]
mod room;
#[path = "../it/sandbox.rs"]
mod sandbox;
#[path = "../it/slots.rs"]
mod slots;
#[path = "../it/support.rs"]
mod support;
#[path = "../it/values.rs"]
mod values;

/// That it is they which are tested.
#[test]
fn the_overlay_is_not_there_and_the_pool_is_the_best() {
    use ppwasm_host::StartPath;
    assert!(support::host().slot_with(StartPath::Overlay).is_err());
    let best = support::host().slot_with(StartPath::Best).expect("a slot");
    assert_eq!(best.start_path(), StartPath::Pooled);
    let features = support::host().kernel_features();
    assert!(features.memory_file.is_err() && features.changed_pages.is_err());
}

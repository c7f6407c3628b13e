//! The parts of a call, each by itself. `cargo bench --profile dev` keeps wasmtime from being compiled once more.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion};
use ppwasm_benches::{noop, with_guest_stack};
use ppwasm_host::wasi::{JobIo, Library, Wasi, WasiSnapshot};
use ppwasm_host::{Host, Image, StartPath};
use ppwasm_proto::{Call, Digest, FunctionBundle, Outcome, Value};

/// A value like those that programs return: rows of a number, a text and a short list.
fn rows(count: i64) -> Value {
    Value::list((0..count).map(|row| {
        Value::Dict(vec![
            ("row".into(), row.into()),
            ("name".into(), format!("row {row}").into()),
            (
                "values".into(),
                Value::list([row as f64 * 0.5, -1.0, 1e300]),
            ),
        ])
    }))
}

fn values(c: &mut Criterion) {
    let mut group = c.benchmark_group("values");
    for (name, value) in [("integer", Value::from(41)), ("1000 rows", rows(1000))] {
        let bytes = value.encode().expect("plain values can be encoded");
        assert_eq!(Value::decode(&bytes).expect("it was just encoded"), value);
        group.bench_function(format!("encode {name}"), |b| {
            b.iter(|| black_box(&value).encode())
        });
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| Value::decode(black_box(&bytes)))
        });
    }
    let call = Call::with_args([41]).with_kwarg("name", "text");
    group.bench_function("encode call", |b| b.iter(|| black_box(&call).to_bytes()));
    group.finish();
}

fn bundles(c: &mut Criterion) {
    let source = "def f(x):\n    return x + 1\n".repeat(400);
    let bundle = FunctionBundle::function("job", "job.py", source, "f").expect("good names");
    c.bench_function("digest of a bundle of 10 KB", |b| {
        b.iter(|| Digest::of(&black_box(&bundle).to_bytes()))
    });
}

fn wasi(c: &mut Criterion) {
    let library = Arc::new(Library::empty());
    let state = Wasi::new(Arc::clone(&library), JobIo::default());
    let snapshot: WasiSnapshot = state.snapshot().expect("nothing is open");
    let mut state = Wasi::from_snapshot(library, &snapshot, JobIo::default());
    c.bench_function("reset of the sandbox's state", |b| {
        b.iter_batched(
            JobIo::default,
            |job| state.reset(&snapshot, job),
            BatchSize::SmallInput,
        );
    });
}

fn functions(c: &mut Criterion) {
    let host = Host::builder().slots(0).build().expect("a guest was built");
    let mut variant = 0;
    c.bench_function("load a function", |b| {
        b.iter(|| {
            variant += 1;
            host.load(&noop::bundle(variant).expect("good names"))
                .expect("a function that loads")
        });
    });
    let image = noop::load(&host)
        .expect("a function that loads")
        .image()
        .to_bytes();
    c.bench_function("load a function's image", |b| {
        b.iter(|| {
            let image = Image::from_bytes(black_box(&image)).expect("it was just written");
            host.load_image(image).expect("an image of this host")
        });
    });
}

fn calls(c: &mut Criterion) {
    let host = Host::builder().slots(0).build().expect("a guest was built");
    let function = noop::load(&host).expect("a function that loads");
    let rows = FunctionBundle::function("echo", "echo.py", "def f(x):\n    return x\n", "f")
        .expect("good names");
    let echo = host.load(&rows).expect("a function that loads");
    let value = self::rows(100);
    let encoded = value.encode().expect("plain values can be encoded");
    let answer = noop::answer(41).expect("an integer");
    for (name, path) in [
        ("overlay", StartPath::Overlay),
        ("pooled", StartPath::Pooled),
    ] {
        let Ok(mut slot) = host.slot_with(path) else {
            eprintln!("start path {name} is not available here");
            continue;
        };
        c.bench_function(&format!("fresh call, {name}"), |b| {
            b.iter(|| {
                let report = slot
                    .run(&function, noop::task(41))
                    .expect("this machine runs calls");
                assert!(noop::is_right(&report, &answer), "{:?}", report.outcome);
            });
        });
        c.bench_function(&format!("fresh call with 100 rows there and back, {name}"), |b| {
                b.iter(|| {
                    let task = ppwasm_host::Task::new(Call::with_args([value.clone()]));
                    let report = slot.run(&echo, task).expect("this machine runs calls");
                    let right = matches!(&report.outcome, Outcome::Succeeded { value } if value.as_bytes() == encoded);
                    assert!(right, "{:?}", report.outcome);
                });
            });
        c.bench_function(&format!("switch between two functions, {name}"), |b| {
            b.iter(|| {
                let report = slot
                    .run(&function, noop::task(41))
                    .expect("this machine runs calls");
                assert!(noop::is_right(&report, &answer), "{:?}", report.outcome);
                let report = slot
                    .run(&echo, noop::task(42))
                    .expect("this machine runs calls");
                assert!(noop::is_right(&report, &answer), "{:?}", report.outcome);
            });
        });
    }
}

fn main() {
    // Slots run calls on the caller's thread.
    with_guest_stack(|| {
        let mut criterion = Criterion::default().configure_from_args();
        for part in [values, bundles, wasi, functions, calls] {
            part(&mut criterion);
        }
        criterion.final_summary();
    });
}

//! The parts of a call, each by itself. `cargo bench --profile dev` keeps wasmtime from being compiled once more.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion};
use ppwasm_benches::{noop, with_guest_stack};
use ppwasm_host::wasi::{InputTree, JobIo, Library, OpenArguments, Wasi, WasiSnapshot};
use ppwasm_host::{Host, Image, StartPath};
use ppwasm_proto::wire::{self, Payload};
use ppwasm_proto::{Call, Digest, FunctionBundle, Outcome, TaskId, Value};

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
        let json = value.to_json().to_string();
        assert_eq!(Value::from_json_text(&json).expect("its own JSON"), value);
        group.bench_function(format!("write {name} as JSON"), |b| {
            b.iter(|| black_box(&value).to_json().to_string())
        });
        group.bench_function(format!("read {name} from JSON"), |b| {
            b.iter(|| Value::from_json_text(black_box(&json)))
        });
    }
    let call = Call::with_args([41]).with_kwarg("name", "text");
    group.bench_function("encode call", |b| b.iter(|| black_box(&call).to_bytes()));
    group.finish();
}

fn bundles(c: &mut Criterion) {
    let source = "def f(x):\n    return x + 1\n".repeat(400);
    let bundle = FunctionBundle::function("job", "job.py", source, "f").expect("good names");
    let bytes = bundle.to_bytes();
    let read = FunctionBundle::from_bytes(&bytes).expect("it was just written");
    assert_eq!(read.digest(), Digest::of(&bytes));
    c.bench_function("read a bundle of 10 KB", |b| {
        b.iter(|| FunctionBundle::from_bytes(black_box(&bytes)))
    });
    c.bench_function("digest of a bundle of 10 KB", |b| {
        b.iter(|| Digest::of(&black_box(&bundle).to_bytes()))
    });
}

/// A batch of tasks, as a client sends them.
fn frames(c: &mut Criterion) {
    let call = Call::with_args([41]).to_bytes().expect("plain arguments");
    let calls = (0..256).map(|_| Payload::Inline(call.clone().try_into().expect("short")));
    let message: wire::Message = wire::AppendTasks {
        request: 1,
        first: TaskId(0),
        calls: wire::List::try_from(calls.collect::<Vec<_>>()).expect("few"),
    }
    .into();
    let mut frame = Vec::new();
    wire::encode_frame(&message, &mut frame).expect("one frame");
    let read = |frame: &[u8]| {
        let mut decoder = wire::FrameDecoder::new();
        decoder.push(frame);
        decoder.next_message()
    };
    assert_eq!(read(&frame), Ok(Some(message.clone())));
    c.bench_function("write a frame of 256 tasks", |b| {
        b.iter(|| {
            frame.clear();
            wire::encode_frame(black_box(&message), &mut frame)
        });
    });
    c.bench_function("read a frame of 256 tasks", |b| {
        b.iter(|| read(black_box(&frame)))
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
        assert_eq!(
            state.snapshot().expect("nothing is open").to_bytes(),
            snapshot.to_bytes()
        );
    });
}

/// Where things are in the memory of a guest that makes system calls.
const RESULT: i32 = 0;
const BUFFERS: i32 = 16;
const PATH: i32 = 64;
const BLOCK: i32 = 4096;
const BLOCK_BYTES: usize = 4096;
/// The directory that everything is opened in.
const ROOT: i32 = 3;
/// Of `open`, as preview 1 numbers them: create, and the rights to read, seek and write.
const CREATE: i32 = 1;
const READ_AND_WRITE: i64 = 0b100_0110;

/// A sandbox's state and the memory of its guest.
struct Guest {
    wasi: Wasi,
    memory: Vec<u8>,
}

impl Guest {
    fn new() -> Self {
        let mut inputs = InputTree::new();
        inputs
            .add_file("data", vec![7; BLOCK_BYTES].into())
            .expect("a good name");
        let job = JobIo {
            inputs: Some(Arc::new(inputs)),
            ..JobIo::default()
        };
        let mut memory = vec![0; 16_384];
        let list = [BLOCK.to_le_bytes(), (BLOCK_BYTES as u32).to_le_bytes()].concat();
        memory[BUFFERS as usize..][..8].copy_from_slice(&list);
        let wasi = Wasi::new(Arc::new(Library::empty()), job);
        Self { wasi, memory }
    }

    fn open(&mut self, path: &str, oflags: i32, rights: i64) -> i32 {
        self.memory[PATH as usize..][..path.len()].copy_from_slice(path.as_bytes());
        let arguments = OpenArguments {
            lookup: 0,
            oflags,
            rights,
            inheriting: 0,
            fdflags: 0,
        };
        let place = (PATH, path.len() as i32);
        let (wasi, memory) = (&mut self.wasi, &mut self.memory);
        wasi.path_open(memory, ROOT, place, arguments, RESULT)
            .expect("a file");
        self.result() as i32
    }

    /// What the last call has answered.
    fn result(&self) -> u32 {
        u32::from_le_bytes(*self.memory.first_chunk().expect("a large memory"))
    }
}

fn system_calls(c: &mut Criterion) {
    let mut group = c.benchmark_group("system calls");
    let mut guest = Guest::new();
    let mut last = None;
    group.bench_function("clock_time_get", |b| {
        b.iter(|| {
            guest
                .wasi
                .clock_time_get(&mut guest.memory, 1, 0, RESULT)
                .expect("a time");
            let now = u64::from_le_bytes(*guest.memory.first_chunk().expect("a large memory"));
            assert!(Some(now) > last);
            last = Some(now);
        });
    });
    group.bench_function("random_get of 32 bytes", |b| {
        b.iter(|| {
            guest
                .wasi
                .random_get(&mut guest.memory, BLOCK, 32)
                .expect("random bytes")
        });
    });
    group.bench_function("open, read 4 KiB of an input, close", |b| {
        b.iter(|| {
            let fd = guest.open("work/data", 0, READ_AND_WRITE & !64);
            let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
            wasi.fd_read(memory, fd, BUFFERS, 1, RESULT).expect("bytes");
            wasi.fd_close(memory, fd).expect("an open file");
            assert_eq!(guest.result() as usize, BLOCK_BYTES);
        });
    });
    assert!(
        guest.memory[BLOCK as usize..][..BLOCK_BYTES]
            .iter()
            .all(|byte| *byte == 7)
    );
    let fd = guest.open("work/scratch", CREATE, READ_AND_WRITE);
    group.bench_function("write 4 KiB to scratch and read them", |b| {
        b.iter(|| {
            let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
            wasi.fd_pwrite(memory, fd, (BUFFERS, 1), 0, RESULT)
                .expect("room");
            wasi.fd_pread(memory, fd, (BUFFERS, 1), 0, RESULT)
                .expect("bytes");
            assert_eq!(guest.result() as usize, BLOCK_BYTES);
        });
    });
    group.finish();
}

/// All that the machine keeps is in the cache: read, checked, mapped.
fn hosts(c: &mut Criterion) {
    let mut group = c.benchmark_group("hosts");
    group.sample_size(10);
    let answer = noop::answer(41).expect("an integer");
    Host::builder().slots(0).build().expect("a guest was built");
    group.bench_function("start a host from the cache", |b| {
        b.iter_with_large_drop(|| Host::builder().slots(0).build().expect("a host"));
    });
    let host = Host::builder().slots(1).build().expect("a host");
    let function = noop::load(&host).expect("a function that loads");
    let report = host
        .run(&function, noop::task(41))
        .expect("this machine runs calls");
    assert!(noop::is_right(&report, &answer), "{:?}", report.outcome);
    group.finish();
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
    let read = Image::from_bytes(&image).expect("it was just written");
    assert_eq!(read.to_bytes(), image);
    c.bench_function("write a function's image", |b| {
        b.iter(|| black_box(&read).to_bytes())
    });
    c.bench_function("read a function's image", |b| {
        b.iter(|| Image::from_bytes(black_box(&image)))
    });
    c.bench_function("load a function's image", |b| {
        b.iter(|| {
            let image = Image::from_bytes(black_box(&image)).expect("it was just written");
            host.load_image(image).expect("an image of this host")
        });
    });
    let answer = noop::answer(41).expect("an integer");
    let loaded = host.load_image(read).expect("an image of this host");
    let mut slot = host.slot_with(StartPath::Best).expect("a slot");
    let report = slot
        .run(&loaded, noop::task(41))
        .expect("this machine runs calls");
    assert!(noop::is_right(&report, &answer), "{:?}", report.outcome);
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
        for part in [
            values,
            bundles,
            frames,
            wasi,
            system_calls,
            hosts,
            functions,
            calls,
        ] {
            part(&mut criterion);
        }
        criterion.final_summary();
    });
}

use ppwasm_host::{Host, Task, StartPath};
use ppwasm_proto::{Call, FunctionBundle};
use std::time::Instant;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let t = Instant::now();
    let host = Host::builder().slots(1).on_progress(|s| eprintln!("{s:?}")).build()?;
    eprintln!("build {:?}", t.elapsed());
    let t = Instant::now();
    let bundle = FunctionBundle::function("job", "job.py", "def f(x):\n  return x+1\n", "f")?;
    let f = host.load(&bundle)?;
    eprintln!("load {:?} pages {}", t.elapsed(), f.image().page_bytes().len()/4096);
    let h = std::thread::Builder::new().stack_size(32<<20).spawn(move || {
    for path in [StartPath::Overlay, StartPath::Pooled] {
        let mut slot = host.slot_with(path).unwrap();
        let t = Instant::now();
        let r = slot.run(&f, Task::new(Call::with_args([41])).hash_memory(true)).unwrap();
        eprintln!("{path:?} first {:?} {:?}", t.elapsed(), r);
        for _ in 0..3 {
            let r = slot.run(&f, Task::new(Call::with_args([41])).hash_memory(true)).unwrap();
            eprintln!("{path:?} {:?} {:?}", r.outcome, r.memory_digest);
        }
        let mut v = vec![];
        for _ in 0..5000 {
            let t = Instant::now();
            let _r = slot.run(&f, Task::new(Call::with_args([41]))).unwrap();
            v.push(t.elapsed());
        }
        v.sort();
        eprintln!("{path:?} p50 {:?} p99 {:?}", v[2500], v[4950]);
    }
    }).unwrap();
    h.join().unwrap();
    Ok(())
}

//! The sandbox as a program sees it: files, inputs, scratch, standard streams; nothing of the machine.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ppwasm_host::wasi::InputTree;
use ppwasm_host::{Task, TimeSource};
use ppwasm_proto::{FunctionBundle, LimitKind, Limits, Outcome, TrapCause};

use crate::support::{
    NOTHING, RunIn, exceeded, function, host, on_both_paths, raised, returned, task, trapped, value,
};

const SOURCE: &str = include_str!("python/sandbox.py");

fn inputs() -> Arc<InputTree> {
    let mut tree = InputTree::new();
    for (path, contents) in [
        ("data/a.txt", &b"first line\nsecond line\n"[..]),
        ("data/deep/er/b.bin", &[0, 255, 10]),
        ("empty", b""),
        ("n\u{e4}me with space.txt", b"ok"),
    ] {
        tree.add_file(path, contents.into()).expect("an input");
    }
    tree.add_directory("data/none").expect("an input");
    Arc::new(tree)
}

/// Runs a function of the program whose assertions are the test.
fn checks(name: &str, task: impl Fn() -> Task + Sync) {
    let check = function(SOURCE, name);
    on_both_paths(|slot| {
        for _ in 0..2 {
            value(&slot.report(&check, task()));
        }
    });
}

#[test]
fn the_library_is_read_only() {
    checks("library_is_read_only", || task(NOTHING));
}

#[test]
fn inputs_are_there_and_read_only() {
    checks("inputs_are_read_only", || task(NOTHING).inputs(inputs()));
}

#[test]
fn inputs_of_one_call_are_not_there_in_the_next() {
    let names = function(SOURCE, "names_in_work");
    on_both_paths(|slot| {
        let with = slot.report(&names, task(NOTHING).inputs(inputs()));
        assert_eq!(
            returned(&with),
            "['data', 'empty', 'n\u{e4}me with space.txt']"
        );
        assert_eq!(slot.call(&names, NOTHING), "[]");
        let mut other = InputTree::new();
        other
            .add_file("other", (&b"x"[..]).into())
            .expect("an input");
        let other = slot.report(&names, task(NOTHING).inputs(Arc::new(other)));
        assert_eq!(returned(&other), "['other']");
    });
}

#[test]
fn scratch_is_an_ordinary_file_system() {
    checks("scratch_files", || task(NOTHING).inputs(inputs()));
    checks("open_modes", || task(NOTHING));
    checks("directories", || task(NOTHING));
    checks("links", || task(NOTHING).inputs(inputs()));
    checks("temporary_files", || task(NOTHING));
    checks("trees", || task(NOTHING).inputs(inputs()));
}

#[test]
fn nothing_of_the_machine_is_there() {
    checks("nothing_else_is_there", || task(NOTHING));
}

#[test]
fn a_full_scratch_says_so() {
    let limits = Limits {
        scratch_bytes_max: 100_000,
        scratch_files_max: 10,
        ..Limits::default()
    };
    checks("full_scratch", || task(NOTHING).limits(limits));
}

#[test]
fn standard_input_is_read_to_its_end() {
    let stdin = || task(NOTHING).stdin(&b"one\ntwo\n\xff\xfe\nlast"[..]);
    checks("standard_input", stdin);
    checks("no_standard_input", || task(NOTHING));
    let large = vec![b'x'; 3 << 20];
    checks("large_standard_input", || {
        task(NOTHING).stdin(large.clone())
    });
}

#[test]
fn output_is_kept_byte_for_byte() {
    let output = function(SOURCE, "output");
    on_both_paths(|slot| {
        let report = slot.report(&output, task(NOTHING));
        value(&report);
        assert_eq!(
            report.stdout,
            b"text \xc3\xbc\n\x00\x1b[31m\xff\xfe\x80no newline"
        );
        assert_eq!(report.stderr, b"error \xc3\xbc\\udc80\n");
    });
}

/// A directory of the machine, read in before: links inside it are followed, links out of it refused.
#[cfg(unix)]
#[test]
fn a_directory_of_the_machine_is_granted_as_it_is() {
    use std::os::unix::fs::symlink;

    use ppwasm_host::wasi::inputs::{InputLimits, InputReader};
    use ppwasm_proto::Call;

    use crate::support::task_of;

    let folder = tempfile::tempdir().expect("a directory");
    let root = folder.path().join("granted");
    fs::create_dir_all(root.join("sub")).expect("a directory");
    fs::write(root.join("sub/file"), b"contents").expect("a file");
    symlink("sub/file", root.join("link")).expect("a link");
    let read = |root: &std::path::Path| {
        let mut reader = InputReader::new(InputLimits::default());
        reader.add(root, None).map(|()| reader.finish())
    };
    let tree = Arc::new(read(&root).expect("reads"));
    let cat = function(SOURCE, "cat");
    on_both_paths(|slot| {
        for path in [
            "granted/sub/file",
            "granted/link",
            "/work/granted/sub/../link",
        ] {
            let task = task_of(Call::with_args([path])).inputs(Arc::clone(&tree));
            assert_eq!(returned(&slot.report(&cat, task)), "b'contents'");
        }
    });
    for outside in ["/etc/passwd", "..", "../..", "/"] {
        let link = root.join("out");
        symlink(outside, &link).expect("a link");
        assert!(read(&root).is_err(), "a link to {outside} was followed");
        fs::remove_file(link).expect("removes");
    }
}

/// The runner's own tests, as they run on an ordinary interpreter, and those that are about the sandbox's library.
#[test]
fn the_runners_own_tests_pass_in_the_guest() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-python/runner/tests");
    let (mut modules, mut tree) = (Vec::new(), InputTree::new());
    for entry in fs::read_dir(folder).expect("the runner's tests") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("a name").to_owned();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("py") => modules.push((name, fs::read(&path).expect("a module"))),
            Some("json") => {
                let contents = fs::read(&path).expect("a golden file");
                tree.add_file(&name, contents.into()).expect("an input");
            }
            _ => {}
        }
    }
    modules.sort_by_key(|(name, _)| name != "run_tests.py");
    let mut modules = modules.into_iter();
    let (main, source) = modules.next().expect("run_tests.py");
    assert_eq!(main, "run_tests.py");
    let mut bundle = FunctionBundle::script("run_tests", main, source).expect("a bundle");
    for (name, source) in modules {
        let module = name.trim_end_matches(".py").to_owned();
        bundle = bundle
            .with_module(module, name, source)
            .expect("one more module");
    }
    let tests = host().load(&bundle).expect("the tests load");
    // Some tests are about files that have to be younger than 1980.
    let time = TimeSource::Deterministic {
        start_ns: 1_767_225_600_000_000_000,
    };
    let report = host()
        .run(&tests, task(NOTHING).time(time).inputs(Arc::new(tree)))
        .expect("this machine can run it");
    let said = String::from_utf8_lossy(&report.stdout);
    let Outcome::Raised(ended) = &report.outcome else {
        panic!("{:?}\n{said}", report.outcome)
    };
    assert_eq!(
        (ended.type_name.as_str(), ended.exit_code),
        ("SystemExit", Some(0)),
        "{}\n{said}",
        ended.traceback
    );
    assert!(said.contains("\nOK"), "{said}");
    // Those about what only the guest has are run nowhere else.
    let modules = "tests of test_accelerated test_sandbox test_values test_runner\n";
    assert!(said.contains(modules), "{said}");
}

/// CPython recurses in C to hash a tuple, without asking how deep: the stack's end is where it stops.
#[test]
fn a_hash_too_deep_for_the_stack_ends_at_once() {
    let hash_of = function(DEEP, "hash_of");
    let add = function(DEEP, "add");
    on_both_paths(|slot| {
        assert_eq!(slot.call(&hash_of, [1_000]), "True");
        let report = slot.report(&hash_of, task([1_000_000]));
        let cause = trapped(&report);
        assert!(
            matches!(
                cause,
                TrapCause::StackOverflow | TrapCause::MemoryOutOfBounds
            ),
            "{cause:?}"
        );
        assert_eq!(slot.call(&add, [2]), "3");
    });
}

/// Runaway recursion that only the memory ends is told in bounded time, however many frames there are.
#[test]
fn a_traceback_of_a_full_memory_is_told_in_time() {
    let runaway = function(DEEP, "runaway");
    on_both_paths(|slot| {
        let limits = Limits {
            memory_bytes_max: 128 << 20,
            ..Limits::default()
        };
        let report = slot.report(&runaway, task(NOTHING).limits(limits));
        let Outcome::Raised(exception) = &report.outcome else {
            panic!("{:?}", report.outcome)
        };
        assert_eq!(exception.type_name, "ValueError");
        for told in [" frames left out ", "\nMemoryError\n", "direct cause"] {
            let traceback = &exception.traceback;
            assert!(traceback.contains(told), "{told}: {traceback}");
        }
        assert!(exception.traceback.len() < 10_000);
    });
}

/// What keeps time in Python ends in 2262; the clock stays before it, and goes on.
#[test]
fn the_longest_wait_leaves_a_clock_that_can_be_read() {
    let longest = function(WAITS, "longest");
    on_both_paths(|slot| assert_eq!(slot.call(&longest, NOTHING), "[2200, 2200]"));
}

/// A wait that nobody can end takes no time: with the default clock it is one move of the clock.
#[test]
fn a_wait_with_a_timeout_is_one_sleep() {
    let waits = function(WAITS, "waits");
    on_both_paths(|slot| {
        for name in ["event", "full_queue", "simple_queue", "lock", "condition"] {
            let report = slot.report(&waits, task([name]));
            assert_eq!(returned(&report), "True", "{name}");
        }
        let report = slot.report(&waits, task(["for_ever"]));
        let (kind, message) = raised(&report);
        assert_eq!(kind, "RuntimeError");
        assert!(message.contains("this would wait for ever"), "{message}");
    });
}

/// With the real clock it is a sleep too, which the job's limit ends.
#[test]
fn a_wait_in_real_time_ends_at_its_limit() {
    let waits = function(WAITS, "waits");
    on_both_paths(|slot| {
        let limits = Limits {
            wall_time_max: Duration::from_millis(200),
            ..Limits::default()
        };
        let task = task(["event"]).limits(limits).time(TimeSource::Real);
        let report = slot.report(&waits, task);
        assert_eq!(exceeded(&report).0, LimitKind::WallTime);
    });
}

const DEEP: &str = "
import sys

def hash_of(depth):
    nested = ()
    for _ in range(depth):
        nested = (nested,)
    return isinstance(hash(nested), int)

def runaway():
    sys.setrecursionlimit(10**8)
    def down(n):
        return down(n + 1)
    try:
        return down(0)
    except MemoryError as error:
        raise ValueError('caught') from error

def add(n):
    return n + 1
";

const WAITS: &str = "
import queue, threading, time

HOUR = 3600

def waits(name):
    started = time.monotonic()
    time.monotonic()
    step = time.monotonic() - started
    started = time.monotonic()
    try:
        ended = globals()[name]()
    except queue.Empty:
        ended = False
    passed = time.monotonic() - started
    assert not ended
    assert HOUR <= passed <= HOUR + 100 * max(step, 1e-6), passed - HOUR
    return True

def longest():
    years = []
    held = threading.Lock()
    held.acquire()
    for _ in range(2):
        assert not held.acquire(timeout=threading.TIMEOUT_MAX)
        before = time.monotonic()
        assert before < time.monotonic()
        # The monotonic clock, which is a little ahead, stops there.
        years.append(time.gmtime(time.time() + 60).tm_year)
    return years

def event():
    return threading.Event().wait(HOUR)

def full_queue():
    full = queue.Queue(1)
    full.put(1)
    try:
        return full.put(2, timeout=HOUR)
    except queue.Full:
        return False

def simple_queue():
    return queue.SimpleQueue().get(timeout=HOUR)

def lock():
    held = threading.Lock()
    held.acquire()
    return held.acquire(timeout=HOUR)

def condition():
    free = threading.Condition()
    with free:
        return free.wait(HOUR)

def for_ever():
    return threading.Event().wait()
";

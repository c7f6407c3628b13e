//! A process that dies, wherever it is.
//!
//! The child is this test binary again, for the test [`CHILDS_TEST`], told by its environment what to do: `child` below. It
//! says on its output what was acknowledged to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::faults::{Faults, Point};

const TASK: &str = "PPWASM_TEST_STORE_CHILD";
/// Asks whether it is a child before it does anything else.
const CHILDS_TEST: &str = "store::tests::crash::case_07_crash_at_each_fail_point";
/// More points than any child here passes.
const STEPS_MAX: usize = 2000;

/// What a child is to do, in this order on the command line of its environment.
struct Task<'a> {
    /// `script`, `open` or `stream`.
    what: &'a str,
    folder: PathBuf,
    /// The step of the script to begin with.
    from: usize,
    /// `at 12`: when the twelfth point is reached. `on Commit 3`: at the commit after three. Empty: never.
    dies: String,
}

impl Task<'_> {
    fn start(&self) -> Child {
        let task = format!(
            "{}|{}|{}|{}",
            self.what,
            self.folder.display(),
            self.from,
            self.dies
        );
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILDS_TEST, "--nocapture"])
            .env(TASK, task)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Runs it to its end: how many steps were acknowledged, and whether it came to the end of its work.
    fn run(&self) -> (usize, bool) {
        let output = self.start().wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let acknowledged = text
            .lines()
            .filter(|line| line.contains("@acknowledged"))
            .count();
        (acknowledged, text.contains("@end"))
    }
}

fn child(task: &str) {
    let mut parts = task.split('|');
    let (what, folder) = (parts.next().unwrap(), PathBuf::from(parts.next().unwrap()));
    let from: usize = parts.next().unwrap().parse().unwrap();
    let dies: Vec<_> = parts.next().unwrap().split(' ').collect();
    let mut options = options();
    options.seams.faults = match dies[..] {
        ["at", step] => Faults::die_at(step.parse().unwrap()),
        ["on", point, passes] => {
            let points = [
                Point::Commit,
                Point::Committed,
                Point::Acknowledged,
                Point::Applied,
            ];
            let named = points
                .into_iter()
                .find(|named| format!("{named:?}") == point);
            Faults::die_on(named.unwrap(), passes.parse().unwrap())
        }
        _ => Faults::default(),
    };
    let store = SqliteStore::open(&folder, &options).unwrap();
    match what {
        "open" => {}
        "script" => {
            for (number, step) in Script::new().steps.iter().enumerate().skip(from) {
                step.apply(&store).unwrap();
                println!("\n@acknowledged {number}");
            }
        }
        _ => stream(&store, from as u64),
    }
    drop(store);
    println!("\n@end");
}

/// Writes until it is killed, several batches at a time, and says what was acknowledged.
fn stream(store: &SqliteStore, from: u64) {
    for number in from.. {
        let ack = Box::new(move |result: Result<Vec<Answer>, CommitError>| {
            result.unwrap();
            println!("\n@acknowledged {number}");
        });
        let writes = vec![audited(2 * number), audited(2 * number + 1)];
        if store.commit(Batch::at(number, writes), ack).is_err() {
            std::thread::yield_now();
            panic!("the queue is full, which the parent prevents");
        }
        if number % 50 == 0 {
            commit(store, number, vec![]).unwrap();
        }
    }
}

/// Which of the states the store is in.
fn state_of(folder: &Path, dumps: &[String]) -> (SqliteStore, usize) {
    let store = open(folder);
    let found = dump(&store).unwrap();
    let states: Vec<_> = (0..dumps.len()).filter(|at| dumps[*at] == found).collect();
    // Steps that change nothing that can be read leave several.
    let state = *states
        .first()
        .unwrap_or_else(|| panic!("no state between two steps: {found}"));
    (store, state)
}

#[test]
fn case_07_crash_at_each_fail_point() {
    if let Ok(task) = std::env::var(TASK) {
        return child(&task);
    }
    let (script, dumps) = (Script::new(), Script::new().dumps());
    let mut ended = false;
    for step in 1..STEPS_MAX {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let task = |dies| Task {
            what: "script",
            folder: folder.to_owned(),
            from: 0,
            dies,
        };
        let (acknowledged, is_end) = task(format!("at {step}")).run();
        ended = is_end && acknowledged == script.steps.len();
        if folder.join(STORE_FILE).exists() {
            let report = check(folder, true);
            // Before the first commit there is a file, and no store yet.
            assert!(
                report.is_ok_and(|report| report.is_clean() || acknowledged == 0),
                "{step}"
            );
        }
        let (store, state) = state_of(folder, &dumps);
        // Maintenance and blobs show in no dump.
        let next = (acknowledged + 1).min(script.steps.len());
        let may_be = (acknowledged..=next).any(|at| dumps[at] == dumps[state]);
        assert!(
            may_be,
            "step {step}: {acknowledged} were acknowledged, the state is that of {state}"
        );
        let from = (acknowledged..=next)
            .rev()
            .find(|at| dumps[*at] == dumps[state])
            .unwrap();
        // A blob that was put before the crash may have been collected by none: put it again.
        for step in script
            .steps
            .iter()
            .filter(|step| matches!(step, Step::Blob(_)))
        {
            step.apply(&store).unwrap();
        }
        for step in &script.steps[from..] {
            step.apply(&store).unwrap();
        }
        assert_eq!(dump(&store).unwrap(), *dumps.last().unwrap());
        drop(store);
        let report = check(folder, true).unwrap();
        assert!(report.is_clean(), "step {step}: {report:?}");
        if ended {
            assert!(step > 80, "only {step} points were reached");
            break;
        }
    }
    assert!(ended, "the child never came to its end");
}

/// A child that dies after `passes` times at a point, and the store it leaves.
fn died_on(point: Point, passes: usize) -> (tempfile::TempDir, usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let task = Task {
        what: "script",
        folder: folder.path().to_owned(),
        from: 0,
        dies: format!("on {point:?} {passes}"),
    };
    let (acknowledged, ended) = task.run();
    assert!(!ended);
    let (_, state) = state_of(folder.path(), &Script::new().dumps());
    (folder, acknowledged, state)
}

#[test]
fn case_03_crash_after_commit_before_acknowledgement() {
    let (folder, acknowledged, state) = died_on(Point::Committed, 1);
    assert_eq!(
        (acknowledged, state),
        (1, 2),
        "it is there and nobody was told"
    );
    let store = open(folder.path());
    // The client asks again with the same id and gets the same job.
    let again = commit(
        &store,
        999,
        vec![submitted(job_id(1)), added(job_id(1), 0, 20)],
    );
    assert_eq!(again.unwrap(), [Answer::Known, Answer::Known]);
    assert_eq!(store.jobs(0, 10).unwrap().len(), 1);
}

#[test]
fn case_04_crash_before_commit() {
    let (folder, acknowledged, state) = died_on(Point::Commit, 1);
    assert_eq!(
        (acknowledged, state),
        (1, 1),
        "it is not there and nobody was told"
    );
    let store = open(folder.path());
    let again = commit(
        &store,
        999,
        vec![submitted(job_id(1)), added(job_id(1), 0, 20)],
    );
    assert_eq!(again.unwrap(), [Answer::Done, Answer::Done]);
}

#[test]
fn case_06_crash_during_recovery_again_and_again() {
    let (folder, _, _) = died_on(Point::Applied, 9);
    let dumps = Script::new().dumps();
    let once = tempfile::tempdir().unwrap();
    copy_files(folder.path(), once.path());
    fs::create_dir_all(once.path().join("blobs")).unwrap();
    let (store, expected) = state_of(once.path(), &dumps);
    drop(store);
    let mut epochs = Vec::new();
    for step in 1..STEPS_MAX {
        // The same crash several times over, then the next one.
        let mut ended = false;
        for _ in 0..2 {
            let task = Task {
                what: "open",
                folder: folder.path().to_owned(),
                from: 0,
                dies: format!("at {step}"),
            };
            ended = task.run().1;
        }
        let copy = tempfile::tempdir().unwrap();
        copy_files(folder.path(), copy.path());
        let (store, state) = state_of(copy.path(), &dumps);
        assert_eq!(state, expected, "after a crash at {step}");
        epochs.push(store.epoch());
        if ended {
            assert!(step > 3);
            break;
        }
    }
    assert!(epochs.is_sorted() && epochs.first() < epochs.last());
}

#[test]
fn case_08_killed_at_any_time_everything_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut from = 0;
    for (round, wanted) in [1_usize, 7, 60, 333, 1500].into_iter().enumerate() {
        let task = Task {
            what: "stream",
            folder: folder.path().to_owned(),
            from,
            dies: String::new(),
        };
        let mut child = task.start();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = from;
        let mut read = |lines: &mut std::io::Lines<_>| -> bool {
            let Some(Ok(line)) = lines.next() else {
                return false;
            };
            if let Some(number) = line.strip_prefix("@acknowledged ") {
                assert_eq!(number.parse::<usize>().unwrap(), acknowledged, "in order");
                acknowledged += 1;
            }
            true
        };
        let mut seen = 0;
        while seen < 2 * wanted {
            assert!(read(&mut lines), "the child ended by itself");
            seen += 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while read(&mut lines) {}
        let store = open(folder.path());
        let events = store.events(0, u32::MAX).unwrap();
        let batches = events.len() / 2;
        assert_eq!(events.len() % 2, 0, "half a batch in round {round}");
        assert!(
            batches >= acknowledged,
            "{acknowledged} were acknowledged, {batches} are there"
        );
        for (number, event) in (0..).zip(&events) {
            assert_eq!(Write::Audited(event.clone()), audited(number));
        }
        from = batches;
    }
}

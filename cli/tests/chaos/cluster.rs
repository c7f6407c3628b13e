//! A coordinator and workers as processes, which end with the test.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ppwasm_certs::{Credentials, JoinToken, tls};
use ppwasm_client::{Client, ClientConfig};
use ppwasm_proto::wire::WorkerState;
use ppwasm_session::link::CoordinatorDialer;
use ppwasm_session::{Connector, join};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::ports::free_address;

/// Whatever is waited for comes within this time, or never: it comes within seconds, also after faults, on a machine that
/// has nothing else to do, and this is for one that has.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// Compiling the guest on a busy machine with two cores takes less.
const COMPILING: Duration = Duration::from_secs(1200);

/// One cluster at a time: two cores are soon full.
pub(crate) async fn machine() -> MutexGuard<'static, ()> {
    static MACHINE: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);
    MACHINE.lock().await
}

/// What does not come in time does not come.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    within_time(PATIENCE, what, work).await
}

/// The same, of what takes longer by its nature.
pub(crate) async fn within_time<T>(
    patience: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> T {
    let work = tokio::time::timeout(patience, work).await;
    work.unwrap_or_else(|_| panic!("it did not come in time: {what}"))
}

/// Flags of a coordinator with short leases, so that faults are over soon.
pub(crate) const SHORT: [&str; 3] = ["--lease=6s", "--reconnect-grace=1s", "--restart-grace=5s"];
/// Flags of one with long leases and graces: no attempt is given up because a process, or the whole machine, was slow. For
/// tests in which none may be lost.
pub(crate) const PATIENT: [&str; 3] = ["--lease=5m", "--reconnect-grace=5m", "--restart-grace=5m"];

/// A process that is killed when the test is done with it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Runs the program, or what runs the program; what it says goes to a file.
    fn start(mut command: Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log);
        let file = file.unwrap();
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let child = command.spawn().unwrap();
        Self { child, log }
    }

    pub(crate) fn signal(&self, name: &str) {
        // The shell's own: a small system has no program for it.
        let kill = format!("kill -s {name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.unwrap().success(), "{kill}");
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// How it ends by itself.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.log.display());
        within(&what, self.ended()).await
    }

    /// The same of one that may as well go on.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it has said.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An installation: its folders, its coordinator, its workers.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: TempDir,
    /// The coordinator's folder.
    pub(crate) kept: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) coordinator: Process,
    /// Flags of the coordinator.
    flags: Vec<String>,
    /// What the coordinator is run by: `prlimit …`, or nothing.
    wrapper: Vec<String>,
}

impl Cluster {
    pub(crate) async fn start_patiently() -> Self {
        Self::start_with(&PATIENT, &[], None).await
    }

    pub(crate) async fn start() -> Self {
        Self::start_with(&SHORT, &[], None).await
    }

    pub(crate) async fn start_with(flags: &[&str], wrapper: &[&str], kept: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept.map_or_else(|| folder.path().join("coordinator"), Path::to_owned);
        copy_new(&kept).await;
        let strings = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let address = free_address();
        let (flags, wrapper) = (strings(flags), strings(wrapper));
        let command = coordinator_command(&kept, address, &flags, &wrapper);
        let coordinator = Process::start(command, folder.path().join("coordinator.log"));
        let mut cluster = Self {
            folder,
            kept,
            address,
            coordinator,
            flags,
            wrapper,
        };
        cluster.listening().await;
        cluster
    }

    /// Waits until the coordinator listens.
    pub(crate) async fn listening(&mut self) {
        let file = self.kept.join("address");
        let log = self.coordinator.log.clone();
        within("a coordinator that listens", async {
            while !file.exists() {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                assert!(self.coordinator.is_running(), "{said}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// SIGKILL for the coordinator.
    pub(crate) fn kill_coordinator(&mut self) {
        self.coordinator.kill();
        // It could not take it away.
        let _ = std::fs::remove_file(self.kept.join("address"));
    }

    /// Starts the coordinator that has ended again.
    pub(crate) async fn restart_coordinator(&mut self) {
        let command = coordinator_command(&self.kept, self.address, &self.flags, &self.wrapper);
        self.coordinator = Process::start(command, self.folder.path().join("coordinator.log"));
        self.listening().await;
    }

    /// A command of `ppwasm` in this installation's environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(args);
        command
    }

    pub(crate) async fn token(&self, role: &str, name: &str) -> String {
        let kept = self.kept.to_str().unwrap();
        let args = [
            "certs", "token", "--role", role, "--name", name, "--dir", kept,
        ];
        let mut command = self.command(&args);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = within("a token", output).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{}", self.coordinator.said());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    /// The credentials of one who joins.
    pub(crate) async fn join(&self, role: &str, name: &str) -> Credentials {
        let token: JoinToken = self.token(role, name).await.parse().unwrap();
        let joined = within("joining", join(&[self.address], &token, name)).await;
        joined.unwrap()
    }

    /// Credentials kept where a worker looks for them: its process may be killed and started as often as one likes.
    pub(crate) async fn enrol(&self, name: &str) {
        let credentials = self.join("worker", name).await;
        let state = self.worker_state(name);
        std::fs::create_dir_all(&state).unwrap();
        credentials.save(&state.join("worker.credentials")).unwrap();
    }

    /// Where a worker keeps its credentials.
    pub(crate) fn worker_state(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a worker that is enrolled, which comes to `address`.
    pub(crate) fn worker_at(&self, name: &str, slots: u32, address: SocketAddr) -> Process {
        let slots = slots.to_string();
        self.worker_with(program(), name, &["--slots", &slots], address)
    }

    /// Starts a worker that is enrolled: some build of the program, or what runs it.
    pub(crate) fn worker_with(
        &self,
        mut program: Command,
        name: &str,
        flags: &[&str],
        address: SocketAddr,
    ) -> Process {
        let state = self.worker_state(name);
        program.args(["worker", "start"]).args(flags).args([
            "--state",
            state.to_str().unwrap(),
            &address.to_string(),
        ]);
        Process::start(program, self.folder.path().join(format!("{name}.log")))
    }

    pub(crate) fn worker(&self, name: &str, slots: u32) -> Process {
        self.worker_at(name, slots, self.address)
    }

    /// A client under a name that was not there before.
    pub(crate) async fn client(&self, name: &str) -> Client {
        let credentials = self.join("client", name).await;
        client_of(&credentials, self.address)
    }

    /// Looks at everything that the coordinator, which has ended, has kept.
    pub(crate) async fn check_store(&self) {
        let store = self.kept.join("store");
        let checked = tokio::task::spawn_blocking(move || {
            ppwasm_coordinator::store::check(&store, true).unwrap()
        });
        let report = checked.await.unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
    }

    /// Stops the coordinator in good order.
    pub(crate) async fn stop(&mut self) {
        self.coordinator.signal("TERM");
        let status = self.coordinator.end().await;
        assert!(status.success(), "{status}: {}", self.coordinator.said());
    }

    /// Waits until the coordinator has this many workers with a session.
    pub(crate) async fn connected_workers(&self, client: &Client, count: usize) {
        within("workers that are there", async {
            loop {
                let workers = client.workers(None).await.unwrap().workers;
                let there = workers
                    .iter()
                    .filter(|worker| worker.state != WorkerState::Away)
                    .count();
                if there == count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

/// Makes `kept` the folder of a coordinator that has been started and stopped once. The guest is compiled in that start,
/// which takes a minute or two: a folder that is kept between test runs has it.
async fn copy_new(kept: &Path) {
    static PREPARED: OnceCell<PathBuf> = OnceCell::const_new();
    let prepared = PREPARED.get_or_init(prepare).await;
    let copied = Command::new("cp")
        .args(["-r", "--reflink=auto"])
        .arg(prepared.join("."))
        .arg(kept)
        .status();
    assert!(copied.unwrap().success(), "cannot copy {prepared:?}");
}

async fn prepare() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos-coordinator");
    let log = folder.with_extension("log");
    let _ = std::fs::remove_file(folder.join("address"));
    let started = prepare_in(&folder, &log).await;
    if started.is_err() && folder.exists() {
        // Made by a version that is older, or newer.
        std::fs::remove_dir_all(&folder).unwrap();
        prepare_in(&folder, &log).await.unwrap();
    }
    folder
}

async fn prepare_in(folder: &Path, log: &Path) -> Result<(), String> {
    let command = coordinator_command(folder, free_address(), &[], &[]);
    let mut coordinator = Process::start(command, log.to_owned());
    let deadline = Instant::now() + COMPILING;
    while !folder.join("address").exists() {
        if !coordinator.is_running() {
            return Err(coordinator.said());
        }
        assert!(Instant::now() < deadline, "the guest is not compiled");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    coordinator.signal("TERM");
    assert!(coordinator.end().await.success(), "{}", coordinator.said());
    Ok(())
}

/// A client with credentials that come to `address`.
pub(crate) fn client_of(credentials: &Credentials, address: SocketAddr) -> Client {
    let dialer = CoordinatorDialer::new(connector(credentials), [address]);
    let config = ClientConfig {
        pause_max: Duration::from_secs(1),
        ..ClientConfig::default()
    };
    Client::start(dialer, config)
}

pub(crate) fn connector(credentials: &Credentials) -> Connector {
    let time = Arc::new(tls::DefaultTimeProvider);
    Connector::new(tls::client_config(credentials, time).unwrap()).unwrap()
}

/// Waits until `is_so`.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ppwasm"))
}

fn coordinator_command(
    kept: &Path,
    address: SocketAddr,
    flags: &[String],
    wrapper: &[String],
) -> Command {
    let program = env!("CARGO_BIN_EXE_ppwasm");
    let mut command = match wrapper.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command
        .args(["coordinator", "start", "--dir", kept.to_str().unwrap()])
        .args(["--listen", &address.to_string()])
        .args(flags);
    command
}

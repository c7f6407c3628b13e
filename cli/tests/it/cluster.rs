//! A cluster of real processes on this machine: a coordinator, workers and clients, each with a folder of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ports::free_address;
use crate::support::{Folder, Run, finish};

/// Whatever is waited for comes within this time, also a coordinator that compiles the guest on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Whether there is a compiled guest to begin with.
static PREPARED: Mutex<bool> = Mutex::new(false);

/// What a coordinator has compiled, with the key that it signed it with.
fn copy_guest(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("store")).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for part in ["artifacts", "artifact.key", "store/blobs"] {
        let copied = Command::new("cp")
            .args(["-r", "--reflink=auto"])
            .arg(from.join(part))
            .arg(to.join(part))
            .status();
        assert!(copied.unwrap().success(), "{part} of {}", from.display());
    }
}

/// A coordinator, and what belongs to it.
pub(crate) struct Cluster {
    /// The client's folder: the configuration is in `config`, programs are beside it.
    pub(crate) folder: Folder,
    /// The coordinator's.
    pub(crate) home: PathBuf,
    coordinator: Option<Child>,
    workers: Vec<Child>,
    address: String,
}

fn ppwasm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ppwasm"));
    command.stdin(Stdio::null());
    command
}

impl Cluster {
    /// A coordinator without workers, and a client that has logged in.
    pub(crate) fn start(files: &[(&str, &str)]) -> Self {
        let folder = Folder::new(files);
        let home = folder.path().join("coordinator");
        let mut cluster = Self {
            folder,
            home,
            coordinator: None,
            workers: Vec::new(),
            address: String::new(),
        };
        {
            // The guest is compiled once for all clusters of a run; everything else is each one's own.
            let prepared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("it-guest");
            let mut is_prepared = PREPARED.lock().unwrap_or_else(PoisonError::into_inner);
            if *is_prepared {
                copy_guest(&prepared, &cluster.home);
            }
            cluster.start_coordinator(&free_address().to_string());
            if !*is_prepared {
                let _ = fs::remove_dir_all(&prepared);
                copy_guest(&cluster.home, &prepared);
                *is_prepared = true;
            }
        }
        let token = cluster.token(&["--role", "client"]);
        let address = cluster.address.clone();
        let login = cluster
            .folder
            .ppwasm(&["login", "--join", &token, &address, "--name", "ann"]);
        assert_eq!(login.code, 0, "{}", login.stderr);
        cluster
    }

    fn start_coordinator(&mut self, listen: &str) {
        let _ = fs::remove_file(self.home.join("address"));
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("coordinator.log"))
            .unwrap();
        let child = ppwasm()
            .args(["coordinator", "start", "--listen", listen, "--dir"])
            .arg(&self.home)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.coordinator = Some(child);
        let home = self.home.clone();
        let address = self.until("the coordinator's address", || {
            let text = fs::read_to_string(home.join("address")).ok()?;
            (!text.trim().is_empty()).then(|| text.trim().to_owned())
        });
        self.address = address;
    }

    /// Kills the coordinator and starts it again at the same address.
    pub(crate) fn restart_coordinator(&mut self) {
        self.kill_coordinator();
        let address = self.address.clone();
        self.start_coordinator(&address);
    }

    pub(crate) fn kill_coordinator(&mut self) {
        if let Some(mut child) = self.coordinator.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A join token.
    pub(crate) fn token(&self, flags: &[&str]) -> String {
        let mut command = ppwasm();
        command.args(["certs", "token"]).args(flags);
        command.arg("--dir").arg(&self.home);
        let run = finish(command, b"");
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stdout.lines().next().unwrap().to_owned()
    }

    /// Revokes somebody's certificate.
    pub(crate) fn revoke(&self, role: &str, name: &str) {
        let args = ["certs", "revoke", "--role", role, name, "--dir"];
        let mut command = self.folder.command(&args);
        command.arg(&self.home);
        let run = finish(command, b"");
        assert_eq!(run.code, 0, "{}", run.stderr);
    }

    /// Adds a worker; its number, for [`Cluster::kill_worker`].
    pub(crate) fn add_worker(&mut self, slots: u32) -> usize {
        let token = self.token(&["--role", "worker"]);
        let number = self.workers.len();
        let name = format!("worker-{number}");
        let log = fs::File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        let child = ppwasm()
            .args(["worker", "start", "--join", &token, "--name", &name])
            .args(["--slots", &slots.to_string(), "--state"])
            .arg(self.folder.path().join(&name))
            .arg(&self.address)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.workers.push(child);
        number
    }

    /// Runs the command as the client.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.folder.ppwasm(args)
    }

    /// Runs the command as the operator.
    pub(crate) fn operate(&self, args: &[&str]) -> Run {
        let credentials = self.home.join("operator.credentials");
        let credentials = ["--credentials", credentials.to_str().unwrap()];
        self.folder.ppwasm(&[args, &credentials].concat())
    }

    /// Waits for something to be there.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "waited for {what}: {}",
                logs(self.folder.path())
            );
            // Nothing tells when another process is ready: it is looked for until it is there.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let children = self.workers.iter_mut().chain(&mut self.coordinator);
        for child in children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What coordinator and workers said.
fn logs(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|end| end == "log") {
            all += &fs::read_to_string(entry.path()).unwrap_or_default();
        }
    }
    all
}

//! `ppwasm worker start`: runs tasks for a coordinator.

use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ppwasm_certs::{JoinToken, Role};
use ppwasm_host::{Host, HostError, Target};
use ppwasm_link::DialError;
use ppwasm_proto::fabric::Incarnation;
use ppwasm_proto::wire::{CloseCode, ErrorCode};
use ppwasm_session::link::CoordinatorDialer;
use ppwasm_worker::agent::{Config, ExitReason};
use ppwasm_worker::{
    Handle, Membership, MembershipError, ProvisionError, Provisioning, Wanted, Worker,
    WorkerConfig, WorkerEnd, provision, provisioned,
};
use tokio::sync::watch;

use super::cluster;
use super::submit::tell_preparing;
use crate::address::Address;
use crate::args;
use crate::exit_code::ExitCode;
use crate::failure::{Because, Failure, Result, chain};
use crate::units::Size;
use crate::{machine, signals, visible};

/// The worker's key and certificate in its folder.
const CREDENTIALS_FILE: &str = "worker.credentials";
/// Bytes of a token that is read from standard input.
const TOKEN_BYTES_MAX: u64 = 4096;
/// Bytes of the machine's name that go into the worker's.
const HOST_NAME_BYTES_MAX: usize = 40;
/// Pauses between tries to get the sandbox: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Carries the command out.
pub(crate) fn worker(args: &args::Worker) -> Result<ExitCode> {
    match args {
        args::Worker::Start(args) => start(args),
        args::Worker::List(args) => cluster::workers(args),
        args::Worker::Drain(args) => cluster::drain(args, true),
        args::Worker::Undrain(args) => cluster::drain(args, false),
        args::Worker::SetSlots(args) => cluster::set_slots(args),
    }
}

fn start(args: &args::WorkerStart) -> Result<ExitCode> {
    crate::log::start(&args.log)?;
    let folder = state_folder(args.state.as_deref())?;
    let token = args.join.as_deref().map(token).transpose()?;
    let addresses = resolve(&args.coordinator)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .thread_name("ppwasm-worker")
        .build()
        .machine("could not start threads")?;
    let drains = drains()?;
    let ended = runtime.block_on(async {
        let membership = membership(args, &folder, token.as_ref(), &addresses).await?;
        serve(args, membership, &addresses, drains).await
    });
    // A call that does not end by itself has been cancelled; nobody waits for it.
    runtime.shutdown_background();
    ended
}

/// Where a worker's key is kept.
fn state_folder(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    let state = machine::state_folder().ok_or_else(|| {
        Failure::usage("--state: say where to keep the worker's key; there is no home directory")
    })?;
    Ok(state.join("ppwasm/worker"))
}

/// A join token as it was typed, or from standard input.
pub(crate) fn token(text: &str) -> Result<JoinToken> {
    let mut read = String::new();
    let text = if text == "-" {
        let input = io::stdin().lock().take(TOKEN_BYTES_MAX);
        { input }
            .read_to_string(&mut read)
            .usage("--join -: could not read standard input")?;
        read.trim()
    } else {
        text.trim()
    };
    // The text is a secret: it is not repeated.
    text.parse::<JoinToken>()
        .usage("--join: not a whole join token; it begins with ppwjoin1. and has three dots")
}

/// The addresses behind a name.
pub(crate) fn resolve(address: &Address) -> Result<Vec<SocketAddr>> {
    let found = (address.host.as_str(), address.port).to_socket_addrs();
    let found: Vec<_> = found
        .usage(format!("{address}: there is no host of that name"))?
        .collect();
    if found.is_empty() {
        return Err(Failure::usage(format!(
            "{address}: the host has no address"
        )));
    }
    Ok(found)
}

async fn membership(
    args: &args::WorkerStart,
    folder: &Path,
    token: Option<&JoinToken>,
    addresses: &[SocketAddr],
) -> Result<Membership> {
    let path = folder.join(CREDENTIALS_FILE);
    let known = match (Membership::load(&path, SystemTime::now()), token) {
        // What an earlier start left is of no use; the token is.
        (Err(MembershipError::Expired), Some(_)) => None,
        (loaded, _) => loaded.usage(path.display())?,
    };
    if let Some(membership) = known {
        return Ok(membership);
    }
    let Some(token) = token else {
        return Err(Failure::usage(format!(
            "this machine has not joined ({} is not there); give a token with --join: \
             `ppwasm certs token --role worker` on the coordinator's machine makes one",
            path.display()
        )));
    };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => own_name()?,
    };
    let joined = Membership::join(&path, addresses, token, &name).await;
    let membership = match joined {
        Err(MembershipError::Join(error)) => {
            return Err(super::login::refused(
                &error,
                &args.coordinator,
                Role::Worker,
            ));
        }
        joined => joined.usage(args.coordinator.to_string())?,
    };
    visible::note(&format!("ppwasm: joined as {}", membership.name()));
    Ok(membership)
}

/// The machine's name, and something that tells it from others of that name.
fn own_name() -> Result<String> {
    let host = machine::host_name().unwrap_or_default();
    let host = host.to_ascii_lowercase();
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let host: String = host
        .chars()
        .map(|c| if letter(c) { c } else { '-' })
        .take(HOST_NAME_BYTES_MAX)
        .collect();
    let host = match host.trim_matches('-') {
        "" => "worker",
        host => host,
    };
    let [a, b] = (random()? as u16).to_le_bytes();
    Ok(format!("{host}-{a:02x}{b:02x}"))
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).machine("the system gives no random bytes")?;
    Ok(u64::from_le_bytes(bytes))
}

/// Serves until it is drained; when the coordinator has another guest, with that one.
async fn serve(
    args: &args::WorkerStart,
    mut membership: Membership,
    addresses: &[SocketAddr],
    mut drains: watch::Receiver<bool>,
) -> Result<ExitCode> {
    let (mut incarnation, mut pause) = (random()?, PAUSE_MIN);
    loop {
        let path = membership.path().to_owned();
        let dialer = membership.dialer(addresses).machine("could not connect")?;
        let host = tokio::select! {
            host = make_host(args, &membership, &dialer) => host?,
            _ = drains.wait_for(|drains| *drains) => return Ok(ExitCode::Succeeded),
        };
        let slots = u32::try_from(host.slots()).unwrap_or(1);
        if host.slots() < wanted_slots(args) {
            visible::note(&format!(
                "ppwasm: this machine's address space has room for {slots} of {} slots",
                wanted_slots(args)
            ));
        }
        visible::note(&format!(
            "ppwasm: worker {} serves {} with {slots} slots",
            membership.name(),
            args.coordinator
        ));
        let config = WorkerConfig {
            agent: Config::new(Incarnation(incarnation), random()?, slots),
            label: format!("ppwasm {}", env!("CARGO_PKG_VERSION")),
        };
        let worker = Worker::new(Arc::new(host), Arc::clone(&dialer), config)
            .renewed_by(membership.into_renewer(dialer))
            .tells_failures(Box::new(failures()));
        let drainer = tokio::spawn(drain(worker.handle(), drains.clone()));
        let started = Instant::now();
        let end = worker.run().await;
        drainer.abort();
        match end {
            WorkerEnd::GuestChanged if args.compile == args::Compile::Coordinator => {
                visible::note("ppwasm: the coordinator has another version of the sandbox");
                // What it held is another's by now; a worker that begins anew is another one.
                incarnation = incarnation.wrapping_add(1);
                if started.elapsed() > PAUSE_MAX {
                    pause = PAUSE_MIN;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                membership = reload(&path)?;
            }
            end => return ended(end),
        }
    }
}

/// Says why this machine could not run a task: once for each reason that follows another, as all tasks may meet the same.
fn failures() -> impl FnMut(&HostError) {
    let mut last = String::new();
    move |error| {
        let why = chain(error);
        if why != last && !matches!(error, HostError::Stopped) {
            visible::note(&format!(
                "ppwasm: a task could not be run on this machine, and goes elsewhere: {}",
                visible::line(&why)
            ));
            last = why;
        }
    }
}

fn reload(path: &Path) -> Result<Membership> {
    let loaded = Membership::load(path, SystemTime::now()).usage(path.display())?;
    loaded.ok_or_else(|| Failure::usage(format!("{} is gone", path.display())))
}

/// The host: by default of what the coordinator has compiled and signed for this machine.
async fn make_host(
    args: &args::WorkerStart,
    membership: &Membership,
    dialer: &CoordinatorDialer,
) -> Result<Host> {
    let slots = wanted_slots(args);
    if args.compile == args::Compile::Local {
        let building = tokio::task::spawn_blocking(move || {
            let builder = Host::builder().slots(slots);
            let built = builder.on_progress(|_| tell_preparing()).build();
            built.machine("could not prepare the sandbox")
        });
        return building.await.machine("could not start a sandbox")?;
    }
    let key = membership
        .artifact_key()
        .ok_or(ProvisionError::NoKey)
        .machine("could not get the sandbox")?;
    let cache = Host::default_cache();
    let mut pause = PAUSE_MIN;
    let mut told = String::new();
    loop {
        let wanted = Wanted {
            key,
            cache: &cache,
            target: args.cpu_profile,
            slots,
        };
        let made = provision(dialer, wanted, tell_provisioning).await;
        let error = match made {
            Ok(host) => return Ok(host),
            Err(
                error @ (ProvisionError::Dial(DialError::Unreachable(_))
                | ProvisionError::Closed(_)
                | ProvisionError::Timeout { .. }),
            ) => error,
            Err(error) => return Err(no_sandbox(error)),
        };
        // A coordinator that is away comes back; a person wants to know.
        let line = format!("{}: {}; trying again", args.coordinator, chain(&error));
        if line != told {
            visible::note(&format!("ppwasm: {}", visible::line(&line)));
            told = line;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn wanted_slots(args: &args::WorkerStart) -> usize {
    args.slots.map_or_else(
        || std::thread::available_parallelism().map_or(1, NonZero::get),
        usize::from,
    )
}

/// A host of what the worker with this folder has got from its coordinator when it was started.
pub(crate) fn provisioned_host(state: Option<&Path>, target: Option<Target>) -> Result<Host> {
    let path = state_folder(state)?.join(CREDENTIALS_FILE);
    let loaded = Membership::load(&path, SystemTime::now()).machine(path.display())?;
    let membership = loaded.ok_or_else(|| {
        Failure::Machine(anyhow::anyhow!(
            "no worker has joined a coordinator with {}",
            path.display()
        ))
    })?;
    let wanted = Wanted {
        key: membership
            .artifact_key()
            .ok_or(ProvisionError::NoKey)
            .machine(path.display())?,
        cache: &Host::default_cache(),
        target,
        slots: 1,
    };
    provisioned(&wanted).machine("could not use the worker's sandbox")
}

/// Why there is no sandbox, and what to do where that is known.
fn no_sandbox(error: ProvisionError) -> Failure {
    let again = "join again with a new token of `ppwasm certs token --role worker`: --join TOKEN";
    let advice = match &error {
        ProvisionError::Dial(DialError::Rejected(code, _)) => match code {
            CloseCode::Revoked => Some(format!("ask its operator, then {again}")),
            CloseCode::Expired => Some(format!("set the clocks right, or {again}")),
            CloseCode::IdentityRefused => Some(again.to_owned()),
            _ => Some("install the version of ppwasm that the coordinator runs".to_owned()),
        },
        ProvisionError::Refused {
            code: ErrorCode::VersionUnsupported,
            ..
        } => Some("install the version of ppwasm that the coordinator runs".to_owned()),
        ProvisionError::NoProfile | ProvisionError::ProfileNotSupported { .. } => {
            Some("`ppwasm doctor` says what this machine lacks".to_owned())
        }
        _ => None,
    };
    let line = format!("could not get the sandbox: {}", chain(&error));
    Failure::Machine(match advice {
        Some(advice) => anyhow::anyhow!("{line}; {advice}"),
        None => anyhow::anyhow!("{line}"),
    })
}

fn tell_provisioning(step: Provisioning) {
    // What is kept from an earlier start is not fetched; then there is nothing to tell.
    if let Provisioning::Fetching { part, bytes } = step {
        visible::note(&format!("ppwasm: fetching the {part}, {}", Size(bytes)));
    }
}

fn ended(end: WorkerEnd) -> Result<ExitCode> {
    let why = match end {
        WorkerEnd::Left(ExitReason::Drained) => return Ok(ExitCode::Succeeded),
        WorkerEnd::Left(ExitReason::Replaced) => {
            "another process serves under this worker's name".to_owned()
        }
        WorkerEnd::Left(ExitReason::Revoked) => "this worker's certificate was revoked".to_owned(),
        WorkerEnd::GuestChanged => {
            "the coordinator's sandbox is another version than that of this \
             machine; leave --compile=local out, or install the same version"
                .to_owned()
        }
        WorkerEnd::Rejected(error) => format!("no session with the coordinator: {}", chain(&error)),
        WorkerEnd::Refused { code, reason } => {
            format!("the coordinator refused this worker: {reason} ({code})")
        }
    };
    Err(Failure::Machine(anyhow::anyhow!(why)))
}

async fn drain(handle: Handle, mut drains: watch::Receiver<bool>) {
    if drains.wait_for(|drains| *drains).await.is_ok() {
        visible::note("ppwasm: finishing what runs; a second signal ends at once");
        handle.drain().await;
    }
}

/// Becomes true with the first signal; the second ends the process.
fn drains() -> Result<watch::Receiver<bool>> {
    let (tell, drains) = watch::channel(false);
    signals::each(move |signal| {
        if tell.send_replace(true) {
            signals::end(signal);
        }
    })?;
    Ok(drains)
}

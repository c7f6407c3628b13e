//! `ppwasm coordinator`: the server of a cluster.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ppwasm_certs::Role;
use ppwasm_coordinator::child::{ChildProgram, Confinement, confinement};
use ppwasm_coordinator::server::ServerError;
use ppwasm_coordinator::service::{
    Builders, Coordinator, CoordinatorConfig, STORE_FOLDER, StartError,
};
use ppwasm_coordinator::store::{OpenError, ReadError, SEAL_FILE};
use ppwasm_host::GuestFolder;
use tokio::sync::mpsc;

use crate::args;
use crate::exit_code::ExitCode;
use crate::failure::{Because, Failure, Result, chain};
use crate::job::closed;
use crate::units::Time;
use crate::{machine, signals, visible};

/// For how long the tokens of a new installation work: long enough to walk to the next machine.
const FIRST_TOKENS_S: u64 = 60 * 60;

/// Leases that make sense: a worker stops two seconds before one ends, and has to be heard several times in it.
const LEASES: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3600);
/// Several may be lost before the lease is.
const REPORTS_PER_LEASE: u32 = 6;

/// Carries the command out.
pub(crate) fn coordinator(args: &args::Coordinator) -> Result<ExitCode> {
    match args {
        args::Coordinator::Start(args) => start(args),
        args::Coordinator::Check(args) => check(args),
        args::Coordinator::Backup(args) => backup(args),
    }
}

/// The folder that is meant.
pub(super) fn folder(args: &args::Folder) -> Result<PathBuf> {
    if let Some(dir) = &args.dir {
        return Ok(dir.clone());
    }
    let state = machine::state_folder().ok_or_else(|| {
        Failure::usage("--dir: say where to keep everything; there is no home directory")
    })?;
    Ok(state.join("ppwasm/coordinator"))
}

fn backup(args: &args::CoordinatorBackup) -> Result<ExitCode> {
    let folder = folder(&args.folder)?;
    let copied = ppwasm_coordinator::service::backup(&folder, &args.to);
    copied.machine("could not make a backup")?;
    Ok(ExitCode::Succeeded)
}

fn check(args: &args::CoordinatorCheck) -> Result<ExitCode> {
    let store = folder(&args.folder)?.join(STORE_FOLDER);
    let report = ppwasm_coordinator::store::check(&store, !args.quick).usage("nothing to check")?;
    let mut lines: Vec<_> = (report.findings.iter())
        .map(|finding| visible::line(&chain(finding)).into_owned())
        .collect();
    lines.push(format!(
        "{} jobs, {} rows, {} audit events, {} blobs ({} more that no row names): {}",
        report.jobs,
        report.rows,
        report.events,
        report.blobs,
        report.unnamed_blobs,
        match report.findings.len() {
            0 if report.is_sealed => "all is well".to_owned(),
            0 => "all is well; it was not closed in good order, so unused parts of pages were not looked at".to_owned(),
            1 => "1 finding".to_owned(),
            count => format!("{count} findings"),
        }
    ));
    let mut out = io::stdout().lock();
    out.write_all((lines.join("\n") + "\n").as_bytes())
        .and_then(|()| out.flush())
        .map_err(closed)?;
    if report.is_whole_otherwise() {
        visible::note(&format!(
            "ppwasm: every row holds all the same: restore a backup, or, to go on with this disk, remove {} and start",
            store.join(SEAL_FILE).display()
        ));
    } else if !report.is_clean() {
        visible::note("ppwasm: restore a backup; it was made with `ppwasm coordinator backup`");
    }
    Ok(match report.is_clean() {
        true => ExitCode::Succeeded,
        false => ExitCode::Found,
    })
}

fn start(args: &args::CoordinatorStart) -> Result<ExitCode> {
    crate::log::start(&args.log)?;
    let folder = folder(&args.folder)?;
    let mut config = CoordinatorConfig::new(&folder);
    config.listen = args.listen;
    config.trust_domain = args.trust_domain.clone();
    config.metrics = args.metrics;
    if let Some(time) = args.keep_for {
        config.keep_for = time.0;
    }
    set_times(args, &mut config)?;
    let builders = Builders::Children {
        program: ChildProgram::this([args::CHILD_COMMAND]),
        guest: GuestFolder::find().machine("could not start")?,
    };
    if let Some(lacking) = lacking(confinement()) {
        visible::note(&format!("ppwasm: {lacking}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("ppwasm-coordinator")
        .build()
        .machine("could not start threads")?;
    let mut first_signal = first_signal()?;
    if !folder.join("artifacts").exists() {
        // The guest is compiled for this machine before anybody is let in.
        super::submit::tell_preparing();
    }
    let ended = runtime.block_on(async {
        let coordinator = Coordinator::start(config, builders).await;
        let coordinator = coordinator.map_err(|error| not_started(&error))?;
        greet(&coordinator, &folder).await?;
        let signal = tokio::select! {
            signal = first_signal.recv() => signal,
            () = coordinator.wait() => None,
        };
        if signal.is_some() {
            visible::note("ppwasm: stopping; a second signal ends at once");
        }
        coordinator.stop().await.machine("the coordinator ended")?;
        Ok(ExitCode::Succeeded)
    });
    // What still computes an image is of no use to anybody.
    runtime.shutdown_background();
    ended
}

/// What a process that loads strangers' functions keeps of this user's rights, if anything.
fn lacking(confinement: Confinement) -> Option<&'static str> {
    match confinement {
        Confinement::Full => None,
        Confinement::Partial | Confinement::LimitsOnly if cfg!(target_os = "linux") => Some(
            "this kernel has no or an older Landlock: processes that load functions keep this user's rights to files or network",
        ),
        Confinement::Partial | Confinement::LimitsOnly => Some(
            "this system cannot shut processes in as Linux does: those that load functions keep this user's rights to files and network",
        ),
        _ => Some(
            "this system cannot limit processes as Linux does: those that load functions keep this user's rights to files and network, and only their time is limited",
        ),
    }
}

/// Why it does not start, and what to do where that is known.
fn not_started(error: &StartError) -> Failure {
    let damaged = "`ppwasm coordinator check` says all that is wrong with it; start from a backup";
    let advice = match error {
        StartError::Store(error) => match error {
            OpenError::Locked { .. } => {
                Some("stop that coordinator, or keep this one elsewhere with --dir")
            }
            OpenError::NewerVersion { .. } => Some(
                "use the version of ppwasm that wrote it, or start from a backup of before the upgrade",
            ),
            OpenError::Damaged { .. } => Some(damaged),
            OpenError::Foreign { .. } => Some("choose another folder with --dir"),
            OpenError::NetworkFileSystem { .. } => {
                Some("keep it on a disk of this machine, with --dir")
            }
            OpenError::NoSpace { .. } => Some("make room, and start it again"),
            _ => None,
        },
        StartError::Read(ReadError::Damaged(_))
        | StartError::Server(ServerError::Read(ReadError::Damaged(_))) => Some(damaged),
        StartError::Listen { .. } => Some("choose another address with --listen"),
        StartError::Metrics { .. } => Some("choose another address with --metrics"),
        _ => None,
    };
    let line = format!("could not start: {}", chain(error));
    Failure::Machine(match advice {
        Some(advice) => anyhow::anyhow!("{line}; {advice}"),
        None => anyhow::anyhow!("{line}"),
    })
}

/// What was said about leases and graces.
fn set_times(args: &args::CoordinatorStart, config: &mut CoordinatorConfig) -> Result<()> {
    let scheduler = &mut config.scheduler;
    if let Some(Time(lease)) = args.lease {
        if !LEASES.contains(&lease) {
            let (min, max) = (Time(*LEASES.start()), Time(*LEASES.end()));
            let lease = Time(lease);
            return Err(Failure::usage(format!(
                "--lease: {lease} is not from {min} to {max}"
            )));
        }
        scheduler.lease = lease.into();
        scheduler.report_every = (lease / REPORTS_PER_LEASE).into();
    }
    if let Some(Time(grace)) = args.reconnect_grace {
        scheduler.reconnect_grace = grace.into();
    }
    if let Some(Time(grace)) = args.restart_grace {
        scheduler.restart_grace = grace.into();
    }
    Ok(())
}

/// Says where it listens and, the first time, how others join.
async fn greet(coordinator: &Coordinator, folder: &Path) -> Result<()> {
    let address = coordinator.address();
    let mut lines = vec![
        format!("ppwasm: listening on {address} (UDP)"),
        format!("ppwasm: everything is kept in {}", folder.display()),
    ];
    if let Some(address) = coordinator.metrics_address() {
        lines.push(format!("ppwasm: figures are at http://{address}/metrics"));
    }
    if coordinator.is_new() {
        let place = place(address);
        let mint = async |role| {
            let minted = coordinator.mint(role, None, Some(FIRST_TOKENS_S));
            minted.await.machine("could not make a join token")
        };
        let (worker, client) = (mint(Role::Worker).await?, mint(Role::Client).await?);
        lines.push("ppwasm: to add a worker, run on its machine within the hour:".into());
        lines.push(format!("  ppwasm worker start --join {worker} {place}"));
        lines.push("ppwasm: to submit from a machine, run there within the hour:".into());
        lines.push(format!("  ppwasm login --join {client} {place}"));
    }
    lines.push(format!(
        "ppwasm: for more join tokens: ppwasm certs token --role worker|client --dir {}",
        folder.display()
    ));
    let mut out = io::stdout().lock();
    // Whoever does not read has what it needs all the same.
    let _ = out.write_all((lines.join("\n") + "\n").as_bytes());
    let _ = out.flush();
    Ok(())
}

/// How others are told to reach an address of this machine.
pub(super) fn place(address: std::net::SocketAddr) -> String {
    match address.ip().is_unspecified() {
        false => address.to_string(),
        true => {
            let host = machine::host_name();
            format!("{}:{}", host.as_deref().unwrap_or("HOST"), address.port())
        }
    }
}

/// The first signal comes through the channel; the second ends the process.
fn first_signal() -> Result<mpsc::Receiver<i32>> {
    let (told, first) = mpsc::channel(1);
    let mut is_told = false;
    signals::each(move |signal| {
        if std::mem::replace(&mut is_told, true) || told.blocking_send(signal).is_err() {
            signals::end(signal);
        }
    })?;
    Ok(first)
}

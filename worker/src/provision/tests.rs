//! A coordinator that is not as it should be, over connections in memory. One that is, with the real guest, is tested
//! beside the command.

use std::collections::HashMap;
use std::sync::Arc;

use ppwasm_certs::PrivateKey;
use ppwasm_host::{PartsError, System, engine_digest};
use ppwasm_link::memory::{MemoryDialer, MemoryHub};
use ppwasm_link::{BlobRequest, Listener, Peer};
use ppwasm_proto::Digest;
use ppwasm_proto::wire::{
    BlobRef, Done, Failed, List, MANIFEST_FORMAT, MINOR, Refused, Text, Welcome,
};
use tokio::task::JoinHandle;

use super::*;

const PARTS: [&[u8]; 3] = [b"artifact", b"base", b"library"];

fn here() -> Target {
    Target::detect().unwrap()
}

fn manifest() -> ArtifactManifest {
    let [artifact, base, library] = PARTS.map(BlobRef::of);
    ArtifactManifest {
        format: MANIFEST_FORMAT,
        guest: Digest::of(b"guest"),
        target: Text::truncated(&here().triple()),
        cpu_profile: Text::truncated(&here().name()),
        engine: engine_digest(here()),
        engine_version: Text::truncated("wasmtime 1.2.3"),
        artifact,
        base,
        library,
        python: Text::truncated("3.13.5"),
    }
}

fn ready(manifest: &ArtifactManifest, key: &PrivateKey) -> ArtifactReady {
    let bytes = manifest.to_bytes();
    let signature = key.sign(&ArtifactManifest::signed(&bytes)).unwrap();
    ArtifactReady {
        guest: manifest.guest,
        target: manifest.target.clone(),
        cpu_profile: manifest.cpu_profile.clone(),
        artifact: manifest.artifact,
        manifest: bytes.try_into().unwrap(),
        signature: signature.to_vec().try_into().unwrap(),
    }
}

fn welcome() -> Message {
    Welcome {
        minor: MINOR,
        session: 1,
        epoch: 1,
        report_every_ms: 1000,
        lease_ms: 10_000,
        refused: List::new(),
        build: Text::default(),
        guest: None,
        renew_certificate: None,
        wall_clock_s: None,
        slots: None,
    }
    .into()
}

/// Says `messages` to whoever comes, and gives `blobs` under the names that it has for them.
fn coordinator(
    messages: Vec<Message>,
    blobs: HashMap<Digest, Arc<[u8]>>,
) -> (MemoryDialer, JoinHandle<()>) {
    let hub = MemoryHub::new();
    let mut listener = hub.listen();
    let serving = tokio::spawn(async move {
        let link = listener.accept().await.unwrap();
        let (mut sender, mut receiver, _) = link.split();
        let hello = receiver.receive().await;
        assert!(matches!(hello, Ok(Incoming::Message(Message::Hello(_)))));
        for message in messages {
            if sender.send(message).await.is_err() {
                return;
            }
        }
        while let Ok(received) = receiver.receive().await {
            if let Incoming::Blob(BlobRequest::Get { digest, answer }) = received {
                let found = blobs.get(&digest).cloned();
                let _ = answer.send(found.ok_or(ErrorCode::NotFound));
            }
        }
    });
    (hub.dialer(Peer::Worker("one".parse().unwrap())), serving)
}

async fn refused_with(
    messages: Vec<Message>,
    blobs: HashMap<Digest, Arc<[u8]>>,
    key: &PublicKey,
) -> ProvisionError {
    let cache = tempfile::tempdir().unwrap();
    let (dialer, serving) = coordinator(messages, blobs);
    let wanted = Wanted {
        key,
        cache: cache.path(),
        target: None,
        slots: 1,
    };
    let provisioned =
        tokio::time::timeout(Duration::from_secs(60), provision(&dialer, wanted, |_| ()));
    let error = provisioned.await.unwrap().err().unwrap();
    serving.abort();
    error
}

async fn refused(messages: Vec<Message>, key: &PrivateKey) -> ProvisionError {
    refused_with(messages, HashMap::new(), key.public()).await
}

#[tokio::test]
async fn what_another_key_has_signed_is_refused() {
    let (own, other) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    let signed = ready(&manifest(), &other);
    let error = refused(vec![welcome(), signed.clone().into()], &own).await;
    assert!(matches!(error, ProvisionError::Signature), "{error}");
    for bit in [0, 100, signed.manifest.len() * 8 - 1] {
        let mut bytes = signed.manifest.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let changed = ArtifactReady {
            manifest: bytes.try_into().unwrap(),
            ..signed.clone()
        };
        let error = refused(vec![welcome(), changed.into()], &other).await;
        assert!(matches!(error, ProvisionError::Signature), "{error}");
    }
    let cut = ArtifactReady {
        signature: signed.signature[1..].try_into().unwrap(),
        ..signed
    };
    let error = refused(vec![welcome(), cut.into()], &other).await;
    assert!(matches!(error, ProvisionError::Signature), "{error}");
}

/// The signature of the bytes alone is not one of a manifest.
#[tokio::test]
async fn a_signature_for_another_purpose_is_refused() {
    let key = PrivateKey::generate().unwrap();
    let mut signed = ready(&manifest(), &key);
    signed.signature = key
        .sign(&signed.manifest)
        .unwrap()
        .to_vec()
        .try_into()
        .unwrap();
    let error = refused(vec![welcome(), signed.into()], &key).await;
    assert!(matches!(error, ProvisionError::Signature), "{error}");
}

#[tokio::test]
async fn an_artifact_for_another_target_or_version_is_refused() {
    let key = PrivateKey::generate().unwrap();
    let elsewhere = match System::HERE {
        System::Windows => System::Linux,
        _ => System::Windows,
    };
    let foreign = ArtifactManifest {
        target: Text::truncated(&Target::new(here().profile(), elsewhere).triple()),
        ..manifest()
    };
    let error = refused(vec![welcome(), ready(&foreign, &key).into()], &key).await;
    assert!(
        matches!(error, ProvisionError::OtherTarget { .. }),
        "{error}"
    );
    for target in Target::all(System::HERE) {
        if target == here() {
            continue;
        }
        let foreign = ArtifactManifest {
            target: Text::truncated(&target.triple()),
            cpu_profile: Text::truncated(&target.name()),
            ..manifest()
        };
        let error = refused(vec![welcome(), ready(&foreign, &key).into()], &key).await;
        assert!(
            matches!(error, ProvisionError::OtherTarget { .. }),
            "{error}"
        );
    }
    let newer = ArtifactManifest {
        engine: Digest::of(b"newer"),
        ..manifest()
    };
    let error = refused(vec![welcome(), ready(&newer, &key).into()], &key).await;
    let is_other = matches!(
        &error,
        ProvisionError::Host(HostError::Parts(PartsError::OtherEngine { .. }))
    );
    assert!(is_other, "{error}");
    let format = ArtifactManifest {
        format: MANIFEST_FORMAT + 1,
        ..manifest()
    };
    let error = refused(vec![welcome(), ready(&format, &key).into()], &key).await;
    assert!(matches!(error, ProvisionError::Manifest(_)), "{error}");
}

#[tokio::test]
async fn an_artifact_that_is_cut_short_changed_or_missing_is_refused() {
    let key = PrivateKey::generate().unwrap();
    let manifest = manifest();
    let whole = PARTS[0].to_vec();
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    for bytes in [whole[..whole.len() - 1].to_vec(), Vec::new(), flipped] {
        let blobs = HashMap::from([(manifest.artifact.digest, bytes.into())]);
        let messages = vec![welcome(), ready(&manifest, &key).into()];
        let error = refused_with(messages, blobs, key.public()).await;
        let is_other = matches!(
            &error,
            ProvisionError::Fetch {
                part: Part::Artifact,
                source: BlobFailure::OtherContent(_)
            }
        );
        assert!(is_other, "{error:?}");
    }
    let error = refused(vec![welcome(), ready(&manifest, &key).into()], &key).await;
    let is_missing = matches!(
        &error,
        ProvisionError::Fetch {
            part: Part::Artifact,
            source: BlobFailure::Refused(ErrorCode::NotFound)
        }
    );
    assert!(is_missing, "{error:?}");
    // The bytes are the right ones, and no artifact.
    let blobs = HashMap::from([(manifest.artifact.digest, whole.into())]);
    let messages = vec![welcome(), ready(&manifest, &key).into()];
    let error = refused_with(messages, blobs, key.public()).await;
    let is_none = matches!(
        &error,
        ProvisionError::Host(HostError::Parts(PartsError::Load(_)))
    );
    assert!(is_none, "{error:?}");
}

#[tokio::test]
async fn what_the_coordinator_says_instead_is_told() {
    let key = PrivateKey::generate().unwrap();
    let reason = Text::truncated("no such machines here");
    let (code, spoken) = (ErrorCode::TargetUnsupported, None);
    let refusal = Refused {
        code,
        reason: reason.clone(),
        retry_after_ms: None,
        spoken,
    };
    let error = refused(vec![refusal.into()], &key).await;
    assert!(error.to_string().contains("no such machines"), "{error}");
    let failed = Failed {
        request: 0,
        code: ErrorCode::Internal,
        reason,
        retry_after_ms: None,
    };
    let error = refused(vec![welcome(), failed.into()], &key).await;
    assert!(error.to_string().contains("no such machines"), "{error}");
    let error = refused(vec![Done { request: 1 }.into()], &key).await;
    assert!(
        matches!(error, ProvisionError::Unexpected { name: "Done" }),
        "{error}"
    );
}

#[tokio::test]
async fn a_profile_that_this_cpu_has_not_is_refused_before_anybody_is_asked() {
    let key = PrivateKey::generate().unwrap();
    let foreign = Target::all(System::HERE).find(|target| !target.runs_here());
    let hub = MemoryHub::new();
    let wanted = Wanted {
        key: key.public(),
        cache: Path::new("/nowhere"),
        target: foreign,
        slots: 1,
    };
    let dialer = hub.dialer(Peer::Worker("one".parse().unwrap()));
    let error = provision(&dialer, wanted, |_| ()).await.err().unwrap();
    assert!(
        matches!(error, ProvisionError::ProfileNotSupported { .. }),
        "{error}"
    );
}

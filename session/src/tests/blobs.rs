//! Blobs, whole and in parts.

use std::time::Duration;

use blake3::Hasher;
use ppwasm_certs::Role;
use ppwasm_proto::Digest;
use ppwasm_proto::wire::{BlobRef, ErrorCode};

use super::{Installation, soon};
use crate::limits::STREAMS_MAX;
use crate::{BlobError, BlobRequest, GetRequest, Offer, PutRequest, Session};

fn bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

async fn get(ours: &mut Session) -> GetRequest {
    match soon(ours.blob_requests.next()).await.unwrap() {
        BlobRequest::Get(get) => get,
        BlobRequest::Put(put) => panic!("{put:?}"),
    }
}

async fn put(ours: &mut Session) -> PutRequest {
    match soon(ours.blob_requests.next()).await.unwrap() {
        BlobRequest::Put(put) => put,
        BlobRequest::Get(get) => panic!("{get:?}"),
    }
}

#[tokio::test]
async fn blobs_of_all_sizes_go_both_ways() {
    let mut lab = Installation::new();
    let (client, mut ours) = lab.talking(Role::Client, "ann").await;
    for count in [0, 1, 4096, (1 << 20) + 1, 9 << 20] {
        let blob = bytes(count);
        let digest = Digest::of(&blob);
        let serve = async {
            let request = put(&mut ours).await;
            assert_eq!(request.blob(), BlobRef::of(&blob));
            let (taken, answer) = request.take(count as u64).await.unwrap();
            assert!(taken == blob);
            answer.stored().await.unwrap();
            let request = get(&mut ours).await;
            assert_eq!((request.digest(), request.offset()), (digest, 0));
            request.answer_with(&blob).await.unwrap();
        };
        let ask = async {
            assert_eq!(client.blobs.put(&blob).await.unwrap(), BlobRef::of(&blob));
            assert!(client.blobs.get(digest, count as u64).await.unwrap() == blob);
        };
        soon(async { tokio::join!(serve, ask) }).await;
    }
}

#[tokio::test]
async fn a_get_goes_on_where_its_stream_was_reset() {
    let mut lab = Installation::new();
    let (client, mut ours) = lab.talking(Role::Client, "ann").await;
    let blob = bytes(3 << 20);
    let digest = Digest::of(&blob);
    let half = blob.len() / 2;
    let serve = async {
        let mut writer = get(&mut ours)
            .await
            .answer(blob.len() as u64)
            .await
            .unwrap();
        writer.write(&blob[..half]).await.unwrap();
        drop(writer);
        let request = get(&mut ours).await;
        assert!(request.offset() > 0);
        request.answer_with(&blob).await.unwrap();
    };
    let ask = async {
        let (mut have, mut hasher) = (Vec::new(), Hasher::new());
        let mut first = client
            .blobs
            .open(digest, 0, Hasher::new(), 1 << 30)
            .await
            .unwrap();
        let error = loop {
            match first.next().await {
                Ok(Some(chunk)) => {
                    hasher.update(&chunk);
                    have.extend_from_slice(&chunk);
                }
                Ok(None) => panic!("not all came"),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, BlobError::Length { .. } | BlobError::Reset),
            "{error:?}"
        );
        assert_eq!(have.len(), half);
        let offset = have.len() as u64;
        let mut rest = client
            .blobs
            .open(digest, offset, hasher, 1 << 30)
            .await
            .unwrap();
        assert_eq!(rest.remaining(), (blob.len() - half) as u64);
        while let Some(chunk) = rest.next().await.unwrap() {
            have.extend_from_slice(&chunk);
        }
        assert!(have == blob);
    };
    soon(async { tokio::join!(serve, ask) }).await;
}

#[tokio::test]
async fn a_put_goes_on_where_the_receiver_has_it() {
    let mut lab = Installation::new();
    let (client, mut ours) = lab.talking(Role::Client, "ann").await;
    let blob = bytes(1 << 20);
    let serve = async {
        let mut hasher = Hasher::new();
        hasher.update(&blob[..1000]);
        let (mut reader, answer) = put(&mut ours).await.want(1000, hasher).await.unwrap();
        let mut rest = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            rest.extend_from_slice(&chunk);
        }
        assert!(rest == blob[1000..]);
        answer.stored().await.unwrap();
        put(&mut ours).await.stored().await.unwrap();
    };
    let ask = async {
        client.blobs.put(&blob).await.unwrap();
        let offer = client.blobs.offer(BlobRef::of(&blob)).await.unwrap();
        assert!(matches!(offer, Offer::Stored));
    };
    soon(async { tokio::join!(serve, ask) }).await;
}

#[tokio::test]
async fn refusals_arrive() {
    let mut lab = Installation::new();
    let (client, mut ours) = lab.talking(Role::Client, "ann").await;
    let blob = bytes(2 << 20);
    let serve = async {
        get(&mut ours)
            .await
            .refuse(ErrorCode::NotFound)
            .await
            .unwrap();
        put(&mut ours)
            .await
            .refuse(ErrorCode::NoSpace)
            .await
            .unwrap();
        let taken = put(&mut ours).await.take(blob.len() as u64 - 1).await;
        assert!(matches!(taken, Err(BlobError::TooLarge { .. })));
        let answered = get(&mut ours).await.answer(99).await;
        assert!(matches!(answered, Err(BlobError::Length { .. })));
        drop(get(&mut ours).await);
    };
    let ask = async {
        let code = |error: BlobError| match error {
            BlobError::Refused { code } => code,
            other => panic!("{other:?}"),
        };
        let digest = Digest::of(&blob);
        let error = client.blobs.get(digest, 1 << 30).await.unwrap_err();
        assert_eq!(code(error), ErrorCode::NotFound);
        assert_eq!(
            code(client.blobs.put(&blob).await.unwrap_err()),
            ErrorCode::NoSpace
        );
        assert_eq!(
            code(client.blobs.put(&blob).await.unwrap_err()),
            ErrorCode::TooLarge
        );
        let past = client.blobs.open(digest, 100, Hasher::new(), 1 << 30).await;
        assert_eq!(code(past.unwrap_err()), ErrorCode::InvalidValue);
        let unanswered = client.blobs.get(digest, 1 << 30).await;
        assert!(
            matches!(unanswered, Err(BlobError::Head(_))),
            "{unanswered:?}"
        );
    };
    soon(async { tokio::join!(serve, ask) }).await;
}

#[tokio::test]
async fn what_comes_is_checked_against_size_and_digest() {
    let mut lab = Installation::new();
    let (client, mut ours) = lab.talking(Role::Client, "ann").await;
    let blob = bytes(10_000);
    let digest = Digest::of(&blob);
    let mut other = blob.clone();
    other[5000] ^= 1;
    let serve = async {
        get(&mut ours).await.answer_with(&other).await.unwrap();
        get(&mut ours).await.answer_with(&blob).await.ok();
        // Fewer than were said.
        let mut writer = get(&mut ours).await.answer(10_000).await.unwrap();
        assert!(matches!(
            writer.write(&[0; 10_001]).await,
            Err(BlobError::Length { .. })
        ));
        writer.write(&blob[..10]).await.unwrap();
        assert!(writer.finish().is_err());
        let taken = put(&mut ours).await.take(1 << 30).await;
        assert!(matches!(taken, Err(BlobError::OtherContent { .. })));
    };
    let ask = async {
        let got = client.blobs.get(digest, 1 << 30).await;
        assert!(
            matches!(got, Err(BlobError::OtherContent { .. })),
            "{got:?}"
        );
        let got = client.blobs.get(digest, 9_999).await;
        assert!(matches!(
            got,
            Err(BlobError::TooLarge {
                bytes: 10_000,
                bytes_max: 9_999
            })
        ));
        let got = client.blobs.get(digest, 1 << 30).await;
        assert!(matches!(got, Err(BlobError::Reset)), "{got:?}");
        let offered = BlobRef {
            digest,
            bytes: blob.len() as u64,
        };
        let Offer::Wanted(mut writer) = client.blobs.offer(offered).await.unwrap() else {
            panic!("it cannot have it");
        };
        writer.write(&other).await.unwrap();
        match writer.stored().await {
            Err(BlobError::Refused { code }) => assert_eq!(code, ErrorCode::DigestMismatch),
            other => panic!("{other:?}"),
        }
    };
    soon(async { tokio::join!(serve, ask) }).await;
}

#[tokio::test]
async fn case_30_a_blob_that_stalls_is_given_up() {
    let mut lab = Installation::new();
    let (client, mut ours) = lab.talking(Role::Client, "ann").await;
    let offered = BlobRef {
        digest: Digest::of(b"never"),
        bytes: 1000,
    };
    let serve = async {
        let request = put(&mut ours).await;
        let (mut reader, _answer) = request.want(0, Hasher::new()).await.unwrap();
        // What comes has the usual time to come; that nothing more does is known sooner.
        let mut have = 0;
        while have < 500 {
            have += reader.next().await.unwrap().expect("more").len();
        }
        reader.set_idle(Duration::from_millis(200));
        assert!(matches!(reader.next().await, Err(BlobError::Stalled)));
    };
    let ask = async {
        let Offer::Wanted(mut writer) = client.blobs.offer(offered).await.unwrap() else {
            panic!("it cannot have it");
        };
        writer.write(&[0; 500]).await.unwrap();
        writer
    };
    let (_, writer) = soon(async { tokio::join!(serve, ask) }).await;
    drop(writer);
    // The client goes away in the middle: the session ends, nothing hangs.
    drop(client);
    assert!(soon(ours.blob_requests.next()).await.is_err());
}

#[tokio::test]
async fn as_many_blobs_as_there_are_streams_go_at_the_same_time_and_more_wait() {
    let mut lab = Installation::new();
    let (client, mut ours) = lab.talking(Role::Client, "ann").await;
    let blob = bytes(100_000);
    let digest = Digest::of(&blob);
    let count = 3 * STREAMS_MAX as usize;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..count {
        let blobs = client.blobs.clone();
        asking.spawn(async move { blobs.get(digest, 1 << 20).await.unwrap() });
    }
    let serve = async {
        for _ in 0..count {
            get(&mut ours).await.answer_with(&blob).await.unwrap();
        }
    };
    soon(serve).await;
    let got = soon(asking.join_all()).await;
    assert!(got.iter().all(|got| *got == blob));
}

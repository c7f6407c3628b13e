//! Peers with the wrong certificate.

use std::sync::Arc;

use ppwasm_certs::{
    Authority, Credentials, JoinToken, Lifetime, PrivateKey, PublicKey, Role, TOKEN_LIFETIME_S,
    TokenBook, UnixTime, tls,
};
use ppwasm_proto::wire::{
    CertificateIssued, CloseCode, ErrorCode, JoinChallenge, Message, Party, Refused, Text,
};
use quinn::ConnectionError;

use super::{Installation, close_code, connector, now, soon};
use crate::{ConnectError, Connector, JoinError, Rejection, Renewal, Session, SessionError, join};

/// The coordinator lets nobody in: the handshake fails here, or there is an end at once.
async fn is_kept_out(lab: &mut Installation, connector: &Connector, why: Option<Rejection>) {
    let connecting = async {
        let mut session = match connector.connect(lab.address).await {
            Err(error) => return Err(error),
            Ok(session) => session,
        };
        // TLS lets a client go on before its certificate was looked at.
        let sent = session.sender.send(&super::hello()).await;
        match session.receiver.receive().await {
            Ok(message) => panic!("{message:?} after {sent:?}"),
            Err(error) => Err(ConnectError::Ended(error)),
        }
    };
    let result: Result<Session, _> = tokio::select! {
        result = soon(connecting) => result,
        session = lab.listener.accept() => panic!("let in: {session:?}"),
    };
    let error = result.unwrap_err();
    assert_eq!(error.rejection(), why, "{error:?}");
    let is_closed = matches!(
        error,
        ConnectError::Ended(SessionError::ClosedByPeer { .. })
    );
    assert!(why.is_some() || is_closed, "{error:?}");
    assert_eq!(lab.listener.sessions().count(), 0);
}

#[tokio::test]
async fn case_43_another_authority_or_no_certificate_is_kept_out() {
    let mut lab = Installation::new();
    let elsewhere = Authority::create("lab.example".parse().unwrap(), now()).unwrap();
    let mut foreign = Credentials::issue(&elsewhere, Role::Worker, "w", now()).unwrap();
    // It would trust our coordinator.
    foreign.trusted = lab.credentials(Role::Worker, "w").trusted;
    is_kept_out(&mut lab, &connector(&foreign), Some(Rejection::Unknown)).await;

    // Without a certificate, but by the name for those who have one.
    let time = Arc::new(tls::DefaultTimeProvider);
    let mut anonymous = tls::join_config(lab.authority.pin(), time).unwrap();
    anonymous.alpn_protocols = vec![ppwasm_proto::wire::ALPN.to_vec()];
    is_kept_out(&mut lab, &Connector::new(anonymous).unwrap(), None).await;

    // With one, but by the name for those who join.
    let time = Arc::new(tls::DefaultTimeProvider);
    let worker = lab.credentials(Role::Worker, "w");
    let mut joins = tls::client_config(&worker, time).unwrap();
    joins.alpn_protocols = vec![ppwasm_proto::wire::ALPN_JOIN.to_vec()];
    is_kept_out(&mut lab, &Connector::new(joins).unwrap(), None).await;
}

#[tokio::test]
async fn no_protocol_name_or_an_unknown_one_is_kept_out() {
    let mut lab = Installation::new();
    for alpn in [vec![], vec![b"ppwasm/2".to_vec()], vec![b"h3".to_vec()]] {
        let time = Arc::new(tls::DefaultTimeProvider);
        let worker = lab.credentials(Role::Worker, "w");
        let mut config = tls::client_config(&worker, time).unwrap();
        config.alpn_protocols = alpn;
        is_kept_out(
            &mut lab,
            &Connector::new(config).unwrap(),
            Some(Rejection::Protocol),
        )
        .await;
    }
}

#[tokio::test]
async fn case_44_an_expired_certificate_is_kept_out() {
    let mut lab = Installation::new();
    let key = PrivateKey::generate().unwrap();
    let then = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now().as_secs() - 7200));
    let lifetime = Lifetime::Seconds(3600);
    // The authority is older than the certificate it gives.
    let mut expired = lab.credentials(Role::Worker, "w");
    lab.authority = Authority::create("lab.example".parse().unwrap(), then).unwrap();
    let tls = super::server_tls(&lab.authority, lab.denied.clone());
    lab.listener.sessions().set_tls(tls).unwrap();
    let issued = lab
        .authority
        .issue(Role::Worker, "w", key.public(), lifetime, then);
    expired.chain = issued.unwrap().chain;
    expired.key = key;
    expired.trusted = lab.credentials(Role::Worker, "w").trusted;
    is_kept_out(&mut lab, &connector(&expired), Some(Rejection::Expired)).await;
    let (_theirs, _ours) = lab.talking(Role::Worker, "w").await;
}

#[tokio::test]
async fn case_51_a_revoked_identity_is_kept_out() {
    let mut lab = Installation::new();
    let identity = "ppwasm://lab.example/worker/bad".parse().unwrap();
    assert!(lab.denied.write().unwrap().deny_identity(identity));
    let bad = lab.connector(Role::Worker, "bad");
    is_kept_out(&mut lab, &bad, Some(Rejection::Revoked)).await;
    let (_theirs, _ours) = lab.talking(Role::Worker, "good").await;
}

#[tokio::test]
async fn case_45_a_workers_certificate_is_no_coordinators() {
    let lab = Installation::new();
    // A worker of the same installation listens and pretends.
    let thief = lab.credentials(Role::Worker, "thief");
    let trust = ppwasm_certs::Trust::of_peers(&lab.authority).unwrap();
    let time = Arc::new(tls::DefaultTimeProvider);
    let tls = tls::server_config(&thief, trust, lab.denied.clone(), false, time).unwrap();
    let mut pretender = crate::Listener::bind("127.0.0.1:0".parse().unwrap(), tls).unwrap();
    let address = pretender.local_address().unwrap();
    let worker = lab.connector(Role::Worker, "w");
    let result = tokio::select! {
        result = soon(worker.connect(address)) => result,
        session = pretender.accept() => panic!("{session:?}"),
    };
    match result {
        Err(ConnectError::Handshake(ConnectionError::TransportError(_))) => {}
        other => panic!("{other:?}"),
    }
}

/// A coordinator's side of joining, as far as these tests need one: the token's holder gets a certificate.
async fn admits(lab: &mut Installation, book: &mut TokenBook) {
    let mut ours = soon(lab.listener.accept()).await.unwrap();
    assert_eq!(ours.handle.party(), Party::Joiner);
    assert_eq!(ours.handle.identity(), None);
    let Message::Join(join) = soon(ours.receiver.receive()).await.unwrap() else {
        panic!("not join");
    };
    let nonce = [2; 32];
    ours.sender
        .send(&JoinChallenge { nonce }.into())
        .await
        .unwrap();
    let Message::JoinProof(proof) = soon(ours.receiver.receive()).await.unwrap() else {
        panic!("no proof");
    };
    let key = PublicKey::from_bytes(proof.public_key);
    let heard = ppwasm_certs::JoinTranscript {
        joiner_nonce: &join.nonce,
        coordinator_nonce: &nonce,
        name: proof.name.as_str(),
        key: &key,
    };
    let domain = &"lab.example".parse().unwrap();
    let admitted = book.redeem(
        join.token.as_str().parse().unwrap(),
        domain,
        lab.authority.pin(),
        &heard,
        &proof.secret_proof,
        &proof.key_proof,
        now().as_secs(),
    );
    let answer: Message = match admitted {
        Ok(identity) => issued(lab, 0, identity.name(), &key).into(),
        Err(_) => Refused {
            code: ErrorCode::TokenInvalid,
            reason: Text::truncated("no"),
            retry_after_ms: None,
            spoken: None,
        }
        .into(),
    };
    ours.sender.send(&answer).await.unwrap();
    ours.sender.finish(CloseCode::Finished, "joined").await;
}

fn issued(lab: &Installation, request: u32, name: &str, key: &PublicKey) -> CertificateIssued {
    let issued = lab
        .authority
        .issue(Role::Worker, name, key, Lifetime::OfRole, now())
        .unwrap();
    let trusted = vec![lab.authority.certificate(Role::Coordinator).clone()];
    let list = |certificates: Vec<ppwasm_certs::CertificateDer<'_>>| {
        let bytes = certificates.iter().map(|c| c[..].try_into().unwrap());
        bytes.collect::<Vec<_>>().try_into().unwrap()
    };
    CertificateIssued {
        request,
        chain: list(issued.chain),
        trusted: list(trusted),
        artifact_key: Some([7; 32][..].try_into().unwrap()),
    }
}

fn token(lab: &Installation) -> (JoinToken, TokenBook) {
    let mut random = [0; 24];
    getrandom::fill(&mut random).unwrap();
    let expires = now().as_secs() + TOKEN_LIFETIME_S;
    let pin = lab.authority.pin();
    let (token, record) = JoinToken::mint(pin, &random, Role::Worker, None, expires).unwrap();
    let mut book = TokenBook::new();
    book.add(record, now().as_secs()).unwrap();
    // What is printed for a person is what the joiner reads.
    (token.to_string().parse().unwrap(), book)
}

#[tokio::test]
async fn somebody_joins_and_then_has_a_session_and_renews() {
    let mut lab = Installation::new();
    let addresses = [lab.address];
    let (token, mut book) = token(&lab);
    let joins = join(&addresses, &token, "new-1");
    let (joined, ()) = tokio::join!(soon(joins), admits(&mut lab, &mut book));
    let credentials = joined.unwrap();
    assert_eq!(credentials.leaf().unwrap().identity.name(), "new-1");
    assert_eq!(credentials.artifact_key.unwrap().as_bytes(), &[7; 32]);
    let (_session, member) = lab
        .connected_by(&connector(&credentials), &super::hello())
        .await;
    let identity = credentials.leaf().unwrap().identity;
    assert_eq!(member.handle.identity(), Some(&identity));

    let (renewal, asks) = Renewal::begin(&credentials, 5).unwrap();
    let key = PublicKey::from_bytes(asks.public_key);
    assert!(key.verifies(
        &ppwasm_certs::renewal_message(&identity, &key),
        &asks.key_proof
    ));
    let renewed = renewal.finish(issued(&lab, 5, "new-1", &key)).unwrap();
    assert_ne!(renewed.key.public(), credentials.key.public());
    let (_session, member) = lab
        .connected_by(&connector(&renewed), &super::hello())
        .await;
    assert_eq!(member.handle.identity(), Some(&identity));

    let (renewal, asks) = Renewal::begin(&credentials, 6).unwrap();
    let key = PublicKey::from_bytes(asks.public_key);
    let other = renewal.finish(issued(&lab, 6, "another", &key));
    assert!(matches!(other, Err(JoinError::OtherCertificate)));
}

#[tokio::test]
async fn case_55_a_token_works_once_and_a_bad_name_is_told_at_once() {
    let mut lab = Installation::new();
    let addresses = [lab.address];
    let (token, mut book) = token(&lab);
    let named = join(&addresses, &token, "../etc").await;
    assert!(matches!(named, Err(JoinError::Name { .. })), "{named:?}");
    let (first, ()) = tokio::join!(
        soon(join(&addresses, &token, "a")),
        admits(&mut lab, &mut book)
    );
    first.unwrap();
    let (second, ()) = tokio::join!(
        soon(join(&addresses, &token, "b")),
        admits(&mut lab, &mut book)
    );
    match second {
        Err(JoinError::Refused { code, .. }) => assert_eq!(code, ErrorCode::TokenInvalid),
        other => panic!("{other:?}"),
    }
    let nowhere = join(&[], &token, "a").await;
    assert!(matches!(nowhere, Err(JoinError::NoAddress)), "{nowhere:?}");
}

#[tokio::test]
async fn case_55_a_joiner_says_nothing_to_another_authority() {
    let mut lab = Installation::new();
    let elsewhere = Authority::create("lab.example".parse().unwrap(), now()).unwrap();
    let time = Arc::new(tls::DefaultTimeProvider);
    let config = tls::join_config(elsewhere.pin(), time).unwrap();
    let connector = Connector::new(config).unwrap();
    let result = tokio::select! {
        result = soon(connector.connect(lab.address)) => result,
        session = lab.listener.accept() => panic!("{session:?}"),
    };
    assert!(
        matches!(result, Err(ConnectError::Handshake(_))),
        "{result:?}"
    );
}

#[tokio::test]
async fn one_who_joins_may_do_nothing_else() {
    let mut lab = Installation::new();
    let time = Arc::new(tls::DefaultTimeProvider);
    let config = tls::join_config(lab.authority.pin(), time).unwrap();
    let connector = Connector::new(config).unwrap();
    let (mut joiner, mut ours) = lab.connected_by(&connector, &super::hello()).await;
    let received = soon(ours.receiver.receive()).await;
    assert!(matches!(
        received,
        Err(SessionError::WrongMessage { message: "Hello" })
    ));
    assert_eq!(close_code(&mut joiner).await, CloseCode::WrongMessage);
}

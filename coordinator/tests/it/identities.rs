//! Who gets in, who stays in, and who is shut out.

use std::sync::Arc;
use std::time::Duration;

use ppwasm_certs::{Authority, Credentials, JoinToken, Role, TOKEN_LIFETIME_S, TokenId, tls};
use ppwasm_proto::wire::{
    CloseCode, ErrorCode, Join, JoinRole, Message, MintToken, OPERATOR, RevokeIdentity, Text,
};
use ppwasm_session::join;
use ppwasm_session::{Connector, JoinError, Renewal};

use crate::installation::{Installation, failure, hello, id, offer, soon};

async fn try_join(
    installation: &Installation,
    token: &JoinToken,
    name: &str,
) -> Result<Credentials, JoinError> {
    soon(join(&[installation.coordinator.address()], token, name)).await
}

#[track_caller]
fn refusal(joined: Result<Credentials, JoinError>) -> (ErrorCode, String) {
    match joined {
        Err(JoinError::Refused { code, reason }) => (code, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn workers_and_clients_join_and_are_welcome() {
    let installation = Installation::start().await;
    assert!(installation.coordinator.is_new());
    let worker = installation.join(Role::Worker, "lab-1").await;
    assert_eq!(
        worker.leaf().unwrap().identity.to_string(),
        "ppwasm://ppwasm/worker/lab-1"
    );
    let mut talk = installation.connect(&worker).await;
    talk.say(hello(Some(offer(2)))).await;
    let welcome = talk.welcomed().await;
    assert_eq!(welcome.renew_certificate, Some(false));
    let apart = welcome
        .wall_clock_s
        .unwrap()
        .abs_diff(installation.clock.now().as_secs());
    assert!(apart < 60);
    let client = installation.join(Role::Client, "ann").await;
    installation.client(&client).await.bye().await;
    let operator = installation.operator();
    assert_eq!(operator.leaf().unwrap().identity.name(), OPERATOR);
    installation.client(&operator).await.bye().await;
}

#[tokio::test]
async fn case_55_a_token_works_once_in_time_and_for_its_name() {
    let installation = Installation::start().await;
    let token = installation.token(Role::Worker, None).await;
    try_join(&installation, &token, "lab-1").await.unwrap();
    let used = refusal(try_join(&installation, &token, "lab-2").await);

    let token = installation.token(Role::Client, Some("ann")).await;
    let other_name = refusal(try_join(&installation, &token, "bob").await);
    try_join(&installation, &token, "ann").await.unwrap();

    let token = installation.token(Role::Worker, None).await;
    let mut guessed: JoinToken = token.to_string().parse().unwrap();
    guessed.id = TokenId::from_bytes([7; 8]);
    let unknown = refusal(try_join(&installation, &guessed, "lab-3").await);

    installation.clock.advance(TOKEN_LIFETIME_S);
    let expired = refusal(try_join(&installation, &token, "lab-3").await);
    for told in [&other_name, &unknown, &expired] {
        assert_eq!(told, &used, "all of it is told in the same way");
    }
    assert_eq!(used.0, ErrorCode::TokenInvalid);
}

#[tokio::test]
async fn case_55_two_who_join_with_one_token_at_once_are_one() {
    let installation = Installation::start().await;
    let token = installation.token(Role::Worker, None).await;
    let (a, b) = tokio::join!(
        try_join(&installation, &token, "a"),
        try_join(&installation, &token, "b")
    );
    assert_eq!([a.is_ok(), b.is_ok()].iter().filter(|ok| **ok).count(), 1);
}

#[tokio::test]
async fn case_55_brute_force_is_slowed_down() {
    let installation = Installation::start().await;
    let token = installation.token(Role::Worker, None).await;
    let mut guessed: JoinToken = token.to_string().parse().unwrap();
    for number in 0..20 {
        guessed.id = TokenId::from_bytes([number; 8]);
        let (code, _) = refusal(try_join(&installation, &guessed, "x").await);
        if code == ErrorCode::Busy {
            assert!(number >= 5, "a typing error is not brute force");
            return;
        }
    }
    panic!("twenty guesses were answered");
}

#[tokio::test]
async fn case_55_a_joiner_proves_nothing_to_a_coordinator_of_another_authority() {
    let (real, false_one) = (Installation::start().await, Installation::start().await);
    let token = real.token(Role::Worker, None).await;
    let joined = soon(join(&[false_one.coordinator.address()], &token, "lab-1")).await;
    assert!(
        matches!(joined, Err(JoinError::Connect { .. })),
        "{joined:?}"
    );
    // The token is as good as before.
    try_join(&real, &token, "lab-1").await.unwrap();
}

#[tokio::test]
async fn case_55_a_token_gives_the_role_that_it_is_for_and_no_other() {
    let installation = Installation::start().await;
    let token = installation.token(Role::Worker, None).await;
    let credentials = try_join(&installation, &token, "ann").await.unwrap();
    assert_eq!(credentials.leaf().unwrap().identity.role(), Role::Worker);
    // As a worker it says nothing that is a client's.
    let mut talk = installation.worker(&credentials, 1).await;
    talk.say(ppwasm_proto::wire::CancelJob {
        request: 1,
        job: id(1),
    })
    .await;
    assert_eq!(talk.end().await.0, CloseCode::WrongMessage);
}

#[tokio::test]
async fn names_are_taken_once_and_the_operators_never() {
    let installation = Installation::start().await;
    installation.join(Role::Worker, "lab-1").await;
    installation.join(Role::Client, "lab-1").await;
    let token = installation.token(Role::Worker, None).await;
    let (code, _) = refusal(try_join(&installation, &token, "lab-1").await);
    assert_eq!(code, ErrorCode::Conflict);
    let client = installation.token(Role::Client, None).await;
    let (code, _) = refusal(try_join(&installation, &client, OPERATOR).await);
    assert_eq!(code, ErrorCode::Conflict);
    // Neither used the token up.
    try_join(&installation, &token, "lab-2").await.unwrap();
    // A token that says the name may take it again: the machine was set up anew.
    let token = installation.token(Role::Worker, Some("lab-1")).await;
    try_join(&installation, &token, "lab-1").await.unwrap();
    // After its time a name is free.
    installation.clock.advance(2 * 24 * 3600);
    let token = installation.token(Role::Worker, None).await;
    try_join(&installation, &token, "lab-1").await.unwrap();
}

#[tokio::test]
async fn what_comes_out_of_order_while_joining_ends_it() {
    let installation = Installation::start().await;
    let token = installation.token(Role::Worker, None).await;
    let clock = Arc::clone(&installation.clock);
    let connector = Connector::new(tls::join_config(token.pin, clock).unwrap()).unwrap();
    let address = installation.coordinator.address();
    let mut session = soon(connector.connect(address)).await.unwrap();
    let join = Join {
        token: Text::truncated("not hex"),
        nonce: [1; 32],
    };
    session.sender.send(&join.clone().into()).await.unwrap();
    let challenge = soon(session.receiver.receive()).await.unwrap();
    assert!(
        matches!(challenge, Message::JoinChallenge(_)),
        "whatever the token"
    );
    session.sender.send(&join.into()).await.unwrap();
    let ended = soon(session.receiver.receive()).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn case_51_a_revoked_worker_is_out_within_a_second_and_its_tasks_go_to_others() {
    let installation = Installation::start().await;
    let (bad, good) = (
        installation.join(Role::Worker, "bad").await,
        installation.join(Role::Worker, "good").await,
    );
    let client = installation.join(Role::Client, "ann").await;
    let mut client = installation.client(&client).await;
    let mut worker = installation.worker(&bad, 1).await;
    client.submit(id(1), 1).await;
    let taken = worker.granted().await;
    assert_eq!(taken.len(), 1);

    let mut operator = installation.client(&installation.operator()).await;
    let revoke = RevokeIdentity {
        request: 5,
        role: JoinRole::Worker,
        name: Text::truncated("bad"),
        reason: Text::truncated("stolen\u{1b}[2J"),
    };
    let started = std::time::Instant::now();
    let done = operator.ask(revoke.clone()).await;
    assert!(matches!(done, Message::Done(_)), "{done:?}");
    assert_eq!(worker.end().await.0, CloseCode::Revoked);
    assert!(started.elapsed() < Duration::from_secs(10));

    let mut other = installation.worker(&good, 1).await;
    let again = other.granted().await;
    assert_eq!(again[0].identity, taken[0].identity);
    assert!(again[0].attempt > taken[0].attempt);

    // Nobody comes back under the name, with the old certificate or a new one.
    let connector = installation.connector(&bad);
    let mut refused = soon(connector.connect(installation.coordinator.address())).await;
    if let Ok(session) = &mut refused {
        let _ = session.sender.send(&hello(Some(offer(1))).into()).await;
        assert!(soon(session.receiver.receive()).await.is_err());
    }
    let mint = MintToken {
        request: 6,
        role: JoinRole::Worker,
        name: Some(Text::truncated("bad")),
        lifetime_s: None,
    };
    let denied = failure(operator.ask(mint).await);
    assert_eq!(denied.code, ErrorCode::Revoked);
    // It stays so over a restart.
    drop((worker, other, client, operator));
    let installation = installation.restart().await;
    let token = installation.token(Role::Worker, None).await;
    let (code, _) = refusal(try_join(&installation, &token, "bad").await);
    assert_eq!(code, ErrorCode::Revoked);
}

#[tokio::test]
async fn a_certificate_is_renewed_over_a_session_and_the_old_one_ends() {
    let installation = Installation::start().await;
    let old = installation.join(Role::Worker, "lab-1").await;
    let mut talk = installation.worker(&old, 1).await;
    let not_after_s = old.leaf().unwrap().not_after_s;

    installation
        .clock
        .advance(not_after_s - installation.clock.now().as_secs() - 600);
    let mut again = installation.connect(&old).await;
    again.say(hello(Some(offer(1)))).await;
    assert_eq!(again.welcomed().await.renew_certificate, Some(true));
    let _ = talk.end().await;

    let (renewal, ask) = Renewal::begin(&old, 9).unwrap();
    again.say(ask).await;
    let issued = again
        .hear_until(|message| match message {
            Message::CertificateIssued(issued) => Some(issued),
            _ => None,
        })
        .await;
    assert_eq!(issued.request, 9);
    let new = renewal.finish(issued).unwrap();
    assert!(new.leaf().unwrap().not_after_s > not_after_s);

    installation.clock.advance(900);
    assert_eq!(again.end().await.0, CloseCode::Expired);
    let mut talk = installation.connect(&new).await;
    talk.say(hello(Some(offer(1)))).await;
    assert_eq!(talk.welcomed().await.renew_certificate, Some(false));
}

#[tokio::test]
async fn a_renewal_proves_its_key() {
    let installation = Installation::start().await;
    let old = installation.join(Role::Client, "ann").await;
    let mut talk = installation.client(&old).await;
    let (_, mut ask) = Renewal::begin(&old, 9).unwrap();
    ask.public_key = [3; 32];
    assert_eq!(
        failure(talk.ask(ask).await).code,
        ErrorCode::TokenInvalid,
        "another key than the one that signed"
    );
}

#[tokio::test]
async fn case_56_own_certificates_are_renewed_while_it_runs() {
    let installation = Installation::start().await;
    let client = installation.join(Role::Client, "ann").await;
    let before = installation.operator().leaf().unwrap();
    // Beyond half of the coordinator's and the operator's time.
    installation.clock.advance(16 * 24 * 3600);
    soon(async {
        while installation.operator().leaf().unwrap() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Once the first own certificate has ended, who connects is shown another one.
    installation.clock.advance(15 * 24 * 3600 - 3600);
    installation
        .client(&installation.operator())
        .await
        .bye()
        .await;
    drop(client);
}

#[tokio::test]
async fn case_43_strangers_are_not_let_in() {
    let installation = Installation::start().await;
    let now = installation.clock.now();
    let other = Authority::create("ppwasm".parse().unwrap(), now).unwrap();
    let mut stranger = Credentials::issue(&other, Role::Client, OPERATOR, now).unwrap();
    stranger.trusted = installation.operator().trusted;
    let connector = installation.connector(&stranger);
    // TLS tells a client only after its own side is done.
    if let Ok(mut session) = soon(connector.connect(installation.coordinator.address())).await {
        let _ = session.sender.send(&hello(None).into()).await;
        assert!(soon(session.receiver.receive()).await.is_err());
    }
}

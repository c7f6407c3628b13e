//! Certificates, the identities in them, and join tokens.

use std::sync::LazyLock;

use ppwasm_certs::{
    Authority, CertificateDer, Identity, JoinToken, Leaf, Role, TokenId, TrustDomain,
    URI_BYTES_MAX, UnixTime,
};

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A certificate of a peer. Whatever it is, nobody here signed it.
pub(crate) fn certificate(bytes: &[u8]) {
    static NOBODY: LazyLock<Trusted> = LazyLock::new(Trusted::new);
    let der = CertificateDer::from(bytes);
    if let Ok(leaf) = Leaf::read(&der) {
        let uri = leaf.identity.to_string();
        assert_eq!(uri.parse().as_ref(), Ok(&leaf.identity));
        assert!(!leaf.serial.as_bytes().is_empty());
        let _ = leaf.should_renew(NOBODY.now);
    }
    NOBODY.refuses(&der);
}

/// Authorities that were made for this process, whose keys nobody has.
struct Trusted {
    authority: Authority,
    now: UnixTime,
}

impl Trusted {
    fn new() -> Self {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let domain: TrustDomain = "fuzz".parse().expect("a name");
        let authority = Authority::create(domain, now).expect("an authority");
        Self { authority, now }
    }

    fn refuses(&self, der: &CertificateDer<'_>) {
        for role in Role::ALL {
            let certificate = self.authority.certificate(role);
            let anchor = webpki::anchor_from_trusted_cert(certificate).expect("a certificate");
            assert!(Leaf::verify(der, &[anchor], self.now).is_err());
        }
    }
}

/// The URI of an identity.
pub(crate) fn identity(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(identity) = text.parse::<Identity>() {
        assert_eq!(identity.to_string(), text, "one way to write it");
        assert!(text.len() <= URI_BYTES_MAX);
        let is_worker = identity.role() == Role::Worker;
        assert_eq!(identity.worker().is_some(), is_worker);
        assert_eq!(identity.client().is_some(), identity.role() == Role::Client);
    }
}

/// A join token, as a person pastes it.
pub(crate) fn join_token(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(token) = text.parse::<JoinToken>() {
        let again: JoinToken = token.to_string().parse().expect("it was just written");
        assert!(again == token);
        assert!(
            token.to_string().eq_ignore_ascii_case(text),
            "one way to write it"
        );
        assert!(
            !format!("{token:?}").contains(text),
            "only Display shows the secret"
        );
    }
    if let Ok(id) = text.parse::<TokenId>() {
        assert!(id.to_string().eq_ignore_ascii_case(text));
    }
}
